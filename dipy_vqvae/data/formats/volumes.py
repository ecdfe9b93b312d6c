"""Read the volumes of other formats that nibabel knows: FreeSurfer's, and Analyze's.

Their headers become those of NIfTI files: axes, voxels and affines mean the same.
"""

from contextlib import contextmanager
import math
from pathlib import Path
import re
import zlib

import nibabel as nib
import numpy as np

from dipy_vqvae.data.formats.content import (
    DamagedFileError,
    named_errors,
    one_line,
    require_file,
)
from dipy_vqvae.data.formats.image import Format, ImageHeader

# No byte on disk becomes more than that many.
_LARGEST_INFLATION = {".mgz": 1032}
_MOST_AXES = 4


def read_volume(path):
    """Read the values of a volume or a series, and its affine.

    Parameters
    ----------
    path : str or Path
        A ``.mgz``, ``.mgh`` or ``.img`` file, the last with its ``.hdr`` beside it.

    Returns
    -------
    data : ndarray of shape (X, Y, Z) or (X, Y, Z, V)
        Values in the type they are stored as; float64 where the header scales them.
    affine : ndarray of shape (4, 4), float64
        Voxel indices to world coordinates (mm).

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    ValueError
        If it is damaged, or nibabel cannot read it.
    """
    image = _open(path)
    with _readable(path):
        data = np.asanyarray(image.dataobj)
    data = np.array(data) if isinstance(data, np.memmap) else data
    return data.reshape(_shape(image)), np.array(image.affine, np.float64)


def read_volume_header(path):
    """Read the header of a volume."""
    image = _open(path)
    voxels = image.dataobj
    is_scaled = (getattr(voxels, "slope", 1), getattr(voxels, "inter", 0)) != (1, 0)
    dtype = np.dtype(np.float64) if is_scaled else image.get_data_dtype()
    affine = np.array(image.affine, np.float64)
    return ImageHeader(Path(path), "nifti", _shape(image), dtype, affine=affine)


def _open(path):
    """Open an image with nibabel and check its size; voxels stay unread."""
    path = require_file(path)
    with _readable(path):
        image = nib.load(path)
        n_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    limit = path.stat().st_size * _LARGEST_INFLATION.get(path.suffix.lower(), 1)
    if n_bytes > limit:
        raise DamagedFileError(
            f"{path}: its header declares {image.shape} voxels ({n_bytes} bytes), the "
            "file is too short"
        )
    if not 2 <= len(_shape(image)) <= _MOST_AXES:
        raise ValueError(f"{path}: has {len(image.shape)} axes, only 2 to 4 are read")
    return image


@contextmanager
def _readable(path):
    """Turn whatever a header from outside can lead to into one line."""
    with named_errors(path):
        try:
            yield
        except OSError:
            raise
        except (EOFError, zlib.error):
            raise  # for `named_errors` to tell
        except Exception as error:
            raise DamagedFileError(
                f"{path}: cannot be read, or is damaged ({one_line(error)})"
            ) from error


def _shape(image):
    """Return the shape, without axes of length 1 at the end that make it too long."""
    shape = tuple(map(int, image.shape))
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


FORMAT = Format(
    kind="volume",
    pattern=re.compile(r"\.(mgz|mgh|img)$", re.IGNORECASE),
    names=".mgz, .mgh, .img",
    read=read_volume,
    read_header=read_volume_header,
)
