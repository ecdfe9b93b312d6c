"""Read one image file of any format that the package knows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipy_vqvae.data.checks import check_values
from dipy_vqvae.data.formats.content import named_errors, one_line, require_file
from dipy_vqvae.data.formats.idx import read_idx, read_idx_header
from dipy_vqvae.data.formats.nifti import read_nifti, read_nifti_header
from dipy_vqvae.data.paths import KNOWN_NAMES, image_kind


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What a file says of itself.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        ``"idx"``, ``"npy"`` or ``"nifti"``.
    shape : tuple of int
        Shape as stored.
    dtype : dtype
        Type of the values.
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates; None where the format has none.
    mapping : dict, optional
        Where the values lie in the file as they are, so that a part of them can be
        read without the rest: what `numpy.memmap` needs beside the shape. None where
        they are compressed or scaled.
    """

    path: Path
    kind: str
    shape: tuple
    dtype: np.dtype
    affine: np.ndarray | None
    mapping: dict | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """What one file holds.

    Parameters
    ----------
    data : ndarray
        Values as stored.
    affine : ndarray of shape (4, 4) or None
        Voxel indices to world coordinates; None where the format has none.
    path : Path
        The file.
    kind : str
        ``"idx"``, ``"npy"`` or ``"nifti"``.
    """

    data: np.ndarray
    affine: np.ndarray | None
    path: Path
    kind: str

    @property
    def header(self):
        """All but the values."""
        return ImageHeader(
            path=self.path,
            kind=self.kind,
            shape=self.data.shape,
            dtype=self.data.dtype,
            affine=self.affine,
        )


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
    if kind == "nifti":
        data, affine = read_nifti(path, allow_nan=allow_nan)
        return Image(data=data, affine=affine, path=path, kind=kind)
    data = read_idx(path) if kind == "idx" else np.array(_map_npy(path))
    data = check_values(data, path, allow_nan=allow_nan)
    return Image(data=data, affine=None, path=path, kind=kind)


def read_header(path):
    """Read what an image file says of itself, and none of its values."""
    path, kind = _known_kind(path)
    if kind == "nifti":
        return ImageHeader(path=path, kind=kind, **read_nifti_header(path)._asdict())
    if kind == "npy":
        mapped = _map_npy(path)
        shape, dtype = mapped.shape, mapped.dtype
        order = "C" if mapped.flags.c_contiguous else "F"
        mapping = {"dtype": dtype, "offset": mapped.offset, "order": order}
    else:
        dtype, shape = read_idx_header(path)
        mapping = None
    # One value at most along each axis: what the type and the shape tell.
    check_values(np.zeros([min(n, 1) for n in shape], dtype), path)
    return ImageHeader(
        path=path,
        kind=kind,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        affine=None,
        mapping=mapping,
    )


def map_image(header):
    """Map the values of a file, to read a part of them."""
    with named_errors(header.path):
        return np.memmap(
            header.path, mode="r", shape=header.shape, **{"order": "F"} | header.mapping
        )


def _known_kind(path):
    path = require_file(path)
    kind = image_kind(path)
    if kind is None:
        raise ValueError(f"{path}: not an image file that is read here ({KNOWN_NAMES})")
    return path, kind


def _map_npy(path):
    """Map the array of a .npy file; nothing is unpickled."""
    with named_errors(path):
        try:
            # Mapping checks the declared size against the file's before any
            # memory is asked for, and cannot unpickle.
            return np.lib.format.open_memmap(path, mode="r")
        except OSError:
            raise
        # numpy parses the header as Python text and has no common class for what
        # it raises on a bad one (ValueError, TypeError, OverflowError, ...).
        except Exception as error:
            raise ValueError(
                f"{path}: not a readable .npy file ({one_line(error)})"
            ) from error
