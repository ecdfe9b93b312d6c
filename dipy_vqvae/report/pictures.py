"""Slices and volumes as pictures, in grey levels or colours."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipy_vqvae.report.view import View

# A few very bright voxels do not darken a picture.
_PERCENTILES = (0.5, 99.8)


@dataclass(frozen=True, eq=False)
class Example:
    """Pictures of an image, its reconstruction and its codes; NaN where nothing is.

    Attributes
    ----------
    name : str
        What tells the image from the others of its file.
    original, reconstruction : array (H, W)
        In the image's units; NaN outside of its mask.
    codes : array (H, W) or None
        The code of each pixel.
    path : Path or str
        The file.
    marks : list
        Letters of directions, see `View.marks`.
    has_own_unit : bool
        Whether images of other files have other units.
    """

    name: str
    original: np.ndarray
    reconstruction: np.ndarray
    codes: np.ndarray | None = None
    path: Path | str = ""
    marks: tuple = ()
    has_own_unit: bool = False


def windows_of(examples):
    """Return the values drawn black and white in each example.

    All examples share them; where files have units of their own, those of one file.
    """
    groups = {}
    for example in examples:
        key = str(example.path) if example.has_own_unit else ""
        groups.setdefault(key, []).append(example.original.ravel())
    limits = {key: grey_limits(np.concatenate(parts)) for key, parts in groups.items()}
    return [limits[str(e.path) if e.has_own_unit else ""] for e in examples]


def as_picture(image, view, *, gap=2, nearest=False):
    """Turn an image into a picture (H, W); a volume into its three middle slices.

    `nearest` is for codes, of which there are no means.
    """
    image = np.asarray(image, np.float64)
    if image.ndim > view.spatial_dims:
        image = image.mean(axis=-1)
    if view.spatial_dims == 2:
        return view.picture(image, nearest=nearest)
    pictures = [
        section.picture(
            image.take(view.middle(axis, image.shape[axis]), axis), nearest=nearest
        )
        for axis, section in view.sections()
    ]
    return side_by_side(pictures, gap=gap)


def side_by_side(views, *, gap):
    """Join pictures of different heights to one, NaN between and around them."""
    height = max(len(view) for view in views)
    width = sum(view.shape[1] + gap for view in views) - gap
    picture, left = np.full((height, width), np.nan), 0
    for view in views:
        above = (height - len(view)) // 2
        picture[above : above + len(view), left : left + view.shape[1]] = view
        left += view.shape[1] + gap
    return picture


def enlarge(codes, factors, shape):
    """Repeat each code over its block of voxels of an image of that shape."""
    for axis, factor in enumerate(factors):
        codes = codes.repeat(factor, axis)
    return codes[tuple(slice(n) for n in shape)]


def examples_of(
    file,
    images,
    restored,
    coded,
    *,
    n,
    view=None,
    mask=None,
    numbers=None,
    show_codes=False,
    has_own_unit=False,
):
    """Choose images of a file that are not constant, as examples.

    Outside of the mask (n, *spatial) nothing is shown.
    """
    if n == 0:
        return []
    axes = tuple(range(1, images.ndim))
    varied = np.flatnonzero(images.min(axis=axes) < images.max(axis=axes))
    chosen = varied[spread(len(varied), n)] if len(varied) else [0]
    view = view or View.of_file(file, coded.layout.spatial_dims)
    several = file.n_slices * file.n_volumes > 1
    examples = []
    for i in chosen:
        inside = None if mask is None else mask[i]
        codes = None
        if show_codes:
            codes = enlarge(coded.codes[i], coded.downsampling, coded.image_shape)
            codes = as_picture(_nan_outside(codes, inside), view, nearest=True)
        number = i if numbers is None else numbers[i]
        examples.append(
            Example(
                name=str(number) if several else "",
                original=as_picture(_nan_outside(images[i], inside), view),
                reconstruction=as_picture(_nan_outside(restored[i], inside), view),
                codes=codes,
                path=file.path,
                marks=view.marks(coded.image_shape),
                has_own_unit=has_own_unit,
            )
        )
    return examples


def _nan_outside(image, inside):
    """Return an image as float64, NaN outside of its mask (*spatial)."""
    image = np.array(image, np.float64)
    if inside is not None:
        image[~inside] = np.nan
    return image


def spread(n, n_wanted):
    """Choose up to `n_wanted` evenly spaced indices out of n.

    Examples
    --------
    >>> spread(9, 3), spread(2, 3)
    ([1, 4, 7], [0, 1])
    """
    n_wanted = min(n, n_wanted)
    return [int((i + 0.5) * n / n_wanted) for i in range(n_wanted)]


def code_colours(codebook):
    """Assign similar colours to codes with similar vectors; (K, D) -> (K, 3)."""
    centred = codebook - codebook.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    ranks = scores.argsort(0).argsort(0) / max(1, len(codebook) - 1)
    colours = np.full((len(codebook), 3), 0.5)
    colours[:, : ranks.shape[1]] = ranks
    return 0.12 + 0.83 * colours


def to_colours(codes, colours):
    """Colour each pixel by its code, white where it has none; (H, W) -> (H, W, 3)."""
    outside = np.isnan(codes)
    painted = colours[np.where(outside, 0, codes).astype(int)]
    return np.where(outside[..., np.newaxis], 1.0, painted)


def grey_limits(values):
    """Return the values to be drawn black and white."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES)
    if not high > low:
        low, high = values.min(), values.max()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def to_grey(values, limits):
    """Turn values into grey levels, white where they are NaN; (...) -> (..., 3)."""
    low, high = limits
    grey = ((values - low) / (high - low)).clip(0, 1)
    return np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)
