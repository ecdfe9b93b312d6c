"""Encoders and decoders of the VQ-VAE, for two or three spatial axes.

Two architectures:

``subpixel``
    The blocks of pixels that one code stands for become channels
    (space-to-depth), residual blocks work at the resolution of the codes, and the
    decoder turns channels back into pixels :footcite:p:`Shi2016`. Most of the
    arithmetic of a strided design is spent at full resolution; this does the same
    for less.
``strided``
    The experiment's own: strided convolutions down, transposed convolutions up.

References
----------
.. footbibliography::
"""

from math import prod

import torch
from torch import nn
import torch.nn.functional as F

from dipy_vqvae.nn.causal import CONV_MODULE, pointwise

CONV_TRANSPOSE_MODULE = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def space_to_depth(x, factors):
    """Move blocks of `factors` positions into the channels.

    ``(B, C, H, W)`` becomes ``(B, C * fh * fw, H / fh, W / fw)``.
    """
    batch, channels, *grid = x.shape
    blocks = [n for size, f in zip(grid, factors) for n in (size // f, f)]
    x = x.reshape(batch, channels, *blocks)
    d = len(factors)
    coarse = [2 + 2 * i for i in range(d)]
    fine = [3 + 2 * i for i in range(d)]
    x = x.permute(0, 1, *fine, *coarse)
    return x.reshape(batch, channels * prod(factors), *x.shape[2 + d :])


def depth_to_space(x, factors):
    """Invert :func:`space_to_depth`."""
    batch, channels, *grid = x.shape
    d = len(factors)
    x = x.reshape(batch, channels // prod(factors), *factors, *grid)
    order = [axis for i in range(d) for axis in (2 + d + i, 2 + i)]
    x = x.permute(0, 1, *order)
    return x.reshape(batch, x.shape[1], *[n * f for n, f in zip(grid, factors)])


def split_factors(factors, largest):
    """Split a downsampling per axis into stages of at most `largest`.

    A prime factor above `largest` is a stage of its own; there is always one stage,
    of ones if need be.

    Examples
    --------
    >>> split_factors((8, 4, 1), 4)
    [(4, 4, 1), (2, 1, 1)]
    """
    stages = []
    remaining = list(factors)
    while not stages or any(f > 1 for f in remaining):
        stage = []
        for i, f in enumerate(remaining):
            divisors = [n for n in range(2, f + 1) if f % n == 0] or [1]
            fitting = [n for n in divisors if n <= largest]
            stage.append(fitting[-1] if fitting else divisors[0])
            remaining[i] = f // stage[i]
        stages.append(tuple(stage))
    return stages


def conv(n_in, n_out, spatial_dims, kernel_size=3):
    """Make a convolution that keeps the size of the grid."""
    return CONV_MODULE[spatial_dims](n_in, n_out, kernel_size, padding=kernel_size // 2)


class SpaceToDepth(nn.Module):
    """Module form of :func:`space_to_depth`."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def forward(self, x):
        return space_to_depth(x, self.factors)


class DepthToSpace(nn.Module):
    """Module form of :func:`depth_to_space`."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors

    def forward(self, x):
        return depth_to_space(x, self.factors)


class Clamp(nn.Module):
    """Clamp to a range; the gradient passes straight through.

    Where images are at the end of their range (air, background), all that lies beyond
    it is right, and the network need not hit the end exactly.
    """

    def __init__(self, low, high):
        super().__init__()
        self.low = low
        self.high = high

    def forward(self, x):
        return x + (x.clamp(self.low, self.high) - x).detach()


def unit_channels(x):
    """Scale each vector ``(B, D, *grid)`` so that its channels' mean square is 1.

    Codes on a sphere :footcite:p:`Yu2022`: without it, an encoder lowers the
    weight of every squared distance by inflating its vectors.
    """
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(relu(x))))``, the identity at the start of training.

    Both convolutions are 3×3 and as wide as the block; with `n_hidden` channels in
    between, the second is 1×1, as in the original VQ-VAE :footcite:p:`vandenOord2017`.
    """

    def __init__(self, n_channels, n_hidden=None, *, spatial_dims):
        super().__init__()
        size = 3 if n_hidden is None else 1
        n_hidden = n_hidden or n_channels
        self.conv1 = conv(n_channels, n_hidden, spatial_dims)
        self.conv2 = conv(n_hidden, n_channels, spatial_dims, size)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def subpixel_encoder(n_in, n_out, *, factors, n_channels, n_blocks, n_hidden=None):
    """Make an encoder: space-to-depth, then residual blocks at the grid of codes.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the image and of the latent vectors.
    factors : tuple of int
        Downsampling per axis.
    n_channels : int
        Channels of the residual blocks.
    n_blocks : int
        Residual blocks, all at the resolution of the codes.
    n_hidden : int, optional
        Channels inside them, see :class:`ResidualBlock`.

    Returns
    -------
    encoder : torch.nn.Sequential
        ``(B, n_in, *image)`` to ``(B, n_out, *grid)``.
    """
    d = len(factors)
    layers = []
    channels = n_in
    for stage in split_factors(factors, 4):
        layers += [
            SpaceToDepth(stage),
            conv(channels * prod(stage), n_channels, d),
            nn.ReLU(),
        ]
        channels = n_channels
    # The last activation belongs to the residual blocks, which start with one.
    layers.pop()
    layers += [
        ResidualBlock(n_channels, n_hidden, spatial_dims=d) for _ in range(n_blocks)
    ]
    layers += [nn.ReLU(), pointwise(n_channels, n_out, d)]
    return nn.Sequential(*layers)


def subpixel_decoder(n_in, n_out, *, factors, n_channels, n_blocks, n_hidden=None):
    """Make a decoder: residual blocks at the grid of codes, then depth-to-space.

    The mirror image of :func:`subpixel_encoder`, with the same parameters.
    """
    d = len(factors)
    layers = [conv(n_in, n_channels, d)]
    layers += [
        ResidualBlock(n_channels, n_hidden, spatial_dims=d) for _ in range(n_blocks)
    ]
    stages = split_factors(factors, 4)[::-1]
    for i, stage in enumerate(stages):
        channels = n_out if i == len(stages) - 1 else n_channels
        layers += [
            nn.ReLU(),
            conv(n_channels, channels * prod(stage), d),
            DepthToSpace(stage),
        ]
    return nn.Sequential(*layers)


def _strided(stage):
    """Return the kernel and padding of a strided convolution that skips no position.

    Windows are centred on the first position of each block of s: the last one is
    s - 1 away. Strides of 1 and 2 have the usual kernel of 3.
    """
    kernel = tuple(max(3, 2 * s - 1) for s in stage)
    return {"kernel_size": kernel, "padding": tuple(k // 2 for k in kernel)}


def strided_encoder(n_in, n_out, *, factors, n_channels, n_blocks=0, n_hidden=None):
    """Make the experiment's encoder: strided 3×3 convolutions with ReLU, then 1×1.

    The last convolution has `n_channels` channels, each one before half of it.
    `n_blocks` residual blocks (none in the experiment) follow.
    """
    d = len(factors)
    stages = split_factors(factors, 2)
    widths = [max(1, n_channels >> (len(stages) - 1 - i)) for i in range(len(stages))]
    layers = []
    channels = n_in
    for stage, width in zip(stages, widths):
        layers += [
            CONV_MODULE[d](channels, width, stride=stage, **_strided(stage)),
            nn.ReLU(),
        ]
        channels = width
    layers += [
        ResidualBlock(channels, n_hidden, spatial_dims=d) for _ in range(n_blocks)
    ]
    layers.append(pointwise(channels, n_out, d))
    return nn.Sequential(*layers)


def strided_decoder(n_in, n_out, *, factors, n_channels, n_blocks=0, n_hidden=None):
    """Make the experiment's decoder: transposed 3×3 convolutions with ReLU."""
    d = len(factors)
    stages = split_factors(factors, 2)[::-1]
    layers = []
    channels = n_in
    if n_blocks:
        layers.append(conv(n_in, n_channels, d))
        layers += [
            ResidualBlock(n_channels, n_hidden, spatial_dims=d) for _ in range(n_blocks)
        ]
        channels = n_channels
    for i, stage in enumerate(stages):
        width = max(1, n_channels >> i)
        layers += [
            CONV_TRANSPOSE_MODULE[d](
                channels,
                width,
                stride=stage,
                output_padding=tuple(s - 1 for s in stage),
                **_strided(stage),
            ),
            nn.ReLU(),
        ]
        channels = width
    layers.append(CONV_TRANSPOSE_MODULE[d](channels, n_out, 3, padding=1))
    return nn.Sequential(*layers)


ENCODERS: dict = {"subpixel": subpixel_encoder, "strided": strided_encoder}
DECODERS: dict = {"subpixel": subpixel_decoder, "strided": strided_decoder}
# Whether the latents of a VQ-VAE are put on a sphere; the experiment's are not.
UNIT_LATENTS = {"subpixel": True, "strided": False}
