"""From one file of images to codes and back, for all commands alike."""

from dataclasses import dataclass
import logging

import numpy as np

from dipy_vqvae.workflows.command import UsageError

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True, eq=False)
class Opened:
    """The images of one file.

    Attributes
    ----------
    file : SourceFile
        Where they are from.
    images : array, shape (n, *spatial[, C])
        In the type of the file.
    mask : array, shape (n, *spatial), bool, or None
        What counts.
    layout : Layout
        How results for them lie in a file.
    """

    file: object
    images: np.ndarray
    mask: np.ndarray | None
    layout: object


def open_file(fit, path, *, reading, mask_file=None):
    """Read the images of one file for a model.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    path : Path
        The file.
    reading : Reading
        How to take it apart.
    mask_file : Path, optional
        Its mask.

    Returns
    -------
    opened : Opened

    Raises
    ------
    OSError, ValueError
        If the file or its mask cannot be used, or do not suit the model.
    """
    from dipy_vqvae.codes import is_coded
    from dipy_vqvae.data import layout_of, open_images, orientation_of

    if is_coded(path):
        raise ValueError(
            f"{path}: has codes, as dipy_encode_vqvae writes them, and no image; "
            "dipy_decode_vqvae makes an image of it"
        )
    collection = open_images(
        [path],
        spatial_dims=fit.spatial_dims,
        slice_axis=reading.slice_axis,
        volumes_as=reading.volumes_as,
        mask_files=None if mask_file is None else [mask_file],
    )
    if collection.n_channels != fit.n_channels_in:
        has = f"{collection.n_channels} channel" + "s" * (collection.n_channels > 1)
        raise ValueError(
            f"{path}: its images have {has}, the model was trained on "
            f"{fit.n_channels_in}"
        )
    (file,) = collection.files
    orientation = orientation_of(file.affine)
    if reading.kind == "nifti" and orientation not in (None, reading.orientation):
        logger.warning(
            "%s: its axes point to %s, those of the training images to %s; it is taken "
            "as it is stored",
            path,
            orientation,
            reading.orientation,
        )
    return Opened(
        file=file,
        images=collection.read(0),
        mask=collection.read_mask(0),
        layout=layout_of(
            file, spatial_dims=fit.spatial_dims, slice_axis=reading.slice_axis
        ),
    )


def encode_file(fit, opened, *, batch_size=None):
    """The codes of one file's images.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    opened : Opened
        The images.
    batch_size : int, optional
        Images at a time.

    Returns
    -------
    coded : CodedImages
    """
    from dipy_vqvae.codes import encode_images

    return encode_images(
        fit,
        opened.images,
        layout=opened.layout,
        mask=opened.mask,
        affine=opened.file.affine,
        batch_size=batch_size,
    )


def checked_batch_size(batch_size):
    """Refuse numbers of images that are none.

    Parameters
    ----------
    batch_size : int or None
        Images at a time; None for the library's choice.

    Raises
    ------
    UsageError
        If it is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch_size must be at least 1, got {batch_size}")
    return batch_size
