"""Draw rows of pictures: examples, samples, the arms of the experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from matplotlib.colors import LinearSegmentedColormap
import numpy as np

from dipy_vqvae.data import short_names
from dipy_vqvae.report.pictures import grey_limits, to_colours, to_grey, windows_of
from dipy_vqvae.report.style import (
    ACCENT,
    FAINT,
    GREY,
    MUTED,
    PAPER,
    POINT,
    WARM,
    new_figure,
    resize,
    styled,
)

# In pixels of the page.
_WIDTH = 944
_MARGIN = 18
_ROW_GAP = 6
_VALUE_WIDTH = 70
_HIGHEST = 170  # picture
_LETTER_WIDTH = 6.2  # of a name

# Blue: too bright; red: too dark.
_RESIDUAL = LinearSegmentedColormap.from_list("residual", [ACCENT, PAPER, "#b3321e"])


@dataclass(frozen=True, eq=False)
class PictureRow:
    """Pictures side by side, with a label at their left and values at their right.

    Attributes
    ----------
    title, subtitle : str
        Label; the subtitle is smaller.
    pictures : sequence of array (H, W) or (H, W, 3)
        Values in [0, 1]; without colours, 0 is drawn white and 1 black.
    names : sequence of str
        Text above each picture.
    values : sequence of str
        Text at the right; a second line is smaller.
    heading : str
        Heading above the first row of a group.
    marks : sequence of list
        Letters of directions in each picture, see `View.marks`.
    """

    title: str
    subtitle: str
    pictures: Sequence
    names: Sequence = ()
    values: Sequence = ()
    heading: str = ""
    marks: Sequence = ()


def draw_rows(
    rows, *, value_headers=(), footnote="", label_width=132, gap=6, zoom=None
):
    """Draw rows of pictures in columns.

    Parameters
    ----------
    rows : sequence of PictureRow
        Pictures of any size; a column is as wide as the widest picture of all.
    value_headers : sequence of str, optional
        Text above the values.
    footnote : str, optional
        Text below all rows.
    label_width, gap : int, optional
        Widths of the labels and between columns, in pixels of the page.
    zoom : float, optional
        Pixels of the page per pixel of a picture. By default the page is filled.

    Returns
    -------
    figure : matplotlib Figure
    """
    left = _MARGIN + label_width
    n_columns = max(len(row.pictures) for row in rows)
    shapes = [picture.shape[:2] for row in rows for picture in row.pictures]
    if zoom is None:
        room = _WIDTH - left - _MARGIN - (n_columns - 1) * gap
        zoom = _zoom_to_fit(shapes, room / n_columns)
    height, width = np.max(shapes, axis=0) * zoom
    columns = left + (width + gap) * np.arange(n_columns)
    right = columns[-1] + width
    ends = right + _VALUE_WIDTH * np.arange(1, len(value_headers) + 1)
    page_width = math.ceil(max([right, *ends]) + _MARGIN)
    canvas = _Canvas()
    y = _MARGIN + 16 * max((text.count("\n") + 1 for text in value_headers), default=0)
    for x, header in zip(ends, value_headers):
        options = {"size": 11, "color": MUTED, "ha": "right", "va": "bottom"}
        canvas.text(x, y - 8, header, **options)
    for row in rows:
        if row.heading:
            canvas.rule(_MARGIN, page_width - _MARGIN, y + 7)
            options = {"size": 12, "color": ACCENT, "weight": "bold"}
            canvas.text(_MARGIN, y + 25, row.heading, **options)
            y += 34
        if row.names:
            y += 20 if row is rows[0] else 30
            longest = max(4, int((width + gap) / _LETTER_WIDTH) - 1)
            for x, name in zip(columns, row.names):
                canvas.text(x, y - 7, shorten(name, longest), size=10.5, color=MUTED)
        for x, picture in zip(columns, row.pictures):
            rest = (height, width) - zoom * np.array(picture.shape[:2])
            canvas.picture(x + rest[1] / 2, y + rest[0] / 2, picture, zoom=zoom)
        for x, picture, marks in zip(columns, row.pictures, row.marks):
            rest = (height, width) - zoom * np.array(picture.shape[:2])
            canvas.marks(x + rest[1] / 2, y + rest[0] / 2, marks, zoom=zoom)
        _draw_label_and_values(canvas, row, y + height / 2, ends)
        y += height + _ROW_GAP
    if footnote:
        canvas.text(_MARGIN, y + 20, footnote, size=10.5, color=MUTED)
        y += 22
    return canvas.cut_to(page_width, math.ceil(y - _ROW_GAP + _MARGIN))


def _zoom_to_fit(shapes, room):
    height, width = np.max(shapes, axis=0)
    zoom = min(room / width, _HIGHEST / height)
    # Multiples of 0.5 show all pixels of a picture in the same size.
    return math.floor(2 * zoom) / 2 if zoom > 2 else zoom


def _draw_label_and_values(canvas, row, middle, ends):
    two_lines = row.subtitle or any("\n" in value for value in row.values)
    y = middle + (-3 if two_lines else 4)
    canvas.text(_MARGIN, y, row.title)
    canvas.text(_MARGIN, y + 17, row.subtitle, size=11, color=MUTED)
    for x, value in zip(ends, row.values):
        first, _, second = value.partition("\n")
        canvas.text(x, y, first, size=12, ha="right")
        canvas.text(x, y + 17, second, size=11, color=MUTED, ha="right")


class _Canvas:
    """A figure drawn on in pixels from its top left corner, cut to size at the end."""

    def __init__(self):
        self.figure = new_figure(_WIDTH, _WIDTH)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)

    def text(self, x, y, text, *, size=13, **options):
        """Write text whose baseline is at y."""
        # Names of files may hold anything.
        text = text.encode("utf-8", errors="replace").decode("utf-8")
        self.axes.text(x, y, text, fontsize=size * POINT, parse_math=False, **options)

    def rule(self, left, right, y):
        """Draw a horizontal line."""
        self.axes.plot([left, right], [y, y], color=FAINT, linewidth=0.8)

    def picture(self, x, y, pixels, *, zoom):
        """Draw a picture whose top left corner is at (x, y)."""
        height, width = pixels.shape[:2]
        self.axes.imshow(
            pixels,
            cmap=GREY,
            vmin=0,
            vmax=1,
            extent=(x, x + width * zoom, y + height * zoom, y),
            # Pixels as squares, where all can be of one size.
            interpolation="nearest" if (2 * zoom) % 1 == 0 else "antialiased",
            aspect="auto",
        )

    def marks(self, x, y, marks, *, zoom):
        """Write letters into a picture whose top left corner is at (x, y)."""
        options = {"color": WARM, "ha": "center", "va": "center", "weight": "bold"}
        for left, top, dx, dy, letter in marks:
            place = (x + left * zoom + 6 * dx, y + top * zoom + 6 * dy)
            self.text(*place, letter, size=8.5, **options)

    def cut_to(self, width, height):
        """Set the size of the page, and return the figure."""
        resize(self.figure, width, height)
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        return self.figure


@styled
def draw_examples(examples, *, code_colours=None):
    """Draw originals, reconstructions and residuals.

    Parameters
    ----------
    examples : sequence of Example
        Images with their reconstructions, and their codes if these are drawn.
    code_colours : array (K, 3), optional
        Colour of each code, in [0, 1]. By default codes are not drawn.

    Returns
    -------
    png : bytes
    """
    windows = windows_of(examples)
    residuals = [
        (example.original - example.reconstruction) / (high - low)
        for example, (low, high) in zip(examples, windows)
    ]
    limit = _round_up(np.median([_largest(residual) for residual in residuals]))
    shapes = [example.original.shape for example in examples]
    n_columns = 4 if any(width > 1.6 * height for height, width in shapes) else 8
    names = names_of(examples)
    rows = []
    for start in range(0, len(examples), n_columns):
        part = slice(start, start + n_columns)
        band = examples[part]
        originals = [to_grey(e.original, w) for e, w in zip(band, windows[part])]
        restored = [to_grey(e.reconstruction, w) for e, w in zip(band, windows[part])]
        relative = [_paint_residual(r / limit) for r in residuals[part]]
        marks = [example.marks for example in band]
        rows += [
            PictureRow("Original", "", originals, names=names[part], marks=marks),
            PictureRow("Reconstruction", "", restored),
            PictureRow("Residual", f"±{100 * limit:g}% of range", relative),
        ]
        if code_colours is not None:
            maps = [to_colours(example.codes, code_colours) for example in band]
            rows.append(PictureRow("Codes", "", maps))
    return draw_rows(rows)


def _largest(residual):
    """Return what most of the absolute values are below."""
    values = np.abs(residual[np.isfinite(residual)])
    return np.percentile(values, 98) if values.size else 0.0


def names_of(examples):
    """Return what tells the examples apart: parts of the files' names, and a number."""
    paths = list(dict.fromkeys(example.path for example in examples))
    short = dict(zip(paths, short_names(paths)))
    several = len(paths) > 1
    names = []
    for example in examples:
        parts = [short[example.path]] if several or not example.name else []
        names.append(" ".join([*parts, example.name]).strip())
    return names


def _paint_residual(values):
    painted = _RESIDUAL((np.nan_to_num(values).clip(-1, 1) + 1) / 2)[..., :3]
    return np.where(np.isnan(values)[..., np.newaxis], 1.0, painted)


def _round_up(value):
    """Round up to the next of 1, 2, 5, 10, ... percent.

    Examples
    --------
    >>> _round_up(0.034), _round_up(0.0)
    (0.05, 0.01)
    """
    value = max(float(value), 0.01)
    power = 10.0 ** math.floor(math.log10(value))
    factor = next(f for f in (1, 2, 5, 10) if f * power >= value * (1 - 1e-9))
    return round(factor * power, 12)


def shorten(name, longest):
    """Leave out the beginning of a name that is too long."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


@styled
def draw_samples(pictures, *, n_columns, names=(), marks=()):
    """Draw images side by side, with a common grey scale; `marks` are those of all."""
    limits = grey_limits(np.concatenate([picture.ravel() for picture in pictures]))
    rows = [
        PictureRow(
            "",
            "",
            [to_grey(picture, limits) for picture in pictures[i : i + n_columns]],
            names=names[i : i + n_columns],
            marks=[marks] * (n_columns if i == 0 else 0),
        )
        for i in range(0, len(pictures), n_columns)
    ]
    return draw_rows(rows, label_width=0)
