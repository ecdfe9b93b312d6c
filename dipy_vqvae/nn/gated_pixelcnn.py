"""Gated PixelCNN without a blind spot, in one, two or three dimensions.

van den Oord et al. (2016) :footcite:p:`vandenOord2016b` with one stack of
convolutions per spatial axis (see :mod:`dipy_vqvae.nn.causal`) instead of the two
that are enough for pictures.

References
----------
.. footbibliography::
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
import torch.nn.functional as F

from dipy_vqvae.device import dropout
from dipy_vqvae.nn.attention import Attention
from dipy_vqvae.nn.causal import StackConv, pointwise
from dipy_vqvae.nn.pixelcnn import PixelCNN


def gate(x):
    """Compute ``tanh(a) * sigmoid(b)`` with a, b the halves of the channels."""
    return _Gate.apply(x)


class _Gate(torch.autograd.Function):
    """The gate with a gradient of one piece.

    The gradients of two halves, as autograd has them, are filled up with zeros and
    added: that costs as much as the gate itself.
    """

    @staticmethod
    def forward(ctx, x):
        a, b = x.chunk(2, dim=1)
        tanh, sigmoid = torch.tanh(a), torch.sigmoid(b)
        ctx.save_for_backward(tanh, sigmoid)
        return tanh * sigmoid

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        tanh, sigmoid = ctx.saved_tensors
        of_a = torch.ops.aten.tanh_backward(gradient * sigmoid, tanh)
        of_b = torch.ops.aten.sigmoid_backward(gradient * tanh, sigmoid)
        return torch.cat([of_a, of_b], dim=1)


class GatedLayer(nn.Module):
    """One layer of all stacks.

    For the stacks ``s = 0, 1, …``, with ``h_s`` of shape ``(B, C, *grid)``::

        a_s = conv_s(h_s) + link_s(h'_{s-1}) + condition_s     # (B, 2C, *grid)
        h'_s = h_s + out_s(dropout(gate(a_s)))
    """

    def __init__(self, n_channels, *, spatial_dims, radius, depth, dropout):
        super().__init__()
        self.dropout = dropout
        stacks = range(spatial_dims)
        self.convs = nn.ModuleList(
            StackConv(
                n_channels,
                2 * n_channels,
                stack=s,
                spatial_dims=spatial_dims,
                radius=radius,
                depth=depth,
                strict=False,
            )
            for s in stacks
        )
        self.links = nn.ModuleList(
            pointwise(n_channels, 2 * n_channels, spatial_dims) for _ in stacks[1:]
        )
        self.outs = nn.ModuleList(
            pointwise(n_channels, n_channels, spatial_dims) for _ in stacks
        )

    def forward(self, states, conditions=None):
        """Advance the states of all stacks by one layer."""
        new_states = []
        for s, state in enumerate(states):
            a = self.convs[s](state)
            if s:
                a = a + self.links[s - 1](new_states[s - 1])
            if conditions is not None:
                a = a + conditions[s]
            h = dropout(gate(a), self.dropout, self.training)
            new_states.append(state + self.outs[s](h))
        return new_states


class GatedPixelCNN(PixelCNN):
    """Categorical distribution over grids of codes, one factor per position.

    Parameters
    ----------
    n_codes : int
        Number of codes, K.
    grid_shape : tuple of int
        The grid that the position bias is laid out for. Other grids are allowed:
        the bias is then interpolated linearly.
    mixed_grids : bool
        Whether it is the largest of several grids, which begin at the same place:
        smaller ones then have a part of its bias, larger ones have that of the last
        position again and again.
    has_outside : bool
        Whether there is a symbol K for positions that do not count.
    n_classes : int
        Number of class labels; 0 for a prior without labels.
    n_covariates : int
        Number of continuous conditions.
    n_variants : int
        Kinds of changed copies of the images in the training.
    n_channels : int
        Channels of each stack, C.
    n_layers : int
        Gated layers.
    n_embedding : int
        Channels of the embedding through which the codes enter.
    first_radius, radius : int
        Reach of the first and of the other layers.
    depth : int
        Taps along a stack's own axis in the gated layers.
    dropout : float
        Share of the gated channels that is dropped in training.
    n_attention : int
        Blocks of :mod:`dipy_vqvae.nn.attention` after the gated layers.
    """

    def __init__(
        self,
        n_codes,
        grid_shape,
        *,
        n_classes=0,
        n_covariates=0,
        n_variants=0,
        n_channels=64,
        n_layers=6,
        n_embedding=32,
        first_radius=3,
        radius=1,
        depth=2,
        dropout=0.0,
        n_attention=0,
        mixed_grids=False,
        has_outside=False,
    ):
        super().__init__(
            n_codes,
            grid_shape,
            n_classes=n_classes,
            n_covariates=n_covariates,
            n_variants=n_variants,
            n_channels=n_channels,
            n_embedding=n_embedding,
            has_outside=has_outside,
        )
        self.mixed_grids = mixed_grids
        d = self.spatial_dims
        self.first = nn.ModuleList(
            StackConv(
                n_embedding,
                n_channels,
                stack=s,
                spatial_dims=d,
                radius=first_radius,
                depth=first_radius,
                strict=True,
            )
            for s in range(d)
        )
        self.position = nn.Parameter(torch.zeros(d, n_channels, *self.grid_shape))
        self.layers = nn.ModuleList(
            GatedLayer(
                n_channels, spatial_dims=d, radius=radius, depth=depth, dropout=dropout
            )
            for _ in range(n_layers)
        )
        self.attention = None
        if n_attention:
            self.attention = Attention(
                n_channels,
                n_embedding=n_embedding,
                n_blocks=n_attention,
                dropout=dropout,
            )
        self.condition_on(n_layers * d * 2 * n_channels)
        self.head = nn.Sequential(
            nn.ReLU(),
            pointwise(n_channels, 2 * n_channels, d),
            nn.ReLU(),
            pointwise(2 * n_channels, n_codes, d),
        )

    def position_bias(self, grid_shape):
        """Return the learned bias of each stack, ``(d, C, *grid_shape)``."""
        if tuple(grid_shape) == self.grid_shape:
            return self.position
        if self.mixed_grids:
            part = self.position[(..., *map(slice, grid_shape))]
            more = [n - own for n, own in zip(grid_shape, part.shape[2:])]
            widths = [n for extra in reversed(more) for n in (0, extra)]
            return F.pad(part, widths, mode="replicate") if any(more) else part
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[self.spatial_dims]
        return F.interpolate(
            self.position, size=tuple(grid_shape), mode=mode, align_corners=False
        )

    def conditions(self, *conditions):
        """Return the conditions' biases per layer and stack, ``(B, 2C)``, or None."""
        bias = self.condition_bias(*conditions)  # (B, L * d * 2C)
        if bias is None:
            return [None] * len(self.layers)
        bias = bias.reshape(len(bias), len(self.layers), self.spatial_dims, -1)
        return [list(layer.unbind(1)) for layer in bias.unbind(1)]

    @property
    def reach(self):
        """Reach of a position along the first axis, backwards."""
        return self.first[0].depth + sum(x.convs[0].depth - 1 for x in self.layers)

    @property
    def reach_sideways(self):
        """Reach of a position along the other axes, on both sides."""
        return self.first[0].radius + sum(x.convs[0].radius for x in self.layers)

    def features(
        self, embedded, labels=None, covariates=None, variants=None, bias=None
    ):
        """Return the input of the head, ``(B, C, *grid)``.

        `bias` is the part of :meth:`position_bias` of these positions, where they are
        not a whole grid. The first `reach` rows then lack what is before them.
        """
        if bias is None:
            bias = self.position_bias(embedded.shape[2:])
        states = [conv(embedded) + bias[s] for s, conv in enumerate(self.first)]
        ones = (1,) * self.spatial_dims
        conditions = self.conditions(labels, covariates, variants)
        for layer, condition in zip(self.layers, conditions):
            if condition is not None:
                condition = [c.reshape(*c.shape, *ones) for c in condition]
            states = layer(states, condition)
        if self.attention is None:
            return states[-1]
        return self.attention(states[-1], embedded)
