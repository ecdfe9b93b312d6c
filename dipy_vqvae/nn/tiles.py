"""Encoders and decoders on images too large for them, a tile at a time.

The networks see a finite part of their input: there are no norms over space. A tile
of the output is computed from all of the input that it depends on, and is what it
would be without tiles, up to rounding. Where a tile's input ends inside the image
the convolutions pad it with zeros; what depends on them is not kept.
"""

from itertools import product
from math import ceil, prod

from torch import nn

from dipy_vqvae.nn.autoencoder import (
    Clamp,
    DepthToSpace,
    ResidualBlock,
    SpaceToDepth,
)

# Numbers that enter and leave the largest layer, over all images of a pass or of one
# tile; a pass needs about three times the memory.
LARGEST_PASS = 1 << 26

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def input_range(module, axis, first, last):
    """Return positions of the input that some of the output depend on.

    Examples
    --------
    >>> input_range(nn.Conv2d(1, 1, 3, stride=2, padding=1), 0, 5, 6)
    (9, 13)
    """
    if isinstance(module, nn.Sequential):
        for part in reversed(module):
            first, last = input_range(part, axis, first, last)
        return first, last
    if isinstance(module, ResidualBlock):
        first, last = input_range(module.conv2, axis, first, last)
        return input_range(module.conv1, axis, first, last)
    if isinstance(module, (nn.ReLU, Clamp)):
        return first, last
    if isinstance(module, SpaceToDepth):
        factor = module.factors[axis]
        return first * factor, last * factor + factor - 1
    if isinstance(module, DepthToSpace):
        factor = module.factors[axis]
        return first // factor, last // factor
    if isinstance(module, (*_CONVS, *_TRANSPOSED)) and set(module.dilation) == {1}:
        kernel, stride, padding = (
            n[axis] for n in (module.kernel_size, module.stride, module.padding)
        )
        if isinstance(module, _CONVS):
            return first * stride - padding, last * stride - padding + kernel - 1
        # Output o is reached from input i by o = i stride - padding + tap.
        return -((kernel - 1 - padding - first) // stride), (last + padding) // stride
    raise TypeError(f"it is not known what a {type(module).__name__} depends on")


def numbers_per_voxel(module, ratio):
    """Count the numbers in and out of the largest layer per voxel of the image."""
    largest = 0.0
    for part in module.modules():
        if isinstance(part, SpaceToDepth):
            ratio /= prod(part.factors)
        elif isinstance(part, DepthToSpace):
            ratio *= prod(part.factors)
        elif isinstance(part, (*_CONVS, *_TRANSPOSED)):
            entering = part.in_channels * ratio
            if isinstance(part, _CONVS):
                ratio /= prod(part.stride)
            else:
                ratio *= prod(part.stride)
            largest = max(largest, entering + part.out_channels * ratio)
    return largest


def tiled_encoder(encoder, x, factors):
    """Encode images, in tiles where they would need much memory."""
    grid = [n // f for n, f in zip(x.shape[2:], factors)]
    per_cell = len(x) * prod(factors) * numbers_per_voxel(encoder, 1.0)

    def cells_needed(axis, first, last):
        first, last = input_range(encoder, axis, first, last)
        return first // factors[axis], last // factors[axis]

    if prod(grid) * per_cell <= LARGEST_PASS:
        return encoder(x)
    latents = None
    for kept, needed in _tiles(grid, cells_needed, LARGEST_PASS / per_cell):
        region = [slice(n.start * f, n.stop * f) for n, f in zip(needed, factors)]
        part = encoder(x[(..., *region)])
        if latents is None:
            latents = part.new_empty(*part.shape[:2], *grid)
        inner = [
            slice(k.start - n.start, k.stop - n.start) for k, n in zip(kept, needed)
        ]
        latents[(..., *kept)] = part[(..., *inner)]
    return latents


def tiled_decoder(decoder, vectors, factors):
    """Decode vectors, in tiles where they would need much memory."""
    grid = vectors.shape[2:]
    voxels = prod(factors)
    per_cell = len(vectors) * voxels * numbers_per_voxel(decoder, 1 / voxels)

    def cells_needed(axis, first, last):
        factor = factors[axis]
        return input_range(decoder, axis, first * factor, (last + 1) * factor - 1)

    if prod(grid) * per_cell <= LARGEST_PASS:
        return decoder(vectors)
    images = None
    for kept, needed in _tiles(grid, cells_needed, LARGEST_PASS / per_cell):
        part = decoder(vectors[(..., *needed)])
        if images is None:
            shape = [n * f for n, f in zip(grid, factors)]
            images = part.new_empty(*part.shape[:2], *shape)
        region = [slice(k.start * f, k.stop * f) for k, f in zip(kept, factors)]
        inner = [
            slice((k.start - n.start) * f, (k.stop - n.start) * f)
            for k, n, f in zip(kept, needed, factors)
        ]
        images[(..., *region)] = part[(..., *inner)]
    return images


def _tiles(grid, cells_needed, largest):
    """Return slices of the cells to keep and of those they depend on, tile by tile.

    The tiles have about the same shape, and `largest` cells with all that they depend
    on, where that is possible.
    """
    counts = [1] * len(grid)
    while True:
        cuts = [_cut(n, count) for n, count in zip(grid, counts)]
        needed = [
            [_clipped(cells_needed(axis, c.start, c.stop - 1), n) for c in cut]
            for axis, (cut, n) in enumerate(zip(cuts, grid))
        ]
        sizes = [max(n.stop - n.start for n in axis) for axis in needed]
        kept = [max(c.stop - c.start for c in cut) for cut in cuts]
        if prod(sizes) <= largest or max(kept) == 1:
            break
        counts[kept.index(max(kept))] += 1
    for tile in product(*(zip(*axis) for axis in zip(cuts, needed))):
        yield [k for k, _ in tile], [n for _, n in tile]


def _cut(n, count):
    """Return slices of about the same length that cover 0..n."""
    size = ceil(n / min(n, count))
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _clipped(cells, n):
    first, last = cells
    return slice(max(0, first), min(n, last + 1))
