"""Range, mean, variance and percentiles of values that come in parts."""

import numpy as np

# Largest number of values that percentiles are computed from.
LARGEST_SAMPLE = 1 << 24
# Values held in double precision at a time.
_BLOCK = 1 << 22


class Moments:
    r"""Range, mean and variance of values that come in parts.

    Parts are put together without cancellation: with means :math:`m`, sums of squared
    differences from them :math:`M` and numbers :math:`n` of two parts,
    :math:`M_{ab} = M_a + M_b + (m_b - m_a)^2 n_a n_b / (n_a + n_b)`
    :footcite:p:`Chan1983`.

    References
    ----------
    .. footbibliography::
    """

    def __init__(self):
        self.n = 0
        self.low, self.high = np.inf, -np.inf
        self.mean = self.squares = 0.0

    @property
    def variance(self):
        """Mean squared difference from the mean."""
        return self.squares / self.n

    def add(self, values):
        """Add values of any shape and type, at least one."""
        values = values.reshape(-1)
        for start in range(0, len(values), _BLOCK):
            self._add_block(values[start : start + _BLOCK])

    def _add_block(self, values):
        block = Moments()
        block.n = values.size
        block.low, block.high = float(values.min()), float(values.max())
        block.mean = values.sum(dtype=np.float64) / values.size
        # Not `values - mean`, whose type depends on the version of NumPy.
        apart = np.subtract(values, block.mean, dtype=np.float64)
        with np.errstate(under="ignore"):
            block.squares = np.square(apart, out=apart).sum()
        self.merge(block)

    def merge(self, other):
        """Add the values of other moments."""
        if not other.n:
            return
        n = self.n + other.n
        apart = other.mean - self.mean
        self.squares += other.squares
        if self.n:
            self.squares += apart**2 * (self.n * other.n / n)
            self.mean += apart * (other.n / n)
        else:
            self.mean = other.mean
        self.n = n
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def scaled(self, scaling):
        """Return the moments of ``(values - offset) / scale``."""
        scaled = Moments()
        scaled.n = self.n
        for name in ("low", "high", "mean"):
            value = (getattr(self, name) - scaling.offset) / scaling.scale
            setattr(scaled, name, value)
        scaled.squares = self.squares / scaling.scale**2
        return scaled


class ValueSample:
    """Keep evenly spaced values of a sequence that comes in parts.

    Every `stride`-th value is kept; the stride doubles when there are more than
    `largest`. The choice does not depend on how the sequence was divided.
    """

    def __init__(self, largest=LARGEST_SAMPLE, *, stride=1):
        self.largest = largest
        self.stride = stride
        self.n_seen = self.n_kept = 0
        self._parts = []

    def add(self, values):
        """Add values of any shape and type."""
        first = -self.n_seen % self.stride
        kept = values.reshape(-1)[first :: self.stride]
        self.n_seen += values.size
        self.n_kept += len(kept)
        self._parts.append(kept if self.stride == 1 else kept.copy())
        while self.n_kept > self.largest:
            kept = self.values()[::2].copy()
            self._parts, self.n_kept = [kept], len(kept)
            self.stride *= 2

    def values(self):
        """Return the values that were kept, (n,)."""
        return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
