"""Telling one set of training data from another."""

import hashlib

import numpy as np


def fingerprint(array):
    """A short hash of an array's type, shape and values.

    Parameters
    ----------
    array : ndarray
        Any array of numbers.

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
    for block in array.reshape(len(array), -1):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()[:16]
