"""Drawing: colours, type, and rows of images with labels and figures.

Measures are in pixels of a page on which the text has its natural size; pictures
are saved with two pixels for each of them, sharp on any screen and in print.
"""

from dataclasses import dataclass, field
from functools import wraps
from io import BytesIO

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from dipy_vqvae.atomic import atomic_write

INK = "#1b1f24"
MUTED = "#6a737d"
FAINT = "#d5d9de"
ACCENT = "#1f5f99"
WARM = "#c2641a"
GREEN = "#3b7d4f"
PAPER = "#ffffff"

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef1",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}
GREY = LinearSegmentedColormap.from_list("paper", [PAPER, "#12161b"])

_DPI = 100
_SCALE = 2
_MARGIN = 18
_COLOURS = 256


def points(pixels):
    """Size of type in points from pixels of the page."""
    return pixels * 72 / _DPI


class Page:
    """A figure whose parts are placed in pixels from its top left corner.

    Parameters
    ----------
    width, height : int
        Size in pixels.
    """

    def __init__(self, width, height):
        self.width = width
        self.height = height
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
        FigureCanvasAgg(self.figure)

    def text(self, x, y, text, *, size=13, color=INK, weight="normal", **options):
        """Write text whose baseline is at `y`."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            fontsize=points(size),
            color=color,
            fontweight=weight,
            va="baseline",
            **options,
        )

    def line(self, x0, x1, y, color=FAINT):
        """Draw a horizontal rule."""
        self.figure.add_artist(
            Line2D(
                [x0 / self.width, x1 / self.width],
                [1 - y / self.height] * 2,
                color=color,
                linewidth=0.8,
            )
        )

    def axes(self, x, y, width, height, **options):
        """Add axes whose top left corner is at (x, y)."""
        box = (
            x / self.width,
            1 - (y + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(box, **options)
        axes.tick_params(labelsize=points(11), width=0.8, length=3)
        return axes

    def picture(self, x, y, pixels, *, zoom):
        """Show an array (rows, columns) of grey levels or (rows, columns, 3)."""
        rows, columns = pixels.shape[:2]
        axes = self.axes(x, y, columns * zoom, rows * zoom)
        axes.set_axis_off()
        axes.imshow(
            pixels,
            cmap=GREY,
            vmin=0,
            vmax=1,
            interpolation="nearest",
            aspect="auto",
        )

    def png(self):
        """The picture as a PNG file, bytes."""
        from PIL import Image

        content = BytesIO()
        self.figure.savefig(content, format="png", dpi=_SCALE * _DPI)
        content.seek(0)
        image = Image.open(content).convert("RGB")
        # Greys and a few colours: a palette halves the file.
        image = image.quantize(_COLOURS, dither=Image.Dither.NONE)
        content = BytesIO()
        image.save(content, format="PNG", optimize=True)
        return content.getvalue()


def styled(draw):
    """Decorate a function that draws, so that it does so in the house style."""

    @wraps(draw)
    def wrapped(*args, **options):
        with rc_context(STYLE):
            page = draw(*args, **options)
            return page.png()

    return wrapped


def save_png(path, png):
    """Write a picture, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)


def footnote_of(numbers):
    """What is written below a figure: which images, which settings."""
    data = numbers["data"]
    return (
        f"{data['title']}: {data['n_train']:,} training and {data['n_test']:,} test "
        f"images, {numbers['settings']['name']} settings, seed {numbers['random_seed']}"
    )


def strip(images, *, n=None, gap=1):
    """Images side by side.

    Parameters
    ----------
    images : array (n, H, W) or (n, H, W, 3)
        Values in [0, 1].
    n : int, optional
        Columns to make room for.
    gap : int, optional
        Pixels between images.

    Returns
    -------
    picture : array (H, columns, 3)
        In colour, white between the images.
    """
    images = np.asarray(images, np.float64)
    if images.ndim == 3:
        images = GREY(images.clip(0, 1))[..., :3]
    n = len(images) if n is None else n
    height, width = images.shape[1:3]
    picture = np.ones((height, n * (width + gap) - gap, 3))
    for i, image in enumerate(images[:n]):
        left = i * (width + gap)
        picture[:, left : left + width] = image
    return picture


@dataclass
class ImageRow:
    """A row of images with its label.

    Attributes
    ----------
    title, subtitle : str
        At its left.
    images : array (n, H, W) or (n, H, W, 3)
        Values in [0, 1].
    values : tuple of str
        At its right, under the headers; a second line is smaller.
    heading : str or None
        Above the row, where a group of rows begins.
    """

    title: str
    subtitle: str
    images: np.ndarray
    values: tuple = ()
    heading: str | None = field(default=None)


def image_rows(
    rows, *, headers=(), footnote=None, label_width=196, value_width=70, zoom=2
):
    """Draw rows of images with labels at their left and figures at their right.

    Parameters
    ----------
    rows : list of ImageRow
    headers : tuple of str, optional
        Above the figures.
    footnote : str, optional
        Below everything.
    label_width, value_width : int, optional
        Room for labels and for each figure, pixels.
    zoom : int, optional
        Pixels of the page for a pixel of an image.

    Returns
    -------
    page : Page
    """
    n = max(len(row.images) for row in rows)
    size, row_gap, heading_height = 28 * zoom, 6, 34
    left = _MARGIN + label_width
    right = left + (n * 29 - 1) * zoom
    width = right + len(headers) * value_width + _MARGIN
    header_lines = max((header.count("\n") + 1 for header in headers), default=0)
    top = _MARGIN + 16 * header_lines
    height = top + len(rows) * (size + row_gap) + _MARGIN
    height += sum(heading_height for row in rows if row.heading)
    height += 22 if footnote else 0
    page = Page(width, height)
    for i, header in enumerate(headers):
        x = right + (i + 1) * value_width
        for j, line in enumerate(reversed(header.split("\n"))):
            page.text(x, top - 12 - 15 * j, line, size=11, color=MUTED, ha="right")
    y = top
    for row in rows:
        if row.heading:
            page.line(_MARGIN, width - _MARGIN, y + 7)
            page.text(
                _MARGIN, y + 25, row.heading, size=12, color=ACCENT, weight="bold"
            )
            y += heading_height
        page.picture(left, y, strip(row.images, n=n), zoom=zoom)
        two_lines = row.subtitle or any("\n" in value for value in row.values)
        baseline = y + size / 2 + (-3 if two_lines else 4)
        page.text(_MARGIN, baseline, row.title, size=13)
        page.text(_MARGIN, baseline + 17, row.subtitle, size=11, color=MUTED)
        for i, value in enumerate(row.values):
            x = right + (i + 1) * value_width
            first, _, second = value.partition("\n")
            page.text(x, baseline, first, size=12, ha="right")
            page.text(x, baseline + 17, second, size=11, color=MUTED, ha="right")
        y += size + row_gap
    if footnote:
        page.text(_MARGIN, height - 14, footnote, size=10.5, color=MUTED)
    return page
