r"""Masks as bytes: adaptive frequencies from the voxels around, and a range coder.

Whether a voxel is inside is coded with the counts of earlier voxels that had the same
eleven neighbours, six in the slice and five in the one before, as in JBIG
:footcite:p:`Howard1998`. All of it is a function of integers. Voxels (z, y, x) of the same
:math:`x + 2 y + 3 z` are no neighbours of each other, and are coded together.

References
----------
.. footbibliography::
"""

from math import prod

import numpy as np

from dipy_vqvae.compression.grid import least_bits, shares
from dipy_vqvae.compression.range_coder import STATE, RangeReader, RangeWriter

# Neighbours (z, y, x) that are coded before a voxel.
_NEIGHBOURS = (
    *((0, 0, -1), (0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -2), (0, -2, 0)),
    *((-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1), (-1, -1, 0)),
)
# Voxels outside that are put before and after the mask along each axis.
_MARGIN = ((1, 0), (2, 1), (2, 1))


def masks_to_bytes(masks):
    """Compress masks: bool arrays of at least two axes, the last two of a slice."""
    writer, counts = RangeWriter(), _Counts()
    for mask in masks:
        canvas = np.pad(_slices(mask), _MARGIN)
        voxels = canvas.ravel()
        for wave, neighbours in _waves(canvas.shape):
            contexts, inside = _contexts(voxels, wave, neighbours), voxels[wave]
            writer.write(inside, counts.shares(contexts))
            counts.add(contexts, inside)
    return writer.finish()


def masks_from_bytes(content, shapes):
    """Return the masks of :func:`masks_to_bytes`, given their shapes.

    Raises
    ------
    ValueError
        If the bytes cannot hold so many voxels, before there is memory for them.
    """
    n = sum(map(prod, shapes))
    if n * least_bits(2) > 8 * len(content) + STATE:
        raise ValueError(f"a mask of {n} voxels in {len(content)} bytes")
    reader, counts, masks = RangeReader(content), _Counts(), []
    for shape in shapes:
        n_slices = prod(shape[:-2]), *shape[-2:]
        canvas = np.zeros([a + n + b for (a, b), n in zip(_MARGIN, n_slices)], np.uint8)
        voxels = canvas.ravel()  # a view
        for wave, neighbours in _waves(canvas.shape):
            contexts = _contexts(voxels, wave, neighbours)
            voxels[wave] = inside = reader.read(counts.shares(contexts))
            counts.add(contexts, inside)
        masks.append(_without_margin(canvas).astype(bool).reshape(shape))
    return masks


class _Counts:
    """How many voxels were outside and inside, by what is around them."""

    def __init__(self):
        # Twice the counts, and one.
        self._weights = np.ones((1 << len(_NEIGHBOURS), 2), np.int64)

    def shares(self, contexts):
        return shares(self._weights[contexts])

    def add(self, contexts, inside):
        flat = self._weights.reshape(-1)
        flat += 2 * np.bincount(2 * contexts + inside, minlength=len(flat))


def _slices(mask):
    return np.asarray(mask, np.uint8).reshape(-1, *mask.shape[-2:])


def _without_margin(canvas):
    return canvas[tuple(slice(a, n - b) for (a, b), n in zip(_MARGIN, canvas.shape))]


def _contexts(voxels, wave, neighbours):
    """Return the neighbours of voxels as the bits of a number."""
    contexts = np.zeros(len(wave), np.int64)
    for bit, offset in enumerate(neighbours):
        contexts |= voxels[wave + offset].astype(np.int64) << bit
    return contexts


def _waves(shape):
    """Yield voxels of a mask with its margin that go together, and offsets of neighbours.

    Both are indices of the flattened array.
    """
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    neighbours = np.array(_NEIGHBOURS) @ strides
    n_z, n_y, n_x = (n - a - b for (a, b), n in zip(_MARGIN, shape))
    y = np.arange(n_y)
    longest = n_x - 1 + 2 * (n_y - 1)
    for time in range(longest + 3 * (n_z - 1) + 1):
        first, last = max(0, -(-(time - longest) // 3)), min(n_z - 1, time // 3)
        z = np.arange(first, last + 1)[:, np.newaxis]
        x = time - 2 * y - 3 * z
        index = (z + 1) * strides[0] + (y + 2) * strides[1] + x + 2
        wave = index[(x >= 0) & (x < n_x)]
        if len(wave):
            yield wave, neighbours
