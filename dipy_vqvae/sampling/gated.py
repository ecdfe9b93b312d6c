"""The gated prior, position after position, with what was computed kept.

Stack s of the network (see :mod:`dipy_vqvae.nn.causal`) sees nothing of the
slice that it is in but what the earlier stacks tell. So its states can be
computed for a whole slice at once as soon as the slices before are drawn: in 2D
the vertical stack once per row; in 3D the first stack once per plane and the
second once per row. The last stack goes from code to code. Each state is computed
once, so that drawing a grid costs about as much arithmetic as a single pass.
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


class GatedWeights:
    """Weights of a gated prior, laid out for the incremental pass.

    Parameters
    ----------
    net : GatedPixelCNN
    """

    def __init__(self, net):
        self.net = net
        self.n_channels = net.n_channels
        self.n_stacks = net.spatial_dims
        embedding = net.embedding.weight.detach()
        # Without the leading kernel axes, which have one tap: (C, E, reach, *later).
        first = [
            conv.weight.detach().flatten(2, 2 + s) for s, conv in enumerate(net.first)
        ]
        self.first = [FirstPart(embedding, weight) for weight in first[:-1]]
        self.ahead = FirstAhead(embedding, first[-1])
        self.stacks = [
            [_LayerWeights(layer, s) for layer in net.layers]
            for s in range(self.n_stacks)
        ]
        self.head = Head(net.head)

    def first_bias(self, grid_shape):
        """Return what does not depend on the codes: per stack ``(*grid, 1, C)``."""
        position = self.net.position_bias(grid_shape).detach().movedim(1, -1)
        return [
            (position[s] + conv.bias.detach()).unsqueeze(-2)
            for s, conv in enumerate(self.net.first)
        ]

    def conditions(self, labels):
        """Return per stack and layer the bias before the gate, ``(B or 1, 2C)``."""
        by_layer = self.net.conditions(labels)
        return [
            [
                layer.bias[None] if c is None else _doubled(c[s]) + layer.bias
                for layer, c in zip(layers, by_layer)
            ]
            for s, layers in enumerate(self.stacks)
        ]


def _doubled(x):
    """Double the first half of the last axis: ``tanh(a) = 2 sigmoid(2a) - 1``."""
    a, b = x.detach().chunk(2, dim=-1)
    return torch.cat([2 * a, b], dim=-1)


class _LayerWeights:
    """One layer of one stack; see :meth:`_Stack.run` for the arithmetic."""

    def __init__(self, layer, s):
        conv = layer.convs[s]
        self.radius = conv.radius
        self.depth = conv.depth
        weight = conv.weight.detach().flatten(2, 2 + s)
        # (2C, C, depth, *later) to (taps, depth * C, 2C).
        n_out, n_in, depth = weight.shape[:3]
        weight = weight.reshape(n_out, n_in, depth, -1).permute(3, 2, 1, 0)
        self.taps = list(_doubled(weight.flatten(1, 2).contiguous()))
        self.bias = _doubled(conv.bias)
        # `run` makes the negative of the gated values.
        out = layer.outs[s]
        self.out = with_bias(-linear_weight(out), out.bias)
        self.link = None
        if s:
            self.bias = self.bias + _doubled(layer.links[s - 1].bias)
            self.link = _doubled(linear_weight(layer.links[s - 1]))


class _Stack:
    """The states of one stack: of the present slice and those that it sees.

    Parameters
    ----------
    layers : list of _LayerWeights
    later : tuple of int
        Grid of a slice: the axes after the stack's own one.
    batch : int
        Grids, B.
    """

    def __init__(self, layers, later, batch):
        n_channels = layers[0].out.shape[1]
        radius, depth = layers[0].radius, layers[0].depth
        like = layers[0].out
        padded = [size + 2 * radius for size in later]
        # The slices of one position side by side: (L, *padded, B, depth, C).
        states = like.new_zeros(len(layers), *padded, batch, depth, n_channels)
        self._slices = states.unbind(-2)
        self._states = states
        present = [interior(x, later, radius) for x in self._slices[-1]]
        #: Input of the first layer, (*later, B, C).
        self.first = present[0]
        top = like.new_zeros(*later, batch, n_channels)
        rows = [as_rows(x) for x in (*present, top)]
        #: Outputs of each layer, as rows.
        self.outputs = rows[1:]
        gates = as_rows(like.new_empty(*later, batch, 2 * n_channels))
        gated = rows_with_one(gates, n_channels)
        a, b = gates.chunk(2, dim=-1)
        self._buffers = gates, a, b, gated, gated[..., :-1]
        offsets = tap_offsets(len(later), radius)
        self._layers = []
        for i, layer in enumerate(layers):
            seen = states[i].flatten(-2)
            taps = [
                (shifted_rows(seen, later, offset), weight)
                for offset, weight in zip(offsets, layer.taps)
            ]
            self._layers.append((taps[0], taps[1:], rows[i], layer.out, rows[i + 1]))

    def restart(self):
        """Forget the slices: the next one is the first along the axis."""
        self._states.zero_()

    def move_on(self):
        """Make room for the next slice."""
        for older, newer in zip(self._slices, self._slices[1:]):
            older.copy_(newer)

    def run(self, starts):
        """Compute the present slice from its `first` state.

        With a and b the halves of the gates, the first one doubled, the layer's
        ``tanh(a / 2) sigmoid(b)`` is minus ``sigmoid(b) - 2 sigmoid(a) sigmoid(b)``.
        """
        gates, a, b, gated, gated_channels = self._buffers
        for start, layer in zip(starts, self._layers):
            (rows, weight), more, state, out, new_state = layer
            add_product(start, rows, weight, gates)
            for rows, weight in more:
                add_product(gates, rows, weight, gates)
            torch.sigmoid(gates, out=gates)
            torch.addcmul(b, a, b, value=-2, out=gated_channels)
            add_product(state, gated, out, new_state)


class IncrementalGated:
    """Logits of a gated prior for each position in raster order.

    Gives what a pass through the whole network gives, up to rounding.

    Parameters
    ----------
    net : GatedPixelCNN
        The prior's network.
    codes : torch.Tensor, shape (B, *grid), int64
        Filled in by the caller, position after position.
    labels : torch.Tensor, shape (B,), or None
        Class of each grid.
    weights : GatedWeights, optional
        Those of `net`, if there are any from an earlier batch.
    """

    def __init__(self, net, codes, labels=None, *, weights=None):
        weights = GatedWeights(net) if weights is None else weights
        batch, *grid_shape = codes.shape
        self._weights = weights
        self._codes = codes
        self._row = None  # codes of the present row, position by position
        self._order = InOrder(grid_shape)
        self._bias = weights.first_bias(grid_shape)
        self._ahead = Ahead(weights.ahead, grid_shape[-1], batch)
        self._stacks = [
            _Stack(layers, grid_shape[s + 1 :], batch)
            for s, layers in enumerate(weights.stacks)
        ]
        self._set_starts(weights.conditions(labels), batch, grid_shape)

    def _set_starts(self, conditions, batch, grid_shape):
        """Compute the starts of the sums before the gates, per index of each axis.

        Stack 0 starts from the biases. A later one starts from what the stack
        before it has made of a slice of which this one's slices are parts.
        """
        starts = [_per_row(c, grid_shape[1:], batch) for c in conditions[0]]
        self._starts = [[starts] * grid_shape[0]]
        self._links = []
        for s in range(1, len(grid_shape)):
            links, parts = [], []
            for c, layer, output in zip(
                conditions[s], self._weights.stacks[s], self._stacks[s - 1].outputs
            ):
                c = _per_row(c, grid_shape[s:], batch)
                start = output.new_empty(*output.shape[:-1], layer.link.shape[1])
                links.append((c, output, layer.link, start))
                parts.append(start.view(grid_shape[s], -1, start.shape[-1]).unbind())
            self._links.append(links)
            self._starts.append(list(zip(*parts)))

    def logits(self, position):
        """Return logits ``(B, K)`` at `position`, given the codes before it.

        Positions may be left out where the codes are known.
        """
        for visited in self._order.until(position):
            self._visit(visited)
        return self._weights.head(self._stacks[-1].outputs[-1])

    def _visit(self, position):
        *row, j = position
        stack = self._stacks[-1]
        if j:
            self._ahead.add(self._row[j - 1], j - 1)
            stack.move_on()
        else:
            self._row = self._codes[(slice(None), *row)].unbind(1)
            for s in range(len(row)):
                if not any(row[s + 1 :]):
                    self._start_slice(row[: s + 1])
            self._ahead.start(self._bias[-1][tuple(row)])
            stack.restart()
        stack.first.copy_(self._ahead.at[j])
        stack.run(self._starts[-1][j])

    def _start_slice(self, index):
        """Advance stack s to the slice at `index`, its place on axes 0 to s."""
        s = len(index) - 1
        *outer, i = index
        stack = self._stacks[s]
        bias = self._bias[s][tuple(index)]
        if i:
            stack.move_on()
            first = self._weights.first[s]
            before = slice(max(0, i - first.reach), i)
            sums = first(self._codes[(slice(None), *outer, before)])
            torch.add(sums, bias, out=stack.first)
        else:
            stack.restart()
            stack.first.copy_(bias)
        stack.run(self._starts[s][i])
        for start, rows, weight, out in self._links[s]:
            add_product(start, rows, weight, out)


def _per_row(condition, later, batch):
    """Return a bias ``(2C,)`` for all rows, or per row of a slice ``(*later, B)``."""
    if len(condition) == 1:
        return condition[0]
    return as_rows(condition.expand(*later, batch, -1).contiguous())
