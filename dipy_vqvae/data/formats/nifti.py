"""Read a NIfTI file, or say in one line why not."""

import gzip
import logging
import math
import re
import zlib

import nibabel as nib
import numpy as np

from dipy_vqvae.data.formats.content import (
    DamagedFileError,
    content_limit,
    open_content,
    read_rest,
)
from dipy_vqvae.data.formats.image import Format, ImageHeader
from dipy_vqvae.display import one_line

logger = logging.getLogger("dipy_vqvae")

_IMAGE_CLASSES = (nib.Nifti1Image, nib.Nifti2Image)
# Fields of the header that say where voxels are in space and time, in both versions.
SPACE_FIELDS = (
    *("pixdim", "xyzt_units", "toffset", "dim_info"),
    *("slice_code", "slice_start", "slice_end", "slice_duration"),
    *("qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
_MOST_AXES = 4


def read_nifti(path):
    """Read the values of a NIfTI file of 2 to 4 axes, and its affine.

    Parameters
    ----------
    path : str or Path
        A ``.nii`` or ``.nii.gz`` file (NIfTI-1 or NIfTI-2).

    Returns
    -------
    data : ndarray of shape (X, Y), (X, Y, Z) or (X, Y, Z, V)
        Values in the type they are stored as; float64 where the header scales
        them. Further axes of length 1 are left out.
    affine : ndarray of shape (4, 4), float64
        Voxel indices to world coordinates (mm).

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    ValueError
        If it is no NIfTI file, is damaged or cut short, has other than 2 to 4
        axes, or RGB or complex values.
    """
    with open_content(path) as stream:
        image = _checked_image(stream, path)
        data = _read_values(image, path)
        # nibabel stops at the last voxel, before gzip's checksum.
        read_rest(stream)
    return data.reshape(_shape(image)), _affine(image)


def read_nifti_header(path):
    """Read the header of a NIfTI file; values that are not compressed can be sliced."""
    with open_content(path) as stream:
        image = _checked_image(stream, path)
        is_gzip = isinstance(stream, gzip.GzipFile)
        stream.seek(0)
        # Here only: a file is read many times.
        _warn_of_oddities(image, stream.read(image.header.sizeof_hdr), path)
    is_scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
    dtype = np.dtype(np.float64) if is_scaled else image.get_data_dtype()
    return ImageHeader(
        path,
        "nifti",
        _shape(image),
        dtype,
        affine=_affine(image),
        stored_dtype=image.get_data_dtype(),
        # nibabel goes by the name, whatever the content is.
        is_sliceable=not is_gzip and str(path).lower().endswith(".nii"),
        space=space_of(image),
    )


def read_extensions(path):
    """Return the contents of the extensions of a NIfTI header, a list of bytes."""
    with open_content(path) as stream:
        extensions = _open_image(stream, path).header.extensions
        return [bytes(extension.get_content()) for extension in extensions]


def slice_nifti(path):
    """Return nibabel's proxy of the voxels, which reads the parts that are sliced."""
    with open_content(path) as stream:
        image = _open_image(stream, path)
    # Not by nibabel.load, which looks for x.nii where the name is x.Nii.
    voxels = image.dataobj
    spec = (_shape(image), voxels.dtype, voxels.offset, voxels.slope, voxels.inter)
    return nib.arrayproxy.ArrayProxy(str(path), spec)


def _shape(image):
    """Return the shape, without axes of length 1 at the end that make it too long."""
    shape = image.shape
    while len(shape) > _MOST_AXES and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _affine(image):
    """Return the affine; that of the qform where the sform is all zeros."""
    if _has_empty_sform(image.header) and image.header["qform_code"]:
        return image.header.get_qform()
    return np.array(image.affine, dtype=np.float64)


def space_of(image):
    """Return the fields of a header that say where voxels are in space and time."""
    space = {name: image.header[name].tolist() for name in SPACE_FIELDS}
    if _has_empty_sform(image.header):
        space["sform_code"] = 0
    return space


def _has_empty_sform(header):
    return bool(header["sform_code"]) and not header.get_sform()[:3, :3].any()


def _checked_image(stream, path):
    """Open an image with nibabel and check its header; voxels stay unread."""
    image = _open_image(stream, path)
    _check_header(image, path)
    n_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    if n_bytes + image.dataobj.offset > content_limit(path, stream):
        raise DamagedFileError(
            f"{path}: its header declares {image.shape} voxels ({n_bytes} "
            "bytes), the file is too short"
        )
    return image


def _open_image(stream, path):
    """Open an image with nibabel; voxels stay unread."""
    block = stream.read(nib.Nifti2Header.sizeof_hdr)
    stream.seek(0)
    for image_class in _IMAGE_CLASSES:
        if image_class.header_class.may_contain_header(block):
            break
    else:
        size = "it is empty" if not block else "its header is not there"
        raise ValueError(f"{path}: not a NIfTI file, {size}")
    # The header comes from outside and nibabel has no common class for what it
    # raises on a bad one (ImageFileError, HeaderDataError, ValueError, KeyError).
    try:
        return image_class.from_stream(stream)
    except Exception as error:
        raise ValueError(
            f"{path}: not a readable NIfTI file ({one_line(error)})"
        ) from error


def _warn_of_oddities(image, block, path):
    """Name what nibabel repairs in a header without a word: it may be damage."""
    try:
        diagnosis = type(image.header).diagnose_binaryblock(block)
    except Exception:  # noqa: BLE001 - what it raises, reading the file raises too
        return
    # The sign of an axis is left out by many programs, and then is positive.
    odd = [line for line in diagnosis.splitlines() if "(qfac)" not in line]
    if odd:
        logger.warning(
            "%s: its header breaks rules of the format (%s); it is read all the same",
            path,
            "; ".join(odd),
        )


def _check_header(image, path):
    shape = _shape(image)
    if not 2 <= len(shape) <= _MOST_AXES:
        raise ValueError(
            f"{path}: has {len(shape)} axes {shape}; NIfTI images of 2 to 4 are read"
        )
    if min(shape) < 1:
        raise ValueError(f"{path}: is empty, its shape is {shape}")
    dtype = image.get_data_dtype()
    if dtype.names is not None:
        raise ValueError(f"{path}: has RGB values; only real numbers are read")
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: has {dtype} values; only real numbers are read")
    affine = _affine(image)
    if not np.all(np.isfinite(affine)):
        raise ValueError(f"{path}: its affine has NaN or Inf entries")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(sizes > 0):
        raise ValueError(
            f"{path}: its affine gives voxels no size along an axis: {sizes.tolist()}"
        )
    offset, length = image.dataobj.offset, image.header.sizeof_hdr
    if offset < length:
        raise ValueError(
            f"{path}: its voxels are said to begin at byte {offset}, inside the header "
            f"of {length} bytes"
        )


def _read_values(image, path):
    try:
        data = np.asanyarray(image.dataobj)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise  # for `open_content` to tell
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # nibabel's own "Expected 800 bytes, got 12 bytes", and whatever else a
        # header from outside can lead to.
        raise DamagedFileError(
            f"{path}: is damaged or cut short ({one_line(error)})"
        ) from error
    # Of a plain .nii it is a view of the file on disk, which may change.
    return np.array(data) if isinstance(data, np.memmap) else data


FORMAT = Format(
    kind="nifti",
    pattern=re.compile(r"\.nii(\.gz)?$", re.IGNORECASE),
    names=".nii, .nii.gz",
    read=read_nifti,
    read_header=read_nifti_header,
    slices=slice_nifti,
)
