"""Incremental pass of the plain prior.

The taps of a masked convolution that lie in earlier slices are summed for a whole
slice at once, as soon as the one before it is drawn (see
:mod:`dipy_vqvae.sampling.gated`, which does the same with stacks).
"""

import torch

from dipy_vqvae.sampling.parts import (
    FirstAhead,
    FirstPart,
    Head,
    Incremental,
    add_taps,
    as_rows,
    interior,
    linear_weight,
    rows_with_one,
    taps_of,
    with_bias,
)


class PlainWeights:
    """Lay out the weights of a plain prior for the incremental pass."""

    def __init__(self, net):
        self.net = net
        self.n_channels = net.n_channels
        embedding = net.embedding.weight.detach()
        *slices, ahead = _by_axis(net.first)
        self.first = [FirstPart(embedding, weight) for weight in slices]
        self.ahead = FirstAhead(embedding, ahead)
        self.blocks = [_BlockWeights(block) for block in net.blocks]
        self.head = Head(net.head)

    def first_bias(self, labels, covariates):
        """Compute the bias of the first layer, (B or 1, C)."""
        bias = self.net.first.bias.detach()[None]
        condition = self.net.condition_bias(labels, covariates)
        return bias if condition is None else bias + condition.detach()


def _by_axis(conv):
    """Split the taps of a masked convolution by the axis along which they precede.

    They lie in raster order, so that the parts follow each other: one (out, in, radius,
    *kernel) per axis, with the kernel of the later axes.
    """
    size, radius = conv.kernel_size, conv.kernel_size // 2
    kernels = [(radius, *[size] * later) for later in range(conv.spatial_dims)][::-1]
    weight = conv.weight.detach()
    counts = [radius * size ** (len(kernel) - 1) for kernel in kernels]
    parts = weight[..., : sum(counts)].split(counts, dim=2)
    return [part.unflatten(2, kernel) for part, kernel in zip(parts, kernels)]


class _BlockWeights:
    """Weights of one residual block."""

    def __init__(self, block):
        self.down = linear_weight(block.down), block.down.bias.detach()
        *slices, left = _by_axis(block.masked)
        # (half, half, 1, *kernel) -> (taps, half, half): input to output.
        self.slices = [
            list(part.flatten(2).permute(2, 1, 0).contiguous()) for part in slices
        ]
        centre = block.masked.weight.detach()[..., -1]
        # What lies on the left and the position itself, side by side.
        self.masked = torch.cat([left[..., 0], centre], dim=1).t().contiguous()
        self.bias = block.masked.bias.detach()
        self.up = with_bias(linear_weight(block.up), block.up.bias)


class IncrementalPlain(Incremental):
    """Compute the logits of a plain prior position after position."""

    def __init__(self, weights, codes, labels=None, covariates=None):
        super().__init__(weights, codes)
        batch, *grid_shape = codes.shape
        self._bias = weights.first_bias(labels, covariates)
        self._slices = [
            _Slice(weights, s, grid_shape[s + 1 :], batch)
            for s in range(len(grid_shape) - 1)
        ]
        blocks = weights.blocks
        half = blocks[0].masked.shape[1]
        self._features = weights.ahead.table.new_empty(batch, weights.n_channels)
        # Of the position on the left and the present one: (blocks, B, 2, half).
        self._hidden = self._features.new_zeros(len(blocks), batch, 2, half)
        self._summed = rows_with_one(self._features, half)
        self._blocks = [
            (block, hidden.flatten(1), hidden[:, 1])
            for block, hidden in zip(blocks, self._hidden)
        ]
        self._biases = [block.bias for block in blocks]

    def _first_bias(self, row):
        return self._slices[-1].first if row else self._bias[None]

    def _run(self, position, first):
        j = position[-1]
        if j:
            self._hidden[:, :, 0] = self._hidden[:, :, 1]
        else:
            self._hidden.zero_()
        starts = self._slices[-1].starts[j] if self._slices else self._biases
        x, summed = self._features, self._summed
        summed_channels = summed[:, :-1]
        x.copy_(first)
        for (block, left_and_present, present), start in zip(self._blocks, starts):
            weight, bias = block.down
            torch.addmm(bias, torch.relu(x), weight, out=present)
            present.relu_()
            torch.addmm(start, left_and_present, block.masked, out=summed_channels)
            summed_channels.relu_()
            torch.addmm(x, summed, block.up, out=x)
        for s, part in enumerate(self._slices):
            part.hidden[(slice(None), *position[s + 1 :])] = self._hidden[:, :, 1]

    def _start_slice(self, s, index):
        """Sum what earlier slices add to the one at `index`, on axes 0 to s."""
        first, starts = self._bias, self._biases
        if s:
            outside, i = self._slices[s - 1], index[-1]
            first, starts = outside.first[i], outside.starts[i]
        self._slices[s].start(self._first_sums(s, index), first, starts)


class _Slice:
    """Sums of what the slices before the present one along axis s add to it."""

    def __init__(self, weights, s, later, batch):
        blocks = weights.blocks
        half = blocks[0].masked.shape[1]
        like = weights.ahead.table
        #: Sums of the first layer, (*later, B, C).
        self.first = like.new_zeros(*later, batch, weights.n_channels)
        padded = like.new_zeros(len(blocks), *[size + 2 for size in later], batch, half)
        #: The blocks' inputs to the masked convolution: filled in as the slice is
        #: drawn, and read when the next one starts. (blocks, *later, B, half).
        self.hidden = interior(padded.movedim(0, -1), later, 1).movedim(-1, 0)
        sums = like.new_empty(len(blocks), *later, batch, half).unbind()
        self._sums = [as_rows(x) for x in sums]
        self._taps = [
            taps_of(x, later, 1, block.slices[s]) for block, x in zip(blocks, padded)
        ]
        #: For each index along the next axis, the sums of each block.
        self.starts = list(zip(*([as_rows(part) for part in x] for x in sums)))

    def start(self, first_sums, first, starts):
        """Begin a slice; `first_sums` is None where there is none before it."""
        self.first.copy_(first)
        if first_sums is not None:
            self.first += first_sums
        for sums, taps, start in zip(self._sums, self._taps, starts):
            if first_sums is None:
                sums.copy_(start)
            else:
                add_taps(start, taps, sums)
