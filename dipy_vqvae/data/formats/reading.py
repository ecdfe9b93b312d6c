"""Read one image file of any format."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dipy_vqvae.data.checks import check_values
from dipy_vqvae.data.formats import idx, nifti, npy, volumes
from dipy_vqvae.data.formats.content import require_file
from dipy_vqvae.data.formats.image import Image

# A new format is a module that declares its `Format`, and an entry here.
FORMATS = {
    format.kind: format
    for format in (nifti.FORMAT, npy.FORMAT, idx.FORMAT, volumes.MGH, volumes.ANALYZE)
}


def known_names():
    """Return the names of files that are read, for messages."""
    return ", ".join(format.names for format in FORMATS.values())


def image_kind(path):
    """Return the format of an image file, by its name.

    Examples
    --------
    >>> image_kind("sub-01_T1w.nii.gz"), image_kind("train-images-idx3-ubyte")
    ('nifti', 'idx')
    >>> image_kind("notes.txt") is None
    True
    """
    name = Path(path).name
    for kind, format in FORMATS.items():
        if format.pattern.search(name):
            return kind
    return None


def read_image(path, *, allow_any=False):
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        A ``.nii``, ``.nii.gz``, ``.mgz``, ``.img``, ``.npy`` or idx file; its name
        tells which.
    allow_any : bool, optional
        Whether all values pass, to be looked at together with a mask.

    Returns
    -------
    image : Image
        The values as stored, with affine, path and format.

    Raises
    ------
    OSError
        If the file is missing, a folder, or cannot be read.
    ValueError
        If its name is of no known format, if its content is not what the name
        says, is damaged, empty, not of real numbers, or has NaN or Inf.
    """
    path, kind = _known_kind(path)
    data, affine = FORMATS[kind].read(path)
    data = check_values(data, path, allow_any=allow_any)
    return Image(data=data, affine=affine, path=path, kind=kind)


def read_header(path):
    """Read the header of an image file, and none of its values."""
    path, kind = _known_kind(path)
    header = FORMATS[kind].read_header(path)
    # No values yet: what the type and the shape tell.
    values = np.broadcast_to(np.zeros((), header.dtype), header.shape)
    check_values(values, path, allow_any=True)
    return replace(header, dtype=header.dtype.newbyteorder("="))


def open_values(header):
    """Return the values of a file, of which parts are read when they are sliced."""
    return FORMATS[header.kind].slices(header.path)


def _known_kind(path):
    path = require_file(path)
    kind = image_kind(path)
    if kind is None:
        raise ValueError(
            f"{path}: not an image file that is read here ({known_names()})"
        )
    return path, kind
