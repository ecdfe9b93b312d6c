"""Images beside their reconstructions."""

from dataclasses import dataclass
import math

from matplotlib.colors import LinearSegmentedColormap
import numpy as np

from dipy_vqvae.mosaic import upright
from dipy_vqvae.report.page import ACCENT, MUTED, PAPER, Page, styled
from dipy_vqvae.report.rows import PictureRow, picture_rows

# From too dark to too bright.
RESIDUAL = LinearSegmentedColormap.from_list("residual", [ACCENT, PAPER, "#b3321e"])
# Bright values are few: those above do not darken the picture.
_PERCENTILES = (0.5, 99.8)
_N_COLUMNS = 8
_N_COLUMNS_OF_VOLUMES = 4
_GAP = 2


@dataclass(frozen=True, eq=False)
class Example:
    """One image and what a model made of it, as pictures.

    Attributes
    ----------
    name : str
        Written above it.
    original, reconstruction : array (H, W), float64
        In the image's units; NaN beside it.
    codes : array (H, W), float64, or None
        The code at each pixel, NaN beside them.
    """

    name: str
    original: np.ndarray
    reconstruction: np.ndarray
    codes: np.ndarray | None = None

    @property
    def limits(self):
        """The values shown as black and as white."""
        low, high = np.nanpercentile(self.original, _PERCENTILES)
        if not high > low:
            low, high = np.nanmin(self.original), np.nanmax(self.original)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def relative_residual(self):
        """Original minus reconstruction, in parts of the range that is shown."""
        low, high = self.limits
        return (self.original - self.reconstruction) / (high - low)


def as_picture(image, *, spatial_dims, is_nifti=True):
    """Show an image as a picture: a volume by its three middle slices.

    Parameters
    ----------
    image : array, shape (*spatial) or (*spatial, C)
        The image; of channels, their mean is shown.
    spatial_dims : {2, 3}
        Number of its spatial axes.
    is_nifti : bool, optional
        Whether its first axis runs to the right, and its second one upwards.

    Returns
    -------
    picture : array (H, W), float64
        NaN between and beside the views of a volume.
    """
    image = np.asarray(image, np.float64)
    if image.ndim > spatial_dims:
        image = image.mean(axis=-1)
    if spatial_dims == 2:
        return upright(image[np.newaxis])[0] if is_nifti else image
    x, y, z = (size // 2 for size in image.shape)
    views = [upright(v[np.newaxis])[0] for v in (image[:, :, z], image[:, y], image[x])]
    height = max(len(view) for view in views)
    width = sum(view.shape[1] + _GAP for view in views) - _GAP
    picture = np.full((height, width), np.nan)
    left = 0
    for view in views:
        above = (height - len(view)) // 2
        picture[above : above + len(view), left : left + view.shape[1]] = view
        left += view.shape[1] + _GAP
    return picture


def enlarge(codes, factors, shape):
    """The code at each voxel of an image.

    Parameters
    ----------
    codes : array, shape (*grid)
        Codes.
    factors : tuple of int
        Voxels per code along each axis.
    shape : tuple of int
        Spatial shape of the image.

    Returns
    -------
    codes : array, shape (*shape)
    """
    for axis, factor in enumerate(factors):
        codes = codes.repeat(factor, axis)
    return codes[tuple(slice(n) for n in shape)]


def spread(n, n_wanted):
    """Up to `n_wanted` indices out of n, evenly, none at the very ends.

    Examples
    --------
    >>> spread(9, 3), spread(2, 3)
    ([1, 4, 7], [0, 1])
    """
    n_wanted = min(n, n_wanted)
    return [int((i + 0.5) * n / n_wanted) for i in range(n_wanted)]


@styled
def draw_examples(examples, *, colours=None, footnote=""):
    """Draw originals, reconstructions, residuals, and codes where colours are given.

    Parameters
    ----------
    examples : list of Example
        At least one.
    colours : array (K, 3), optional
        A colour in [0, 1] for each code.
    footnote : str, optional
        What is written below, in front of the residuals' scale.

    Returns
    -------
    png : bytes
    """
    limit = _round_up(
        max(np.nanpercentile(np.abs(e.relative_residual), 99.5) for e in examples)
    )
    shapes = [example.original.shape for example in examples]
    wide = any(width > 1.6 * height for height, width in shapes)
    n_columns = min(_N_COLUMNS_OF_VOLUMES if wide else _N_COLUMNS, len(examples))
    bands = []
    for start in range(0, len(examples), n_columns):
        band = examples[start : start + n_columns]
        rows = [
            PictureRow("Original", "", [_grey(e, e.original) for e in band]),
            PictureRow(
                "Reconstruction", "", [_grey(e, e.reconstruction) for e in band]
            ),
            PictureRow(
                "Residual",
                f"±{100 * limit:g}% of range",
                [_paint(RESIDUAL, e.relative_residual / limit) for e in band],
            ),
        ]
        if colours is not None:
            maps = [_paint_codes(colours, e.codes) for e in band]
            rows.append(PictureRow("Codes", "like colours are near", maps))
        layout = {
            "headers": [_short(example.name) for example in band],
            "cell": np.max(shapes, axis=0),
            "n_columns": n_columns,
        }
        bands.append((rows, layout))
    return _stack(bands, footnote)


def _stack(bands, footnote):
    sizes = [picture_rows(rows, **layout) for rows, layout in bands]
    height = sum(size.height for size in sizes)
    page = Page(sizes[0].width, height + (16 if footnote else 0))
    y = 0
    for (rows, layout), size in zip(bands, sizes):
        picture_rows(rows, **layout, page=page, y=y)
        y += size.height
    if footnote:
        page.text(18, y + 4, footnote, size=10.5, color=MUTED)
    return page


def _grey(example, values):
    low, high = example.limits
    grey = ((values - low) / (high - low)).clip(0, 1)
    return np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)


def _paint(colours, values):
    painted = colours((np.nan_to_num(values).clip(-1, 1) + 1) / 2)[..., :3]
    return np.where(np.isnan(values)[..., np.newaxis], 1.0, painted)


def _paint_codes(colours, codes):
    beside = np.isnan(codes)
    painted = colours[np.where(beside, 0, codes).astype(int)]
    return np.where(beside[..., np.newaxis], 1.0, painted)


def _round_up(value):
    """The next of 1, 2, 5, 10, ... percent.

    Examples
    --------
    >>> _round_up(0.034), _round_up(0.0)
    (0.05, 0.01)
    """
    value = max(float(value), 0.01)
    power = 10.0 ** math.floor(math.log10(value))
    factor = next(f for f in (1, 2, 5, 10) if f * power >= value * (1 - 1e-9))
    return round(factor * power, 12)


def _short(name, longest=16):
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
