"""The plain prior, position after position, with what was computed kept.

The taps of a masked convolution that lie in earlier slices are summed for a whole
slice at once, as soon as the one before it is drawn (see
:mod:`dipy_vqvae.sampling.gated`, which does the same with stacks).
"""

import torch

from dipy_vqvae.sampling.parts import (
    Ahead,
    FirstAhead,
    FirstPart,
    Head,
    InOrder,
    add_product,
    as_rows,
    interior,
    linear_weight,
    rows_with_one,
    shifted_rows,
    tap_offsets,
    with_bias,
)


class PlainWeights:
    """Weights of a plain prior, laid out for the incremental pass.

    Parameters
    ----------
    net : PlainPixelCNN
    """

    def __init__(self, net):
        self.net = net
        self.n_channels = net.n_channels
        embedding = net.embedding.weight.detach()
        *slices, ahead = _by_axis(net.first)
        self.first = [FirstPart(embedding, weight) for weight in slices]
        self.ahead = FirstAhead(embedding, ahead)
        self.blocks = [_BlockWeights(block) for block in net.blocks]
        self.head = Head(net.head)

    def first_bias(self, labels):
        """Return the bias of the first layer, ``(B or 1, C)``."""
        bias = self.net.first.bias.detach()[None]
        if self.net.n_classes:
            bias = bias + self.net.label_bias(labels).detach()
        return bias


def _by_axis(conv):
    """Sort the taps of a masked convolution by the axis on which they precede.

    They lie in raster order, so that the parts follow each other: one of shape
    ``(out, in, radius, *kernel)`` per axis, with the kernel of the later axes.
    """
    size, radius = conv.kernel_size, conv.kernel_size // 2
    kernels = [(radius, *[size] * later) for later in range(conv.spatial_dims)][::-1]
    weight = conv.weight.detach()
    counts = [radius * size ** (len(kernel) - 1) for kernel in kernels]
    parts = weight[..., : sum(counts)].split(counts, dim=2)
    return [part.unflatten(2, kernel) for part, kernel in zip(parts, kernels)]


class _BlockWeights:
    """One residual block."""

    def __init__(self, block):
        self.down = linear_weight(block.down), block.down.bias.detach()
        *slices, left = _by_axis(block.masked)
        # (half, half, 1, *kernel) to (taps, half, half): input to output.
        self.slices = [
            list(part.flatten(2).permute(2, 1, 0).contiguous()) for part in slices
        ]
        centre = block.masked.weight.detach()[..., -1]
        # What lies on the left and the position itself, side by side.
        self.masked = torch.cat([left[..., 0], centre], dim=1).t().contiguous()
        self.bias = block.masked.bias.detach()
        self.up = with_bias(linear_weight(block.up), block.up.bias)


class IncrementalPlain:
    """Logits of a plain prior for each position in raster order.

    Gives what a pass through the whole network gives, up to rounding.

    Parameters
    ----------
    net : PlainPixelCNN
        The prior's network.
    codes : torch.Tensor, shape (B, *grid), int64
        Filled in by the caller, position after position.
    labels : torch.Tensor, shape (B,), or None
        Class of each grid.
    weights : PlainWeights, optional
        Those of `net`, if there are any from an earlier batch.
    """

    def __init__(self, net, codes, labels=None, *, weights=None):
        weights = PlainWeights(net) if weights is None else weights
        batch, *grid_shape = codes.shape
        self._weights = weights
        self._codes = codes
        self._row = None  # codes of the present row, position by position
        self._order = InOrder(grid_shape)
        self._ahead = Ahead(weights.ahead, grid_shape[-1], batch)
        self._first_bias = weights.first_bias(labels)
        self._slices = [
            _Slice(weights, s, grid_shape[s + 1 :], batch)
            for s in range(len(grid_shape) - 1)
        ]
        self._set_position(batch)

    def _set_position(self, batch):
        weights, blocks = self._weights, self._weights.blocks
        half = blocks[0].masked.shape[1]
        x = weights.ahead.table.new_empty(batch, weights.n_channels)
        # Of the position on the left and the present one: (blocks, B, 2, half).
        self._hidden = x.new_zeros(len(blocks), batch, 2, half)
        summed = rows_with_one(x, half)
        self._position = x, summed, summed[:, :-1]
        self._blocks = [
            (block, hidden.flatten(1), hidden[:, 1])
            for block, hidden in zip(blocks, self._hidden)
        ]
        self._biases = [block.bias for block in blocks]

    def logits(self, position):
        """Return logits ``(B, K)`` at `position`, given the codes before it.

        Positions may be left out where the codes are known.
        """
        for visited in self._order.until(position):
            self._visit(visited)
        return self._weights.head(self._position[0])

    def _visit(self, position):
        *row, j = position
        if j:
            self._ahead.add(self._row[j - 1], j - 1)
            self._hidden[:, :, 0] = self._hidden[:, :, 1]
        else:
            self._row = self._codes[(slice(None), *row)].unbind(1)
            self._start_row(row)
            self._hidden.zero_()
        starts = self._slices[-1].starts[j] if self._slices else self._biases
        x, summed, summed_channels = self._position
        x.copy_(self._ahead.at[j])
        for (block, seen, hidden), start in zip(self._blocks, starts):
            weight, bias = block.down
            torch.addmm(bias, torch.relu(x), weight, out=hidden)
            hidden.relu_()
            torch.addmm(start, seen, block.masked, out=summed_channels)
            summed_channels.relu_()
            torch.addmm(x, summed, block.up, out=x)
        for s, part in enumerate(self._slices):
            part.hidden[(slice(None), *position[s + 1 :])] = self._hidden[:, :, 1]

    def _start_row(self, row):
        """Sum what earlier slices give to the row, and to the slices it starts."""
        for s in range(len(row)):
            if any(row[s + 1 :]):
                continue
            *outer, i = row[: s + 1]
            outside = self._slices[s - 1] if s else None
            first = outside.first[i] if s else self._first_bias
            before = None
            if i:
                reach = self._weights.first[s].reach
                where = slice(max(0, i - reach), i)
                before = self._codes[(slice(None), *outer, where)]
            starts = outside.starts[i] if s else self._biases
            self._slices[s].start(before, first, starts)
        first = self._slices[-1].first if row else self._first_bias[None]
        self._ahead.start(first)


class _Slice:
    """What the slices before the present one along one axis add to it.

    Parameters
    ----------
    weights : PlainWeights
    s : int
        The axis.
    later : list of int
        Grid of a slice: the axes after it.
    batch : int
        Grids, B.
    """

    def __init__(self, weights, s, later, batch):
        blocks = weights.blocks
        half = blocks[0].masked.shape[1]
        like = weights.ahead.table
        self._first = weights.first[s]
        #: Sums of the first layer, (*later, B, C).
        self.first = like.new_zeros(*later, batch, weights.n_channels)
        padded = like.new_zeros(len(blocks), *[size + 2 for size in later], batch, half)
        #: The blocks' inputs to the masked convolution: filled in as the slice is
        #: drawn, and read when the next one starts. (blocks, *later, B, half).
        self.hidden = interior(padded.movedim(0, -1), later, 1).movedim(-1, 0)
        self._sums, self._taps, parts = [], [], []
        for block, seen in zip(blocks, padded):
            sums = like.new_empty(*later, batch, half)
            self._sums.append(as_rows(sums))
            self._taps.append(
                [
                    (shifted_rows(seen, later, offset), weight)
                    for offset, weight in zip(
                        tap_offsets(len(later), 1), block.slices[s]
                    )
                ]
            )
            parts.append([as_rows(part) for part in sums])
        #: For each index along the next axis, the sums of each block.
        self.starts = list(zip(*parts))

    def start(self, before, first, starts):
        """Begin a slice."""
        self.first.copy_(first)
        if before is not None:
            self.first += self._first(before)
        for sums, taps, start in zip(self._sums, self._taps, starts):
            if before is None:
                sums.copy_(start)
                continue
            (rows, weight), *more = taps
            add_product(start, rows, weight, sums)
            for rows, weight in more:
                add_product(sums, rows, weight, sums)
