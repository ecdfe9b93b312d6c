r"""Iterative refinement of the codes of an image by its reconstruction.

An encoder computes latents in one pass, with the same weights for all images, and each
latent gets its nearest code. The codes of a given image can be improved for it alone
:footcite:p:`Yang2020`. The objective, in units of squared error of the image, is

.. math::

    J(k) = \sum_\mathrm{voxels} w\, (x - \mathrm{decode}(k))^2
           + s \sum_\mathrm{positions} \min(-\log p(k \mid k_\mathrm{before}), \log K)

with the second term if the model has a rate weight. Each round moves the latents against
the gradient of the first term, takes the codes of the moved latents, and keeps those
changes that lower J. So J never rises, up to rounding.

A change affects a neighbourhood only. A large grid is divided into blocks. The changes of
a block are kept if they lower the sum over the voxels that they affect. Blocks that affect
the same voxels take turns. The codes of an image depend on no other image.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass, replace
from itertools import product
from math import ceil, log, prod

import torch
import torch.nn.functional as F

from dipy_vqvae.nn.autoencoder import space_to_depth
from dipy_vqvae.nn.quantiser import from_rows, nearest_code, to_rows
from dipy_vqvae.nn.tiles import LARGEST_PASS, input_range, numbers_per_voxel

# Codes along the side of a block, unless the region that they affect is larger.
SMALLEST_BLOCK = 8
# Length of a step in squared error, as a part of that which would go all the way if the
# error of the image came from the distances of the vectors to their codes alone.
STEP = 0.1
# The price of a nat in squared error of the image is this times its price in squared
# distance of latents, converted by the ratio of both in the image.
EXCHANGE = 3.0
# Memory for gradients: a pass that has them keeps all layers.
_LARGEST_WITH_GRADIENTS = LARGEST_PASS // 8
# Code lengths, of all codes at some positions, that are held at a time.
_LARGEST_LENGTHS = 1 << 24


@dataclass(frozen=True)
class Encoded:
    """Images and their latents.

    Attributes
    ----------
    x : torch.Tensor, shape (B, C, *image)
    weight : torch.Tensor, shape (B or 1, 1, *image), or None
        1 where the error counts, 0 elsewhere; None: it counts everywhere.
    inside : torch.Tensor, shape (B, *grid), bool, or None
        Positions that count; None: all of them.
    latents : torch.Tensor, shape (B, D, *grid)
        The encoder's vectors; overwritten.
    codes : torch.Tensor, shape (B, *grid), int64
    """

    x: torch.Tensor
    weight: torch.Tensor | None
    inside: torch.Tensor | None
    latents: torch.Tensor
    codes: torch.Tensor

    def part(self, window, factors):
        """Return the same for a part of the grid, as views."""
        region = tuple(slice(w.start * f, w.stop * f) for w, f in zip(window, factors))
        cells = (..., *window)
        return Encoded(
            x=self.x[(..., *region)],
            weight=None if self.weight is None else self.weight[(..., *region)],
            inside=None if self.inside is None else self.inside[cells],
            latents=self.latents[cells],
            codes=self.codes[cells],
        )

    def images(self, part):
        """Return the same for a part of the images, as views."""
        weight = self.weight
        return Encoded(
            x=self.x[part],
            weight=weight if weight is None or len(weight) == 1 else weight[part],
            inside=None if self.inside is None else self.inside[part],
            latents=self.latents[part],
            codes=self.codes[part],
        )


@torch.no_grad()
def refine_codes(net, encoded, *, n_rounds):
    """Return codes with a lower J."""
    grid = encoded.codes.shape[1:]
    codes = encoded.codes.clone()
    encoded = replace(encoded, codes=codes)
    rate = _exchange_rate(net, encoded)
    reach = _reach(net)
    axes = [_Axis(n, max(SMALLEST_BLOCK, 2 * r)) for n, r in zip(grid, reach)]
    per_cell = prod(net.factors) * numbers_per_voxel(net.decoder, 1 / prod(net.factors))
    is_whole = len(codes) * prod(grid) * per_cell <= _LARGEST_WITH_GRADIENTS
    bias = net.rate.position_bias(grid) if net.rate_weight else None
    for colour in list(product(*(range(axis.n_colours) for axis in axes))) * n_rounds:
        groups = [axis.groups(c) for axis, c in zip(axes, colour)]
        allowed = [axis.is_in_turn(c) for axis, c in zip(axes, colour)]
        windows = [[slice(0, n)] for n in grid]
        if not is_whole:
            windows = [
                axis.windows(c, r)
                for axis, c, r in zip(axes, colour, reach, strict=True)
            ]
        for chosen in product(*map(enumerate, windows)):
            window = tuple(w for _, w in chosen)
            ids = [g[w] for g, w in zip(groups, window)]
            may_change = [a[w] for a, w in zip(allowed, window)]
            if not is_whole:
                # The neighbours are there for their influence, not to be changed.
                may_change = [
                    a & (g == i) for a, g, (i, _) in zip(may_change, ids, chosen)
                ]
            if not all(axis.any() for axis in may_change):
                continue  # an end of the grid that has no block in turn
            options = {
                "groups": _combined(ids),
                "allowed": _all_of(may_change).to(codes.device),
                "bias": None if bias is None else bias[(slice(None),) * 2 + window],
            }
            part = encoded.part(window, net.factors)
            # Windows are as large as they are: of several images, one at a time.
            size = len(codes) if is_whole else 1
            for i in range(0, len(codes), size):
                images = part.images(slice(i, i + size))
                images.codes.copy_(
                    _round(net, images, rate=rate[i : i + size], **options)
                )
    return codes


class _Axis:
    """Division of an axis of the grid into blocks.

    With blocks of size n the blocks 0, 2, … have their turn, then 1, 3, …. A change's
    influence ends within n / 2 of its block: then the axis falls into *groups*, each a
    block in turn with n / 2 on both sides.
    """

    def __init__(self, length, size):
        self.length = length
        self.size = size + size % 2
        self.n_colours = min(2, ceil(length / self.size))

    def groups(self, colour):
        """Return the group of each position, int64 ``(length,)``."""
        positions = torch.arange(self.length)
        if self.n_colours == 1:
            return torch.zeros_like(positions)
        shifted = positions - colour * self.size + self.size // 2
        groups = torch.div(shifted, 2 * self.size, rounding_mode="floor")
        return groups - groups[0]

    def is_in_turn(self, colour):
        """Whether each position may change, bool ``(length,)``."""
        return torch.arange(self.length) // self.size % self.n_colours == colour

    def windows(self, colour, reach):
        """Return for each group the slices that its error depends on."""
        groups = self.groups(colour)
        windows = []
        for i in range(int(groups[-1]) + 1):
            (members,) = (groups == i).nonzero(as_tuple=True)
            first, last = int(members[0]), int(members[-1])
            windows.append(
                slice(max(0, first - reach), min(self.length, last + reach + 1))
            )
        return windows


def _reach(net):
    """Return how far the influence of a code reaches along each axis, in positions."""
    reach = []
    for axis, factor in enumerate(net.factors):
        first, last = input_range(net.decoder, axis, 0, factor - 1)
        reach.append(max(-first, last))
    if net.rate_weight:
        of_rate = max(net.rate.reach, net.rate.reach_sideways)
        reach = [max(r, of_rate) for r in reach]
    return reach


def _exchange_rate(net, encoded):
    """Return squared error of an image per squared distance of latents, ``(B,)``."""
    error = _errors(net, encoded, encoded.codes).flatten(1).sum(1)
    vectors = F.embedding(encoded.codes, net.quantiser.codebook).movedim(-1, 1)
    distances = (encoded.latents - vectors).square().sum(1)
    if encoded.inside is not None:
        distances = distances * encoded.inside
    distances = distances.flatten(1).sum(1)
    return error / distances.clamp(min=torch.finfo(distances.dtype).tiny)


def _round(net, encoded, *, rate, groups, allowed, bias):
    """Return codes after one round, ``(B, *grid)``.

    Moves the latents where codes are `allowed` ``(*grid)`` to change. `rate` ``(B,)`` is
    that of :func:`_exchange_rate`, `groups` ``(*grid)`` are the numbers of those that
    are judged together, `bias` ``(d, C, *grid)`` is of the rate network.
    """
    codes, codebook = encoded.codes, net.quantiser.codebook.detach()
    each = (slice(None),) + (None,) * (codes.dim() - 1)
    gradient, errors = _gradient(net, encoded)
    step = STEP / (2 * rate.clamp(min=torch.finfo(rate.dtype).tiny))
    step = torch.nan_to_num(step[each].unsqueeze(1) * gradient, 0.0, 0.0, 0.0)
    encoded.latents.sub_(step * allowed)
    may_change = allowed.expand(codes.shape)
    if encoded.inside is not None:
        may_change = may_change & encoded.inside
    proposed, before = _propose(net, encoded, may_change, bias)
    change = (_errors(net, encoded, proposed) - errors).double()
    if net.rate_weight:
        longer = _lengths_of(net, proposed, bias) - before
        if encoded.inside is not None:
            longer = longer * encoded.inside
        price = EXCHANGE * rate[each] * net.rate_weight * codebook.shape[1]
        change = change + price * longer
    n_groups = int(groups.max()) + 1
    groups = groups.to(codes.device).flatten()
    sums = change.new_zeros(len(codes), n_groups)
    sums.index_add_(1, groups, change.flatten(1))
    is_better = (sums < 0)[:, groups].reshape(codes.shape)
    return torch.where(is_better, proposed, codes)


def _propose(net, encoded, may_change, bias):
    """Return codes of the moved vectors that `may_change`, others as they were.

    And the lengths of the present codes, ``(B, *grid)``; None without a price.
    """
    codes, codebook = encoded.codes, net.quantiser.codebook.detach()
    proposed, may_change = codes.flatten(), may_change.flatten()
    rows = to_rows(encoded.latents)
    if not net.rate_weight:
        proposed = proposed.clone()
        proposed[may_change] = nearest_code(rows[may_change], codebook)
        return proposed.reshape(codes.shape), None
    price = net.rate_weight * codebook.shape[1]
    chosen, before = [], []
    features = _features(net, codes, bias)
    size = _rows_at_a_time(codebook)
    for part in zip(*(x.split(size) for x in (features, rows, proposed, may_change))):
        part_features, part_rows, present, allowed = part
        lengths = _lengths(net, part_features)
        before.append(lengths.gather(1, present.unsqueeze(1)).squeeze(1))
        new = present.clone()
        cost = lengths[allowed].mul_(price)
        new[allowed] = nearest_code(part_rows[allowed], codebook, cost)
        chosen.append(new)
    return torch.cat(chosen).reshape(codes.shape), torch.cat(before).reshape(
        codes.shape
    )


def _errors(net, encoded, codes):
    """Return the squared error of the block of voxels of each code, ``(B, *grid)``."""
    squares = (net.decode(codes).float() - encoded.x).square()
    if encoded.weight is not None:
        squares = squares * encoded.weight
    return space_to_depth(squares, net.factors).sum(1)


def _gradient(net, encoded):
    """Return the gradient of the squared error by the codes' vectors, and the errors.

    ``(B, D, *grid)``, and ``(B, *grid)`` as :func:`_errors` gives them.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Tensors of the inference mode take no part in gradients; their copies do.
        x = encoded.x.clone()
        vectors = F.embedding(encoded.codes.clone(), net.quantiser.codebook.detach())
        vectors = vectors.movedim(-1, 1).contiguous().requires_grad_()
        squares = (net.decoder(vectors).float() - x).square()
        if encoded.weight is not None:
            squares = squares * encoded.weight.clone()
        (gradient,) = torch.autograd.grad(squares.sum(), vectors)
    return gradient, space_to_depth(squares.detach(), net.factors).sum(1)


def _features(net, codes, bias):
    """Return the rate network's features of each position, rows ``(n, C)``."""
    codebook = net.quantiser.codebook.detach()
    vectors = from_rows(codebook[codes.reshape(-1)], codes.shape)
    return to_rows(net.rate.features(vectors, bias=bias))


def _lengths(net, features):
    """Return the nats of all codes at some positions, at most log K: ``(n, K)``."""
    # The head looks at each position by itself: any grid will do.
    ones = (1,) * (net.rate.spatial_dims - 1)
    logits = net.rate.head(features.t().reshape(1, features.shape[1], -1, *ones))
    lengths = to_rows(F.log_softmax(logits.float(), dim=1)).neg_()
    return lengths.clamp_(max=log(lengths.shape[1]))


def _lengths_of(net, codes, bias):
    """Return nats of the codes themselves, ``(B, *grid)``."""
    size = _rows_at_a_time(net.quantiser.codebook)
    parts = zip(
        _features(net, codes, bias).split(size), codes.reshape(-1, 1).split(size)
    )
    lengths = [_lengths(net, features).gather(1, part) for features, part in parts]
    return torch.cat(lengths).reshape(codes.shape)


def _rows_at_a_time(codebook):
    return max(1, _LARGEST_LENGTHS // len(codebook))


def _combined(ids):
    """Return one number for the groups along all axes, ``(*grid)``."""
    combined = torch.zeros((), dtype=torch.int64)
    for axis in ids:
        axis = axis - axis[0]
        combined = combined.unsqueeze(-1) * (int(axis.max()) + 1) + axis
    return combined


def _all_of(axes):
    """Whether it holds along all axes, ``(*grid)``."""
    combined = torch.ones((), dtype=torch.bool)
    for axis in axes:
        combined = combined.unsqueeze(-1) & axis
    return combined
