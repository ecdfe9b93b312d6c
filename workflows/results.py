"""Results as files: images as NIfTI, tables as CSV, records as JSON."""

import csv
import json

from dipy.io.image import save_nifti
import numpy as np

from dipy_vqvae.storage import atomic_write

# NIfTI-1 counts voxels along an axis in 16 bits: 60,000 stacked images need NIfTI-2.
_MAX_NIFTI1_AXIS = 32767


def save_image(path, data, affine=None):
    """Write an array of 3 to 5 axes as float32 NIfTI; no affine is the identity."""
    # No header is taken over: that of an integer image would round the values.
    data = np.asarray(data, dtype=np.float32)
    affine = np.eye(4) if affine is None else affine
    with atomic_write(path) as temporary:
        if max(data.shape) <= _MAX_NIFTI1_AXIS:
            save_nifti(temporary, data, affine)
            return
        import nibabel as nib

        nib.Nifti2Image(data, affine).to_filename(temporary)


def save_table(path, rows):
    """Write rows, dicts of the same keys, as CSV; floats with six digits."""
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
    """Write a dict of numbers, text, arrays, lists and dicts as JSON."""
    text = json.dumps(record, indent=2, default=_to_json) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(value):
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else value


def _to_json(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
