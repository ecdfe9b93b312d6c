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
