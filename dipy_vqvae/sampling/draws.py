r"""Draw codes by inversion.

With :math:`F_k` the cumulative distribution of a code, a uniform number u draws the
first k with :math:`F_k > u`. u comes from a counter-based generator (Philox
:footcite:p:`Salmon2011`) at a place that depends on the seed, the number of the grid
and the position, and on nothing else.

References
----------
.. footbibliography::
"""

import numpy as np
import torch

# Philox makes four 64-bit numbers per count.
_PER_COUNT = 4
# Logits in double precision that differ by less are equal up to rounding.
_ROUNDING = 1e-11


def uniforms(random_seed, start, stop, n_positions):
    """Draw the uniform numbers of grids `start` to `stop`, float64."""
    counts = -(-n_positions // _PER_COUNT)
    key = np.random.SeedSequence(random_seed).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key)
    bits.advance(start * counts)
    u = np.random.Generator(bits).random((stop - start, counts * _PER_COUNT))
    return u[:, :n_positions]  # (stop - start, n_positions)


def draw(logits, u, temperature, top_k=None, top_p=1.0):
    """Draw a code from each row of logits: (B, K) and (B,) -> (B,), int64.

    Of each row only the `top_k` likeliest codes may be drawn, and of those the fewest
    whose probabilities, at this temperature, sum to `top_p` (nucleus sampling
    :footcite:p:`Holtzman2020`).
    """
    largest = logits.amax(1, keepdim=True)
    if temperature == 0:
        # The first of equal logits.
        return (logits >= largest - _ROUNDING).to(torch.uint8).argmax(1)
    logits = (logits - largest) / temperature
    if top_k is not None or top_p < 1:
        logits = _without_unlikely(logits, top_k, top_p)
    cumulative = torch.softmax(logits, dim=1).cumsum(1)
    u = u[:, None] * cumulative[:, -1:]
    codes = torch.searchsorted(cumulative, u, right=True).squeeze(1)
    return codes.clamp_(max=logits.shape[1] - 1)


def _without_unlikely(logits, top_k, top_p):
    """Give codes that may not be drawn logits of minus infinity; equal ones stay."""
    ranked = logits.sort(dim=1, descending=True).values  # (B, K)
    n_codes = logits.shape[1]
    keep = min(top_k or n_codes, n_codes)
    ranked[:, keep:] = -torch.inf
    if top_p < 1:
        p = ranked.softmax(dim=1)
        # Dropped: those before which the sum is reached already.
        ranked[p.cumsum(1) - p >= top_p] = -torch.inf
    last = (ranked > -torch.inf).sum(1, keepdim=True) - 1
    threshold = ranked.gather(1, last) - _ROUNDING
    return logits.masked_fill(logits < threshold, -torch.inf)
