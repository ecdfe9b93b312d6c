"""Model files and checkpoints: arrays and JSON in one safetensors file.

Reading executes nothing: the header is JSON, the rest are the bytes of the arrays. A
checksum covers all names, types, shapes, values and settings. It detects damage; it is
no signature and does not say who made the file.
"""

from dataclasses import dataclass
import hashlib
import json
import os

import numpy as np
from safetensors import SafetensorError, safe_open

from dipy_vqvae._version import __version__
from dipy_vqvae.storage.atomic import atomic_write, check_regular
from dipy_vqvae.storage.presence import check_present

FORMAT = "dipy_vqvae"
FORMAT_VERSION = 1
CHECKPOINT = "checkpoint"
#: Kinds of files that hold a fit.
MODELS = ("vqvae", "pixelcnn")
_ALIGNMENT = 8
_BITS = {"float": (16, 32, 64), "int": (8, 16, 32, 64), "uint": (8, 16, 32, 64)}
_TYPE_NAMES = {
    f"{kind}{bits}": f"{kind[0].upper()}{bits}"
    for kind in _BITS
    for bits in _BITS[kind]
}
_TYPE_NAMES["bool"] = "BOOL"
_RESERVED = ("format", "format_version", "package_version", "kind", "sha256")
_BAD_VALUES = (LookupError, TypeError, ValueError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class TensorFile:
    """Content of a file: arrays by name, and JSON entries by name."""

    arrays: dict
    entries: dict
    package_version: str
    kind: str

    @property
    def config(self):
        """Settings that a model is built from, a dict; tuples have become lists."""
        return self.entries.get("config")

    @property
    def description(self):
        """Description of the training data, a dict, or None."""
        return self.entries.get("description")


def save_model(path, *, kind, config, arrays, description=None):
    """Write a model file, see :func:`write_tensor_file`.

    Parameters
    ----------
    path : str or Path
        The file to write. It is complete or not there.
    kind : {"vqvae", "pixelcnn", "digit_classifier"}
        Kind of the model, checked on loading.
    config : dict
        Settings that the model is built from; anything that JSON can hold.
    arrays : dict
        Names to arrays (bool, integer or float).
    description : dict, optional
        Description of the training data.
    """
    entries = {"config": config, "description": description}
    write_tensor_file(path, kind=kind, arrays=arrays, entries=entries)


def load_model(path, *, kind=MODELS):
    """Read a model file and check that it is intact, see :func:`read_tensor_file`.

    Parameters
    ----------
    path : str or Path
    kind : {"vqvae", "pixelcnn", "digit_classifier"}, or tuple of them, optional
        Kind of the model that is needed; by default that of any fit.

    Returns
    -------
    content : TensorFile
        With `kind`, `config`, `arrays` and `description`. Check that the arrays fit the
        configuration before using them.
    """
    content = read_tensor_file(path, kind=kind)
    has_description = isinstance(content.description, (dict, type(None)))
    if not (isinstance(content.config, dict) and has_description):
        raise ValueError(f"{path} is a {content.kind} model with no readable settings")
    return content


def model_kind(path, kinds):
    """Return the kind of a fit's file, one of `kinds`; only its header is read."""
    check_present(path)
    _, metadata = _read_safetensors(path, names=())
    kind = metadata.get("kind", "") if metadata.get("format") == FORMAT else ""
    if kind not in kinds:
        what = _describe_kind(kind) if kind else f"not written by {FORMAT}"
        raise ValueError(f"{path} is {what}, a file of a fit is needed")
    return kind


def write_tensor_file(path, *, kind, arrays, entries):
    """Write arrays and JSON entries; the same content gives the same bytes."""
    arrays = {name: _storable(name, array) for name, array in arrays.items()}
    reserved = [name for name in _RESERVED if name in entries]
    if reserved:
        raise ValueError(f"{reserved[0]!r} is reserved in the file format")
    metadata = {name: to_json(entry, name=name) for name, entry in entries.items()}
    metadata.update(
        format=FORMAT,
        format_version=str(FORMAT_VERSION),
        package_version=__version__,
        kind=kind,
    )
    metadata["sha256"] = _checksum(arrays, metadata)
    # Large items first, so that every array starts at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header = _header(metadata, {name: arrays[name] for name in names})
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        stream.write(len(header).to_bytes(8, "little"))
        stream.write(header)
        stream.writelines(arrays[name].data for name in names)


def read_tensor_file(path, *, kind):
    """Read a file of `write_tensor_file`, of a kind or of some, and check it."""
    kinds = (kind,) if isinstance(kind, str) else kind
    arrays, metadata = _read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by {FORMAT}")
    _check_format_version(path, metadata)
    if metadata.pop("sha256", None) != _checksum(arrays, metadata):
        raise ValueError(
            f"{path} is damaged: its content does not match its checksum; get a "
            "fresh copy"
        )
    stored_kind = metadata.get("kind", "")
    if stored_kind not in kinds:
        needed = " or ".join(map(_describe_kind, kinds))
        raise ValueError(f"{path} is {_describe_kind(stored_kind)}, {needed} is needed")
    return TensorFile(
        kind=stored_kind,
        arrays=arrays,
        entries=_entries(path, metadata),
        package_version=metadata.get("package_version", ""),
    )


def to_json(value, *, name):
    """Convert a value, named for error messages, to JSON: equal values, equal texts."""
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), default=_to_python
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be stored as JSON: {error}") from error


def _to_python(value):
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} is no number, text or list")


def _storable(name, array):
    """Return the array in little-endian, C-contiguous form."""
    array = np.asarray(array, order="C")
    if array.dtype.name not in _TYPE_NAMES:
        raise TypeError(f"array {name!r} of type {array.dtype} cannot be stored")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _header(metadata, arrays):
    """Return the safetensors header; the library's own has a random order."""
    header, end = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _TYPE_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


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


def _read_safetensors(path, *, names=None):
    """Return the arrays and the metadata of a file; all arrays, or those of `names`."""
    check_present(path)
    # The system's own errors; opening a pipe would wait for ever.
    check_regular(os.stat(path).st_mode, path)
    with open(path, "rb"):
        pass
    try:
        with safe_open(os.fspath(path), framework="numpy") as stream:
            metadata = stream.metadata() or {}
            # Old versions of safetensors cannot be iterated over.
            names = list(stream.keys()) if names is None else names
            return {name: stream.get_tensor(name) for name in names}, metadata
    except (SafetensorError, RecursionError, *_BAD_VALUES) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is not a safetensors file, or it is damaged or truncated "
            f"({reason})"
        ) from error


def _entries(path, metadata):
    try:
        return {
            name: json.loads(text)
            for name, text in metadata.items()
            if name not in _RESERVED
        }
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has settings that cannot be read: {error}") from error


def _check_format_version(path, metadata):
    text = metadata.get("format_version", "")
    # isdecimal alone would also accept digits of other scripts.
    is_number = text.isascii() and text.isdecimal() and len(text) < 10
    if not is_number or int(text) < 1:
        raise ValueError(f"{path} is damaged: format version {text[:20]!r}")
    if int(text) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {int(text)}, this {FORMAT} {__version__} "
            f"reads up to {FORMAT_VERSION}: install a newer {FORMAT}"
        )


def _describe_kind(kind):
    name = kind if kind.isidentifier() else repr(kind[:40])
    name = f"training {name}" if kind == CHECKPOINT else f"{name} model"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
