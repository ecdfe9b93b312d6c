"""Draw grids of codes from a prior, reproducibly.

Codes are drawn one position after the other, in raster order, see
:mod:`dipy_vqvae.sampling.draws`. Logits are computed in double precision: ways of
computing them that differ in rounding draw the same codes, unless a uniform number lies
within some 1e-13 of a step of the distribution. So the codes are a function of the seed
alone, whatever the batch size, the number of threads and the device.
"""

from copy import deepcopy
from functools import partial
import itertools
from math import prod

import numpy as np
import torch
from tqdm.auto import tqdm

from dipy_vqvae.device import inference, to_tensor
from dipy_vqvae.sampling.draws import draw, uniforms
from dipy_vqvae.sampling.incremental import kept_numbers, prepare

# Numbers that a batch may keep (512 MiB of float64).
_MOST_KEPT = 2**26


class FullPasses:
    """Compute logits by a pass through the whole network for each position.

    The slow way, which the fast one is tested against.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.
    codes : torch.Tensor, shape (B, *grid), int64
        Filled in by the caller, position after position.
    labels : torch.Tensor, shape (B,), or None
        Class of each grid.
    covariates : torch.Tensor, shape (B, n), or None
        Continuous conditions of each grid, scaled.
    """

    def __init__(self, net, codes, labels, covariates=None):
        self.net = net
        self.codes = codes
        self.conditions = labels, covariates

    def logits(self, position):
        """Compute the logits at a position, given the codes before it.

        Parameters
        ----------
        position : tuple of int
            The position in the grid.

        Returns
        -------
        logits : torch.Tensor, shape (B, K)
        """
        return self.net(self.codes, *self.conditions)[
            (slice(None), slice(None), *position)
        ]


def sample_codes(
    net,
    n,
    *,
    grid_shape,
    first=0,
    random_seed=0,
    temperature=1.0,
    top_k=None,
    top_p=1.0,
    labels=None,
    covariates=None,
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
        Number of the first grid among those of the seed.
    random_seed : int, optional
        Seed of the draws.
    temperature : float, optional
        Logits are divided by it; 0 takes the largest.
    top_k, top_p : int and float, optional
        Codes that may be drawn, see :func:`dipy_vqvae.sampling.draws.draw`.
    labels : array, shape (n,), int64, optional
        Class of each grid.
    covariates : array, shape (n, c), float, optional
        Continuous conditions of each grid, scaled.
    codes, keep : arrays, shape (n, *grid), optional
        Grids to complete and which of their codes to keep (bool).
    batch_size : int, optional
        Most grids at a time; fewer where they would need too much memory.
    stepper : callable, optional
        ``stepper(net, codes, labels, covariates)``, with the network in double precision, returns
        an object whose ``logits(position)`` is called in raster order. Default: the
        incremental pass.
    verbose : bool, optional
        Show a progress bar.

    Returns
    -------
    codes : array, shape (n, *grid), int32

    Raises
    ------
    ValueError
        For a network whose weights are not finite.
    """
    result = np.zeros((n, *grid_shape), np.int32)
    if not n:
        return result
    if not all(weights.isfinite().all() for weights in net.parameters()):
        raise ValueError(
            "the prior has weights that are not finite (nan or inf): fit it again, "
            "or load an undamaged model file"
        )
    batch_size = min(batch_size, max(1, _MOST_KEPT // kept_numbers(net, grid_shape)))
    device = next(net.parameters()).device
    bar = tqdm(
        total=result.size,
        desc="Sampling",
        unit="code",
        unit_scale=True,
        disable=not verbose,
    )
    with bar, inference(device):
        net = deepcopy(net).double()
        drawing = partial(draw, temperature=temperature, top_k=top_k, top_p=top_p)
        steps = prepare(net) if stepper is None else partial(stepper, net)
        for start in range(0, n, batch_size):
            stop = min(n, start + batch_size)
            part = slice(start, stop)
            u = uniforms(random_seed, first + start, first + stop, prod(grid_shape))
            kept = None if keep is None else keep[part]
            begun = result[part] if kept is None else np.where(kept, codes[part], 0)
            grids = to_tensor(begun.astype(np.int64), device)
            conditions = [
                None if values is None else to_tensor(values[part], device)
                for values in (labels, covariates)
            ]
            _draw_grids(steps(grids, *conditions), grids, u, drawing, kept, bar)
            result[part] = grids.cpu().numpy()
    return result


def _draw_grids(steps, grids, u, drawing, keep, bar):
    """Draw the codes of grids (B, *grid) in place, but for those to keep."""
    positions = itertools.product(*map(range, grids.shape[1:]))
    u = to_tensor(u.T, grids.device)  # (positions, B)
    codes = grids.flatten(1)  # a view
    if keep is not None:
        keep = keep.reshape(len(keep), -1).T  # (positions, B)
        all_kept = keep.all(1)
        keep = to_tensor(keep, grids.device)
    for i, position in enumerate(positions):
        bar.update(len(grids))
        if keep is not None and all_kept[i]:
            continue
        drawn = drawing(steps.logits(position), u[i])
        if keep is not None:
            drawn = torch.where(keep[i], codes[:, i], drawn)
        codes[:, i] = drawn
