"""Pad images to a multiple, crop them back, and place the latent grid.

Images are padded at the end of each axis, so that pixels keep their indices and cell
k of the latent grid covers pixels k m to (k + 1) m - 1.
"""

import numpy as np


def padded_shape(shape, multiple):
    """Return the smallest shape that holds an image and that the model can divide.

    Examples
    --------
    >>> padded_shape((91, 109), 4)
    (92, 112)
    >>> padded_shape((37, 51, 33), (4, 4, 1))
    (40, 52, 33)
    """
    shape = tuple(int(n) for n in shape)
    multiples = _per_axis(multiple, len(shape))
    if min(shape) < 1 or min(multiples) < 1:
        raise ValueError(
            f"lengths and multiples must be positive, got {shape} and {multiples}"
        )
    return tuple(-(-n // m) * m for n, m in zip(shape, multiples))


def pad_to(images, shape, *, mode="edge", value=0, first_axis=1):
    """Pad images at the end of their spatial axes."""
    if mode not in ("edge", "constant"):
        raise ValueError(f"mode must be 'edge' or 'constant', got {mode!r}")
    shape = tuple(shape)
    spatial = _spatial(images, shape, first_axis)
    if any(n > target for n, target in zip(spatial, shape)):
        raise ValueError(f"cannot pad images of {spatial} to {shape}, which is smaller")
    if spatial == shape:
        return images
    widths = [(0, 0)] * images.ndim
    for axis, (n, target) in enumerate(zip(spatial, shape), start=first_axis):
        widths[axis] = (0, target - n)
    fill = {"constant_values": value} if mode == "constant" else {}
    return np.pad(images, widths, mode=mode, **fill)


def crop_to(images, shape, *, first_axis=1):
    """Undo `pad_to`."""
    shape = tuple(shape)
    spatial = _spatial(images, shape, first_axis)
    if any(n < target for n, target in zip(spatial, shape)):
        raise ValueError(f"cannot crop images of {spatial} to {shape}, which is larger")
    return images[(slice(None),) * first_axis + tuple(slice(n) for n in shape)]


def latent_affine(affine, *, padded_shape, latent_shape, slice_axis=None):
    r"""Return the voxel-to-world affine of the grid of codes.

    The corners of the latent grid (voxel edges: indices -1/2 and n - 1/2) are put
    where those of the padded image are. With f voxels to a cell, cell j is centred
    on voxel :math:`f j + (f - 1) / 2`.

    Examples
    --------
    >>> latent_affine(np.eye(4), padded_shape=(8, 8, 8), latent_shape=(2, 2, 4))
    array([[4. , 0. , 0. , 1.5],
           [0. , 4. , 0. , 1.5],
           [0. , 0. , 2. , 0.5],
           [0. , 0. , 0. , 1. ]])
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4):
        raise ValueError(f"affine must have shape (4, 4), got {affine.shape}")
    padded, latent = list(padded_shape), list(latent_shape)
    n_expected = 3 if slice_axis is None else 2
    if not len(padded) == len(latent) == n_expected:
        raise ValueError(
            f"padded and latent shape must have {n_expected} axes "
            f"(slice_axis={slice_axis}), got {padded} and {latent}"
        )
    if slice_axis is not None:
        if slice_axis not in (0, 1, 2):
            raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis!r}")
        padded.insert(slice_axis, 1)
        latent.insert(slice_axis, 1)
    factor = np.divide(padded, latent)
    to_image = np.eye(4)
    to_image[:3, :3] = np.diag(factor)
    to_image[:3, 3] = (factor - 1) / 2
    return affine @ to_image


def _per_axis(number, n_axes):
    numbers = np.atleast_1d(number).tolist()
    if len(numbers) == 1:
        numbers *= n_axes
    if len(numbers) != n_axes:
        raise ValueError(f"{number!r} does not give one number for each of {n_axes}")
    return tuple(int(n) for n in numbers)


def _spatial(images, shape, first_axis):
    spatial = images.shape[first_axis : first_axis + len(shape)]
    if len(spatial) != len(shape):
        raise ValueError(
            f"images of shape {images.shape} do not have {len(shape)} spatial axes"
        )
    return spatial
