"""Write NIfTI files that keep where the voxels of their source are."""

from contextlib import contextmanager
import gzip

import nibabel as nib
from nibabel.spatialimages import HeaderDataError
import numpy as np

from dipy_vqvae.storage import atomic_write

# NIfTI-1 counts voxels along an axis in 16 bits: 60,000 stacked images need NIfTI-2.
_LONGEST_NIFTI1_AXIS = 32767
# Fast, and no larger by much: voxels are mostly noise.
_COMPRESSION = 1
_ALIGNED = 2


def make_nifti(data, affine=None, *, space=None):
    """Return an array as a NIfTI image.

    Parameters
    ----------
    data : ndarray of 2 to 5 axes
        Values, written in their type.
    affine : ndarray of shape (4, 4), optional
        Voxel indices to world coordinates; the identity by default.
    space : dict, optional
        Where the voxels are in space and time, see `ImageHeader`: units, repetition
        time, both affines and their codes.

    Returns
    -------
    image : nibabel.Nifti1Image or nibabel.Nifti2Image
        The second for axes that are too long for the first.

    Raises
    ------
    ValueError
        If `space` has values that no header can hold.
    """
    is_long = max(data.shape) > _LONGEST_NIFTI1_AXIS
    image_class = nib.Nifti2Image if is_long else nib.Nifti1Image
    header = image_class.header_class()
    try:
        for name, value in (space or {}).items():
            header[name] = value
    except (ValueError, TypeError, OverflowError, LookupError) as error:
        raise ValueError(f"no NIfTI header has this: {space!r}") from error
    header.set_data_dtype(data.dtype)
    if space:
        # nibabel would take an affine for another one that differs by rounding.
        image = image_class(data, None, header)
        # It sets the repetition time of a single volume to 1.
        image.header["pixdim"] = header["pixdim"]
        return image
    return image_class(data, np.eye(4) if affine is None else affine, header)


def space_of_blocks(space, affine, to_image):
    """Return where blocks of voxels are, from where the voxels are.

    Parameters
    ----------
    space : dict
        That of the voxels.
    affine : ndarray of shape (4, 4)
        That of the voxels.
    to_image : ndarray of shape (4, 4)
        Indices of blocks to indices of voxels.

    Returns
    -------
    space : dict
        Both affines are those of the blocks. What it says of single slices is left out.
    """
    header = nib.Nifti1Header()
    kept = {name: v for name, v in space.items() if not name.startswith("slice_")}
    for name, value in kept.items():
        header[name] = value
    blocks = affine @ to_image
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        qform, qform_code = None, 0  # its numbers are no rotation
    header["pixdim"][1:4] = np.linalg.norm(blocks[:3, :3], axis=0)
    header["qform_code"] = qform_code
    if qform is not None:
        header.set_qform(qform @ to_image, qform_code)
    sform, sform_code = header.get_sform(coded=True)
    if sform is not None and sform[:3, :3].any():
        header.set_sform(sform @ to_image, sform_code)
    elif not header["qform_code"]:
        header.set_sform(blocks, _ALIGNED)
    else:
        header["sform_code"] = 0
    return {name: header[name].tolist() for name in kept}


def write_nifti(path, image):
    """Write a NIfTI image, compressed if the name ends in ``.gz``.

    Parameters
    ----------
    path : str or Path
        The file; it is complete or absent.
    image : nibabel.Nifti1Image or nibabel.Nifti2Image
        The image.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    # Not by the image's own to_filename, which writes x.nii where the name is x.Nii.
    with atomic_write(path) as temporary, _opened(temporary) as stream:
        image.to_stream(stream)


@contextmanager
def _opened(path):
    """Open a file for writing, with compression if its name says so."""
    with open(path, "wb") as raw:
        if not str(path).lower().endswith(".gz"):
            yield raw
            return
        # Neither name nor time: the same content gives the same bytes.
        with gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as stream:
            yield stream
