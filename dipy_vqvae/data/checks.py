"""Checks on arrays of images and on masks, before anything is computed."""

import numpy as np

from dipy_vqvae.arrays import as_array, as_mask

# The largest whole number up to which doubles tell all whole numbers apart.
_LARGEST_EXACT = 2**53
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
# Values of which a masked copy is made at a time.
_VALUES_AT_A_TIME = 1 << 22
_AXES = {2: "(N, H, W)", 3: "(N, X, Y, Z)"}


def check_values(data, name, *, allow_any=False):
    """Refuse values that no model can use, or only the types of such values."""
    if data.dtype.kind not in "biuf":
        raise ValueError(f"{name}: has {data.dtype} values; only real numbers are read")
    if data.size == 0:
        raise ValueError(f"{name}: is empty, its shape is {data.shape}")
    if not allow_any:
        _check_range(data, name)
    native = data.dtype.newbyteorder("=")
    return data if data.dtype == native else data.astype(native)


def _check_range(data, name):
    """Refuse NaN, Inf and values beyond what single and double precision hold."""
    if data.dtype.kind == "f":
        # A NaN or an Inf shows in the extremes: no array of flags needed.
        low, high = data.min(), data.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            n_bad = data.size - np.count_nonzero(np.isfinite(data))
            raise ValueError(
                f"{name}: has {n_bad} NaN or Inf among {data.size} values; leave them "
                "out with a mask (mask=, or --mask_files), or replace them "
                "(numpy.nan_to_num)"
            )
        low, high = float(low), float(high)
        if max(-low, high) > _LARGEST_FLOAT32:
            raise ValueError(
                f"{name}: has values from {low:.4g} to {high:.4g}; single precision "
                f"ends at {_LARGEST_FLOAT32:.4g}: divide them by a power of ten"
            )
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        low, high = int(data.min()), int(data.max())
        if max(-low, high) > _LARGEST_EXACT:
            raise ValueError(
                f"{name}: has {data.dtype} values from {low} to {high}; beyond 2**53 "
                "they cannot be told apart in double precision"
            )


def check_inside(data, mask, name):
    """Check values inside a mask, and return them with 0 outside."""
    data = zero_outside(check_values(data, name, allow_any=True), mask)
    return check_values(data, name)


def zero_outside(images, mask):
    """Return images (n, *spatial[, C]) with 0 outside of their masks (n, *spatial)."""
    mask = mask.reshape(mask.shape + (1,) * (images.ndim - mask.ndim))
    return np.where(mask, images, images.dtype.type(0))


def check_spatial_dims(spatial_dims):
    """Refuse anything but 2 and 3."""
    if spatial_dims not in _AXES:
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}")
    return int(spatial_dims)


def check_images(images, *, spatial_dims, name="images", allow_constant=True):
    """Check an array of images and give it a channel axis.

    Examples
    --------
    >>> check_images(np.zeros((5, 28, 28), dtype=np.uint8), spatial_dims=2).shape
    (5, 28, 28, 1)
    """
    check_spatial_dims(spatial_dims)
    images = as_array(images, name)
    if images.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, got values of {images.dtype}")
    axes = _AXES[spatial_dims]
    if images.ndim not in (spatial_dims + 1, spatial_dims + 2):
        hint = "; a single image needs a first axis of length 1"
        raise ValueError(
            f"{name} must have shape {axes} or {axes[:-1]}, C) for "
            f"spatial_dims={spatial_dims}, got {images.shape}"
            + (hint if images.ndim == spatial_dims else "")
        )
    images = check_values(images, name)
    if not allow_constant and images.min() == images.max():
        raise constant_error(images, name)
    return images[..., np.newaxis] if images.ndim == spatial_dims + 1 else images


def constant_error(images, name="images"):
    """Return the error for images that have one value only."""
    value = float(images.reshape(-1)[0])
    return ValueError(f"{name} are constant (all {value}): there is nothing to learn")


def check_mask(mask, images, *, name="mask"):
    """Check a mask against images and give it one entry per pixel of each."""
    mask = as_mask(mask, name)
    per_image = images.shape[:-1]
    if mask.shape[:-1] in (per_image, per_image[1:]) and mask.shape[-1] == 1:
        mask = mask[..., 0]  # an axis for channels
    if mask.shape not in (per_image, per_image[1:]):
        raise ValueError(
            f"{name} must have the shape {per_image[1:]} of one image or "
            f"{per_image} of all, got {mask.shape}"
        )
    if not mask.any():
        raise ValueError(f"{name} selects nothing: it is zero everywhere")
    return np.broadcast_to(mask, per_image)


def check_masked_images(images, mask, *, spatial_dims, name="images", mask_name="mask"):
    """Check images and their mask; outside of it the values stay what they are."""
    if mask is None:
        return check_images(images, spatial_dims=spatial_dims, name=name), None
    images = as_array(images, name)
    # Shape and type first: the values are none of our business outside the mask.
    shape = np.broadcast_to(np.zeros((), images.dtype), images.shape)
    shape = check_images(shape, spatial_dims=spatial_dims, name=name).shape
    images = check_values(images.reshape(shape), name, allow_any=True)
    mask = check_mask(mask, images, name=mask_name)
    step = max(1, _VALUES_AT_A_TIME // images[0].size)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        check_inside(images[part], mask[part], name)
    return images, mask


def is_varying(images, spatial_dims, mask=None):
    """Return which images vary over space (in their mask) in some channel: (n,) bool."""
    space = tuple(range(1, 1 + spatial_dims))
    low, high = {}, {}
    if mask is not None:
        mask = mask.reshape(mask.shape + (1,) * (images.ndim - mask.ndim))
        # Where nothing is inside, the largest value is the smallest one.
        low = {"where": mask, "initial": images.max()}
        high = {"where": mask, "initial": images.min()}
    varies = images.min(axis=space, **low) < images.max(axis=space, **high)
    return varies.reshape(len(images), -1).any(axis=1)
