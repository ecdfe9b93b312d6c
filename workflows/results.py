"""Results as files: images as NIfTI, tables as CSV, records as JSON."""

import csv
import json

import numpy as np

from dipy_vqvae.storage import atomic_write


def save_image(path, data, affine=None, *, space=None):
    """Write an array of 2 to 5 axes as float32 NIfTI; no affine is the identity.

    `space` is what the header of its source says of space and time.
    """
    from dipy_vqvae.data import make_nifti, write_nifti

    data = np.asarray(data, dtype=np.float32)
    write_nifti(path, make_nifti(data, affine, space=space))


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


def save_colours(path, codebook):
    """Write the colours of the labels of codes, in the format of FreeSurfer's tables."""
    from dipy_vqvae.report import code_colours

    lines = ["# label, name, red, green, blue, and 0", "0 background 0 0 0 0"]
    colours = np.rint(255 * code_colours(codebook)).astype(int)
    lines += [f"{k + 1} code_{k} {r} {g} {b} 0" for k, (r, g, b) in enumerate(colours)]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value):
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else value


def _to_json(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
