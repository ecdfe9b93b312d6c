"""Images as files of a few bits, by a VQ-VAE and a prior."""

from dataclasses import replace

import numpy as np

from dipy_vqvae.arrays import as_array, is_list_of_arrays
from dipy_vqvae.codes import RECORD_ERRORS, CodedImages
from dipy_vqvae.compression.container import pack, unpack
from dipy_vqvae.compression.fields import (
    FieldReader,
    deflate,
    inflate,
    write_bytes,
    write_number,
)
from dipy_vqvae.compression.identities import IDENTITY_BYTES, identity
from dipy_vqvae.compression.masks import masks_from_bytes, masks_to_bytes
from dipy_vqvae.compression.records import (
    DICTIONARY,
    records_from_text,
    records_to_text,
)
from dipy_vqvae.data import Layout
from dipy_vqvae.vqvae import codebook_fingerprint, decode_images, encode_images

# Sections that a prior writes; what this module adds follows.
_N_OF_PRIOR = 3
_LONGEST_RECORD = 1 << 31


def compress_images(
    vqvae,
    prior,
    images,
    *,
    mask=None,
    affine=None,
    labels=None,
    covariates=None,
    rate=None,
    batch_size=None,
    verbose=False,
):
    """Compress images to about as many bits as the prior says of their codes.

    The codes inside the mask take at most 0.3 % more than their code length under the
    prior, and all else that each file has, such as checksums and shapes, 64 bytes. What
    the prior does not say comes on top: an affine that is not along the axes, scalings
    of single volumes, further subjects (about 24 bytes each), labels and covariates, the
    voxels of masks, and codes outside of them, which the decoder sees at their edge.

    Parameters
    ----------
    vqvae : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior, of its codes.
    images : array, shape (N, *spatial[, C]), or list of such arrays
        Images in the units of the training images; a list with an array, or one image
        of shape (*spatial,), for each subject.
    mask : array, shape (*spatial,) or (N, *spatial), or list of them, optional
        Nonzero inside. Voxels outside are 0 after decompression.
    affine : array, shape (4, 4), or list of them, optional
        Voxel indices to world coordinates, which are kept.
    labels : int array, shape (N,), optional
        Class of each image, for a prior with classes; N is the number of all images.
    covariates : dict of array, shape (N,), optional
        Continuous conditions by name, for a prior with covariates.
    rate : float, optional
        Price of a nat, see :meth:`dipy_vqvae.PixelCNNFit.quantise`: a higher one gives
        fewer bits and more distortion. By default the codes are those of
        :meth:`dipy_vqvae.VQVAEFit.encode`.
    batch_size : int, optional
        Images at a time.
    verbose : bool, optional
        Show a progress bar.

    Returns
    -------
    content : bytes
        For :func:`decompress_images` with the same two models, on any machine.

    Raises
    ------
    ValueError, TypeError
        For images, a mask or conditions that the models cannot use.
    """
    is_list = is_list_of_arrays(images)
    entries = list(images) if is_list else [images]
    n = len(entries)
    masks = _one_for_each("mask", mask, n, is_list)
    affines = _one_for_each("affine", affine, n, is_list)
    entries = [_with_first_axis(vqvae, entry) for entry in entries]
    masks = [_full_mask(vqvae, *pair) for pair in zip(entries, masks)]
    coded = [
        encode_images(
            vqvae,
            entry,
            layout=Layout(vqvae.spatial_dims),
            mask=own_mask,
            affine=own_affine,
            batch_size=batch_size,
        )
        for entry, own_mask, own_affine in zip(entries, masks, affines)
    ]
    given = {"labels": labels, "covariates": covariates, "verbose": verbose}
    if rate:
        coded = encode_at_rate(
            vqvae, prior, coded, entries, rate=rate, batch_size=batch_size, **given
        )
    return pack_images(vqvae, prior, coded, is_list=is_list, **given)


def decompress_images(vqvae, prior, content, *, batch_size=None, verbose=False):
    """Restore the images of :func:`compress_images`.

    Parameters
    ----------
    vqvae : VQVAEFit
        The VQ-VAE.
    prior : PixelCNNFit
        The prior.
    content : bytes
        What :func:`compress_images` returned, or a ``.vqz`` file of
        dipy_compress_vqvae.
    batch_size : int, optional
        Images at a time.
    verbose : bool, optional
        Show a progress bar.

    Returns
    -------
    images : array, shape (N, *spatial[, C]), float32, or list of such arrays
        What :meth:`VQVAEFit.predict` gives for the images that were compressed.

    Raises
    ------
    ValueError
        If the bytes are damaged, of other models or of a newer version, or if the codes
        are not those that were compressed.
    """
    coded, is_list = unpack_images(vqvae, prior, content, verbose=verbose)
    images = [decode_images(vqvae, entry, batch_size=batch_size) for entry in coded]
    return images if is_list else images[0]


def encode_at_rate(
    vqvae,
    prior,
    coded,
    images,
    *,
    rate,
    labels=None,
    covariates=None,
    batch_size=None,
    verbose=False,
):
    """Choose codes again, by their distance and by their length under a prior.

    Parameters
    ----------
    vqvae, prior, labels, covariates, rate, batch_size, verbose
        As for :func:`compress_images`.
    coded : list of CodedImages
        The codes of each subject.
    images : list of arrays, shape (n, *spatial[, C])
        The images that they are of.

    Returns
    -------
    coded : list of CodedImages
        With other codes; those outside of masks, which the prior does not know, stay.
    """
    latents = []
    for entry, of_subject in zip(coded, images):
        mask = None if entry.mask is None else np.asarray(entry.mask)
        parts = [
            vqvae.latents(
                of_subject[part],
                mask=None if mask is None else mask[part],
                scaling=scaling,
                batch_size=batch_size,
            )
            for part, scaling in entry.groups()
        ]
        latents.append(np.concatenate(parts))
    masks = _masks_of_codes(vqvae, prior, coded)
    stacks = prior.quantise(
        latents,
        vqvae.codebook,
        price=rate,
        mask=masks,
        labels=labels,
        covariates=covariates,
        verbose=verbose,
    )
    if masks is not None:
        stacks = [
            np.where(inside, codes, entry.codes)
            for inside, codes, entry in zip(masks, stacks, coded)
        ]
    return [replace(entry, codes=codes) for entry, codes in zip(coded, stacks)]


def pack_images(
    vqvae,
    prior,
    coded,
    *,
    labels=None,
    covariates=None,
    is_list=False,
    verbose=False,
):
    """Compress the codes of images, with what is needed to decode them.

    Parameters
    ----------
    vqvae, prior, labels, covariates, verbose
        As for :func:`compress_images`.
    coded : list of CodedImages
        The codes of each subject.
    is_list : bool, optional
        Whether the user gave a list.

    Returns
    -------
    content : bytes
    """
    masks = _masks_of_codes(vqvae, prior, coded)
    content = prior.compress(
        [entry.codes for entry in coded],
        mask=masks,
        labels=labels,
        covariates=covariates,
        keep_mask=False,
        verbose=verbose,
    )
    out = bytearray(_identity_of(vqvae))
    text = records_to_text(coded, _usual(vqvae), is_list=is_list)
    write_number(out, len(text))
    write_bytes(out, deflate(text, DICTIONARY))
    voxels = [np.asarray(entry.mask) for entry in coded if entry.mask is not None]
    if voxels:
        write_bytes(out, masks_to_bytes(voxels))
    if masks is not None:
        # The decoder sees them at the edge of the mask.
        outside = [entry.codes[~inside] for entry, inside in zip(coded, masks)]
        outside = np.concatenate(outside).astype(_type(vqvae))
        write_bytes(out, deflate(outside.tobytes()))
    return pack([*unpack(content), bytes(out)])


def unpack_images(vqvae, prior, content, *, verbose=False):
    """Restore the codes of :func:`pack_images`.

    Parameters
    ----------
    vqvae, prior, content, verbose
        As for :func:`decompress_images`.

    Returns
    -------
    coded : list of CodedImages
    is_list : bool

    Raises
    ------
    ValueError
        As for :func:`decompress_images`.
    """
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content must be bytes, got {type(content).__name__}")
    sections = unpack(bytes(content))
    if len(sections) != _N_OF_PRIOR + 1:
        raise ValueError("codes of a prior, without images: use its decompress")
    reader = FieldReader(sections[-1])
    own = _identity_of(vqvae)
    try:
        model = reader.take(IDENTITY_BYTES)
        length = reader.number(_LONGEST_RECORD)
        text = inflate(reader.bytes(), length, DICTIONARY)
    except ValueError as error:
        raise ValueError(f"damaged: {error}") from error
    if model != own:
        raise ValueError(
            f"compressed with another VQ-VAE: its identity is {model.hex()}, that of "
            f"this one {own.hex()}"
        )
    try:
        coded, is_list, shapes = records_from_text(text, _usual(vqvae))
        coded = _with_masks(coded, shapes, reader)
    except RECORD_ERRORS as error:
        raise ValueError(f"damaged: its record cannot be used ({error})") from error
    coded = _with_codes(vqvae, prior, coded, content, reader, verbose)
    return coded, is_list


def code_bytes(content):
    """Return how many bytes of a file are the codes that the prior knows.

    The prior's code length is that of these. The others are about 60 for models,
    checksums and shapes, and what the prior does not say: affine and header, scaling,
    mask, codes outside of it, and conditions.

    Parameters
    ----------
    content : bytes
        What :func:`pack_images` returned.

    Returns
    -------
    n : int
    """
    return sum(map(len, unpack(content)[1:_N_OF_PRIOR]))


def _with_first_axis(vqvae, images):
    """Return images (n, *spatial[, C]); those of a subject may be one image."""
    images = as_array(images, "images")
    n_axes = vqvae.spatial_dims + bool(vqvae.config.channel_axis)
    return images[np.newaxis] if images.ndim == n_axes else images


def _full_mask(vqvae, images, mask):
    """Return a mask (n, *spatial), bool, or None."""
    if mask is None:
        return None
    shape = images.shape[: 1 + vqvae.spatial_dims]
    mask = as_array(mask, "mask")
    if mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"mask must have shape {shape[1:]} or {shape}, got {mask.shape}"
        )
    return np.broadcast_to(mask != 0, shape)


def _one_for_each(name, value, n, is_list):
    """Return an entry for each of n subjects; one array may be for all."""
    if not is_list or not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name}: got a list of {len(value)} for {n} subjects")
    return list(value)


def _masks_of_codes(vqvae, prior, coded):
    """Return the positions whose codes the prior looks at, or None for all."""
    if prior.outside_code is None or all(entry.mask is None for entry in coded):
        return None
    return [
        np.ones(entry.codes.shape, bool)
        if entry.mask is None
        else vqvae.positions_inside(np.asarray(entry.mask))
        for entry in coded
    ]


def _identity_of(vqvae):
    """Return the identity of a VQ-VAE: of all that decoding depends on."""
    config = vqvae.config
    settings = {
        "architecture": config.architecture,
        "downsampling": list(config.downsampling),
        "bounds": None if config.bounds is None else list(map(float, config.bounds)),
        "scaling": config.scaling.to_dict(),
        "channel_axis": bool(config.channel_axis),
    }
    state = vqvae.net.decoder.state_dict(prefix="decoder.")
    state["codebook"] = vqvae.net.quantiser.codebook
    return identity(settings, state)


def _usual(vqvae):
    """Return `CodedImages` like those of the training, which needs no words."""
    config = vqvae.config
    return CodedImages(
        codes=None,
        layout=Layout(vqvae.spatial_dims),
        image_shape=tuple(vqvae.image_shape),
        downsampling=tuple(config.downsampling),
        n_codes=vqvae.n_codes,
        model=codebook_fingerprint(vqvae),
        scalings=(config.scaling,),
    )


def _type(vqvae):
    """Return the type of codes outside of a mask, in a file."""
    return np.min_scalar_type(vqvae.n_codes - 1).newbyteorder("<")


def _with_masks(coded, shapes, reader):
    """Put the masks into what the records say."""
    if not any(shapes):
        return coded
    masks = iter(masks_from_bytes(reader.bytes(), list(filter(None, shapes))))
    return [
        entry if shape is None else replace(entry, mask=next(masks))
        for entry, shape in zip(coded, shapes)
    ]


def _with_codes(vqvae, prior, coded, content, reader, verbose):
    """Put the codes into what the records say; `reader` has those outside of masks."""
    masks = _masks_of_codes(vqvae, prior, coded)
    stacks = prior.decompress(content, mask=masks, verbose=verbose)
    if len(stacks) != len(coded):
        raise ValueError(f"damaged: {len(stacks)} stacks of codes for {len(coded)}")
    if masks is not None:
        outside = ~np.concatenate([inside.ravel() for inside in masks])
        kind = _type(vqvae)
        try:
            of_all = inflate(reader.bytes(), int(outside.sum()) * kind.itemsize)
        except ValueError as error:
            raise ValueError(f"damaged: {error}") from error
        of_all, first = np.frombuffer(of_all, kind), 0
        for codes, inside in zip(stacks, masks):
            n = np.count_nonzero(~inside)
            codes[~inside] = of_all[first : first + n]
            first += n
    for codes, entry in zip(stacks, coded):
        grid = tuple(-(-n // f) for n, f in zip(entry.image_shape, entry.downsampling))
        if codes.shape[1:] != grid or len(entry.scalings) not in (1, len(codes)):
            raise ValueError(
                f"damaged: codes of {codes.shape} for images of {entry.image_shape}"
            )
    return [replace(entry, codes=codes) for entry, codes in zip(coded, stacks)]
