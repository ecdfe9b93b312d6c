"""Drawing: colours, type, pictures placed by the pixel.

Measures are in pixels of a page on which the text has its natural size; pictures
are saved with two pixels for each of them, sharp on any screen and in print.
"""

from functools import wraps
from io import BytesIO

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from dipy_vqvae.storage import atomic_write

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
            # Names of files may hold anything.
            text.encode("utf-8", errors="replace").decode("utf-8"),
            parse_math=False,
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
            # Pixels as squares, where all can be of one size.
            interpolation="nearest" if (_SCALE * zoom) % 1 == 0 else "antialiased",
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
    """Decorate a drawing function: use our style, whatever the user's rcParams."""

    @wraps(draw)
    def wrapped(*args, **options):
        with style.context(["default", STYLE]):
            page = draw(*args, **options)
            return page.png()

    return wrapped


def save_png(path, png):
    """Write a picture, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)


def strip(images, *, n=None, gap=1):
    """Images side by side."""
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
