"""Causal convolutions in raster order, for any number of spatial axes.

A position ``p`` of a grid comes after ``q`` when ``q`` is smaller in
lexicographic order. The predecessors of ``p`` split into one part per axis:
``q`` agrees with ``p`` on the axes before ``s`` and is smaller on axis ``s``. In
2D these are the rows above (``s = 0``) and the positions on the left (``s = 1``); in
3D the planes before, the rows before and the positions on the left. A *stack* of
convolutions for each part, the later stacks fed by the earlier ones, sees all of
them: there is no blind spot :footcite:p:`vandenOord2016b`.

References
----------
.. footbibliography::
"""

from math import prod

import torch
from torch import nn
import torch.nn.functional as F

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_MODULE = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def pointwise(n_in, n_out, spatial_dims):
    """Make a linear map of the channels at each position."""
    return CONV_MODULE[spatial_dims](n_in, n_out, 1)


def raster_mask(kernel_shape, *, include_centre):
    """Return which taps of a centred kernel precede its centre in raster order."""
    n_taps = 1
    for size in kernel_shape:
        n_taps *= size
    n_kept = n_taps // 2 + bool(include_centre)
    # Row-major order of the taps is the raster order, and the centre of odd
    # sizes is the middle of it.
    return (torch.arange(n_taps) < n_kept).float().reshape(kernel_shape)


class MaskedConv(nn.Module):
    """Convolution with a centred kernel of which only the past is used.

    The parameter holds the taps of the past and nothing else: the kernel is
    assembled from it in ``forward``, and no parameter is ever overwritten.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel_size : int
        Odd size, the same along every axis.
    spatial_dims : {1, 2, 3}
        Number of spatial axes.
    include_centre : bool
        Mask B (True) or mask A (False).
    """

    def __init__(self, n_in, n_out, kernel_size, *, spatial_dims, include_centre):
        super().__init__()
        self.spatial_dims = spatial_dims
        self.kernel_size = kernel_size
        self.include_centre = include_centre
        self.n_kept = kernel_size**spatial_dims // 2 + bool(include_centre)
        bound = (n_in * self.n_kept) ** -0.5
        self.weight = nn.Parameter(
            torch.empty(n_out, n_in, self.n_kept).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(n_out))

    def kernel(self):
        """Return the kernel up to its centre along the first axis, zeros in the future.

        ``(out, in, k // 2 + 1, k, …)``: the slices after the centre would hold zeros
        only.
        """
        n_out, n_in, n_kept = self.weight.shape
        shape = (
            self.kernel_size // 2 + 1,
            *[self.kernel_size] * (self.spatial_dims - 1),
        )
        full = F.pad(self.weight, (0, prod(shape) - n_kept))
        return full.reshape(n_out, n_in, *shape)

    def offsets(self):
        """Return offsets of the kept taps, in the order of ``weight``'s last axis."""
        mask = raster_mask(
            (self.kernel_size,) * self.spatial_dims,
            include_centre=self.include_centre,
        )
        return [
            tuple(int(i) - self.kernel_size // 2 for i in tap) for tap in mask.nonzero()
        ]

    def forward(self, x):
        """Map ``(B, in, *grid)`` to ``(B, out, *grid)``."""
        radius, n_later = self.kernel_size // 2, self.spatial_dims - 1
        # F.pad lists the axes from the last to the first: before the first one only.
        x = F.pad(x, [0, 0] * n_later + [radius, 0])
        padding = (0, *[radius] * n_later)
        return CONV[self.spatial_dims](x, self.kernel(), self.bias, padding=padding)


class StackConv(nn.Module):
    """Convolution of one stack: along axis `stack` only what came before.

    Along the axes before `stack` the kernel has one tap (they agree), along the
    later ones ``2 * radius + 1`` centred taps (anything is allowed there). Along
    the axis itself it has ``depth`` taps: the last one is the position itself
    (``strict=False``, for inputs that are causal already) or the one before it
    (``strict=True``, for the codes).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stack : int
        The axis of the stack.
    spatial_dims : {1, 2, 3}
        Number of spatial axes.
    radius : int
        Reach along the later axes.
    depth : int
        Number of taps along the axis of the stack.
    strict : bool
        Whether the position itself is left out.
    """

    def __init__(self, n_in, n_out, *, stack, spatial_dims, radius, depth, strict):
        super().__init__()
        self.stack = stack
        self.spatial_dims = spatial_dims
        self.radius = radius
        self.depth = depth
        self.strict = strict
        n_later = spatial_dims - stack - 1
        kernel = (1,) * stack + (depth,) + (2 * radius + 1,) * n_later
        n_taps = depth * (2 * radius + 1) ** n_later
        bound = (n_in * n_taps) ** -0.5
        self.weight = nn.Parameter(
            torch.empty(n_out, n_in, *kernel).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        """Map ``(B, in, *grid)`` to ``(B, out, *grid)``."""
        size = x.shape[2 + self.stack]
        if self.strict:
            x = x.narrow(2 + self.stack, 0, size - 1)
        before = self.depth if self.strict else self.depth - 1
        # F.pad lists the axes from the last to the first.
        n_later = self.spatial_dims - self.stack - 1
        padding = [self.radius, self.radius] * n_later + [before, 0]
        x = F.pad(x, padding + [0, 0] * self.stack)
        return CONV[self.spatial_dims](x, self.weight, self.bias)
