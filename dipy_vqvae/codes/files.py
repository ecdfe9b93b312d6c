"""Codes as NIfTI files that can be decoded with their model.

The codes lie on their own grid, with an affine that places it over the image, so
that a viewer can overlay them. The header has what decoding needs as JSON, in an
extension of the kind "comment" which other software ignores.
"""

import base64
from dataclasses import dataclass
import json
import math
from pathlib import Path
import zlib

import nibabel as nib
import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.data import (
    IntensityScaling,
    Layout,
    image_kind,
    padded_shape,
    read_nifti,
)
from dipy_vqvae.storage import atomic_write

FORMAT = "dipy_vqvae codes"
FORMAT_VERSION = 1
# NIfTI-1 counts voxels along an axis in 16 bits.
_LONGEST_NIFTI1_AXIS = 32767
_RECORD_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, zlib.error)


@dataclass(frozen=True, eq=False)
class CodedImages:
    """Codes of the images of one file, with what is needed to decode them.

    Attributes
    ----------
    codes : array, shape (n, *grid), int32
        Codes of the model `model`.
    layout : Layout
        Order of the images in a file.
    image_shape : tuple of int
        Spatial shape of the images.
    downsampling : tuple of int
        Voxels per code along each axis.
    n_codes : int
        Size of the codebook.
    model : str
        Fingerprint of the codebook, see
        :func:`dipy_vqvae.vqvae.codebook_fingerprint`.
    scalings : tuple of IntensityScaling
        One for all images or one for each.
    affine : array (4, 4) or None
        Voxel indices of the image to world coordinates.
    mask : array, shape (n, *image_shape), bool, or None
        Decoded images are zero outside of it.
    """

    codes: np.ndarray
    layout: Layout
    image_shape: tuple
    downsampling: tuple
    n_codes: int
    model: str
    scalings: tuple
    affine: np.ndarray | None = None
    mask: np.ndarray | None = None

    def groups(self):
        """List the images that share a scaling: pairs of a slice and the scaling."""
        if len(self.scalings) == 1:
            return [(slice(None), self.scalings[0])]
        return [(slice(i, i + 1), s) for i, s in enumerate(self.scalings)]


def save_codes(path, coded):
    """Write codes to a NIfTI file.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.nii`` or ``.nii.gz``; the file is complete or absent.
    coded : CodedImages
        The codes; int16 in the file if the codebook is small enough.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    is_small = coded.n_codes <= 1 + np.iinfo(np.int16).max
    volume = coded.layout.to_volume(coded.codes)
    volume = np.ascontiguousarray(volume, np.int16 if is_small else np.int32)
    affine = latent_affine(
        np.eye(4) if coded.affine is None else coded.affine,
        padded_shape=padded_shape(coded.image_shape, coded.downsampling),
        latent_shape=coded.codes.shape[1:],
        slice_axis=coded.layout.slice_axis,
    )
    is_long = max(volume.shape) > _LONGEST_NIFTI1_AXIS
    image = (nib.Nifti2Image if is_long else nib.Nifti1Image)(volume, affine)
    text = json.dumps(_to_record(coded), separators=(",", ":"))
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension("comment", text.encode("ascii"))
    )
    with atomic_write(path) as temporary:
        image.to_filename(temporary)


def load_codes(path):
    """Read codes written by :func:`save_codes`.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    coded : CodedImages

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, or no file of codes.
    """
    path = Path(path)
    volume, _ = read_nifti(path)
    record = _read_record(path)
    if volume.dtype.kind not in "iu":
        raise ValueError(f"{path}: codes are integers, these are {volume.dtype}")
    try:
        coded = _from_record(record, volume)
    except _RECORD_ERRORS as error:
        raise ValueError(
            f"{path}: its record of how it was encoded cannot be used ({error})"
        ) from error
    low, high = int(volume.min()), int(volume.max())
    if low < 0 or high >= coded.n_codes:
        raise ValueError(
            f"{path}: its codes range from {low} to {high}, the model's from 0 to "
            f"{coded.n_codes - 1}: the file was changed"
        )
    return coded


def is_coded(path):
    """Return whether a file has codes written by :func:`save_codes`.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    is_coded : bool
    """
    return image_kind(path) == "nifti" and _find_record(path) is not None


def latent_affine(affine, *, padded_shape, latent_shape, slice_axis=None):
    r"""Compute the affine of the codes from that of the image.

    The outer corners of the grid of codes are those of the padded image. With f voxels
    per code, code j is centred on voxel :math:`f j + (f - 1) / 2`. Slices of a 2D model
    follow one another along `slice_axis`, which stays as it is.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4):
        raise ValueError(f"affine must have shape (4, 4), got {affine.shape}")
    factor = np.divide(padded_shape, latent_shape)
    if slice_axis is not None:
        factor = np.insert(factor, slice_axis, 1)
    to_image = np.diag([*factor, 1.0])
    to_image[:3, 3] = (factor - 1) / 2
    return affine @ to_image


def _to_record(coded):
    affine, mask = coded.affine, coded.mask
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_by": f"dipy_vqvae {__version__}",
        "model": coded.model,
        "n_codes": coded.n_codes,
        "downsampling": list(coded.downsampling),
        "image_shape": list(coded.image_shape),
        "layout": vars(coded.layout),
        "scalings": [scaling.to_dict() for scaling in coded.scalings],
        "affine": None if affine is None else np.asarray(affine, float).tolist(),
        "mask": None if mask is None else _pack(mask),
    }


def _from_record(record, volume):
    layout = Layout(**record["layout"])
    affine, mask = record["affine"], record["mask"]
    image_shape = tuple(int(n) for n in record["image_shape"])
    downsampling = tuple(int(n) for n in record["downsampling"])
    codes = layout.to_stack(volume).astype(np.int32)
    grid = tuple(-(-n // f) for n, f in zip(image_shape, downsampling))
    if codes.shape[1:] != grid or len(image_shape) != layout.spatial_dims:
        raise ValueError(
            f"images of {image_shape} have codes of {grid}, not {codes.shape[1:]}"
        )
    scalings = tuple(IntensityScaling.from_dict(s) for s in record["scalings"])
    if len(scalings) not in (1, len(codes)):
        raise ValueError(f"{len(scalings)} scalings for {len(codes)} images")
    return CodedImages(
        codes=codes,
        layout=layout,
        image_shape=image_shape,
        downsampling=downsampling,
        n_codes=int(record["n_codes"]),
        model=str(record["model"]),
        scalings=scalings,
        affine=None if affine is None else np.array(affine, float).reshape(4, 4),
        mask=None if mask is None else _unpack(mask, (len(codes), *image_shape)),
    )


def _read_record(path):
    """Read the record in the header of a NIfTI file."""
    record = _find_record(path)
    if record is None:
        raise ValueError(
            f"{path}: no codes as dipy_encode_vqvae writes them (its header has no "
            "record of how it was encoded; some programs drop it)"
        )
    version = record.get("version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: its codes are of format {version}, this is dipy_vqvae "
            f"{__version__}, which reads {FORMAT_VERSION}"
        )
    return record


def _find_record(path):
    """Return the record in the header of a NIfTI file, or None."""
    # nibabel has no common class for what it raises on damaged extensions.
    try:
        extensions = nib.load(path).header.extensions
        texts = [bytes(extension.get_content()) for extension in extensions]
    except Exception:  # noqa: BLE001
        return None
    for text in texts:
        try:
            record = json.loads(text.rstrip(b"\0"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("format") == FORMAT:
            return record
    return None


def _pack(mask):
    """Compress a boolean array to text."""
    bits = np.packbits(np.ascontiguousarray(mask))
    return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")


def _unpack(text, shape):
    """Invert `_pack`."""
    n = math.prod(shape)
    n_bytes = -(-n // 8)
    # Never more than the mask's size, whatever the file says.
    content = zlib.decompressobj().decompress(
        base64.b64decode(text, validate=True), n_bytes + 1
    )
    if len(content) != n_bytes:
        raise ValueError(f"a mask of {len(content)} bytes for {shape} voxels")
    bits = np.unpackbits(np.frombuffer(content, np.uint8), count=n)
    return bits.astype(bool).reshape(shape)
