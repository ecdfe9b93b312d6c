r"""Drawing codes from a prior, reproducibly.

Codes are drawn one position after the other, in raster order, by inversion: with
:math:`F_k` the cumulative distribution of the code at a position and u uniform on
[0, 1), the code is the first k with :math:`F_k > u`. u comes from a counter-based
generator (Philox :footcite:p:`Salmon2011`) at a place that depends on the seed, the
number of the image and the position, and on nothing else.

Two ways of computing the same logits differ by rounding, and where u lies within
rounding of a step of F they could draw different codes. Such draws (about one in
ten thousand) are settled by a full pass in double precision. That makes the codes
a function of the seed alone: whatever the sizes of the batches, the number of
threads, the device, or the way of computing the logits.

References
----------
.. footbibliography::
"""

from copy import deepcopy
import itertools

import numpy as np
import torch
from tqdm import tqdm

# Distance of u to a step of F, or of the two largest logits, under which single
# precision does not decide. Logits of single precision are good to about 1e-6.
UNDECIDED = 2e-5
# Philox makes four 64-bit numbers per count.
_PER_COUNT = 4


def uniforms(random_seed, start, stop, n_positions):
    """Uniform numbers of images `start` to `stop` of a seed.

    Parameters
    ----------
    random_seed : int
        Seed.
    start, stop : int
        Numbers of the images.
    n_positions : int
        Draws per image.

    Returns
    -------
    u : array, shape (stop - start, n_positions), float64
        In [0, 1); row i is the same for any `start` at or below it.
    """
    counts = -(-n_positions // _PER_COUNT)
    key = np.random.SeedSequence(random_seed).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key)
    bits.advance(start * counts)
    u = np.random.Generator(bits).random((stop - start, counts * _PER_COUNT))
    return u[:, :n_positions]


def draw(logits, u, temperature):
    """Draw a code from each row of logits.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Unnormalised log-probabilities.
    u : torch.Tensor, shape (B,), float64
        Uniform numbers in [0, 1).
    temperature : float
        0 takes the largest logit.

    Returns
    -------
    codes : torch.Tensor, shape (B,), int64
    undecided : torch.Tensor, shape (B,), bool
        Whether rounding of single precision could change the code.
    """
    if temperature == 0:
        top = logits.topk(2, dim=1)
        gap = top.values[:, 0] - top.values[:, 1]
        return top.indices[:, 0], gap < 10 * UNDECIDED
    scaled = logits.double() / temperature
    # (B, K): steps of F, the last one exactly 1 so that some code is always drawn.
    steps = torch.softmax(scaled, dim=1).cumsum(1)
    steps /= steps[:, -1:].clone()
    distance = steps - u[:, None]
    codes = (distance <= 0).sum(1)
    margin = UNDECIDED * max(1.0, 1.0 / temperature)
    return codes, (distance[:, :-1].abs() < margin).any(1)


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
        """Logits ``(B, K)`` at `position`, given the codes before it."""
        return self.net(self.codes, self.labels)[(slice(None), slice(None), *position)]


class DoublePrecision:
    """Logits in double precision, for the draws that rounding could decide."""

    def __init__(self, net):
        self.net = net
        self._double = None

    def logits(self, codes, labels, position):
        """Logits ``(B, K)`` at `position`, float64."""
        if self._double is None:
            self._double = deepcopy(self.net).double()
        return FullPasses(self._double, codes, labels).logits(position)


@torch.inference_mode()
def sample_codes(
    net,
    n,
    *,
    grid_shape,
    random_seed=0,
    temperature=1.0,
    labels=None,
    batch_size=256,
    stepper=FullPasses,
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
    random_seed, temperature, labels, batch_size, verbose
        See :meth:`dipy_vqvae.pixelcnn.PixelCNNFit.sample`.
    stepper : callable, optional
        ``stepper(net, codes, labels)`` gives an object whose ``logits(position)``
        is asked for each position in raster order.

    Returns
    -------
    codes : array, shape (n, *grid), int32
    """
    device = next(net.parameters()).device
    positions = list(itertools.product(*map(range, grid_shape)))
    result = np.zeros((n, *grid_shape), np.int32)
    exact = DoublePrecision(net)
    with tqdm(total=n, desc="Sampling", unit="image", disable=not verbose) as bar:
        for start in range(0, n, batch_size):
            stop = min(n, start + batch_size)
            u = torch.from_numpy(uniforms(random_seed, start, stop, len(positions)))
            u = u.to(device)
            codes = torch.zeros(
                (stop - start, *grid_shape), dtype=torch.int64, device=device
            )
            batch_labels = None
            if labels is not None:
                batch_labels = torch.from_numpy(labels[start:stop]).to(device)
            steps = stepper(net, codes, batch_labels)
            for i, position in enumerate(positions):
                drawn, undecided = draw(steps.logits(position), u[:, i], temperature)
                if undecided.any():
                    rows = undecided.nonzero()[:, 0]
                    row_labels = None if labels is None else batch_labels[rows]
                    logits = exact.logits(codes[rows], row_labels, position)
                    drawn[rows] = draw(logits, u[rows, i], temperature)[0]
                codes[(slice(None), *position)] = drawn
            result[start:stop] = codes.cpu().numpy()
            bar.update(stop - start)
    return result
