"""Symbols to bytes and back, given the frequencies of all symbols as integers.

The range coder is that of constriction :footcite:p:`Bamler2022`. It gets frequencies as
float64, which holds such integers exactly, and they sum to what makes its own scale 1:
there is no rounding in it.

References
----------
.. footbibliography::
"""

import constriction
import numpy as np

from dipy_vqvae.compression.grid import PRECISION

_FAMILY = constriction.stream.model.Categorical(perfect=False)
# The coder's words, the most significant byte first: zeros at the end are left out.
_WORD = np.dtype(">u4")
# Bits that the coder's state holds besides the words.
STATE = 64


class RangeWriter:
    """Write symbols, one batch after the other."""

    def __init__(self):
        self._coder = constriction.stream.queue.RangeEncoder()

    def write(self, symbols, counts):
        """Write symbols (B,) with the frequencies of `shares` (B, K) of all."""
        self._coder.encode(symbols.astype(np.int32), _FAMILY, counts.astype(np.float64))

    def finish(self):
        """Return all of them as bytes."""
        return self._coder.get_compressed().astype(_WORD).tobytes().rstrip(b"\0")


class RangeReader:
    """Read what a `RangeWriter` wrote, with the same frequencies."""

    def __init__(self, words):
        padded = words + bytes(-len(words) % _WORD.itemsize)
        self._coder = constriction.stream.queue.RangeDecoder(
            np.frombuffer(padded, _WORD).astype(np.uint32)
        )
        self._bits_left = 8 * len(words) + STATE

    def read(self, counts):
        """Read symbols (B,) int32.

        Raises
        ------
        ValueError
            If the bytes were not written with these frequencies.
        """
        try:
            symbols = self._coder.decode(_FAMILY, counts.astype(np.float64))
        except AssertionError as error:
            raise ValueError("no codes of these probabilities") from error
        chosen = counts[np.arange(len(symbols)), symbols] + 1
        self._bits_left -= (PRECISION - np.log2(chosen)).sum()
        if self._bits_left < 0:
            raise ValueError("more codes than the bytes can hold")
        return symbols
