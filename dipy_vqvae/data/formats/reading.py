"""Read one image file of any format; a new format is one more line in `FORMATS`."""

from dataclasses import dataclass

import numpy as np

from dipy_vqvae.data.checks import check_values
from dipy_vqvae.data.formats.content import require_file
from dipy_vqvae.data.formats.idx import read_idx_header, read_idx_image
from dipy_vqvae.data.formats.image import Image, ImageHeader
from dipy_vqvae.data.formats.nifti import read_nifti, read_nifti_header, slice_nifti
from dipy_vqvae.data.formats.npy import map_npy, read_npy, read_npy_header
from dipy_vqvae.data.paths import KNOWN_NAMES, image_kind


@dataclass(frozen=True)
class Format:
    """How to read a format.

    ``read(path)`` returns values and affine, ``read_header(path)`` shape, type, affine
    and whether ``slices(path)`` returns an array of which parts can be read.
    """

    read: object
    read_header: object
    slices: object = None


# By the kind that the name of a file tells, see `paths.PATTERNS`.
FORMATS = {
    "nifti": Format(read_nifti, read_nifti_header, slice_nifti),
    "npy": Format(read_npy, read_npy_header, map_npy),
    "idx": Format(read_idx_image, read_idx_header),
}


def read_image(path, *, allow_nan=False):
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        A ``.nii``, ``.nii.gz``, ``.npy`` or idx file; its name tells which.
    allow_nan : bool, optional
        Whether NaN and Inf pass, to be looked at together with a mask.

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
    data = check_values(data, path, allow_nan=allow_nan)
    return Image(data=data, affine=affine, path=path, kind=kind)


def read_header(path):
    """Read the header of an image file, and none of its values."""
    path, kind = _known_kind(path)
    shape, dtype, affine, is_sliceable = FORMATS[kind].read_header(path)
    # One value at most along each axis: what the type and the shape tell.
    check_values(np.zeros([min(n, 1) for n in shape], dtype), path)
    return ImageHeader(
        path=path,
        kind=kind,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        affine=affine,
        is_sliceable=is_sliceable,
    )


def open_values(header):
    """Return the values of a file, of which parts are read when they are sliced."""
    return FORMATS[header.kind].slices(header.path)


def _known_kind(path):
    path = require_file(path)
    kind = image_kind(path)
    if kind is None:
        raise ValueError(f"{path}: not an image file that is read here ({KNOWN_NAMES})")
    return path, kind
