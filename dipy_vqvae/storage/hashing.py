"""Telling one set of training data from another."""

import hashlib

import numpy as np


def fingerprint(array):
    """A short hash of an array's type, shape and values.

    Parameters
    ----------
    array : ndarray
        Any array of numbers with at least one axis.

    Returns
    -------
    digest : str
        16 hexadecimal digits.

    Examples
    --------
    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3))
    True
    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(4))
    False
    """
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    # One item at a time: an array that is not contiguous is never copied whole.
    for block in array:
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()[:16]
