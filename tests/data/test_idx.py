"""The idx format: every type and number of axes, and files that are not right."""

import gzip
import struct

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array, code=None):
    """The file of an array, written from the format's description."""
    name = array.dtype.str[1:]
    header = bytes([0, 0, CODES[name] if code is None else code, array.ndim])
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    return header + lengths + array.astype(f">{name}").tobytes()


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_round_trip(tmp_path, rng_values, dtype, shape, pack):
    array = rng_values(shape, dtype)
    path = tmp_path / "x.idx"
    path.write_bytes(pack(idx_bytes(array)))
    values = read_idx(path)
    npt.assert_array_equal(values, array)
    assert values.dtype == np.dtype(dtype)
    assert values.dtype.isnative


@pytest.fixture
def rng_values():
    """Values that use the whole width of a type."""
    rng = np.random.default_rng(0)

    def make(shape, dtype):
        raw = rng.integers(0, 256, size=(*shape, np.dtype(dtype).itemsize))
        array = np.ascontiguousarray(raw.astype(np.uint8)).view(dtype)[..., 0]
        return np.nan_to_num(array) if array.dtype.kind == "f" else array

    return make


def test_gzip_of_several_members(tmp_path):
    whole = idx_bytes(np.arange(20, dtype="i4"))
    path = tmp_path / "x.idx.gz"
    path.write_bytes(gzip.compress(whole[:30]) + gzip.compress(whole[30:]))
    npt.assert_array_equal(read_idx(path), np.arange(20))


def test_number_of_axes(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.zeros(4, "u1")))
    assert read_idx(path, n_axes=1).shape == (4,)
    with pytest.raises(ValueError, match=r"labels: has 1 axes \(4,\), 3 expected"):
        read_idx(path, n_axes=3)


GOOD = idx_bytes(np.zeros((2, 3, 4), "u1"))
PACKED = gzip.compress(idx_bytes(np.random.default_rng(0).random((9, 9))), mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "only 0 bytes long"),
        (b"\x00\x00\x08", "only 3 bytes long"),
        (b"hello, world", "starts with the bytes 68 65 6c 6c"),
        (b"\x00\x00\x07" + GOOD[3:], "not an idx file"),
        (b"\x00\x00\x08\x00" + GOOD[4:], "not an idx file"),
        (GOOD[:9], "header is cut short"),
        (GOOD[:-1], r"declares 24 bytes of values \(2, 3, 4\), the file is too"),
        (GOOD + b"\x00", r"24 bytes of values \(2, 3, 4\), but 1 more"),
        (gzip.compress(GOOD[:-5], mtime=0), "only 19 are there"),
        (gzip.compress(GOOD + b"123", mtime=0), "but 3 more"),
        (PACKED[:-30], "gzip data are damaged or cut short"),
        (PACKED[:-3], "gzip data are damaged or cut short"),
        (PACKED[:60] + b"\x00\x01" + PACKED[62:], "gzip data are damaged"),
        (b"\x1f\x8b and then some", "gzip data are damaged"),
    ],
)
def test_bad_content(tmp_path, content, message):
    path = tmp_path / "bad.idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_header_that_declares_terabytes(tmp_path, pack):
    header = bytes([0, 0, 0x0E, 3]) + struct.pack(">3I", 10**4, 10**4, 10**4)
    path = tmp_path / "bomb.idx"
    path.write_bytes(pack(header + bytes(1000)))
    with pytest.raises(ValueError, match="the file is too short"):
        read_idx(path)
    path.write_bytes(pack(bytes([0, 0, 8, 4]) + b"\xff" * 16))
    with pytest.raises(ValueError, match="no array can have"):
        read_idx(path)


def test_no_values(tmp_path):
    path = tmp_path / "none.idx"
    path.write_bytes(idx_bytes(np.zeros((0, 28, 28), "u1")))
    assert read_idx(path).shape == (0, 28, 28)
