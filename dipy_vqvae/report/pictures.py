"""Slices and volumes as pictures, in grey levels or colours."""

from dataclasses import dataclass

import numpy as np

# A few very bright voxels do not darken a picture.
_PERCENTILES = (0.5, 99.8)


@dataclass(frozen=True, eq=False)
class Example:
    """Pictures of an image, its reconstruction and its codes; NaN around them."""

    name: str
    original: np.ndarray  # (H, W), in the image's units, as the reconstruction
    reconstruction: np.ndarray
    codes: np.ndarray | None = None  # (H, W), the code of each pixel

    @property
    def limits(self):
        """The values drawn black and white."""
        return grey_limits(self.original)

    @property
    def relative_residual(self):
        """Original minus reconstruction, as a fraction of the range of `limits`."""
        low, high = self.limits
        return (self.original - self.reconstruction) / (high - low)


def upright(slices):
    """Turn slices (N, X, Y) of NIfTI arrays to pictures, with y upwards."""
    return np.asarray(slices).swapaxes(1, 2)[:, ::-1]


def as_picture(image, *, spatial_dims, is_nifti=True, gap=2):
    """Turn an image into a picture (H, W); a volume into its three middle slices."""
    image = np.asarray(image, np.float64)
    if image.ndim > spatial_dims:
        image = image.mean(axis=-1)
    if spatial_dims == 2:
        return upright(image[np.newaxis])[0] if is_nifti else image
    x, y, z = (size // 2 for size in image.shape)
    views = [upright(v[np.newaxis])[0] for v in (image[:, :, z], image[:, y], image[x])]
    return side_by_side(views, gap=gap)


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


def examples_of(file, images, restored, coded, *, n, numbers=None, show_codes=False):
    """Choose images of a file that are not constant, as examples."""
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
    low, high = np.nanpercentile(values, _PERCENTILES)
    if not high > low:
        low, high = np.nanmin(values), np.nanmax(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def to_grey(values, limits):
    """Turn values into grey levels, white where they are NaN; (...) -> (..., 3)."""
    low, high = limits
    grey = ((values - low) / (high - low)).clip(0, 1)
    return np.where(np.isnan(grey), 1.0, grey)[..., np.newaxis].repeat(3, axis=-1)
