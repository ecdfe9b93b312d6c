"""Synthetic changes of healthy images, at three strengths.

Their places and signs are drawn, their sizes are not. Sides and diameters are in voxels.

==========  ==========================================================  ==============
change      what                                                        strengths
==========  ==========================================================  ==============
patch       a square (cube) of a foreign image, scaled to the range     side 8, 12, 16
            of the image (0.5 to 99.5 percent)
block       a square (cube) is missing: as air, the commonest value     side 8, 12, 16
            of a slice, the lowest of a volume without air
shift       a disc (ball) of 16 (12 in 3D) is brighter or darker, by    0.1, 0.2, 0.4
            this part of the image's range
flip        a square (cube) in the middle is upside down (turned        16, 32, all
            along the longest axis in 3D)                               (12, 24, all)
blur        the image is smoothed by a Gaussian, standard deviation     0.7, 1, 1.5
==========  ==========================================================  ==============

The first three are where the object is: at a voxel that is brighter than the mean of the
smoothed image.
"""

import numpy as np
from scipy import ndimage

STRENGTHS = {
    "patch": (8, 12, 16),
    "block": (8, 12, 16),
    "shift": (0.1, 0.2, 0.4),
    "flip": {2: (16, 32, None), 3: (12, 24, None)},
    "blur": (0.7, 1.0, 1.5),
}
DIAMETER = {2: 16, 3: 12}
#: Changes of a part of an image.
LOCAL = ("patch", "block", "shift", "flip")


def changed(image, kind, level, rng, foreign):
    """Change an image.

    Parameters
    ----------
    image : array, (H, W) or (D, H, W)
    kind : str
        A key of `STRENGTHS`.
    level : {0, 1, 2}
        Weak, middle or strong.
    rng : Generator
        For places and signs.
    foreign : list of array
        Images of which patches are cut.

    Returns
    -------
    image : array, of the same shape and dtype
    where : bool array
        The voxels that are another value.
    """
    strengths = STRENGTHS[kind]
    if isinstance(strengths, dict):
        strengths = strengths[image.ndim]
    new = _CHANGES[kind](image.astype(np.float64), strengths[level], rng, foreign)
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        new = np.clip(np.round(new), limits.min, limits.max)
    new = new.astype(image.dtype)
    return new, new != image


def _object_voxel(image, rng):
    """Draw a voxel of the object."""
    smooth = ndimage.gaussian_filter(image, 2)
    return rng.choice(np.argwhere(smooth > smooth.mean()))


def _box(shape, side, centre):
    """Return the slices of a cube around a voxel, moved inside the image."""
    starts = [
        int(np.clip(c - side // 2, 0, max(0, n - side))) for c, n in zip(centre, shape)
    ]
    return tuple(slice(start, start + side) for start in starts)


def _patch(image, side, rng, foreign):
    box = _box(image.shape, side, _object_voxel(image, rng))
    other = foreign[rng.integers(len(foreign))].astype(np.float64)
    low, high = np.percentile(image, [0.5, 99.5])
    other_low, other_high = np.percentile(other, [0.5, 99.5])
    other = low + (other - other_low) * (high - low) / max(other_high - other_low, 1e-9)
    new = image.copy()
    cut = other[_box(other.shape, side, _object_voxel(other, rng))]
    new[box] = cut[tuple(slice(n) for n in new[box].shape)]
    return new


def _block(image, side, rng, foreign):
    air = image.min()
    if image.ndim == 2:
        values, counts = np.unique(image, return_counts=True)
        air = values[counts.argmax()]
    new = image.copy()
    new[_box(image.shape, side, _object_voxel(image, rng))] = air
    return new


def _shift(image, part, rng, foreign):
    centre = _object_voxel(image, rng)
    offsets = np.stack(np.indices(image.shape), -1) - centre
    inside = (offsets**2).sum(-1) < (DIAMETER[image.ndim] / 2) ** 2
    low, high = np.percentile(image, [0.5, 99.5])
    return image + rng.choice([-1, 1]) * part * (high - low) * inside


def _flip(image, side, rng, foreign):
    axis = 0 if image.ndim == 2 else int(np.argmax(image.shape))
    box = tuple(slice(None) for _ in image.shape)
    if side is not None:
        box = _box(image.shape, side, np.array(image.shape) // 2)
    new = image.copy()
    new[box] = np.flip(image[box], axis)
    return new


def _blur(image, deviation, rng, foreign):
    return ndimage.gaussian_filter(image, deviation)


_CHANGES = {
    "patch": _patch,
    "block": _block,
    "shift": _shift,
    "flip": _flip,
    "blur": _blur,
}
