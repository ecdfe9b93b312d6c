"""Codes as NIfTI files from which, with the model, the images can be had again.

The codes lie on their own grid, with an affine that puts it where the image is, so
that a viewer lays one over the other. What else decoding needs is kept as JSON in an
extension of the header (of the kind "comment", which other software leaves alone).
"""

from dataclasses import dataclass
import json
from pathlib import Path
import zlib

import nibabel as nib
import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.codes.record import FORMAT, FORMAT_VERSION, pack, read_record, unpack
from dipy_vqvae.data import (
    IntensityScaling,
    Layout,
    latent_affine,
    padded_shape,
    read_nifti,
)
from dipy_vqvae.storage import atomic_write, fingerprint

# NIfTI-1 counts voxels along an axis in 16 bits.
_LONGEST_NIFTI1_AXIS = 32767


@dataclass(frozen=True, eq=False)
class CodedImages:
    """The codes of the images of one file, and what makes images of them again.

    Attributes
    ----------
    codes : array, shape (n, *grid), int32
        Codes, whose model is `model`.
    layout : Layout
        How the images lie in a file.
    image_shape : tuple of int
        Spatial shape of the images.
    downsampling : tuple of int
        Voxels per code along each axis.
    n_codes : int
        Size of the codebook.
    model : str
        Fingerprint of the codebook, see :func:`codebook_fingerprint`.
    scalings : tuple of IntensityScaling
        One for all images or one for each.
    affine : array (4, 4) or None
        Voxel indices of the image to world coordinates.
    mask : array, shape (n, *image_shape), bool, or None
        Where the decoded images are zero (outside).
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
        """The images that share a scaling: pairs of a slice and the scaling."""
        if len(self.scalings) == 1:
            return [(slice(None), self.scalings[0])]
        return [(slice(i, i + 1), s) for i, s in enumerate(self.scalings)]


def codebook_fingerprint(fit):
    """What tells the codes of one model from those of another.

    Parameters
    ----------
    fit : VQVAEFit
        The model.

    Returns
    -------
    digest : str
    """
    return fingerprint(fit.codebook)


def encode_images(
    fit, images, *, layout, mask=None, affine=None, scaling=None, batch_size=None
):
    """Encode the images of one file.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    images : array, shape (n, *spatial[, C])
        The images.
    layout : Layout
        How they lie in the file.
    mask : array, shape (n, *spatial), bool, optional
        What lies outside has no influence, and is zero when decoded.
    affine : array (4, 4), optional
        The file's affine.
    scaling : IntensityScaling, optional
        In place of the model's own or, where each volume has one, the image's.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    coded : CodedImages

    Raises
    ------
    ValueError, TypeError
        For images or a mask that the model cannot use.
    """
    if scaling is None:
        scaling = fit.scaling_of(images, mask=mask)
    scalings = tuple(scaling) if isinstance(scaling, list) else (scaling,)
    if len(set(scalings)) == 1:
        scalings = scalings[:1]
    coded = CodedImages(
        codes=np.empty(0, np.int32),
        layout=layout,
        image_shape=tuple(images.shape[1 : 1 + fit.spatial_dims]),
        downsampling=tuple(fit.config.downsampling),
        n_codes=fit.n_codes,
        model=codebook_fingerprint(fit),
        scalings=scalings,
        affine=affine,
        mask=mask,
    )
    codes = [
        fit.encode(
            images[part],
            mask=_part(mask, part),
            scaling=scaling,
            batch_size=batch_size,
        )
        for part, scaling in coded.groups()
    ]
    return CodedImages(**{**vars(coded), "codes": np.concatenate(codes)})


def decode_images(fit, coded, *, batch_size=None):
    """Make images of codes again.

    Parameters
    ----------
    fit : VQVAEFit
        The model that the codes come from.
    coded : CodedImages
        The codes.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    images : array, shape (n, *spatial[, C]), float32
        In the units of the images that were encoded; zero outside their mask.

    Raises
    ------
    ValueError
        If the codes are those of another model, or out of its range.
    """
    check_model(fit, coded)
    parts = [
        fit.decode(
            coded.codes[part],
            image_shape=coded.image_shape,
            scaling=scaling,
            batch_size=batch_size,
        )
        for part, scaling in coded.groups()
    ]
    images = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if coded.mask is not None:
        images[~coded.mask] = 0
    return images


def check_model(fit, coded):
    """Refuse codes that are not those of a model."""
    for what, theirs, ours in (
        ("spatial axes", coded.layout.spatial_dims, fit.spatial_dims),
        ("codes in the codebook", coded.n_codes, fit.n_codes),
        ("voxels per code", coded.downsampling, tuple(fit.config.downsampling)),
    ):
        if theirs != ours:
            raise ValueError(
                f"these codes are of another model: it has {theirs} {what}, this one "
                f"{ours}"
            )
    if coded.model != codebook_fingerprint(fit):
        raise ValueError(
            f"these codes are of another model: its codebook is {coded.model}, that of "
            f"this one {codebook_fingerprint(fit)}"
        )


def save_codes(path, coded):
    """Write codes as NIfTI, whole or not at all.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.nii`` or ``.nii.gz``.
    coded : CodedImages
        The codes; int16 in the file where the codebook is small enough.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    small = coded.n_codes <= 1 + np.iinfo(np.int16).max
    volume = coded.layout.to_volume(coded.codes)
    volume = np.ascontiguousarray(volume, np.int16 if small else np.int32)
    affine = np.eye(4) if coded.affine is None else coded.affine
    padded = padded_shape(coded.image_shape, coded.downsampling)
    affine = latent_affine(
        affine,
        padded_shape=padded,
        latent_shape=coded.codes.shape[1:],
        slice_axis=coded.layout.slice_axis,
    )
    long = max(volume.shape) > _LONGEST_NIFTI1_AXIS
    image = (nib.Nifti2Image if long else nib.Nifti1Image)(volume, affine)
    text = json.dumps(_to_entries(coded), separators=(",", ":"))
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension("comment", text.encode("ascii"))
    )
    with atomic_write(path) as temporary:
        image.to_filename(temporary)


def load_codes(path):
    """Read codes that :func:`save_codes` wrote.

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
    entries = read_record(path)
    if volume.dtype.kind not in "iu":
        raise ValueError(f"{path}: codes are integers, these are {volume.dtype}")
    try:
        coded = _from_entries(entries, volume)
    except (LookupError, TypeError, ValueError, ArithmeticError, zlib.error) as error:
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


def _to_entries(coded):
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
        "mask": None if mask is None else pack(mask),
    }


def _from_entries(entries, volume):
    layout = Layout(**entries["layout"])
    affine = entries["affine"]
    image_shape = tuple(int(n) for n in entries["image_shape"])
    downsampling = tuple(int(n) for n in entries["downsampling"])
    codes = layout.to_stack(volume).astype(np.int32)
    grid = tuple(-(-n // f) for n, f in zip(image_shape, downsampling))
    if codes.shape[1:] != grid or len(image_shape) != layout.spatial_dims:
        raise ValueError(
            f"images of {image_shape} have codes of {grid}, not {codes.shape[1:]}"
        )
    scalings = tuple(IntensityScaling.from_dict(s) for s in entries["scalings"])
    if len(scalings) not in (1, len(codes)):
        raise ValueError(f"{len(scalings)} scalings for {len(codes)} images")
    if affine is not None:
        affine = np.array(affine, float).reshape(4, 4)
    mask = entries["mask"]
    return CodedImages(
        codes=codes,
        layout=layout,
        image_shape=image_shape,
        downsampling=downsampling,
        n_codes=int(entries["n_codes"]),
        model=str(entries["model"]),
        scalings=scalings,
        affine=affine,
        mask=None if mask is None else unpack(mask, (len(codes), *image_shape)),
    )


def _part(mask, part):
    return None if mask is None else mask[part]
