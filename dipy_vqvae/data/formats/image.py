"""Image files: format, header, content."""

from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """Header of an image file.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        ``"idx"``, ``"npy"`` or ``"nifti"``, which stands for all volumes with an affine.
    shape : tuple of int
        Shape as stored.
    dtype : dtype
        Type of the values.
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates; None where the format has none.
    stored_dtype : dtype, optional
        Type of the values in the file, where the header scales them to `dtype`.
    is_sliceable : bool, optional
        Whether a part of the values can be read without the rest: they are not
        compressed.
    space : dict, optional
        Fields of a NIfTI header that say where voxels are in space and time, see
        `nifti.SPACE_FIELDS`.
    loaded : nibabel.spatialimages.SpatialImage, optional
        The image, where it is in memory.
    """

    path: Path
    kind: str
    shape: tuple
    dtype: np.dtype
    affine: np.ndarray | None
    stored_dtype: np.dtype | None = None
    is_sliceable: bool = False
    space: dict | None = None
    loaded: object = None

    @property
    def key(self):
        """Identify the values among those of other files."""
        return self.path, None if self.loaded is None else id(self.loaded)

    @property
    def stored_bits(self):
        """Bits of a value in the file, before compression."""
        return 8 * (self.stored_dtype or self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Image:
    """Content of an image file.

    Parameters
    ----------
    data : ndarray
        Values as stored.
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates; None where the format has none.
    path : Path
        The file.
    kind : str
        ``"idx"``, ``"npy"``, ``"nifti"`` or ``"volume"``.
    """

    data: np.ndarray
    affine: np.ndarray | None
    path: Path
    kind: str


@dataclass(frozen=True)
class Format:
    """Name and readers of a format.

    ``read(path)`` returns values and affine, ``read_header(path)`` an `ImageHeader`. If
    that is sliceable, ``slices(path)`` returns an array of which parts can be read.
    """

    kind: str
    pattern: re.Pattern
    names: str
    read: object
    read_header: object
    slices: object = None
