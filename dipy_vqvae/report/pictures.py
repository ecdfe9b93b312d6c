"""Images as pictures: what is shown of slices and volumes, and how it is scaled."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.report.mosaic import upright

# Bright values are few: those above do not darken the picture.
_PERCENTILES = (0.5, 99.8)
# Between the views of a volume, pixels.
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
    """Show an image as a picture: a volume by its three middle slices."""
    image = np.asarray(image, np.float64)
    if image.ndim > spatial_dims:
        image = image.mean(axis=-1)
    if spatial_dims == 2:
        return upright(image[np.newaxis])[0] if is_nifti else image
    x, y, z = (size // 2 for size in image.shape)
    views = [upright(v[np.newaxis])[0] for v in (image[:, :, z], image[:, y], image[x])]
    return side_by_side(views, gap=_GAP)


def side_by_side(views, *, gap):
    """Put pictures of different heights into one."""
    height = max(len(view) for view in views)
    width = sum(view.shape[1] + gap for view in views) - gap
    picture, left = np.full((height, width), np.nan), 0
    for view in views:
        above = (height - len(view)) // 2
        picture[above : above + len(view), left : left + view.shape[1]] = view
        left += view.shape[1] + gap
    return picture


def enlarge(codes, factors, shape):
    """The code at each voxel of an image."""
    for axis, factor in enumerate(factors):
        codes = codes.repeat(factor, axis)
    return codes[tuple(slice(n) for n in shape)]


def examples_of(file, images, restored, coded, *, n, numbers=None, show_codes=False):
    """Some images of a file, in which there is something to see."""
    if n == 0:
        return []
    axes = tuple(range(1, images.ndim))
    varied = np.flatnonzero(images.min(axis=axes) < images.max(axis=axes))
    chosen = varied[spread(len(varied), n)] if len(varied) else [0]
    name = file.path.name.partition(".")[0]
    several = file.n_slices * file.n_volumes > 1
    view = {
        "spatial_dims": coded.layout.spatial_dims,
        "is_nifti": file.kind == "nifti",
    }
    examples = []
    for i in chosen:
        codes = None
        if show_codes:
            codes = enlarge(coded.codes[i], coded.downsampling, coded.image_shape)
            codes = as_picture(codes, **view)
        number = i if numbers is None else numbers[i]
        examples.append(
            Example(
                name=f"{name} {number}" if several else name,
                original=as_picture(images[i], **view),
                reconstruction=as_picture(restored[i], **view),
                codes=codes,
            )
        )
    return examples


def spread(n, n_wanted):
    """Up to `n_wanted` indices out of n, evenly, none at the very ends.

    Examples
    --------
    >>> spread(9, 3), spread(2, 3)
    ([1, 4, 7], [0, 1])
    """
    n_wanted = min(n, n_wanted)
    return [int((i + 0.5) * n / n_wanted) for i in range(n_wanted)]


def code_colours(codebook):
    """A colour for each code, alike for codes that are near each other."""
    centred = codebook - codebook.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    ranks = scores.argsort(0).argsort(0) / max(1, len(codebook) - 1)
    colours = np.full((len(codebook), 3), 0.5)
    colours[:, : ranks.shape[1]] = ranks
    return 0.12 + 0.83 * colours
