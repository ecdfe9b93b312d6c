"""Images to codes that can be saved, and back."""

from dataclasses import replace

import numpy as np

from dipy_vqvae.codes import CodedImages
from dipy_vqvae.storage import fingerprint


def codebook_fingerprint(fit):
    """Compute a fingerprint of the codebook, which identifies a model.

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
    fit,
    images,
    *,
    layout,
    mask=None,
    affine=None,
    space=None,
    scaling=None,
    batch_size=None,
):
    """Encode the images of one file.

    Parameters
    ----------
    fit : VQVAEFit
        The model.
    images : array, shape (n, *spatial[, C])
        The images.
    layout : Layout
        Their order in the file.
    mask : array, shape (n, *spatial), bool, optional
        Voxels outside have no influence, and are zero when decoded.
    affine : array (4, 4), optional
        The file's affine.
    space : dict, optional
        What the file's header says of space and time, see
        :class:`dipy_vqvae.data.ImageHeader`.
    scaling : IntensityScaling or list of them, optional
        By default the model's own, or the image's if each volume has its own.
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
        space=space,
        mask=mask,
    )
    codes = [
        fit.encode(
            images[part],
            mask=None if mask is None else mask[part],
            scaling=scaling,
            batch_size=batch_size,
        )
        for part, scaling in coded.groups()
    ]
    return replace(coded, codes=np.concatenate(codes))


def decode_images(fit, coded, *, batch_size=None):
    """Decode the images of one file.

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
        images[~np.asarray(coded.mask)] = 0
    return images


def check_model(fit, coded):
    """Refuse codes of another model."""
    for name, theirs, ours in (
        ("spatial axes", coded.layout.spatial_dims, fit.spatial_dims),
        ("codes in the codebook", coded.n_codes, fit.n_codes),
        ("voxels per code", coded.downsampling, tuple(fit.config.downsampling)),
    ):
        if theirs != ours:
            raise ValueError(
                f"these codes are of another model: it has {theirs} {name}, this one "
                f"{ours}"
            )
    codebook = codebook_fingerprint(fit)
    if coded.model != codebook:
        raise ValueError(
            f"these codes are of another model: its codebook is {coded.model}, that of "
            f"this one {codebook}"
        )
