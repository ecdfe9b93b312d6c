"""NumPy's own format. Mapping it checks sizes first, and cannot unpickle."""

import re

import numpy as np

from dipy_vqvae.data.formats.content import named_errors
from dipy_vqvae.data.formats.image import Format, ImageHeader
from dipy_vqvae.display import one_line


def read_npy(path):
    """Read the array of a .npy file, and no affine."""
    return np.array(map_npy(path)), None


def read_npy_header(path):
    """Read the header of a .npy file; parts of the values can be read."""
    mapped = map_npy(path)
    return ImageHeader(
        path, "npy", mapped.shape, mapped.dtype, affine=None, is_sliceable=True
    )


def map_npy(path):
    """Map the array of a .npy file; nothing is unpickled."""
    with named_errors(path):
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except OSError:
            raise
        # numpy parses the header as Python text and has no common class for what
        # it raises on a bad one (ValueError, TypeError, OverflowError, ...).
        except Exception as error:
            raise ValueError(
                f"{path}: not a readable .npy file ({one_line(error)})"
            ) from error


FORMAT = Format(
    kind="npy",
    pattern=re.compile(r"\.npy$", re.IGNORECASE),
    names=".npy",
    read=read_npy,
    read_header=read_npy_header,
    slices=map_npy,
)
