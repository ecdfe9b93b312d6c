"""Read one image file of any format that the package knows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipy_vqvae.images.checks import check_values
from dipy_vqvae.images.files import named_errors, one_line, require_file
from dipy_vqvae.images.idx import read_idx
from dipy_vqvae.images.nifti import read_nifti
from dipy_vqvae.images.paths import KNOWN_NAMES, image_kind


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


def read_image(path):
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        A ``.nii``, ``.nii.gz``, ``.npy`` or idx file; its name tells which.

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
    path = require_file(path)
    kind = image_kind(path)
    if kind is None:
        raise ValueError(f"{path}: not an image file that is read here ({KNOWN_NAMES})")
    if kind == "nifti":
        data, affine = read_nifti(path)
        return Image(data=data, affine=affine, path=path, kind=kind)
    data = read_idx(path) if kind == "idx" else _read_npy(path)
    return Image(data=check_values(data, path), affine=None, path=path, kind=kind)


def _read_npy(path):
    """The array of a .npy file; never unpickles."""
    with named_errors(path):
        try:
            # Mapping checks the declared size against the file's before any
            # memory is asked for, and cannot unpickle.
            mapped = np.lib.format.open_memmap(path, mode="r")
        except OSError:
            raise
        # numpy parses the header as Python text and has no common class for what
        # it raises on a bad one (ValueError, TypeError, OverflowError, ...).
        except Exception as error:
            raise ValueError(
                f"{path}: not a readable .npy file ({one_line(error)})"
            ) from error
        return np.array(mapped)
