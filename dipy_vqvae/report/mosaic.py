"""Mosaics: many images as one greyscale PNG file."""

from io import BytesIO
import math

import numpy as np

from dipy_vqvae.report.pictures import as_picture
from dipy_vqvae.report.view import View
from dipy_vqvae.storage import atomic_write


def make_mosaic(images, *, n_columns=None, gap=1, fill=0.0):
    """Lay images out in a grid, row by row.

    Examples
    --------
    >>> make_mosaic(np.arange(1, 4).reshape(3, 1, 1), n_columns=2, gap=0)
    array([[1, 2],
           [3, 0]])
    """
    images = np.asarray(images)
    _check_stack(images)
    n, height, width = images.shape
    if n_columns is None:
        # rows * height ≈ columns * width
        n_columns = min(n, math.ceil(math.sqrt(n * height / width)))
    if n_columns < 1 or gap < 0:
        raise ValueError(
            f"n_columns must be at least 1 and gap at least 0, got {n_columns} and {gap}"
        )
    n_rows = math.ceil(n / n_columns)
    picture = np.full(
        (n_rows * (height + gap) - gap, n_columns * (width + gap) - gap),
        fill,
        dtype=images.dtype,
    )
    for i, image in enumerate(images):
        row, column = divmod(i, n_columns)
        top, left = row * (height + gap), column * (width + gap)
        picture[top : top + height, left : left + width] = image
    return picture


def as_pictures(images, view):
    """Draw images by a `View`, (N, *spatial[, C]) -> (N, H, W)."""
    images = np.asarray(images)
    if images.ndim <= view.spatial_dims or images.size == 0:
        raise ValueError(f"images must have a shape (N, ...), got {images.shape}")
    pictures = np.stack([as_picture(image, view, gap=0) for image in images])
    return np.where(np.isnan(pictures), images.min(), pictures)


def save_mosaic(path, images, *, n_columns=None, gap=1, zoom=1, limits=None):
    """Write images as one greyscale picture (PNG)."""
    images = np.asarray(images)
    if zoom < 1:
        raise ValueError(f"zoom must be at least 1, got {zoom}")
    if images.ndim == 4:
        images = as_pictures(images, View(3))
    _check_stack(images)
    grey = to_bytes(images, limits=limits)
    picture = make_mosaic(grey, n_columns=n_columns, gap=gap, fill=32)
    picture = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)

    from PIL import Image

    # Encoded first: the file's name then need not end in .png.
    content = BytesIO()
    Image.fromarray(picture).save(content, format="PNG", optimize=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def to_bytes(images, *, limits=None):
    """Map values to grey levels.

    Examples
    --------
    >>> to_bytes([-1.0, 0.0, 1.0])
    array([  0, 128, 255], dtype=uint8)
    """
    images = np.asarray(images)
    low, high = (images.min(), images.max()) if limits is None else limits
    low, high = float(low), float(high)
    if not high > low:
        return np.zeros(images.shape, dtype=np.uint8)
    scaled = (images.astype(np.float32) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _check_stack(images):
    if images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"a mosaic needs images of shape (N, H, W), got an array of {images.shape}"
        )
