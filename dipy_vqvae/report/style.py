"""Style of the figures: colours, type, PNG files.

Sizes are in pixels of a page on which the text has its natural size. PNG files have
twice as many pixels along each axis, which is sharp on any screen and in print.
"""

from functools import wraps
from io import BytesIO

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from dipy_vqvae.storage import atomic_write

INK = "#1b1f24"
MUTED = "#6a737d"
FAINT = "#d5d9de"
ACCENT = "#1f5f99"
WARM = "#c2641a"
PAPER = "#ffffff"

_DPI = 100
_SCALE = 2
POINT = 72 / _DPI  # points per pixel

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11 * POINT,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 13 * POINT,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef1",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}
# From 0 (paper) to 1 (ink).
GREY = LinearSegmentedColormap.from_list("paper", [PAPER, "#12161b"])


def new_figure(width, height, **options):
    """Make a figure of a size in pixels, whatever the backend."""
    figure = Figure(dpi=_DPI, **options)
    FigureCanvasAgg(figure)
    resize(figure, width, height)
    return figure


def resize(figure, width, height):
    """Set the size of a figure in pixels."""
    figure.set_size_inches(width / _DPI, height / _DPI)


def to_png(figure):
    """Return a figure as the bytes of a PNG file."""
    from PIL import Image

    content = BytesIO()
    figure.savefig(content, format="png", dpi=_SCALE * _DPI)
    content.seek(0)
    # All colours: with a palette of 256, grey images get bands and tints.
    image = Image.open(content).convert("RGB")
    content = BytesIO()
    image.save(content, format="PNG", optimize=True)
    return content.getvalue()


class Png(bytes):
    """A PNG file, with the matplotlib figure that it shows as `figure`."""

    figure = None


def styled(draw):
    """Make a function that draws a figure return it as `Png`, in the style above."""

    @wraps(draw)
    def wrapped(*args, **options):
        # The user's rcParams have no influence.
        with style.context(["default", STYLE]):
            figure = draw(*args, **options)
            png = Png(to_png(figure))
        png.figure = figure
        return png

    return wrapped


def save_png(path, png):
    """Write a PNG file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)
