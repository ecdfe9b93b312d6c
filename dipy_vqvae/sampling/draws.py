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


def draw(logits, u, temperature):
    """Draw a code from each row of logits: (B, K) and (B,) -> (B,), int64."""
    largest = logits.amax(1, keepdim=True)
    if temperature == 0:
        # The first of equal logits.
        return (logits >= largest - _ROUNDING).to(torch.uint8).argmax(1)
    cumulative = torch.softmax((logits - largest) / temperature, dim=1).cumsum(1)
    u = u[:, None] * cumulative[:, -1:]
    codes = torch.searchsorted(cumulative, u, right=True).squeeze(1)
    return codes.clamp_(max=logits.shape[1] - 1)
