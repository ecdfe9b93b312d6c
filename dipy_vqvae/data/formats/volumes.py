"""Volumes that nibabel reads: MGH and Analyze files, and images in memory."""

import math
from pathlib import Path
import re

import nibabel as nib
import numpy as np

from dipy_vqvae.data.formats.content import (
    DamagedFileError,
    content_limit,
    named_errors,
    open_content,
)
from dipy_vqvae.data.formats.image import Format, ImageHeader
from dipy_vqvae.display import one_line

_MOST_AXES = 4


def is_loaded(value):
    """Return whether a value is an image of nibabel."""
    return hasattr(value, "dataobj") and hasattr(value, "affine")


def header_of_loaded(image, name):
    """Return the header of an image of nibabel; `name` is for images without a file."""
    header = _header(image, Path(image.get_filename() or name))
    space = None
    if isinstance(image, nib.Nifti1Image):
        from dipy_vqvae.data.formats.nifti import space_of

        space = space_of(image)
    return ImageHeader(**{**vars(header), "space": space, "loaded": image})


def values_of_loaded(image, shape):
    """Return the values of an image of nibabel."""
    return np.asanyarray(image.dataobj).reshape(shape)


def read_volume(path):
    """Read the values of a volume, (X, Y, Z[, V]), and its affine."""
    image = _open(path)
    header = _header(image, path)
    try:
        data = np.array(np.asanyarray(image.dataobj))
    except Exception as error:  # nibabel has no common class for what it raises
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFileError(
            f"{path}: is damaged or cut short ({one_line(error)})"
        ) from error
    return data.reshape(header.shape), header.affine


def read_volume_header(path):
    """Read the header of a volume; the values are read as a whole."""
    return _header(_open(path), path)


def _open(path):
    """Open a file with nibabel, and compare its size with its header."""
    with named_errors(path):
        try:
            image = nib.load(path)
        except OSError:
            raise
        except Exception as error:
            raise ValueError(
                f"{path}: nibabel cannot read it ({one_line(error)})"
            ) from error
    voxels = Path(image.file_map["image"].filename)
    n_bytes = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    with open_content(voxels) as stream:
        if n_bytes > content_limit(voxels, stream):
            raise DamagedFileError(
                f"{path}: its header declares {image.shape} voxels ({n_bytes} bytes), "
                "the file is too short"
            )
    return image


def _header(image, path):
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > _MOST_AXES and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 1:
        raise ValueError(
            f"{path}: has the shape {shape}; images of 2 to 4 axes are read"
        )
    dtype = np.dtype(image.dataobj.dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"{path}: has {dtype} values; only real numbers are read")
    affine = np.array(image.affine, np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and (sizes > 0).all()):
        raise ValueError(f"{path}: its affine cannot be used: {affine.tolist()}")
    is_scaled = (
        getattr(image.dataobj, "slope", 1),
        getattr(image.dataobj, "inter", 0),
    ) != (1, 0)
    return ImageHeader(
        path,
        "nifti",  # a volume with an affine
        shape,
        np.dtype(np.float64) if is_scaled else dtype,
        affine=affine,
        stored_dtype=image.get_data_dtype(),
    )


MGH = Format(
    kind="mgh",
    pattern=re.compile(r"\.mg[hz]$", re.IGNORECASE),
    names=".mgz, .mgh",
    read=read_volume,
    read_header=read_volume_header,
)
ANALYZE = Format(
    kind="analyze",
    pattern=re.compile(r"\.img$", re.IGNORECASE),
    names=".img (with .hdr)",
    read=read_volume,
    read_header=read_volume_header,
)
