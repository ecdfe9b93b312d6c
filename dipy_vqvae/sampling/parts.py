"""Parts that the incremental passes of both kinds of prior share.

All arrays are position-major, ``(*grid, B, channels)``: what is near in the grid
is then a block of rows, and a convolution is one matrix product per tap, with
nothing copied.
"""

import itertools

import torch
import torch.nn.functional as F

from dipy_vqvae.nn import CONV

# Numbers in the tables of one first layer (128 MiB of float64). Above it the
# embedded codes are convolved as in training.
LARGEST_TABLE = 2**24


class Incremental:
    """Compute logits position after position, and keep what was computed.

    A full pass for each position costs the square of the number of positions. Here
    `_start_slice` sums what earlier slices add to a slice, once, and `_run` goes from
    one position to the next along the last axis.
    """

    def __init__(self, weights, codes):
        self._weights = weights
        self._codes = codes  # (B, *grid), filled in by the caller
        self._row = None  # codes of the present row, position by position
        self._positions = itertools.product(*map(range, codes.shape[1:]))
        self._ahead = Ahead(weights.ahead, codes.shape[-1], len(codes))

    def logits(self, position):
        """Compute logits (B, K) at a position; those between may be left out."""
        for visited in self._positions:
            self._visit(visited)
            if visited == tuple(position):
                return self._weights.head(self._features)
        raise ValueError(f"position {position} is not ahead in the grid")

    def _visit(self, position):
        *row, j = position
        if j:
            self._ahead.add(self._row[j - 1], j - 1)
        else:
            self._row = self._codes[(slice(None), *row)].unbind(1)
            for s in range(len(row)):
                if not any(row[s + 1 :]):
                    self._start_slice(s, row[: s + 1])
            self._ahead.start(self._first_bias(row))
        self._run(position, self._ahead.at[j])

    def _first_sums(self, s, index):
        """Sum what the slices before `index` add to the first layer, or None."""
        *outer, i = index
        if not i:
            return None
        first = self._weights.first[s]
        before = slice(max(0, i - first.reach), i)
        return first(self._codes[(slice(None), *outer, before)])


def add_product(start, rows, weight, out):
    """Set `out` to ``start + rows @ weight``: ([H,] M, in) -> ([H,] M, out)."""
    if rows.dim() == 2:
        torch.addmm(start, rows, weight, out=out)
    else:
        weight = weight.expand(len(rows), -1, -1)
        torch.baddbmm(start, rows, weight, out=out)


def add_taps(start, taps, out):
    """Add a convolution, tap by tap: ``out = start + sum of rows @ weight``."""
    for rows, weight in taps:
        add_product(start, rows, weight, out)
        start = out


def taps_of(padded, grid_shape, radius, weights):
    """Pair the rows (a view) under each tap of a kernel with the tap's weight.

    `padded` is (*padded_grid, B, D), `weights` one matrix (D, out) for each tap.
    """
    offsets = itertools.product(range(2 * radius + 1), repeat=len(grid_shape))
    taps = []
    for offset, weight in zip(offsets, weights):
        rows = padded
        for axis, (size, start) in enumerate(zip(grid_shape, offset)):
            rows = rows.narrow(axis, start, size)
        taps.append((as_rows(rows), weight))
    return taps


def as_rows(x):
    """View (W, B, D) as (W * B, D) and (H, W, B, D) as (H, W * B, D); (B, D) stays."""
    if x.dim() == 2:
        return x
    # view, which fails where reshape would copy.
    return x.view(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def interior(padded, grid_shape, radius):
    """View what is inside the padding, (*grid, B, D)."""
    for axis, size in enumerate(grid_shape):
        padded = padded.narrow(axis, radius, size)
    return padded


class FirstPart:
    """Part of a first layer: the codes that come before along one axis.

    The convolution of an embedding (K, E) is a sum of rows of one table per tap, which
    costs a small part of the matrix products. The weight (C, E, reach, *kernel) has
    taps at -reach, ..., -1 of the axis and centred ones along the later axes.
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
        """Sum over the m <= reach slices before: (B, m, *later) -> (*later, B, C)."""
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
        # (B, reach, *later, *kernel) -> (*later, B, reach, *kernel)
        window = window.movedim((0, 1), (self.n_later, self.n_later + 1))
        rows = window.reshape(-1, len(self.starts)) + self.starts
        sums = F.embedding_bag(rows, self.table, mode="sum")
        return sums.reshape(*later, n, -1)


class FirstAhead:
    """Last part of a first layer: what each code adds to those on its right.

    The weight (C, E, reach) has taps at -reach, ..., -1 along the last axis.
    """

    def __init__(self, embedding, weight):
        self.n_out, _, self.reach = weight.shape
        # Tap -1 is what a code adds to the next position: it comes first.
        taps = weight.flip(2).permute(2, 1, 0)  # (reach, E, C)
        self.table = (embedding @ taps).permute(1, 0, 2).flatten(1)  # (K, reach * C)


class Ahead:
    """First-layer sums of one row, filled in from left to right."""

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
        """Begin a row with (W, B, C) or (W, 1, C)."""
        self._row.copy_(sums.transpose(0, 1))

    def add(self, codes, j):
        """Add what the codes (B,) at position j contribute to the next positions."""
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
        """(B, C) -> logits (B, K)."""
        for weight, bias in self.layers:
            x = torch.addmm(bias, torch.relu(x), weight)
        return x


def linear_weight(module):
    """Get the weight of a pointwise convolution as a matrix (in, out)."""
    return module.weight.detach().flatten(1).t().contiguous()


def with_bias(weight, bias):
    """Append the bias to a matrix (in, out), for rows that end in a one.

    The product then includes the bias, and a residual sum can start from the state.
    """
    return torch.cat([weight, bias.detach()[None]])


def rows_with_one(rows, width):
    """Allocate rows like `rows` of `width` columns and one more, of ones."""
    return rows.new_ones(*rows.shape[:-1], width + 1)
