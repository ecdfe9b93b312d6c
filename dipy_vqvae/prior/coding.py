"""Grids of codes to a stream of bytes and back, with a prior's probabilities.

All grids of a stream are coded together, one position after the other. So the decoder
makes a step through the network for all of them. Both sides take the same steps in double
precision; see :mod:`dipy_vqvae.compression.grid` for what makes the result exact.
"""

from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from dipy_vqvae.compression import CodeReader, CodeWriter
from dipy_vqvae.device import inference, to_tensor
from dipy_vqvae.prior.mixture import mixture_logits
from dipy_vqvae.prior.steps import Steps
from dipy_vqvae.sampling import kept_numbers, prepare

# What another machine's log-probabilities may differ by, in nats: some thousand times
# what two ways of computing them differ by here, and at least this.
TOLERANCE = 1e-9
SAFETY = 1000.0
# Numbers that the steps of all grids at a time may keep (512 MiB of float64).
MOST_KEPT = 2**26
# How many times as many a reader accepts.
_MOST_MORE = 8
# Log-probabilities of a pass through whole grids, which the steps are compared with; and
# those of one grid up to which there is such a pass.
_COMPARED = 2**18
_MOST_COMPARED = 2**27


@dataclass(frozen=True, eq=False)
class Stream:
    """Codes of some grids as bytes.

    Attributes
    ----------
    words : bytes
        The range coder's words.
    sides : bytes
        Sides of the rounding steps, see :class:`dipy_vqvae.compression.CodeReader`.
    n_together : int
        Grids that are coded together, at most.
    reverse : array, shape (N,), bool
        Grids whose codes are coded in the reverse order.
    """

    words: bytes
    sides: bytes
    n_together: int
    reverse: np.ndarray


class Protocol:
    """The order of codes in a stream, and their probabilities.

    Parameters
    ----------
    fit : PixelCNNFit
        The prior.
    batch_size : int
        Grids that go through the network at a time. It has no influence on results.
    verbose : bool, optional
        Show a progress bar.

    Raises
    ------
    ValueError
        For a prior whose weights are not finite.
    """

    def __init__(self, fit, *, batch_size, verbose=False):
        if not all(weights.isfinite().all() for weights in fit.net.parameters()):
            raise ValueError(
                "the prior has weights that are not finite (nan or inf): fit it again, "
                "or load an undamaged model file"
            )
        self._log_weights = fit.config.log_weights
        self._batch_size = batch_size
        self._verbose = verbose
        self._device = fit.device
        self._n_codes = fit.n_codes
        self._net = deepcopy(fit.net).double()

    def encode(self, stacks, conditions, reverse):
        """Write stacks of grids, K where codes do not count, as a `Stream`.

        `conditions` and `reverse` are of all grids of the stacks.
        """
        n_together = self._most_together(stacks)
        tolerance = TOLERANCE
        while True:
            writer = CodeWriter(tolerance)
            difference = 0.0
            for net, codes, of_codes in self._chunks(
                stacks, conditions, reverse, n_together
            ):
                of_chunk = self._write(writer, net, codes, of_codes)
                difference = max(difference, of_chunk)
            if difference * SAFETY <= tolerance:
                return Stream(*writer.finish(), n_together, reverse)
            tolerance = difference * SAFETY

    def decode(self, stream, stacks, conditions):
        """Read a stream into stacks of grids, in place, but where they are K."""
        if stream.n_together > _MOST_MORE * self._most_together(stacks):
            raise ValueError(f"damaged: {stream.n_together} grids at a time")
        reader = CodeReader(stream.words, stream.sides)
        places = list(_places(stacks, stream.reverse, stream.n_together))
        chunks = self._chunks(stacks, conditions, stream.reverse, stream.n_together)
        for (is_reverse, rows), (net, codes, of_codes) in zip(places, chunks):
            self._read(reader, net, codes, of_codes)
            for (stack, row), grid in zip(rows, _turned(codes, is_reverse)):
                stacks[stack][row] = grid

    def choose(self, stacks, conditions, nearness):
        """Choose codes by distance and length, in place, but where they are K.

        ``nearness(places, position)`` are the distances ``(n, K)`` of some (stack, row),
        in units of a nat.
        """
        n = sum(map(len, stacks))
        n_together, forward = self._most_together(stacks), np.zeros(n, bool)
        places = list(_places(stacks, forward, n_together))
        chunks = self._chunks(stacks, conditions, forward, n_together)
        for (_, rows), (net, codes, of_codes) in zip(places, chunks):
            with inference(self._device):
                self._choose(net, codes, of_codes, nearness, rows)
            for (stack, row), grid in zip(rows, codes):
                stacks[stack][row] = grid

    def _choose(self, net, codes, conditions, nearness, places):
        steps = self._steps(net, codes, conditions)
        for position in _positions(codes):
            column = codes[(slice(None), *position)]  # a view
            rows = column < self._n_codes
            if not rows.any():
                continue
            costs = steps.nats(position, rows)
            costs += nearness([places[i] for i in np.flatnonzero(rows)], position)
            column[rows] = costs.argmin(1)
            steps.put(position, column)

    def _most_together(self, stacks):
        """Return how many grids may go along at a time."""
        kept = max(kept_numbers(self._net, stack.shape[1:]) for stack in stacks)
        return max(1, MOST_KEPT // (kept * self._log_weights.shape[1]))

    def _chunks(self, stacks, conditions, reverse, n_together):
        """Yield network, grids and conditions of those that are coded together."""
        firsts = np.cumsum([0, *map(len, stacks)])
        places = list(_places(stacks, reverse, n_together))
        n_codes = sum(stack.size for stack in stacks)
        bar = tqdm(
            total=n_codes, unit="code", unit_scale=True, disable=not self._verbose
        )
        with bar:
            for is_reverse, rows in places:
                net = self._net.reverse if is_reverse else self._net
                codes = np.stack([stacks[stack][row] for stack, row in rows])
                index = np.array([firsts[stack] + row for stack, row in rows])
                yield net, _turned(codes, is_reverse), conditions[index]
                bar.update(codes.size)

    def _steps(self, net, codes, conditions):
        return Steps(
            prepare(net),
            codes,
            conditions,
            self._log_weights,
            batch_size=self._batch_size,
            device=self._device,
        )

    def _write(self, writer, net, codes, conditions):
        """Write grids; return by how much two ways to compute their lengths differ."""
        difference = 0.0
        with inference(self._device):
            steps = self._steps(net, codes, conditions)
            compared = self._in_one_pass(net, codes, conditions)
            for position in _positions(codes):
                column = codes[(slice(None), *position)]
                rows = column < self._n_codes
                if not rows.any():
                    continue
                nats = steps.nats(position, rows)
                first = compared[(slice(None), slice(None), *position)]
                first = first[rows[: len(first)]]
                difference = max(difference, _difference(nats[: len(first)], first))
                writer.write(column[rows], nats)
                steps.put(position, column)
        return difference

    def _read(self, reader, net, codes, conditions):
        """Read grids in place."""
        with inference(self._device):
            steps = self._steps(net, codes, conditions)
            for position in _positions(codes):
                column = codes[(slice(None), *position)]  # a view
                rows = column < self._n_codes
                if not rows.any():
                    continue
                column[rows] = reader.read(steps.nats(position, rows))
                steps.put(position, column)

    def _in_one_pass(self, net, codes, conditions):
        """Return ``-log p`` of the first grids by passes through the whole grid."""
        n_values = prod(codes.shape[1:]) * self._n_codes
        if n_values > _MOST_COMPARED:
            return np.empty((0, self._n_codes, *codes.shape[1:]))
        n = max(1, _COMPARED // n_values)
        codes = to_tensor(codes[:n], self._device, torch.int64)
        labels, covariates, _ = conditions[:n].arrays()
        labels = np.zeros(len(codes), np.int64) if labels is None else labels
        classes = to_tensor(labels * self._log_weights.shape[1], self._device)
        if covariates is not None:
            covariates = to_tensor(covariates, self._device)
        log_weights = to_tensor(self._log_weights[labels], self._device)
        log_p = mixture_logits(
            lambda c: net(codes, classes + c, covariates),
            codes,
            log_weights,
            reverse=False,
        )
        return -F.log_softmax(log_p, dim=1).cpu().numpy()


def _difference(nats, others):
    """Return the largest difference of lengths that are of consequence."""
    if not nats.size:
        return 0.0
    counts = np.minimum(nats, others) < 18.0
    return float(np.abs(nats - others)[counts].max(initial=0.0))


def _places(stacks, reverse, n_together):
    """Yield a direction and the (stack, row) of the grids that are coded together.

    First those in raster order, then the others; those of one shape together.
    """
    firsts = np.cumsum([0, *map(len, stacks)])
    for is_reverse in (False, True):
        by_shape = {}
        for stack, codes in enumerate(stacks):
            of_stack = reverse[firsts[stack] : firsts[stack + 1]] == is_reverse
            rows = by_shape.setdefault(codes.shape[1:], [])
            rows += [(stack, int(row)) for row in np.flatnonzero(of_stack)]
        for rows in by_shape.values():
            for start in range(0, len(rows), n_together):
                yield is_reverse, rows[start : start + n_together]


def _turned(codes, is_reverse):
    """Flip all axes of grids (B, *grid), or none; its own inverse."""
    axes = tuple(range(1, codes.ndim))
    return np.ascontiguousarray(np.flip(codes, axes)) if is_reverse else codes


def _positions(codes):
    """Iterate over the positions of grids (B, *grid) in raster order."""
    return product(*map(range, codes.shape[1:]))
