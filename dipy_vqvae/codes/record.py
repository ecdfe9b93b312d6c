"""The record in the header of a file of codes: how to find it, and masks in it."""

import base64
import json
import math
import zlib

import nibabel as nib
import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.data import image_kind

FORMAT = "dipy_vqvae codes"
FORMAT_VERSION = 1


def is_coded(path):
    """Whether a file has codes, as :mod:`dipy_vqvae.codes.files` writes them.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    is_coded : bool
    """
    return image_kind(path) == "nifti" and _find_record(path) is not None


def read_record(path):
    """The record in a NIfTI file's header."""
    entries = _find_record(path)
    if entries is None:
        raise ValueError(
            f"{path}: no codes as dipy_encode_vqvae writes them (its header has no "
            "record of how it was encoded; some programs drop it)"
        )
    version = entries.get("version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: its codes are of format {version}, this is dipy_vqvae "
            f"{__version__}, which reads {FORMAT_VERSION}"
        )
    return entries


def _find_record(path):
    # Extensions come from outside, and nibabel has no common class for what it
    # raises on bad ones.
    try:
        extensions = nib.load(path).header.extensions
        texts = [bytes(extension.get_content()) for extension in extensions]
    except Exception:  # noqa: BLE001
        texts = []
    for text in texts:
        try:
            entries = json.loads(text.rstrip(b"\0"))
        except (ValueError, RecursionError):
            continue
        if isinstance(entries, dict) and entries.get("format") == FORMAT:
            return entries
    return None


def pack(mask):
    """A boolean array as text; `unpack`, with its shape, makes it again."""
    bits = np.packbits(np.ascontiguousarray(mask))
    return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")


def unpack(text, shape):
    """The array that `pack` made a text of."""
    n = math.prod(shape)
    n_bytes = -(-n // 8)
    # Never more than the mask's size, whatever the file says.
    content = zlib.decompressobj().decompress(
        base64.b64decode(text, validate=True), n_bytes + 1
    )
    if len(content) != n_bytes:
        raise ValueError(f"a mask of {len(content)} bytes for {shape} voxels")
    bits = np.unpackbits(np.frombuffer(content, np.uint8), count=n)
    return bits.astype(bool).reshape(shape)
