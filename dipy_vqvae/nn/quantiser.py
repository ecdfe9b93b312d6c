"""Vector quantisation: nearest code, straight-through gradient, codebooks.

van den Oord, Vinyals and Kavukcuoglu (2017) :footcite:p:`vandenOord2017`. Vectors
are rows, ``(N, D)``; the codebook is ``(K, D)``.

Worked example, 2D: an encoder's output ``(B, D, 7, 7)`` becomes ``B * 49`` rows of
D numbers, each row gets the index of one of K codes, and the codes' vectors go
back to ``(B, D, 7, 7)`` for the decoder.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from dipy_vqvae.device import generator_of
from dipy_vqvae.parallel import all_reduce_sum, rows_of_all, weight_of_mean

# Rows that are compared with all codes at a time: bounds the memory at
# 4 * ROWS * K bytes whatever the number of vectors.
ROWS = 16384
# On a CPU fewer: as many as keep their scores, rows * K numbers, in its cache.
SCORES_IN_CACHE = 1 << 18
_GROUP, _FEWEST_GROUPS = 64, 8


@dataclass(frozen=True)
class Quantised:
    """Result of a quantiser.

    Attributes
    ----------
    codes : torch.Tensor, shape (N,), int64
        Index of the code of each vector, in [0, K).
    vectors : torch.Tensor, shape (N, D)
        The codes' vectors; the gradient passes straight through to the input.
    loss : torch.Tensor, scalar
        What the quantiser adds to the training loss.
    error : torch.Tensor, scalar
        Mean squared distance between the vectors and their codes. Where some rows
        are outside, loss and error are means over those inside.
    """

    codes: torch.Tensor
    vectors: torch.Tensor
    loss: torch.Tensor
    error: torch.Tensor


def to_rows(x):
    """Map ``(B, D, *grid)`` to ``(B * grid, D)``."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def from_rows(rows, batch_and_grid):
    """Map ``(B * grid, D)`` back to ``(B, D, *grid)``."""
    return rows.reshape(*batch_and_grid, rows.shape[1]).movedim(-1, 1)


def straight_through(vectors, quantised):
    """Return `quantised`, with the gradient of `vectors`."""
    return vectors + (quantised - vectors).detach()


def mean_inside(values, inside, *, over_ranks=False):
    """Average ``(N,)`` over the rows `inside` (``(N,)`` bool; None: all).

    With `over_ranks` it is weighted, so that the plain average over all processes is
    the mean over the rows of all of them.
    """
    if inside is not None:
        values = values[inside]
    mean = values.mean()
    if not over_ranks:
        return mean
    return mean * weight_of_mean(len(values), device=values.device)


def nearest_code(vectors, codebook, cost=None):
    r"""Return the index of the nearest code of each vector.

    :math:`\arg\min_k |z - e_k|^2 = \arg\min_k |e_k|^2 - 2 z \cdot e_k`: one matrix
    product, in blocks of rows so that the memory stays bounded.

    Parameters
    ----------
    vectors : torch.Tensor, shape (N, D), float32
    codebook : torch.Tensor, shape (K, D), float32
    cost : torch.Tensor, shape (N, K), optional
        Added to the squared distances, as in entropy-constrained quantisation
        :footcite:p:`Chou1989`.

    Returns
    -------
    codes : torch.Tensor, shape (N,), int64
    """
    squares = codebook.square().sum(1)
    codes = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    n_rows = rows_at_a_time(codebook)
    for start in range(0, len(vectors), n_rows):
        block = slice(start, start + n_rows)
        scores = torch.addmm(squares, vectors[block], codebook.t(), alpha=-2)
        if cost is not None:
            scores += cost[block]
        codes[block] = first_smallest(scores)
    return codes


def first_smallest(scores):
    """Return the column of the first smallest number in each row.

    On a CPU, torch finds a minimum much faster than its place. So the place is
    looked for among the minima of groups of columns, and then within one group; and
    where there are few columns, by ``min``, which takes half the time of ``argmin``.
    """
    n, n_columns = scores.shape
    n_groups, rest = divmod(n_columns, _GROUP)
    if scores.is_cuda or rest or n_groups < _FEWEST_GROUPS:
        return scores.min(dim=1).indices
    group = scores.view(n, n_groups, _GROUP).amin(dim=2).min(dim=1).indices
    first = torch.arange(0, n * n_groups, n_groups, device=scores.device)
    within = scores.view(-1, _GROUP).index_select(0, first + group)
    return within.min(dim=1).indices.add_(group, alpha=_GROUP)


def rows_at_a_time(codebook):
    """Return how many vectors :func:`nearest_code` compares at a time."""
    if codebook.is_cuda:
        return ROWS
    return min(ROWS, max(1, SCORES_IN_CACHE // len(codebook)))


def code_statistics(vectors, codes, n_codes):
    """Count and sum the vectors of each code, ``(K,)`` and ``(K, D)``."""
    count = torch.bincount(codes, minlength=n_codes).to(vectors.dtype)
    total = vectors.new_zeros(n_codes, vectors.shape[1])
    total.index_add_(0, codes, vectors)
    return count, total


class CodeCounts(nn.Module):
    """How often each code was chosen since the last look, over all processes.

    Part of a quantiser in training, so that its numbers are in the checkpoints.

    Parameters
    ----------
    n_codes : int
        K.
    """

    def __init__(self, n_codes):
        super().__init__()
        # Counts of large data sets are beyond the integers of float32.
        self.register_buffer("counts", torch.zeros(n_codes, dtype=torch.float64))

    @torch.no_grad()
    def add(self, count):
        """Add the counts of a batch, ``(K,)``."""
        self.counts += count

    def usage(self):
        """Return the number of codes in use, and their perplexity."""
        counts = self.counts[self.counts > 0].cpu()
        frequency = counts / counts.sum()
        entropy = -(frequency * frequency.log()).sum()
        return {"n_used": float(len(counts)), "perplexity": float(entropy.exp())}


def _choose(n, n_rows):
    """Choose random rows ``(n,)``, none twice before all have been chosen."""
    # Drawn on the CPU: the same on every device.
    return torch.randperm(max(n, n_rows), generator=generator_of())[:n] % n_rows


def _pick_far_apart(vectors, n):
    """Return rows ``(n, D)`` that are far from one another.

    The chance of each is proportional to its squared distance from those before it:
    k-means++ :footcite:p:`Arthur2007`.
    """
    places = torch.rand(n, dtype=torch.float64, generator=generator_of())
    places = places.to(vectors.device)
    distance = vectors.new_ones(len(vectors))
    picked = []
    for place in places:
        steps = distance.double().cumsum(0)
        pick = torch.searchsorted(steps, place * steps[-1], right=True)
        picked.append(vectors[pick.clamp(max=len(vectors) - 1)])
        to_picked = (vectors - picked[-1]).square().sum(1)
        distance = to_picked if len(picked) == 1 else distance.minimum(to_picked)
    return torch.stack(picked)


def kmeans(vectors, n_codes, *, n_iterations=10):
    """Run Lloyd's algorithm from vectors that are far apart.

    Empty clusters are restarted at random vectors.
    """
    # Tells centres apart that start at equal vectors.
    noise = 1e-3 * vectors.std(0, correction=0)
    centres = _pick_far_apart(vectors, n_codes)
    for _ in range(n_iterations):
        count, total = code_statistics(vectors, nearest_code(vectors, centres), n_codes)
        empty = count == 0
        centres = total / count.clamp(min=1)[:, None]
        chosen = _choose(int(empty.sum()), len(vectors))
        restarted = vectors[chosen.to(vectors.device)]
        steps = torch.randn(
            restarted.shape, dtype=torch.float32, generator=generator_of()
        )
        centres[empty] = restarted + noise * steps.to(restarted)
    return centres


class EMAQuantiser(nn.Module):
    r"""Codebook that follows the exponential moving average of its vectors.

    With :math:`n_k` vectors of sum :math:`s_k` in a batch, and decay
    :math:`\gamma`,

    .. math::

        N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad
        M_k \leftarrow \gamma M_k + (1 - \gamma) s_k, \quad
        e_k = M_k / N_k .

    Both averages start at zero, so both carry the same factor
    :math:`1 - \gamma^t`: it cancels in the quotient, and a code without vectors
    keeps its place. Codes whose share of the vectors stays under
    `revive_below` / K are moved to encoder outputs, and both of their averages
    with them.

    Parameters
    ----------
    n_codes, code_dim : int
        K and D.
    commitment : float
        Weight of the commitment loss, beta.
    decay : float
        :math:`\gamma`, in [0, 1).
    revive_below : float
        Share of an even use under which a code counts as dead.
    revive_every : int
        Training steps between two looks for dead codes.
    """

    def __init__(
        self,
        n_codes,
        code_dim,
        *,
        commitment=0.25,
        decay=0.99,
        revive_below=0.01,
        revive_every=50,
    ):
        super().__init__()
        self.commitment = commitment
        self.decay = decay
        self.revive_below = revive_below
        self.revive_every = revive_every
        self.usage = None  # CodeCounts, in training
        self.register_buffer("codebook", torch.randn(n_codes, code_dim))
        self.register_buffer("count", torch.zeros(n_codes))
        self.register_buffer("total", torch.zeros(n_codes, code_dim))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def initialise(self, vectors):
        """Put the codes at the centres of encoder outputs ``(N, D)``."""
        self.codebook.copy_(kmeans(vectors, len(self.codebook)))
        self.count.zero_()
        self.total.zero_()
        self.n_updates.zero_()

    @torch.no_grad()
    def update(self, vectors, codes, *, revive=True):
        """Advance the averages by one batch of vectors ``(N, D)``; N may be 0."""
        count, total = code_statistics(vectors, codes, len(self.codebook))
        all_reduce_sum(count)
        all_reduce_sum(total)
        if self.usage is not None:
            self.usage.add(count)
        self.n_updates += 1
        self.count.lerp_(count, 1 - self.decay)
        self.total.lerp_(total, 1 - self.decay)
        if revive and int(self.n_updates) % self.revive_every == 0:
            self._revive(vectors)
        moved = self.count > 1e-6
        self.codebook[moved] = self.total[moved] / self.count[moved, None]

    def _revive(self, vectors):
        share = self.count / self.count.sum()
        dead = share < self.revive_below / len(share)
        n_dead = int(dead.sum())
        if not n_dead:
            return
        picked = rows_of_all(vectors, partial(_choose, n_dead))
        if picked is None:
            return
        # Both averages, or the old one pulls the code straight back.
        weight = self.count.mean()
        self.count[dead] = weight
        self.total[dead] = weight * picked

    def forward(self, vectors, *, codes=None, update=False, revive=True, inside=None):
        """Quantise vectors."""
        if codes is None:
            codes = nearest_code(vectors.detach(), self.codebook)
        quantised = self.codebook[codes]
        error = mean_inside(
            (vectors - quantised).square().sum(1), inside, over_ranks=update
        )
        if update:
            rows = slice(None) if inside is None else inside
            self.update(vectors.detach()[rows], codes[rows], revive=revive)
        return Quantised(
            codes=codes,
            vectors=straight_through(vectors, quantised),
            loss=self.commitment * error,
            error=error.detach(),
        )


class GradientQuantiser(nn.Module):
    r"""The experiment's codebook, learnt by gradient descent.

    .. math::

        |\mathrm{sg}(z) - e_k|^2 + \beta |z - \mathrm{sg}(e_k)|^2

    averaged over all numbers (positions and channels), as in the experiment.

    Parameters
    ----------
    n_codes, code_dim : int
        K and D.
    commitment : float
        :math:`\beta`.
    """

    def __init__(self, n_codes, code_dim, *, commitment=0.25):
        super().__init__()
        self.commitment = commitment
        self.usage = None  # CodeCounts, in training
        # The experiment draws uniformly from [-0.05, 0.05].
        self.codebook = nn.Parameter(
            torch.empty(n_codes, code_dim).uniform_(-0.05, 0.05)
        )

    @torch.no_grad()
    def initialise(self, vectors):
        """Put the codes at the centres of encoder outputs ``(N, D)``."""
        self.codebook.copy_(kmeans(vectors, len(self.codebook)))

    def forward(self, vectors, *, codes=None, update=False, revive=True, inside=None):
        """Quantise vectors, as :meth:`EMAQuantiser.forward`.

        It is the optimiser that learns: `update` says no more than that the means are
        weighted and the codes counted, and `revive` changes nothing.
        """
        if codes is None:
            codes = nearest_code(vectors.detach(), self.codebook.detach())
        quantised = self.codebook[codes]
        to_codebook = (vectors.detach() - quantised).square().mean(1)
        to_encoder = (vectors - quantised.detach()).square().mean(1)
        if update and self.usage is not None:
            self._count(codes if inside is None else codes[inside])
        loss = mean_inside(
            to_codebook + self.commitment * to_encoder, inside, over_ranks=update
        )
        error = mean_inside(to_encoder.detach(), inside, over_ranks=update)
        return Quantised(
            codes=codes,
            vectors=straight_through(vectors, quantised),
            loss=loss,
            error=error * vectors.shape[1],
        )

    def _count(self, codes):
        count = torch.bincount(codes, minlength=len(self.codebook)).double()
        all_reduce_sum(count)
        self.usage.add(count)


QUANTISERS = {"ema": EMAQuantiser, "gradient": GradientQuantiser}
