"""Mean and deviation of healthy maps at each place.

A place is relative to the extents of the mask: a part of its rows and of its columns, and
for slices a part of the way along the volume. So images of other shapes and heads of other
sizes have the same places, where the same anatomy is, roughly. Each subject counts once.
Places that few subjects have are drawn to the mean over all places.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Places along each axis of an image, and along the slices of a volume.
N_PLACES = {2: 12, 3: 10}
N_ALONG = 8
# As many subjects as this count for what all places have in common.
N_SHARED = 2.0


@dataclass(frozen=True, eq=False)
class Places:
    """Mean and standard deviation at each place.

    Attributes
    ----------
    mean, deviation : array, shape (P, P, P), float64
        Axes: along the volume, rows and columns for slices; those of the volume in 3D.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def standardise(self, values, places):
        """Return a map ``(n, *image)`` in standard deviations from the mean.

        `places` are the coordinates of its voxels, see `coordinates`.
        """
        shape = np.reshape(self.mean.shape, (3, *[1] * values.ndim))
        mean, deviation = (
            ndimage.map_coordinates(x, places * shape - 0.5, order=1, mode="nearest")
            for x in (self.mean, self.deviation)
        )
        return ((values - mean) / deviation).astype(np.float32)


def shape_of_places(spatial_dims):
    """Return the number of places along each of three axes."""
    n = N_PLACES[spatial_dims]
    return (N_ALONG, n, n) if spatial_dims == 2 else (n, n, n)


def coordinates(inside):
    """Return where voxels are, relative to the extents of the mask, ``(3, *inside.shape)``.

    `inside` is ``(n, *image)``: n slices of a volume, or n volumes. Values are in [0, 1].
    """
    places = np.empty((3, *inside.shape))
    if inside.ndim == 3:
        places[0] = _part(inside, 0)[:, None, None]
    for i, image in enumerate(inside):
        for axis in range(image.ndim):
            others = [1] * image.ndim
            others[axis] = -1
            places[3 - image.ndim + axis, i] = _part(image, axis).reshape(others)
    return places


def _part(inside, axis):
    """Return where the entries of an axis are in the extent of what is inside."""
    others = tuple(a for a in range(inside.ndim) if a != axis)
    (present,) = np.nonzero(inside.any(axis=others))
    if not len(present):
        return np.full(inside.shape[axis], 0.5)
    first, last = present[0], present[-1]
    # Centres of the entries: a single one is in the middle.
    return np.clip(
        (np.arange(inside.shape[axis]) - first + 0.5) / (last - first + 1), 0, 1
    )


def place_sums(values, inside, places, spatial_dims):
    """Sum a subject's map at each place: number, mean and mean square, ``(3, P, P, P)``.

    The number is 1 where the subject has the place, else 0, and so are the others.
    """
    shape = shape_of_places(spatial_dims)
    cells = np.ravel_multi_index(
        [np.minimum((x[inside] * n).astype(int), n - 1) for x, n in zip(places, shape)],
        shape,
    )
    chosen = values[inside].astype(np.float64)
    n = np.bincount(cells, minlength=np.prod(shape))
    sums = np.zeros((3, len(n)))
    present = n > 0
    sums[0] = present
    for row, power in ((1, chosen), (2, chosen**2)):
        total = np.bincount(cells, power, len(n))
        sums[row, present] = total[present] / n[present]
    return sums.reshape(3, *shape)


def places_of(sums):
    """Compute mean and deviation at each place from the sums over subjects."""
    n, first, second = sums
    common = sums[1:].sum((1, 2, 3)) / n.sum()
    mean = (first + N_SHARED * common[0]) / (n + N_SHARED)
    square = (second + N_SHARED * common[1]) / (n + N_SHARED)
    least = max(1e-6 * (common[1] - common[0] ** 2), np.finfo(float).tiny)
    return Places(mean, np.sqrt(np.maximum(square - mean**2, least)))
