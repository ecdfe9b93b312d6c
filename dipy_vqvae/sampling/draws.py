r"""Draws by inversion, and when rounding could change them.

With :math:`F_k` the cumulative distribution of a code, the code that a uniform
number u draws is the first k with :math:`F_k > u`. u comes from a counter-based
generator (Philox :footcite:p:`Salmon2011`) at a place that depends on the seed, the
number of the image and the position, and on nothing else.

Logits that are off by at most :math:`\epsilon` change the odds
:math:`F_k / (1 - F_k)` by a factor between :math:`e^{-2\epsilon}` and
:math:`e^{2\epsilon}`. So the draw is sure where moving the odds of u by these
factors does not change the code.

References
----------
.. footbibliography::
"""

import numpy as np
import torch

# Philox makes four 64-bit numbers per count.
_PER_COUNT = 4
# Rounding of the sums in double precision.
_SUM_ERROR = 1e-13
# Below it, single precision divides by zero; the likeliest code is certain anyway.
_SMALLEST_TEMPERATURE = 1e-30


def uniforms(random_seed, start, stop, n_positions):
    """Return the uniform numbers of images `start` to `stop` of a seed."""
    counts = -(-n_positions // _PER_COUNT)
    key = np.random.SeedSequence(random_seed).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key)
    bits.advance(start * counts)
    u = np.random.Generator(bits).random((stop - start, counts * _PER_COUNT))
    return u[:, :n_positions]


def with_bounds(u, error, temperature):
    """Return uniform numbers, and how far rounding could move them."""
    if temperature == 0:
        return u[..., None].expand(*u.shape, 3)  # nothing is drawn by them
    factor = np.exp(-2 * error / max(temperature, _SMALLEST_TEMPERATURE))
    low = u * factor / (1 - u + u * factor) - _SUM_ERROR
    high = u / (u + (1 - u) * factor) + _SUM_ERROR
    # Codes of no probability, at either end, are not drawn whatever the error.
    return torch.stack([low.clamp(min=0), u, high.clamp(max=1 - _SUM_ERROR)], dim=-1)


def draw(logits, bounds, error, temperature):
    """Draw a code from each row of logits."""
    if temperature == 0:
        # Sums in double precision may differ in the last digits: a tie is one
        # if they do not differ by more.
        near = logits >= logits.amax(1, keepdim=True) - 2 * error - _SUM_ERROR
        codes = near.to(torch.uint8).argmax(1)
        undecided = near.sum(1) > 1
        return codes, undecided if undecided.any() else None
    if temperature != 1:
        logits = logits - logits.amax(1, keepdim=True)
        logits = logits / max(temperature, _SMALLEST_TEMPERATURE)
    # The relative error of a probability in single precision is as good as an error
    # of its logit; only their sums need more digits.
    steps = torch.softmax(logits, dim=1).cumsum(1, dtype=torch.float64)
    drawn = torch.searchsorted(steps, bounds * steps[:, -1:], right=True)
    # u may reach the last step by rounding.
    low, codes, high = drawn.clamp_(max=logits.shape[1] - 1).unbind(1)
    if torch.equal(low, high):
        return codes, None
    return codes, low != high
