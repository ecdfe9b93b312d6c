"""Arrays and JSON in one safetensors file, checked from the first byte to the last.

Model files and training checkpoints are both such files. Nothing in them can
run: the header is JSON, the rest are the bytes of the arrays. The checksum
covers every name, type, shape, byte and setting, so that damage never goes
unnoticed; it is no signature, and proves nothing about who made the file.
"""

from dataclasses import dataclass
import errno
import hashlib
import json
import os
import stat

import numpy as np
from safetensors import SafetensorError, safe_open

from dipy_vqvae._version import __version__
from dipy_vqvae.storage.atomic import atomic_write

FORMAT = "dipy_vqvae"
FORMAT_VERSION = 1
CHECKPOINT = "checkpoint"
_ALIGNMENT = 8
_TYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_OWN_KEYS = ("format", "format_version", "package_version", "kind", "sha256")


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a file holds: `arrays` and `entries` are the two payloads."""

    kind: str
    arrays: dict
    entries: dict
    package_version: str
    format_version: int


def write_tensor_file(path, *, kind, arrays, entries):
    """Write arrays and JSON entries; the same content gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Written atomically.
    kind : str
        What the file is, for `read_tensor_file` to check.
    arrays : dict
        Names to numpy arrays (bool, integer or float).
    entries : dict
        Names to anything JSON can hold; numpy scalars and arrays become
        numbers and lists, tuples become lists.

    Raises
    ------
    TypeError
        Something that neither safetensors nor JSON can hold.
    OSError
        The file cannot be written.
    """
    arrays = {name: _storable(name, array) for name, array in arrays.items()}
    metadata = {name: to_json(entry, name=name) for name, entry in entries.items()}
    for name in _OWN_KEYS:
        if name in metadata:
            raise ValueError(f"{name!r} is reserved in the file format")
    metadata.update(
        format=FORMAT,
        format_version=str(FORMAT_VERSION),
        package_version=__version__,
        kind=kind,
    )
    metadata["sha256"] = _checksum(arrays, metadata)
    # Large items first, so that every array starts at a multiple of its
    # item size. The library's own writer puts the metadata in random order.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header = {"__metadata__": metadata}
    end = 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _TYPE_NAMES[arrays[name].dtype.name],
            "shape": list(arrays[name].shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        stream.write(len(header).to_bytes(8, "little"))
        stream.write(header)
        for name in names:
            stream.write(arrays[name].data)


def read_tensor_file(path, *, kind):
    """Read a file of `write_tensor_file` after checking all of it.

    Parameters
    ----------
    path : str or Path
    kind : str
        The kind that is needed.

    Returns
    -------
    content : TensorFile

    Raises
    ------
    OSError
        The file is missing, a folder or unreadable.
    ValueError
        The file is damaged, of another program, of another kind or of a
        newer version of this package. One line that names the file.
    """
    _check_readable(path)
    try:
        with safe_open(os.fspath(path), framework="numpy") as stream:
            metadata = stream.metadata() or {}
            # Old versions of safetensors cannot be iterated over.
            names = list(stream.keys())
            arrays = {name: stream.get_tensor(name) for name in names}
    except (
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is not a safetensors file, or it is damaged or truncated "
            f"({reason})"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by {FORMAT}")
    version = _format_version(path, metadata)
    stored = metadata.pop("sha256", None)
    if stored != _checksum(arrays, metadata):
        raise ValueError(
            f"{path} is damaged: its content does not match its checksum; get a "
            "fresh copy"
        )
    found = metadata.get("kind", "")
    if found != kind:
        raise ValueError(
            f"{path} is a {_describe_kind(found)}, a {_describe_kind(kind)} is needed"
        )
    try:
        entries = {
            name: json.loads(text)
            for name, text in metadata.items()
            if name not in _OWN_KEYS
        }
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has settings that cannot be read: {error}") from error
    return TensorFile(
        kind=found,
        arrays=arrays,
        entries=entries,
        package_version=metadata.get("package_version", ""),
        format_version=version,
    )


def to_json(value, *, name):
    """Return compact JSON; the same value always gives the same text."""
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), default=_plain_number
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be stored as JSON: {error}") from error


def _plain_number(value):
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} is no number, text or list")


def _storable(name, array):
    """Return the array as little-endian, C-ordered bytes that can be written."""
    array = np.asarray(array, order="C")
    if array.dtype.name not in _TYPE_NAMES:
        raise TypeError(f"array {name!r} of type {array.dtype} cannot be stored")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _checksum(arrays, metadata):
    """Return the SHA-256 over all metadata and arrays, each sorted by name."""
    digest = hashlib.sha256()
    # JSON keeps the pieces apart: ("ab", "c") and ("a", "bc") differ in it.
    digest.update(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_readable(path):
    """Raise the system's own error; opening a pipe would wait for ever."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    with open(path, "rb"):
        pass


def _format_version(path, metadata):
    text = metadata.get("format_version", "")
    # isdecimal alone would also accept digits of other scripts.
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"{path} is damaged: format version {text[:20]!r}")
    if int(text) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {int(text)}, this {FORMAT} {__version__} "
            f"reads up to {FORMAT_VERSION}: install a newer {FORMAT}"
        )
    if int(text) < 1:
        raise ValueError(f"{path} is damaged: format version {text!r}")
    return int(text)


def _describe_kind(kind):
    name = kind if kind.isidentifier() else repr(kind[:40])
    return f"training {name}" if kind == CHECKPOINT else f"{name} model"
