"""Images of which only a part counts."""

import numpy as np

from dipy_vqvae.data.checks import check_images, check_mask


def check_masked_images(images, mask, *, spatial_dims, name="images", mask_name="mask"):
    """Check images and their mask."""
    if mask is None:
        return check_images(images, spatial_dims=spatial_dims, name=name), None
    images = np.asarray(images)
    # Shape and type first: the values are none of our business outside the mask.
    shape = np.broadcast_to(np.zeros((), images.dtype), images.shape)
    shape = check_images(shape, spatial_dims=spatial_dims, name=name).shape
    images = images.reshape(shape)
    mask = check_mask(mask, images, name=mask_name)
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        images = np.where(mask[..., np.newaxis], images, images.dtype.type(0))
    return check_images(images, spatial_dims=spatial_dims, name=name), mask
