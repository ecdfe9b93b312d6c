r"""Drawing codes from a prior, reproducibly.

Codes are drawn one position after the other, in raster order, see
:mod:`dipy_vqvae.sampling.draws`.

Two ways of computing the same logits differ by rounding, and could draw different
codes where a uniform number lies within rounding of a step of the distribution.
How large the rounding is depends on the network: it is measured before the first
draw. Draws that it leaves undecided (a few in ten thousand) are settled in double
precision. That makes the codes a function of the seed alone: whatever the sizes of
the batches, the number of threads, the device, or the way of computing the logits.
"""

from copy import deepcopy
import itertools
import logging
from math import prod

import numpy as np
import torch
from tqdm import tqdm

from dipy_vqvae.device import inference
from dipy_vqvae.sampling.draws import draw, uniforms, with_bounds
from dipy_vqvae.sampling.incremental import kept_numbers, prepare
from dipy_vqvae.sampling.single import logits_at

logger = logging.getLogger("dipy_vqvae")

# Rounding is measured on a few grids and assumed to be up to so many times larger.
SAFETY = 4.0
_N_MEASURED = 2
_LARGEST_MEASURED = {1: 32, 2: 6, 3: 3}
# Numbers that a batch may keep (512 MiB of float32).
_MOST_KEPT = 2**27


class FullPasses:
    """Logits by a pass through the whole network for each position.

    The slow way, which the fast one is tested against.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.
    codes : torch.Tensor, shape (B, *grid), int64
        Filled in by the caller, position after position.
    labels : torch.Tensor, shape (B,), or None
        Class of each grid.
    """

    def __init__(self, net, codes, labels):
        self.net = net
        self.codes = codes
        self.labels = labels

    def logits(self, position):
        """Return logits ``(B, K)`` at `position`, given the codes before it."""
        return self.net(self.codes, self.labels)[(slice(None), slice(None), *position)]


class Sampler:
    """Draws grids of codes from a prior's network.

    Parameters
    ----------
    net : torch.nn.Module
        The network, in evaluation mode.
    grid_shape : tuple of int
        Shape of the grids.
    random_seed : int, optional
        Seed of the draws.
    temperature : float, optional
        Logits are divided by it; 0 takes the largest.
    stepper : callable, optional
        ``stepper(net, codes, labels)`` gives an object whose ``logits(position)``
        is asked for positions in raster order; by default the incremental pass.
    """

    def __init__(
        self, net, *, grid_shape, random_seed=0, temperature=1.0, stepper=None
    ):
        self.net = net
        self.grid_shape = tuple(grid_shape)
        self.random_seed = random_seed
        self.temperature = temperature
        #: Draws that were settled in double precision.
        self.n_settled = 0
        self._steps = (
            prepare(net)
            if stepper is None
            else lambda codes, labels: stepper(net, codes, labels)
        )
        self._double = deepcopy(net).double()
        self._device = next(net.parameters()).device
        #: Error that a logit may have.
        self.error = SAFETY * self._measure_error()

    @torch.inference_mode()
    def _measure_error(self):
        """Measure the largest difference to double precision on small random grids."""
        largest = _LARGEST_MEASURED[len(self.grid_shape)]
        grid_shape = [min(size, largest) for size in self.grid_shape]
        rng = np.random.default_rng(0)
        codes = rng.integers(self.net.n_codes, size=(_N_MEASURED, *grid_shape))
        codes = torch.from_numpy(codes).to(self._device)
        labels = None
        if self.net.n_classes:
            labels = torch.arange(_N_MEASURED, device=self._device)
            labels %= self.net.n_classes
        steps = self._steps(codes, labels)
        positions = itertools.product(*map(range, grid_shape))
        logits = torch.stack([steps.logits(p) for p in positions], dim=-1)
        difference = logits.double() - self._double(codes, labels).flatten(2)
        # What is the same for all codes changes nothing.
        difference -= difference.mean(1, keepdim=True)
        error = float(difference.abs().max())
        if not np.isfinite(error):
            raise ValueError(
                "the prior's logits are not finite: were its weights damaged?"
            )
        return error

    @torch.inference_mode()
    def draw(self, start, stop, *, labels=None, codes=None, keep=None, bar=None):
        """Draw grids number `start` to `stop` of the seed.

        Parameters
        ----------
        start, stop : int
            Numbers of the grids.
        labels : array, shape (stop - start,), int64, optional
            Their classes.
        codes : array, shape (stop - start, *grid), optional
            Grids to complete.
        keep : bool array, shape (stop - start, *grid), optional
            Which of their codes to keep.
        bar : tqdm.tqdm, optional
            Told of the codes of every row.

        Returns
        -------
        codes : array, shape (stop - start, *grid), int32
        """
        *outer, width = self.grid_shape
        device = self._device
        u = uniforms(self.random_seed, start, stop, prod(self.grid_shape))
        u = torch.from_numpy(u).reshape(stop - start, -1, width).to(device)
        grids = torch.zeros(
            (stop - start, *self.grid_shape), dtype=torch.int64, device=device
        )
        if keep is not None:
            grids[:] = torch.from_numpy(np.where(keep, codes, 0).astype(np.int64))
            keep = torch.from_numpy(keep.copy()).to(device)
        if labels is not None:
            labels = torch.from_numpy(labels).to(device)
        steps = self._steps(grids, labels)
        for i, row in enumerate(itertools.product(*map(range, outer))):
            row_keep = None if keep is None else keep[(slice(None), *row)]
            self._draw_row(steps, grids, labels, row, u[:, i], row_keep)
            if bar is not None:
                bar.update((stop - start) * width)
        return grids.to(torch.int32).cpu().numpy()

    def _draw_row(self, steps, grids, labels, row, u, keep):
        """Draw the codes of one row of positions, from left to right."""
        bounds = with_bounds(u.t(), self.error, self.temperature)
        codes_at = grids[(slice(None), *row)].unbind(1)
        if keep is not None:
            wanted = (~keep).any(0).tolist()
        for j, (codes, bound) in enumerate(zip(codes_at, bounds.unbind())):
            if keep is not None and not wanted[j]:
                continue
            position = (*row, j)
            logits = steps.logits(position)
            drawn, undecided = draw(logits, bound, self.error, self.temperature)
            if undecided is not None:
                self._settle(drawn, undecided, grids, labels, position, bound)
            if keep is not None:
                drawn = torch.where(keep[:, j], codes, drawn)
            codes.copy_(drawn)

    def _settle(self, drawn, undecided, grids, labels, position, bound):
        """Draw the undecided codes in double precision."""
        rows = undecided.nonzero()[:, 0]
        self.n_settled += len(rows)
        labels = None if labels is None else labels[rows]
        logits = logits_at(self._double, grids[rows], labels, position)
        drawn[rows] = draw(logits, bound[rows], 0.0, self.temperature)[0]


def sample_codes(
    net,
    n,
    *,
    grid_shape,
    first=0,
    random_seed=0,
    temperature=1.0,
    labels=None,
    codes=None,
    keep=None,
    batch_size=256,
    stepper=None,
    verbose=False,
):
    """Draw grids of codes from a prior's network.

    Parameters
    ----------
    net : torch.nn.Module
        The network, in evaluation mode.
    n : int
        Number of grids.
    grid_shape : tuple of int
        Their shape.
    first : int, optional
        Number of the first one among those of the seed.
    labels : array, shape (n,), int64, optional
        Class of each grid.
    codes, keep : arrays, shape (n, *grid), optional
        Grids to complete and which of their codes to keep (bool).
    batch_size : int, optional
        Most grids at a time; fewer where they would need too much memory.
    random_seed, temperature, stepper
        See :class:`Sampler`.
    verbose : bool, optional
        Show a progress bar.

    Returns
    -------
    codes : array, shape (n, *grid), int32
    """
    result = np.zeros((n, *grid_shape), np.int32)
    if not n:
        return result
    batch_size = min(batch_size, max(1, _MOST_KEPT // kept_numbers(net, grid_shape)))
    bar = tqdm(
        total=result.size,
        desc="Sampling",
        unit="code",
        unit_scale=True,
        disable=not verbose,
    )
    with bar, inference(next(net.parameters()).device):
        sampler = Sampler(
            net,
            grid_shape=grid_shape,
            random_seed=random_seed,
            temperature=temperature,
            stepper=stepper,
        )
        for start in range(0, n, batch_size):
            stop = min(n, start + batch_size)
            part = slice(start, stop)
            result[part] = sampler.draw(
                first + start,
                first + stop,
                labels=None if labels is None else labels[part],
                codes=None if codes is None else codes[part],
                keep=None if keep is None else keep[part],
                bar=bar,
            )
    logger.debug(
        "%d of %d draws were settled in double precision",
        sampler.n_settled,
        result.size,
    )
    return result
