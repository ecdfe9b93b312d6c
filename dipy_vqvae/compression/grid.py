r"""Log-probabilities as integers, from which frequencies follow by integers alone.

Two machines compute :math:`-\log p` in double precision with differences of about 1e-13.
It is rounded to a grid, 32 steps for a nat,

.. math::

    n = \lfloor -32 \log p + 1/2 \rfloor, \qquad w = \mathrm{round}(2^{24} e^{-n / 32})

and from n on, everything is a function of integers. The rounding costs about 4e-5 nats for
a code. No code is more probable than 1 - 2^-12, or nearly so: what a few bytes can hold
is bounded, and the reader of a damaged file asks for no more memory than that. A value so
close to a rounding step that the machines might disagree is *near* the step: the encoder
says on which side of it the value is :footcite:p:`Tian2023`.

References
----------
.. footbibliography::
"""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import cache
from math import log2

import numpy as np

STEPS_PER_NAT = 32
# Frequencies of all codes sum to two to this power.
PRECISION = 24
# From this step on, the weight is 0.
LAST_STEP = 556
# What all codes together have in any case: 2^-12 of all.
_SHARED = 1 << PRECISION - 12


@cache
def weights():
    """Return the weight of each step, int64 ``(LAST_STEP + 1,)``.

    Decimal arithmetic is rounded correctly, and so the same everywhere.
    """
    with localcontext() as context:
        context.prec = 40
        scale = Decimal(1 << PRECISION)
        exact = [
            scale * (Decimal(-n) / STEPS_PER_NAT).exp() for n in range(LAST_STEP + 1)
        ]
        rounded = [int(w.to_integral_value(rounding=ROUND_HALF_EVEN)) for w in exact]
    return np.array(rounded, np.int64)


def to_steps(nats):
    """Round ``-log p`` to the grid.

    Parameters
    ----------
    nats : array, shape (B, K), float64
        At least 0; infinity for a code that cannot occur.

    Returns
    -------
    steps : array, shape (B, K), int64
        In [0, LAST_STEP].
    shifted : array, shape (B, K), float64
        What was rounded down, for :func:`near_steps`.

    Raises
    ------
    ValueError
        If one of the values is NaN.
    """
    shifted = np.clip(nats, 0, LAST_STEP / STEPS_PER_NAT) * STEPS_PER_NAT + 0.5
    if np.isnan(shifted).any():
        raise ValueError("the prior gives log-probabilities that are NaN")
    return np.floor(shifted).astype(np.int64), shifted


def near_steps(shifted, tolerance):
    """Find values closer to a rounding step than `tolerance`, in nats.

    Returns their indices in the flattened array, in order.
    """
    distance = np.abs(shifted - np.rint(shifted))
    return np.flatnonzero(distance < tolerance * STEPS_PER_NAT)


def frequencies(steps):
    """Return frequencies that sum to ``2**24 - K``: int64 ``(B, K)``."""
    return shares(weights()[steps])


def shares(weights):
    """Divide ``2**24 - K`` in the proportions of whole weights: int64 ``(B, K)``.

    The range coder adds 1 to each. What rounding leaves over goes to the largest one.
    """
    n_codes = weights.shape[1]
    rows = np.arange(len(weights))
    least = _SHARED // n_codes
    total = (1 << PRECISION) - n_codes - least * n_codes
    counts = weights * total // weights.sum(1, keepdims=True)
    counts[rows, weights.argmax(1)] += total - counts.sum(1)
    return counts + least


def least_bits(n_codes):
    """Return the bits of a code that is as likely as a code can be."""
    others = (n_codes - 1) * (1 + _SHARED // n_codes)
    return PRECISION - log2((1 << PRECISION) - others)
