r"""How surprising codes are, compared with what a prior expected at their place.

With :math:`l = -\log p(k \mid k_\mathrm{before})`, and H and V its mean and variance under
the prior at that place, all from the same logits,

.. math::

    z = \frac{\sum (l - H)}{\sqrt{\sum V}}

is a sum of martingale differences over its standard deviation: about N(0, 1) for codes
that were drawn from the prior, whatever the image. The code length :math:`\sum l` itself
is large for images of much detail, and small for simple ones. The same comparison tells
texts that a language model wrote from others :footcite:p:`Bao2024`.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True, eq=False)
class Surprisal:
    """Code lengths, and what the prior expected of them.

    Attributes
    ----------
    nats : array, shape (N, *grid), float64
        Code length of each code given those before it, l.
    entropy, variance : array, shape (N, *grid), float64
        Mean H and variance V of the code length under the prior, at that place.
    p : array, shape (N, *grid), float64
        Probability under the prior of a code that is no likelier, at that place.
    inside : array, shape (N, *grid), bool
        Positions that count; the others are 0 in all of these.
    """

    nats: np.ndarray
    entropy: np.ndarray
    variance: np.ndarray
    p: np.ndarray
    inside: np.ndarray

    @property
    def z(self):
        """Surprisal of whole grids, about N(0, 1) for samples: shape (N,), float64."""
        axes = tuple(range(1, self.nats.ndim))
        deviation = np.sqrt(self.variance.sum(axes))
        return _over(self._excess.sum(axes), deviation)

    @property
    def map(self):
        """Surprisal of each code, in standard deviations: shape (N, *grid), float64.

        0 where the prior leaves no choice and the code is the one that it expects; very
        large where it is another one.
        """
        return _over(self._excess, np.sqrt(self.variance))

    @property
    def _excess(self):
        return self.nats - self.entropy


def surprisal_of(logits, codes):
    """Compute l, H, V and p.

    `logits` ``(B, K, *grid)`` and `codes` ``(B, *grid)``, int64, K outside; returns
    ``(4, B, *grid)``, float64.
    """
    inside = codes < logits.shape[1]
    log_p = F.log_softmax(logits.double(), dim=1)
    p = log_p.exp()
    chosen = codes.clamp(max=logits.shape[1] - 1).unsqueeze(1)
    nats = -log_p.gather(1, chosen).squeeze(1)
    entropy = -(p * log_p).sum(1)
    # Around the mean: a difference of squares may be negative.
    variance = (p * (log_p + entropy.unsqueeze(1)).square()).sum(1)
    # Equal ones may differ by rounding.
    is_no_likelier = log_p <= 1e-9 - nats.unsqueeze(1)
    tail = (p * is_no_likelier).sum(1)
    return torch.stack([nats, entropy, variance, tail]) * inside


def _over(excess, deviation):
    """Divide, with 0 / 0 = 0: where there is no choice, the deviation is 0."""
    return excess / np.maximum(deviation, np.sqrt(np.finfo(np.float64).eps))
