"""Errors of reconstructions: MSE, MAE, PSNR, SSIM and sharpness.

The first axis of an array of images is the index of the image.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dipy_vqvae.arrays import as_array, as_mask
from dipy_vqvae.metrics.populations import blocks

# Wang et al. 2004, section III-B; K1 and K2 keep the ratios of flat images finite.
_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
_SSIM_K1 = 0.01
_SSIM_K2 = 0.03
# Voxels per slab: some ten arrays of this size are held in double precision.
_SSIM_VOXELS = 1 << 20


def mean_squared_error(reference, image, *, mask=None):
    """Compute the mean squared error of each image.

    Parameters
    ----------
    reference, image : array (N, ...)
        Images in the same units, one pair for each index of the first axis.
    mask : array of bool, optional
        Pixels that count, for all images or, with a leading axis of N, for each. The
        channel axis may be left out. Values outside have no influence, not even NaN.

    Returns
    -------
    error : array (N,), float64
        One value per image; NaN for an image whose mask is empty.

    Raises
    ------
    ValueError
        If the shapes do not agree.

    Examples
    --------
    >>> mean_squared_error([[0.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 1.0]])
    array([2., 0.])
    """
    return _mean_over_pixels(reference, image, mask, np.square)


def mean_absolute_error(reference, image, *, mask=None):
    """Compute the mean absolute error of each image.

    Parameters
    ----------
    reference, image : array (N, ...)
        Images in the same units, one pair for each index of the first axis.
    mask : array of bool, optional
        Pixels that count, as in :func:`mean_squared_error`.

    Returns
    -------
    error : array (N,), float64
        One value per image; NaN for an image whose mask is empty.

    Raises
    ------
    ValueError
        If the shapes do not agree.
    """
    return _mean_over_pixels(reference, image, mask, np.abs)


def psnr(reference, image, *, data_range, mask=None):
    """Compute the peak signal-to-noise ratio of each image, in decibels.

    ``10 log10(data_range**2 / MSE)``.

    Parameters
    ----------
    reference, image : array (N, ...)
        Images in the same units, one pair for each index of the first axis.
    data_range : float
        Distance between the smallest and the largest possible value: 1 for
        pixels in [0, 1], 255 for bytes.
    mask : array of bool, optional
        Pixels that count, as in :func:`mean_squared_error`.

    Returns
    -------
    ratio : array (N,), float64
        One value per image: infinite where an image equals its reference, NaN
        where its mask is empty.

    Raises
    ------
    ValueError
        If the shapes do not agree or `data_range` is not a positive number.
    """
    data_range = _checked_range(data_range)
    error = mean_squared_error(reference, image, mask=mask)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(data_range) - 10 * np.log10(error)


def ssim(reference, image, *, data_range, spatial_dims=2, mask=None):
    """Compute the structural similarity of each image to its reference.

    The index of :footcite:t:`Wang2004`: local means, variances and covariance
    under a Gaussian window of 1.5 pixels cut to 11 taps in each axis, combined
    with ``K1 = 0.01`` and ``K2 = 0.03``, and averaged over the image.

    The average is over the whole image, mirrored about its edge. It equals the mean
    of the full map of scikit-image's ``structural_similarity(gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False)``, whose single number leaves out a frame
    of five pixels. Channels are averaged.

    Parameters
    ----------
    reference, image : array (N, X, Y[, Z][, C])
        Images in the same units, one pair for each index of the first axis.
    data_range : float
        Distance between the smallest and the largest possible value.
    spatial_dims : int, optional
        Number of axes of one image without its channels.
    mask : array of bool, optional
        Pixels that count, as in :func:`mean_squared_error`. The weights of the windows
        are restricted to the mask and renormalised; the average is over the mask.

    Returns
    -------
    similarity : array (N,), float64
        In [-1, 1], 1 for equal images; NaN for an image whose mask is empty.

    Raises
    ------
    ValueError
        If the shapes do not agree or `data_range` is not a positive number.

    References
    ----------
    .. footbibliography::
    """
    data_range = _checked_range(data_range)
    reference, image = _checked_pair(reference, image)
    if reference.ndim not in (spatial_dims + 1, spatial_dims + 2):
        raise ValueError(
            f"images of shape {reference.shape} have {reference.ndim} axes; with "
            f"spatial_dims={spatial_dims} they need {spatial_dims + 1}, or "
            f"{spatial_dims + 2} with channels"
        )
    inside = None if mask is None else _mask_for(mask, reference.shape)
    axes = tuple(range(1, spatial_dims + 1))
    c1 = (_SSIM_K1 * data_range) ** 2
    c2 = (_SSIM_K2 * data_range) ** 2
    similarity = np.empty(len(reference))
    for part in blocks(len(reference), reference[:1].size):
        where = None if inside is None else inside[part]
        index = np.empty(reference[part].shape)
        for slab, margin in _slabs(reference[part].shape):
            whole = (slice(None), margin)
            pair = reference[part][whole], image[part][whole]
            near = None if where is None else where[whole]
            cut = slice(slab.start - margin.start, slab.stop - margin.start)
            index[:, slab] = _ssim_map(*pair, near, axes, c1, c2)[:, cut]
        similarity[part] = _mean_of_each(index, where)
    return similarity


def reconstruction_errors(
    images, restored, *, spatial_dims, mask=None, data_range=None
):
    """Measure the error of the reconstructions of one file.

    This is the definition behind ``metrics.csv`` and the reports. The voxels inside the
    mask are pooled over the file: slices are weighted by their number of such voxels,
    and the PSNR is that of the pooled mean squared error. It does not depend on the
    axis along which a volume is cut, nor on the PSNR of almost empty slices.

    Parameters
    ----------
    images, restored : array, shape (n, *spatial[, C])
        Images of one file and their reconstructions, in the same units.
    spatial_dims : {2, 3}
        Number of axes of one image without its channels.
    mask : array, shape (n, *spatial), bool, optional
        Voxels that count.
    data_range : float, optional
        Range of the file's values for PSNR and SSIM. By default that of `images`
        inside the mask; pass it if `images` are only a part of the file.

    Returns
    -------
    errors : dict
        ``n_images``; ``n_voxels`` that count (a voxel of several channels is one
        voxel); ``mse``, ``mae``, ``data_range``, ``psnr`` (dB) and ``ssim``. PSNR and
        SSIM are NaN where the range is zero, all errors where the mask is empty.
    """
    if mask is None:
        n_inside = np.full(len(images), math.prod(images.shape[1 : spatial_dims + 1]))
    else:
        mask = _mask_for(mask, images.shape[: spatial_dims + 1])
        n_inside = np.count_nonzero(mask.reshape(len(mask), -1), axis=1)
    n_voxels = int(n_inside.sum())
    if data_range is None:
        data_range = range_inside(images, mask=mask)

    def mean(errors):
        # Images without voxels inside have no error.
        if n_voxels == 0:
            return math.nan
        return float(np.sum(np.nan_to_num(errors) * n_inside) / n_voxels)

    mse = mean(mean_squared_error(images, restored, mask=mask))
    mae = mean(mean_absolute_error(images, restored, mask=mask))
    ratio = similarity = math.nan
    if data_range > 0:
        with np.errstate(divide="ignore"):
            ratio = float(20 * np.log10(data_range) - 10 * np.log10(mse))
        options = {"data_range": data_range, "spatial_dims": spatial_dims}
        similarity = mean(ssim(images, restored, mask=mask, **options))
    return {
        "n_images": len(images),
        "n_voxels": n_voxels,
        "mse": mse,
        "mae": mae,
        "data_range": data_range,
        "psnr": ratio,
        "ssim": similarity,
    }


def sharpness(reference, image, *, spatial_dims, mask=None):
    """Compare the differences of neighbouring voxels of images with those of others.

    Blurred images have small differences, and a sharpness far below 1. So have good
    reconstructions of noise, which none can know.

    Parameters
    ----------
    reference, image : array, shape (n, *spatial[, C])
        Images in the same units, all of them pooled.
    spatial_dims : {2, 3}
        Number of axes of one image without its channels.
    mask : array, shape (n, *spatial), bool, optional
        Voxels that count; of a pair of neighbours both.

    Returns
    -------
    sharpness : float
        Sum of the squared differences of neighbours in `image` over that in
        `reference`; NaN where the reference has none.

    Examples
    --------
    >>> edges = np.array([[[0.0, 0.0, 4.0, 4.0]]])
    >>> ramp = np.array([[[0.0, 1.0, 3.0, 4.0]]])
    >>> sharpness(edges, ramp, spatial_dims=2)
    0.375
    """
    reference, image = _checked_pair(reference, image)
    if mask is not None:
        mask = _mask_for(mask, reference.shape[: spatial_dims + 1])
    energies = [
        sum(
            _difference_energy(x, spatial_dims, None if mask is None else mask[i])
            for i, x in enumerate(images)
        )
        for images in (reference, image)
    ]
    return energies[1] / energies[0] if energies[0] > 0 else math.nan


def _difference_energy(image, spatial_dims, inside):
    """Sum the squared differences of neighbours in one image that both are inside."""
    image = image.astype(np.float64)  # those of uint8 would wrap around
    total = 0.0
    for axis in range(spatial_dims):
        squares = np.square(np.diff(image, axis=axis))
        if inside is not None:
            n = inside.shape[axis]
            both = inside.take(range(1, n), axis) & inside.take(range(n - 1), axis)
            squares = squares[both]
        total += float(squares.sum())
    return total


def range_inside(images, *, mask=None):
    """Return the range of the values inside a mask, 0 where there are none.

    Parameters
    ----------
    images : array, shape (n, *spatial[, C])
        Images of one file.
    mask : array, shape (n, *spatial), bool, optional
        Voxels that count.

    Returns
    -------
    data_range : float
        Largest minus smallest value.
    """
    values = images if mask is None else images[_mask_for(mask, images.shape)]
    return float(values.max()) - float(values.min()) if values.size else 0.0


def _slabs(shape):
    """Cut large images along their first axis; yield slabs without and with margin."""
    length = shape[1]
    thickness = max(4 * _SSIM_RADIUS, _SSIM_VOXELS * length // math.prod(shape))
    for start in range(0, length, thickness):
        stop = min(start + thickness, length)
        margin = slice(max(0, start - _SSIM_RADIUS), min(length, stop + _SSIM_RADIUS))
        yield slice(start, stop), margin


def _ssim_map(x, y, inside, axes, c1, c2):
    # Wang et al. 2004, equation 13, at every pixel.
    x, y = x.astype(np.float64), y.astype(np.float64)
    # Variances of values far from zero would be differences of large numbers.
    offset = _mean_of_each(x, inside).reshape(-1, *[1] * (x.ndim - 1))
    offset = np.nan_to_num(offset)  # of images with nothing inside
    x, y = x - offset, y - offset
    if inside is None:
        window = _gaussian_window(axes)
    else:
        x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
        window = _masked_window(inside, axes)
    mean_x, mean_y = window(x), window(y)
    variance_x = window(x * x) - mean_x**2
    variance_y = window(y * y) - mean_y**2
    covariance = window(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + offset, mean_y + offset
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )


def _gaussian_window(axes):
    def window(values):
        for axis in axes:
            values = gaussian_filter1d(
                values, _SSIM_SIGMA, axis=axis, mode="reflect", radius=_SSIM_RADIUS
            )
        return values

    return window


def _masked_window(inside, axes):
    plain = _gaussian_window(axes)
    weight = plain(inside.astype(np.float64))

    def window(values):
        # Outside the mask the weight can vanish; those pixels are not averaged.
        return np.divide(plain(values), weight, out=np.zeros_like(values), where=inside)

    return window


def _mean_over_pixels(reference, image, mask, function):
    reference, image = _checked_pair(reference, image)
    inside = None if mask is None else _mask_for(mask, reference.shape)
    result = np.empty(len(reference))
    for part in blocks(len(reference), reference[:1].size):
        where = None if inside is None else inside[part]
        x, y = reference[part].astype(np.float64), image[part]
        if where is not None:
            x, y = np.where(where, x, 0.0), np.where(where, y, 0.0)
        result[part] = _mean_of_each(function(x - y), where)
    return result


def _mean_of_each(values, inside):
    axes = tuple(range(1, values.ndim))
    if inside is None:
        return values.mean(axis=axes)
    n_inside = inside.sum(axis=axes)
    total = np.where(inside, values, 0.0).sum(axis=axes)
    empty = np.full(len(values), np.nan)
    return np.divide(total, n_inside, out=empty, where=n_inside > 0)


def _mask_for(mask, shape):
    """Broadcast a mask to the shape of the images."""
    mask = as_mask(mask, "mask")
    n_axes = mask.ndim
    if n_axes and mask.shape == shape[1 : n_axes + 1]:
        mask = mask[None]
    elif n_axes < 2 or mask.shape != shape[:n_axes]:
        raise ValueError(
            f"mask of shape {mask.shape} fits neither one image of shape "
            f"{shape[1:]} nor the array of shape {shape}"
        )
    channels = (1,) * (len(shape) - mask.ndim)
    return np.broadcast_to(mask.reshape(mask.shape + channels), shape)


def _checked_pair(reference, image):
    reference, image = as_array(reference, "reference"), as_array(image, "image")
    if reference.shape != image.shape:
        raise ValueError(
            f"reference and image differ in shape: {reference.shape} and {image.shape}"
        )
    if reference.ndim < 2 or reference[:1].size == 0:
        raise ValueError(
            f"images need a first axis of images and at least one pixel each, got an "
            f"array of shape {reference.shape}"
        )
    return reference, image


def _checked_range(data_range):
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range must be a positive number, got {data_range}")
    return float(data_range)
