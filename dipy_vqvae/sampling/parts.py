"""What the incremental passes through both kinds of prior are made of.

All arrays are position-major, ``(*grid, B, channels)``: what is near in the grid
is then a block of rows, and a convolution is one matrix product per tap, with
nothing copied.
"""

import itertools

import torch
import torch.nn.functional as F

from dipy_vqvae.nn import CONV

# Numbers in the tables of one first layer (64 MiB of float32). Above it the
# embedded codes are convolved as in training.
LARGEST_TABLE = 2**24


def add_product(start, rows, weight, out):
    """Compute ``out = start + rows @ weight``, for two axes or a batch of them."""
    if rows.dim() == 2:
        torch.addmm(start, rows, weight, out=out)
    else:
        weight = weight.expand(len(rows), -1, -1)
        torch.baddbmm(start, rows, weight, out=out)


def as_rows(x):
    """Return a view of ``(*grid, B, channels)`` with the last grid axis merged into B.

    ``(B, D)`` stays, ``(W, B, D)`` becomes ``(W * B, D)`` and ``(H, W, B, D)``
    becomes ``(H, W * B, D)``.
    """
    if x.dim() == 2:
        return x
    # view, which fails where reshape would copy.
    return x.view(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def tap_offsets(n_axes, radius):
    """Return the first positions of a centred kernel's taps in a padded array."""
    return list(itertools.product(range(2 * radius + 1), repeat=n_axes))


def shifted_rows(padded, grid_shape, offset):
    """Return rows under one tap, for all positions of a grid."""
    for axis, (size, start) in enumerate(zip(grid_shape, offset)):
        padded = padded.narrow(axis, start, size)
    return as_rows(padded)


def interior(padded, grid_shape, radius):
    """Return a view of the interior of a padded array, ``(*grid, B, D)``."""
    for axis, size in enumerate(grid_shape):
        padded = padded.narrow(axis, radius, size)
    return padded


class FirstPart:
    """Part of a first layer: the codes that come before along one axis.

    The convolution of an embedding is a sum of rows of one table per tap, which
    costs a small part of the matrix products.

    Parameters
    ----------
    embedding : torch.Tensor, shape (K, E)
    weight : torch.Tensor, shape (C, E, reach, *kernel)
        Taps at -reach, …, -1 of the axis and centred ones along the later axes.
    """

    def __init__(self, embedding, weight):
        n_codes = len(embedding)
        n_out, _, self.reach, *kernel = weight.shape
        self.n_codes = n_codes
        self.n_later = len(kernel)
        self.radius = kernel[0] // 2 if kernel else 0
        self.embedding = embedding
        self.weight = weight
        self.table = None
        taps = weight.flatten(2).permute(2, 1, 0)  # (taps, E, C)
        if len(taps) * (n_codes + 1) * n_out <= LARGEST_TABLE:
            # The last row of each tap is for what lies outside the grid.
            self.table = F.pad(embedding @ taps, (0, 0, 0, 1)).flatten(0, 1)
            self.starts = torch.arange(len(taps), device=weight.device)
            self.starts *= n_codes + 1

    def __call__(self, before):
        """Sum over the taps for one slice."""
        n, m, *later = before.shape
        if self.table is None:
            embedded = F.embedding(before, self.embedding).movedim(-1, 1)
            padding = [self.radius, self.radius] * self.n_later + [self.reach - m, 0]
            sums = CONV[1 + self.n_later](F.pad(embedded, padding), self.weight)
            return sums.squeeze(2).movedim((0, 1), (-2, -1))
        padded = [size + 2 * self.radius for size in later]
        window = before.new_full((n, self.reach, *padded), self.n_codes)
        inside = window[:, self.reach - m :]
        for axis, size in enumerate(later):
            inside = inside.narrow(2 + axis, self.radius, size)
        inside.copy_(before)
        for axis in range(self.n_later):
            window = window.unfold(2 + axis, 2 * self.radius + 1, 1)
        # (B, reach, *later, *kernel) to (*later, B, reach, *kernel)
        window = window.movedim((0, 1), (self.n_later, self.n_later + 1))
        rows = window.reshape(-1, len(self.starts)) + self.starts
        sums = F.embedding_bag(rows, self.table, mode="sum")
        return sums.reshape(*later, n, -1)


class FirstAhead:
    """The last part of a first layer: what each code adds to those on its right.

    Parameters
    ----------
    embedding : torch.Tensor, shape (K, E)
    weight : torch.Tensor, shape (C, E, reach)
        Taps at -reach, …, -1 along the last axis.
    """

    def __init__(self, embedding, weight):
        self.n_out, _, self.reach = weight.shape
        # Tap -1 is what a code adds to the next position: it comes first.
        taps = weight.flip(2).permute(2, 1, 0)  # (reach, E, C)
        self.table = (embedding @ taps).permute(1, 0, 2).flatten(1)  # (K, reach * C)


class Ahead:
    """First-layer sums of one row, filled in from left to right.

    Parameters
    ----------
    first : FirstAhead
    width : int
        Positions of the row.
    batch : int
        Grids, B.
    """

    def __init__(self, first, width, batch):
        self._table = first.table
        self._row = self._table.new_zeros(batch, width, first.n_out)
        #: Sums at each position, (B, C).
        self.at = self._row.unbind(1)
        self._taken = self._table.new_empty(batch, first.reach * first.n_out)
        taken = self._taken.view(batch, first.reach, first.n_out)
        after = [self._row[:, j + 1 : j + 1 + first.reach] for j in range(width)]
        self._added = [(sums, taken[:, : sums.shape[1]]) for sums in after]

    def start(self, sums):
        """Begin a row with ``(W, B, C)`` or ``(W, 1, C)``."""
        self._row.copy_(sums.transpose(0, 1))

    def add(self, codes, j):
        """Add what the codes ``(B,)`` at position j mean for the next ones."""
        torch.index_select(self._table, 0, codes, out=self._taken)
        sums, taken = self._added[j]
        sums.add_(taken)


class Head:
    """The last layers of a prior, each a ReLU and a linear map."""

    def __init__(self, modules):
        self.layers = [
            (linear_weight(module), module.bias.detach())
            for module in modules
            if hasattr(module, "weight")
        ]

    def __call__(self, x):
        """Map ``(B, C)`` to logits ``(B, K)``."""
        for weight, bias in self.layers:
            x = torch.addmm(bias, torch.relu(x), weight)
        return x


class InOrder:
    """Positions of a grid in raster order, each visited once.

    Parameters
    ----------
    grid_shape : tuple of int
    """

    def __init__(self, grid_shape):
        self._positions = itertools.product(*map(range, grid_shape))

    def until(self, position):
        """Return the positions up to this one that have not been visited."""
        for visited in self._positions:
            yield visited
            if visited == tuple(position):
                return
        raise ValueError(f"position {position} is not ahead in the grid")


def linear_weight(module):
    """Return the weight of a pointwise convolution as a matrix ``(in, out)``."""
    return module.weight.detach().flatten(1).t().contiguous()


def with_bias(weight, bias):
    """Append the bias to a matrix ``(in, out)`` as one more row.

    With a last column of ones on the other side (:func:`rows_with_one`) the product includes the bias, and
    the residual sum can start from the state.
    """
    return torch.cat([weight, bias.detach()[None]])


def rows_with_one(rows, width):
    """Return uninitialised rows of `width` columns, and one more column of ones."""
    return rows.new_ones(*rows.shape[:-1], width + 1)
