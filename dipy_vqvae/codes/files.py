"""Codes as NIfTI files that can be decoded with their model.

The codes lie on their own grid, with an affine that places it over the image, so
that a viewer can overlay them. The file is a label image: label k + 1 is code k, and 0
is background, all positions without a voxel inside the mask. The header has what
decoding needs as JSON, in an extension of the kind "comment" which other software
ignores: also the codes of the background, which the decoder sees beside the others.
"""

import base64
from dataclasses import replace
import hashlib
import json
from pathlib import Path
import zlib

import nibabel as nib
from nibabel.orientations import (
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
import numpy as np

from dipy_vqvae._version import __version__
from dipy_vqvae.codes.coded import CodedImages, PackedMask, positions_inside
from dipy_vqvae.data import (
    SPACE_FIELDS,
    IntensityScaling,
    Layout,
    Turn,
    distance_apart,
    image_kind,
    make_nifti,
    read_extensions,
    read_nifti,
    space_of_blocks,
    write_nifti,
)

FORMAT = "dipy_vqvae codes"
FORMAT_VERSION = 2
# Files of the first have the codes themselves, and no background.
_READ = (1, 2)
# Edges of a voxel by which affines may differ: they are rounded to float32.
_ROUNDING = 0.05
_MOST_VOLUMES = 32_767
#: What a record that makes no sense may raise.
RECORD_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, zlib.error)


def save_codes(path, coded):
    """Write codes to a NIfTI file.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.nii`` or ``.nii.gz``; the file is complete or absent.
    coded : CodedImages
        The codes; their labels are int16 if the codebook is small enough.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    labels, background = np.asarray(coded.codes) + 1, None
    if coded.mask is not None:
        outside = ~positions_inside(np.asarray(coded.mask), coded.downsampling)
        background = coded.codes[outside]
        labels[outside] = 0
    volume = coded.layout.to_volume(labels)
    coded = replace(coded, digest=_digest(volume))
    is_small = coded.n_codes <= np.iinfo(np.int16).max
    volume = np.ascontiguousarray(volume, np.int16 if is_small else np.int32)
    space = coded.space
    if space is not None:
        space = space_of_blocks(space, coded.affine, coded.to_image)
    image = make_nifti(volume, coded.affine_of_codes, space=space)
    record = {**to_record(coded), "background": _pack(background)}
    text = json.dumps(record, separators=(",", ":"))
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension("comment", text.encode("ascii"))
    )
    write_nifti(path, image)


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
        If it is damaged, no file of codes, or if its codes are not where they were
        written: cut, resampled or moved by another program.
    """
    path = Path(path)
    volume, affine = read_nifti(path)
    record = _read_record(path)
    if volume.dtype.kind not in "iu":
        raise ValueError(f"{path}: codes are integers, these are {volume.dtype}")
    try:
        coded = from_record(record)
    except RECORD_ERRORS as error:
        raise ValueError(
            f"{path}: its record of how it was encoded cannot be used ({error})"
        ) from error
    coded = _with_codes(coded, _as_written(volume, affine, coded, path), path)
    if record["version"] > 1:
        try:
            coded = replace(coded, codes=_from_labels(coded.codes, record))
        except RECORD_ERRORS as error:
            raise ValueError(
                f"{path}: its background cannot be used ({error})"
            ) from error
    low, high = int(coded.codes.min()), int(coded.codes.max())
    if low < 0 or high >= coded.n_codes:
        raise ValueError(
            f"{path}: its codes range from {low} to {high}, the model's from 0 to "
            f"{coded.n_codes - 1}: the file was changed"
        )
    return coded


def _from_labels(labels, record):
    """Return codes from labels, of which 0 is background."""
    codes, outside = labels - 1, labels == 0
    codes[outside] = _unpack(record.get("background"), int(outside.sum()))
    return codes


def _pack(codes):
    """Compress codes (n,) to text; None for None."""
    if codes is None:
        return None
    content = zlib.compress(np.ascontiguousarray(codes, "<i4").tobytes(), 9)
    return base64.b64encode(content).decode("ascii")


def _unpack(text, n):
    """Return n codes from a text; ValueError for more or fewer."""
    content = b""
    if text is not None:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b64decode(text, validate=True), 4 * n + 1)
    if len(content) != 4 * n:
        raise ValueError(f"{len(content)} bytes of codes for {n} positions")
    return np.frombuffer(content, "<i4")


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


def to_record(coded):
    """Return what a file says of its codes, as JSON can hold it.

    Parameters
    ----------
    coded : CodedImages
        The codes; they are not a part of the record.

    Returns
    -------
    record : dict
    """
    affine, mask = coded.affine, coded.mask
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_by": f"dipy_vqvae {__version__}",
        "model": coded.model,
        "n_codes": coded.n_codes,
        "downsampling": list(coded.downsampling),
        "image_shape": list(coded.image_shape),
        "layout": _layout_to_record(coded.layout),
        "scalings": [scaling.to_dict() for scaling in coded.scalings],
        "affine": None if affine is None else np.asarray(affine, float).tolist(),
        "space": coded.space,
        "digest": coded.digest,
        "mask": None if mask is None else PackedMask.of(mask).text,
    }


def _layout_to_record(layout):
    entries = vars(layout).copy()
    turn = entries.pop("turn")
    if turn is not None:
        entries["turn"] = {"axes": list(turn.axes), "flips": list(turn.flips)}
    return entries


def _layout_from_record(entries):
    turn = entries.get("turn")
    if turn is not None:
        turn = Turn(tuple(turn["axes"]), tuple(turn["flips"]))
        are_flips = [type(flip) is bool for flip in turn.flips] == [True] * 3
        if sorted(turn.axes) != [0, 1, 2] or not are_flips:
            raise ValueError(f"axes turned as {turn}")
    return Layout(**{**entries, "turn": turn})


def from_record(record):
    """Return what a record says; raise anything of `RECORD_ERRORS` for nonsense.

    Parameters
    ----------
    record : dict
        As from :func:`to_record`.

    Returns
    -------
    coded : CodedImages
        Without codes, and with a mask for one image.
    """
    layout = _layout_from_record(record["layout"])
    image_shape = tuple(int(n) for n in record["image_shape"])
    downsampling = tuple(int(n) for n in record["downsampling"])
    if not len(image_shape) == len(downsampling) == layout.spatial_dims:
        raise ValueError(f"{layout.spatial_dims} axes for images of {image_shape}")
    if min(*image_shape, *downsampling) < 1:
        raise ValueError(f"images of {image_shape} in blocks of {downsampling}")
    affine, mask, space = record["affine"], record["mask"], record.get("space")
    _check_layout(layout)
    if affine is not None:
        affine = np.array(affine, float).reshape(4, 4)
        if not np.isfinite(np.linalg.inv(affine)).all():
            raise ValueError(f"an affine of {affine.tolist()}")
    if space is not None:
        if not set(space) <= set(SPACE_FIELDS):
            raise ValueError(f"fields of a header named {sorted(space)}")
        _check_space(space, affine)
    return CodedImages(
        codes=None,
        layout=layout,
        image_shape=image_shape,
        downsampling=downsampling,
        n_codes=int(record["n_codes"]),
        model=str(record["model"]),
        scalings=tuple(IntensityScaling.from_dict(s) for s in record["scalings"]),
        affine=affine,
        space=space,
        digest=record.get("digest"),
        mask=None if mask is None else PackedMask(str(mask), image_shape),
    )


def _check_layout(layout):
    """Refuse axes that no file has."""
    allowed = {
        "spatial_dims": (2, 3),
        "slice_axis": (None, 0, 1, 2),
        "n_volumes": (None, *range(1, 1 + _MOST_VOLUMES)),
    }
    for name, values in allowed.items():
        value = getattr(layout, name)
        if isinstance(value, (bool, float)) or value not in values:
            raise ValueError(f"a {name} of {value!r}")
    if layout.turn is not None and layout.slice_axis is None:
        raise ValueError("turned axes of no slices")


def _check_space(space, affine):
    """Refuse fields of a header that none can hold, or that contradict the affine."""
    header = make_nifti(np.zeros((1, 1, 1), np.int16), space=space).header
    for name, value in space.items():
        # Older versions of NumPy wrap a number that is too large.
        found = np.asarray(header[name], float)
        if not np.allclose(found, np.asarray(value, float), equal_nan=True):
            raise ValueError(f"a {name} of {value!r}")
    if header["sform_code"] or header["qform_code"]:
        found = header.get_best_affine()
        if affine is None or not np.allclose(found, affine, rtol=1e-3, atol=1e-2):
            raise ValueError("a header whose affine is not that of the image")


def _as_written(volume, affine, coded, path):
    """Return codes with their axes as they were written; other programs turn them."""
    expected, shape = coded.affine_of_codes, (*volume.shape, 1)[:3]
    if distance_apart(expected, affine, shape) <= _ROUNDING:
        return volume
    if volume.ndim > 2:
        turn = ornt_transform(io_orientation(affine), io_orientation(expected))
        turned = apply_orientation(volume, turn)
        affine = affine @ inv_ornt_aff(turn, shape)
        if distance_apart(expected, affine, turned.shape[:3]) <= _ROUNDING:
            return turned
    raise ValueError(
        f"{path}: its codes are no longer where they were written: another program "
        "moved, cut or resampled them; decode the file as dipy_encode_vqvae wrote it, "
        "and then move, cut or resample the image"
    )


def _with_codes(coded, volume, path):
    """Put the codes of a file's array into what its record says."""
    layout = coded.layout
    n_axes = 2 + (layout.spatial_dims == 3 or layout.slice_axis is not None)
    if volume.ndim != n_axes + (layout.n_volumes is not None):
        raise ValueError(
            f"{path}: codes of shape {volume.shape} are not those that were written: "
            "the file was changed"
        )
    codes = layout.to_stack(volume).astype(np.int32)
    if coded.digest not in (None, _digest(volume)):
        raise ValueError(
            f"{path}: its codes are not those that were written: the file was changed"
        )
    grid = tuple(-(-n // f) for n, f in zip(coded.image_shape, coded.downsampling))
    n_volumes = coded.layout.n_volumes
    if codes.shape[1:] != grid or n_volumes not in (None, volume.shape[-1]):
        raise ValueError(
            f"{path}: images of {coded.image_shape} have codes of {grid}, not "
            f"{volume.shape}: the file was changed"
        )
    if len(coded.scalings) not in (1, len(codes)):
        raise ValueError(
            f"{path}: {len(coded.scalings)} scalings for {len(codes)} images: the file "
            "was changed"
        )
    mask = coded.mask
    if mask is not None:
        mask = replace(mask, shape=(len(codes), *coded.image_shape))
        try:
            mask.check()
        except (ValueError, zlib.error) as error:
            raise ValueError(f"{path}: its mask cannot be used ({error})") from error
    return replace(coded, codes=codes, mask=mask)


def _read_record(path):
    """Read the record in the header of a NIfTI file."""
    record = _find_record(path)
    if record is None:
        raise ValueError(
            f"{path}: no codes as dipy_encode_vqvae writes them (its header has no "
            "record of how it was encoded; some programs drop it)"
        )
    version = record.get("version")
    if version not in _READ:
        raise ValueError(
            f"{path}: its codes are of format {version}, this is dipy_vqvae "
            f"{__version__}, which reads {' and '.join(map(str, _READ))}"
        )
    return record


def _find_record(path):
    """Return the record in the header of a NIfTI file, or None."""
    # There is no common class for what nibabel raises on damaged extensions.
    try:
        texts = read_extensions(path)
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


def _digest(volume):
    """Return a hash of the codes of a file, whatever type they are kept in."""
    content = np.ascontiguousarray(volume, "<i4")
    return hashlib.sha256(content.data).hexdigest()[:16]
