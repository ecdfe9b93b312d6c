"""Results as files: images as NIfTI, tables as CSV, records as JSON."""

import csv
import json

from dipy.io.image import save_nifti
import numpy as np

from dipy_vqvae.storage import atomic_write

# NIfTI-1 counts voxels along an axis in 16 bits: 60,000 stacked images need NIfTI-2.
_LONGEST_NIFTI1_AXIS = 32767


def save_image(path, data, affine=None):
    """Write an array as float32 NIfTI, whole or not at all.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.nii`` or ``.nii.gz``.
    data : array of 3 to 5 axes
        The values. No header is taken over from anywhere, as that of an integer
        image would round them.
    affine : array (4, 4), optional
        Voxel indices to world coordinates; by default the identity.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    data = np.asarray(data, dtype=np.float32)
    affine = np.eye(4) if affine is None else affine
    with atomic_write(path) as temporary:
        if max(data.shape) <= _LONGEST_NIFTI1_AXIS:
            save_nifti(temporary, data, affine)
            return
        import nibabel as nib

        nib.Nifti2Image(data, affine).to_filename(temporary)


def stack_images(images, *, spatial_dims, slice_axis=2):
    """Give a stack of images the axes of a NIfTI file.

    Parameters
    ----------
    images : array (N, H, W[, C]) or (N, X, Y, Z[, C])
        The images.
    spatial_dims : int
        2 or 3.
    slice_axis : int, optional
        The axis along which 2D images are stacked.

    Returns
    -------
    data : array
        ``(H, W, N[, C])`` for ``slice_axis=2``, or ``(X, Y, Z, N[, C])``.
    """
    return np.moveaxis(images, 0, slice_axis if spatial_dims == 2 else 3)


def save_table(path, rows):
    """Write a table as CSV.

    Parameters
    ----------
    path : str or Path
        The file to write.
    rows : list of dict
        Rows of the same columns; floats are written with six digits.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        open(
            temporary, "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)


def save_record(path, record):
    """Write a record as JSON.

    Parameters
    ----------
    path : str or Path
        The file to write.
    record : dict
        Numbers, arrays, text, and lists and dicts of them.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    text = json.dumps(record, indent=2, default=_plain) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(value):
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else value


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
