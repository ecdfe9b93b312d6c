"""Where slices lie along their volumes."""

import numpy as np


def slice_positions(n_slices, n_volumes, mask):
    """Return where the slices of a file lie along its volumes, (n,) in [0, 1].

    From the first slice of a volume (of those with something inside the mask) to its
    last one. Slices outside of the mask's extent are below 0 or above 1.
    """
    index = np.tile(np.arange(n_slices), n_volumes)
    first = np.zeros(n_volumes)
    last = np.full(n_volumes, n_slices - 1.0)
    if mask is not None:
        inside = mask.reshape(n_volumes, n_slices, -1).any(axis=2)
        some = inside.any(axis=1)
        first[some] = inside[some].argmax(axis=1)
        last[some] = n_slices - 1 - inside[some, ::-1].argmax(axis=1)
    first, last = (np.repeat(values, n_slices) for values in (first, last))
    return (index - first) / np.maximum(last - first, 1)
