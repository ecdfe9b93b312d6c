"""The idx format of the MNIST files: images and labels, gzip or plain.

Layout, all integers big-endian: two zero bytes, one byte that says which type
the values have, one byte with the number of axes, one 4-byte length per axis,
then the values in C order.
"""

import math
import re

import numpy as np

from dipy_vqvae.data.formats.content import (
    DamagedFileError,
    content_limit,
    open_content,
    read_rest,
)
from dipy_vqvae.data.formats.image import Format, ImageHeader

# The third byte of the file -> the type of its values.
_DTYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def read_idx(path, *, n_axes=None):
    """Read a file of the idx format.

    Parameters
    ----------
    path : str or Path
        The file, gzip or plain (told by its content, not by its name).
    n_axes : int, optional
        Number of axes that the file must have: 1 for labels, 3 for images.

    Returns
    -------
    values : ndarray
        The values in the machine's byte order and the type that the file
        states: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    ValueError
        If it is not of the idx format, holds fewer or more values than its
        header declares, or has another number of axes than `n_axes`.
    """
    with open_content(path) as stream:
        dtype, shape = _read_header(stream, path)
        if n_axes is not None and len(shape) != n_axes:
            raise ValueError(
                f"{path}: has {len(shape)} axes {shape}, {n_axes} expected"
            )
        n_bytes = math.prod(shape) * dtype.itemsize
        declared = f"its header declares {n_bytes} bytes of values {shape}"
        header_bytes = 4 + 4 * len(shape)
        if n_bytes > content_limit(path, stream) - header_bytes:
            raise DamagedFileError(f"{path}: {declared}, the file is too short")
        values = np.empty(shape, dtype)
        n_read = stream.readinto(values.reshape(-1).view(np.uint8))
        if n_read < n_bytes:
            raise DamagedFileError(f"{path}: {declared}, only {n_read} are there")
        n_left = read_rest(stream)
    if n_left:
        raise ValueError(f"{path}: {declared}, but {n_left} more follow them")
    return values.astype(dtype.newbyteorder("="), copy=False)


def read_idx_image(path):
    """Read the values of an idx file, and no affine."""
    return read_idx(path), None


def read_idx_header(path):
    """Read the header of an idx file; the values are read as a whole."""
    with open_content(path) as stream:
        dtype, shape = _read_header(stream, path)
    return ImageHeader(path, "idx", shape, dtype, affine=None)


def _read_header(stream, path):
    """Return the type and shape that the header states."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise DamagedFileError(f"{path}: not an idx file, only {len(magic)} bytes long")
    if magic[:2] != b"\x00\x00" or magic[2] not in _DTYPES or magic[3] == 0:
        raise ValueError(
            f"{path}: not an idx file, it starts with the bytes {magic.hex(' ')}"
        )
    n_axes = magic[3]
    lengths = stream.read(4 * n_axes)
    if len(lengths) < 4 * n_axes:
        raise DamagedFileError(f"{path}: the idx header is cut short")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    if n_axes > 64 or math.prod(n for n in shape if n) >= 2**63:
        raise ValueError(f"{path}: no array can have the idx header's shape {shape}")
    return _DTYPES[magic[2]], shape


# Label files (idx1) are not images; ".idx" alone does not tell, the header will.
FORMAT = Format(
    kind="idx",
    pattern=re.compile(r"(\.idx|[.-]idx[2-9](-\w+)?)(\.gz)?$", re.IGNORECASE),
    names=".idx or *-idx3-ubyte (plain or .gz)",
    read=read_idx_image,
    read_header=read_idx_header,
)
