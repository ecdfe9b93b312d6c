"""Compressed grids of codes: bytes that a prior reads without further information."""

from dataclasses import dataclass
from math import prod
import zlib

import numpy as np

from dipy_vqvae.codes import pad_grids
from dipy_vqvae.compression import (
    IDENTITY_BYTES,
    STATE,
    FieldReader,
    deflate,
    identity,
    inflate,
    least_bits,
    masks_from_bytes,
    masks_to_bytes,
    pack,
    unpack,
    write_bytes,
    write_number,
)
from dipy_vqvae.prior.coding import Protocol, Stream
from dipy_vqvae.prior.conditions import Conditions

_CHECK = 4
# What a file has besides the codes.
_HAS_MASK, _HAS_LABELS, _HAS_COVARIATES, _HAS_REVERSE, _IS_LIST, _NEEDS_MASK = (
    1 << i for i in range(6)
)
_MOST = 1 << 32

_OTHERS = (
    "the codes computed here are not those that were compressed: the mask is another "
    "one, or this machine rounds otherwise than is provided for; nothing was decoded"
)


@dataclass(frozen=True, eq=False)
class PackedGrids:
    """Codes of grids as a prior packs them.

    Attributes
    ----------
    shapes : list of tuple of int
        Shape (n, *grid) of each stack, without the padding of priors of mixed grids.
    is_single : list of bool
        Stacks that the user gave as one grid, without a first axis.
    is_list : bool
        Whether the user gave a list.
    inside : list of bool arrays (n, *grid), or None
        Positions that count; None: all of them.
    keeps_mask : bool
        Whether a file has `inside`; otherwise its reader has to know it.
    conditions : Conditions
        Of all grids, as the network takes them.
    check : int
        CRC-32 of the codes, K where they do not count.
    stream : Stream
        The codes.
    """

    shapes: list
    is_single: list
    is_list: bool
    inside: list | None
    keeps_mask: bool
    conditions: Conditions
    check: int
    stream: Stream


def identity_of(fit):
    """Return the identity of a prior: of all that its probabilities depend on."""
    config = fit.config
    settings = {
        "kind": config.kind,
        "grid_shape": list(config.grid_shape),
        "mixed_grids": config.mixed_grids,
        "log_weights": config.log_weights.tolist(),
        "covariates": [list(vars(c).values()) for c in config.covariates],
    }
    return identity(settings, fit.net.state_dict())


def encode_grids(fit, stacks, conditions, reverse, **options):
    """Return the `Stream` and the checksum of stacks of grids, K outside."""
    protocol = Protocol(fit, **options)
    return protocol.encode(_padded(fit, stacks), conditions, reverse), checksum(stacks)


def decode_grids(fit, packed, **options):
    """Return stacks of grids, K outside.

    Raises
    ------
    ValueError
        If they are not those that were encoded.
    """
    stacks = [np.zeros(shape, np.int32) for shape in packed.shapes]
    for stack, of_stack in zip(stacks, packed.inside or ()):
        stack[~of_stack] = fit.n_codes
    padded = _padded(fit, stacks)
    protocol = Protocol(fit, **options)
    try:
        protocol.decode(packed.stream, padded, packed.conditions)
    except ValueError as error:
        raise ValueError(f"{_OTHERS} ({error})") from error
    stacks = [
        np.ascontiguousarray(stack[tuple(map(slice, shape))])
        for stack, shape in zip(padded, packed.shapes)
    ]
    if checksum(stacks) != packed.check:
        raise ValueError(_OTHERS)
    return stacks


def checksum(stacks):
    """Return the CRC-32 of grids."""
    check = 0
    for stack in stacks:
        check = zlib.crc32(np.ascontiguousarray(stack, "<i4"), check)
    return check


def _padded(fit, stacks):
    """Pad grids as a prior of mixed grids was trained with them; returns copies."""
    if not fit.config.mixed_grids:
        return [stack.copy() for stack in stacks]
    return [
        pad_grids(stack, fit.grid_shape, n_codes=fit.n_codes).copy() for stack in stacks
    ]


# Bytes


def to_bytes(fit, packed):
    """Return the content of a file."""
    labels, covariates, _ = packed.conditions.arrays()
    reverse = packed.stream.reverse
    parts = {
        _HAS_MASK: masks_to_bytes(packed.inside) if packed.keeps_mask else None,
        _HAS_LABELS: None if labels is None else deflate(labels.astype(_type(fit))),
        # The bytes of the same order together.
        _HAS_COVARIATES: None if covariates is None else deflate(_planes(covariates)),
        _HAS_REVERSE: deflate(np.packbits(reverse)) if reverse.any() else None,
    }
    out = bytearray(identity_of(fit))
    out += packed.check.to_bytes(_CHECK, "little")
    flags = sum(flag for flag, part in parts.items() if part is not None)
    needs_mask = packed.inside is not None and not packed.keeps_mask
    write_number(out, flags + _IS_LIST * packed.is_list + _NEEDS_MASK * needs_mask)
    # 0 for all of them.
    n_together = packed.stream.n_together
    write_number(out, n_together if n_together < len(reverse) else 0)
    write_number(out, len(packed.shapes))
    for shape, is_single in zip(packed.shapes, packed.is_single):
        write_number(out, 2 * shape[0] + is_single)
        for n in shape[1:]:
            write_number(out, n)
    for part in parts.values():
        if part is not None:
            write_bytes(out, part)
    return pack([bytes(out), packed.stream.sides, packed.stream.words])


def from_bytes(fit, content, masks_of=None):
    """Read the content of a file; sizes are checked before memory is asked for.

    `masks_of` returns the masks that the user has, for some shapes.

    Raises
    ------
    ValueError
        If it is damaged, of another prior, or needs a mask that the user has not given.
    """
    sections = unpack(content)
    try:
        header, sides, words = sections[:3]
        reader = FieldReader(header)
        model = reader.take(IDENTITY_BYTES)
    except ValueError as error:
        raise ValueError(f"damaged: {error}") from error
    own = identity_of(fit)
    if model != own:
        raise ValueError(
            f"compressed with another prior: its identity is {model.hex()}, that of "
            f"this one {own.hex()}"
        )
    try:
        check = int.from_bytes(reader.take(_CHECK), "little")
        flags = reader.number()
        n_together = reader.number(_MOST)
        shapes, is_single = _read_shapes(reader, len(fit.grid_shape))
    except ValueError as error:
        raise ValueError(f"damaged: {error}") from error
    inside = _masks_of_user(masks_of, shapes, bool(flags & _NEEDS_MASK))
    try:
        if flags & _HAS_MASK:
            inside = masks_from_bytes(reader.bytes(), shapes)
        _check_number(fit, shapes, inside, words)
        conditions, reverse = _read_conditions(fit, reader, flags, shapes)
    except ValueError as error:
        raise ValueError(f"damaged: {error}") from error
    return PackedGrids(
        shapes=shapes,
        is_single=is_single,
        is_list=bool(flags & _IS_LIST),
        inside=inside,
        keeps_mask=bool(flags & _HAS_MASK),
        conditions=conditions,
        check=check,
        stream=Stream(words, sides, n_together or len(reverse), reverse),
    )


def _masks_of_user(masks_of, shapes, is_needed):
    """Return the masks that a file does not have, or None where it needs none."""
    if is_needed and masks_of is None:
        raise ValueError(
            "mask: these codes were compressed with one that is not in the file: it is "
            "needed"
        )
    if masks_of is not None and not is_needed:
        raise ValueError("mask: these codes need none, or bring their own")
    return masks_of(shapes) if is_needed else None


def _read_conditions(fit, reader, flags, shapes):
    """Read the conditions of all grids, and which of them are in the reverse order."""
    n = sum(shape[0] for shape in shapes)
    labels = covariates = reverse = None
    if flags & _HAS_LABELS:
        content = inflate(reader.bytes(), n * _type(fit).itemsize)
        labels = np.frombuffer(content, _type(fit)).astype(np.int64)
    if flags & _HAS_COVARIATES:
        n_columns = len(fit.config.covariates)
        covariates = _from_planes(inflate(reader.bytes(), 4 * n * n_columns), n_columns)
    if flags & _HAS_REVERSE:
        packed = inflate(reader.bytes(), -(-n // 8))
        reverse = np.unpackbits(np.frombuffer(packed, np.uint8), count=n).astype(bool)
    _check_conditions(fit, labels, covariates, reverse)
    reverse = np.zeros(n, bool) if reverse is None else reverse
    return Conditions(labels, covariates), reverse


def _read_shapes(reader, n_axes):
    """Read the shapes of the stacks, and which of them are one grid."""
    shapes, is_single = [], []
    for _ in range(reader.number(_MOST)):
        number = reader.number(_MOST)
        is_single.append(bool(number % 2))
        shapes.append((number // 2, *(reader.number(_MOST) for _ in range(n_axes))))
    if not shapes or any(0 in shape for shape in shapes):
        raise ValueError(f"codes of shapes {shapes[:3]}")
    return shapes, is_single


def _check_number(fit, shapes, inside, words):
    """Refuse more codes than some bytes can hold, without memory for them."""
    n_codes = sum(map(prod, shapes))
    if inside is not None:
        # One mask may be for all grids of a stack.
        n_codes = sum(
            len(mask) * int(mask[0].sum()) if not mask.strides[0] else int(mask.sum())
            for mask in inside
        )
    if not n_codes or n_codes * least_bits(fit.n_codes) > 8 * len(words) + STATE:
        raise ValueError(f"{n_codes} codes in {len(words)} bytes")


def _check_conditions(fit, labels, covariates, reverse):
    """Refuse conditions that the prior does not have."""
    if (labels is None) != (not fit.n_classes):
        raise ValueError(
            "labels for a prior without classes, or none for one with them"
        )
    if labels is not None and labels.max() >= fit.n_classes:
        raise ValueError(f"a label of {labels.max()}")
    if (covariates is None) != (not fit.config.covariates):
        raise ValueError("covariates are missing, or too many")
    if covariates is not None and not np.isfinite(covariates).all():
        raise ValueError("covariates that are not finite")
    if reverse is not None and fit.net.reverse is None:
        raise ValueError("codes in an order that the prior does not know")


def _type(fit):
    """Return the type of labels in a file."""
    return np.dtype("u1" if fit.n_classes <= 256 else "<u2")


def _planes(covariates):
    """Return float32 (N, n) as bytes: all first bytes, then all second ones."""
    columns = np.ascontiguousarray(covariates.T, "<f4")
    return columns.view(np.uint8).reshape(-1, 4).T.tobytes()


def _from_planes(content, n_columns):
    columns = np.frombuffer(content, np.uint8).reshape(4, -1).T
    columns = np.ascontiguousarray(columns).view("<f4").reshape(n_columns, -1)
    return np.ascontiguousarray(columns.T, np.float32)
