"""Fingerprints: those in existing files stay valid, and vectors are hashed quickly."""

import hashlib
import time

import numpy as np
import pytest

from dipy_vqvae.storage import fingerprint
from dipy_vqvae.storage.hashing import _BLOCK_BYTES

_rng = np.random.default_rng(0)
_ARRAY = _rng.normal(size=(40, 30, 20))
ARRAYS = {
    "three axes": _ARRAY,
    "big-endian": _ARRAY.astype(">f4"),
    "strides": _ARRAY[::2, ::-1, 3:],
    "transposed": _ARRAY.T,
    "Fortran order": np.asfortranarray(_ARRAY),
    "half precision": _ARRAY.astype(np.float16),
    "vector": _ARRAY[:, 0, 0],
    "big-endian vector": _ARRAY[:, 0, 0].astype(">f8"),
    "Boolean vector": _ARRAY[0, 0] > 0,
    "vector of several blocks": np.arange(_BLOCK_BYTES, dtype=">i4")[::3],
    "rows larger than a block": _rng.normal(size=(3, _BLOCK_BYTES // 8 + 1)),
    "no rows": np.zeros((0, 3)),
    "empty rows": np.zeros((3, 0)),
    "empty vector": np.zeros(0),
}


def item_by_item(array):
    """Hash as the first versions of the package did."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    for item in array:
        digest.update(np.ascontiguousarray(item).data)
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", ARRAYS)
def test_fingerprints_are_those_of_earlier_versions(name):
    assert fingerprint(ARRAYS[name]) == item_by_item(ARRAYS[name])


def test_fingerprints_tell_arrays_apart():
    x = np.arange(12)
    arrays = [x, x + 1, x[::-1], x.reshape(3, 4), x.reshape(4, 3), x.astype(np.int32)]
    assert len({fingerprint(array) for array in arrays}) == len(arrays)


def test_long_vectors_are_hashed_quickly():
    vector = np.ones(10_000_000, np.float32)
    start = time.monotonic()
    fingerprint(vector)
    assert time.monotonic() - start < 2  # 7 s, one number at a time
