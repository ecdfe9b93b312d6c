"""Incremental pass of the gated prior.

Stack s of the network (see :mod:`dipy_vqvae.nn.causal`) depends on its own slice
through the earlier stacks only. So its states can be computed for a whole slice at once
as soon as the slices before are drawn: in 2D the vertical stack once per row; in 3D the
first stack once per plane and the second once per row. The last stack goes from code to
code. Each state is computed once, so that drawing a grid costs about as much arithmetic
as a single pass.
"""

import torch

from dipy_vqvae.sampling.attention import IncrementalAttention
from dipy_vqvae.sampling.parts import (
    FirstAhead,
    FirstPart,
    Head,
    Incremental,
    add_product,
    add_taps,
    as_rows,
    interior,
    linear_weight,
    rows_with_one,
    taps_of,
    with_bias,
)


class GatedWeights:
    """Lay out the weights of a gated prior for the incremental pass."""

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
        self.before = None
        if net.attention is not None:
            self.before = net.attention.before(embedding)  # (K, C)

    def first_bias(self, grid_shape):
        """Sum the biases of the first layer, per stack (*grid, 1, C)."""
        position = self.net.position_bias(grid_shape).detach().movedim(1, -1)
        return [
            (position[s] + conv.bias.detach()).unsqueeze(-2)
            for s, conv in enumerate(self.net.first)
        ]

    def conditions(self, labels, covariates):
        """Compute per stack and layer the bias before the gate, (B or 1, 2C)."""
        by_layer = self.net.conditions(labels, covariates)
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
    """Weights of one layer of one stack; see :meth:`_Stack.run`."""

    def __init__(self, layer, s):
        conv = layer.convs[s]
        self.radius = conv.radius
        self.depth = conv.depth
        weight = conv.weight.detach().flatten(2, 2 + s)
        # (2C, C, depth, *later) -> (taps, depth * C, 2C).
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
    """States of one stack: of the present slice (*later, B) and those it depends on."""

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
        self._layers = []
        for i, layer in enumerate(layers):
            taps = taps_of(states[i].flatten(-2), later, radius, layer.taps)
            self._layers.append((taps, rows[i], layer.out, rows[i + 1]))

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
        `starts` are added to the convolution of each layer.
        """
        gates, a, b, gated, gated_channels = self._buffers
        for start, (taps, state, out, new_state) in zip(starts, self._layers):
            add_taps(start, taps, gates)
            torch.sigmoid(gates, out=gates)
            torch.addcmul(b, a, b, value=-2, out=gated_channels)
            add_product(state, gated, out, new_state)


class IncrementalGated(Incremental):
    """Compute the logits of a gated prior position after position."""

    def __init__(self, weights, codes, labels=None, covariates=None):
        super().__init__(weights, codes)
        batch, *grid_shape = codes.shape
        self._bias = weights.first_bias(grid_shape)
        self._stacks = [
            _Stack(layers, grid_shape[s + 1 :], batch)
            for s, layers in enumerate(weights.stacks)
        ]
        self._attention = None
        if weights.net.attention is not None:
            self._attention = IncrementalAttention(
                weights.net.attention, weights.before, codes
            )
        self._features = self._stacks[-1].outputs[-1]
        self._set_starts(weights.conditions(labels, covariates), batch, grid_shape)

    def _set_starts(self, conditions, batch, grid_shape):
        """Set where the sums before the gates start, for each index along each axis.

        Stack 0 starts from the biases. A later one starts from the outputs of the
        stack before it, for a slice of which this one's slices are parts.
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

    def _first_bias(self, row):
        return self._bias[-1][tuple(row)]

    def _run(self, position, first):
        self._run_stack(self._stacks[-1], self._starts[-1], position[-1], first)
        if self._attention is not None:
            self._features = self._attention.next(self._stacks[-1].outputs[-1])

    def _start_slice(self, s, index):
        """Advance stack s to the slice at `index`, its place on axes 0 to s."""
        bias, sums = self._bias[s][tuple(index)], self._first_sums(s, index)
        first = bias if sums is None else sums + bias
        self._run_stack(self._stacks[s], self._starts[s], index[-1], first)
        for start, rows, weight, out in self._links[s]:
            add_product(start, rows, weight, out)

    @staticmethod
    def _run_stack(stack, starts, i, first):
        """Advance a stack to its slice i."""
        if i:
            stack.move_on()
        else:
            stack.restart()
        stack.first.copy_(first)
        stack.run(starts[i])


def _per_row(condition, later, batch):
    """Lay out a bias (1 or B, 2C): one for all rows, or one per row (*later, B)."""
    if len(condition) == 1:
        return condition[0]
    return as_rows(condition.expand(*later, batch, -1).contiguous())
