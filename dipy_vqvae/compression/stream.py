"""One stream of codes: a range coder, and what the encoder says of rounding."""

import numpy as np

from dipy_vqvae.compression.fields import FieldReader, write_number
from dipy_vqvae.compression.grid import frequencies, near_steps, to_steps
from dipy_vqvae.compression.range_coder import RangeReader, RangeWriter


class CodeWriter:
    """Write codes with their probabilities, one batch after the other.

    Parameters
    ----------
    tolerance : float
        Difference in nats up to which another machine may compute a log-probability.
    """

    def __init__(self, tolerance):
        self._tolerance = tolerance
        self._coder = RangeWriter()
        self._n_values = 0
        self._near = []

    def write(self, codes, nats):
        """Write codes (B,) with the ``-log p`` (B, K) of all codes."""
        if not len(codes):
            return
        steps, shifted = to_steps(nats)
        for index in near_steps(shifted, self._tolerance):
            self._near.append((self._n_values + int(index), int(steps.flat[index]) & 1))
        self._n_values += nats.size
        self._coder.write(codes, frequencies(steps))

    def finish(self):
        """Return the codes and the sides of rounding steps, as two strings of bytes."""
        sides, last = bytearray(), -1
        for index, side in self._near:
            # The lowest bit of a step: of two neighbours it chooses one.
            write_number(sides, 2 * (index - last - 1) + side)
            last = index
        return self._coder.finish(), bytes(sides)


class CodeReader:
    """Read what a `CodeWriter` wrote, with the same probabilities.

    Parameters
    ----------
    words, sides : bytes
        From :meth:`CodeWriter.finish`.
    """

    def __init__(self, words, sides):
        self._coder = RangeReader(words)
        self._n_values = 0
        self._sides = _read_sides(sides)
        self._next = next(self._sides, None)

    def read(self, nats):
        """Read codes (B,) int32, given the ``-log p`` (B, K) of all codes.

        Raises
        ------
        ValueError
            If the bytes were not written with these probabilities.
        """
        if not len(nats):
            return np.zeros(0, np.int32)
        steps, shifted = to_steps(nats)
        stop = self._n_values + nats.size
        while self._next is not None and self._next[0] < stop:
            index, side = self._next
            place = np.unravel_index(index - self._n_values, steps.shape)
            steps[place] = _on_side(steps[place], shifted[place], side)
            self._next = next(self._sides, None)
        self._n_values = stop
        return self._coder.read(frequencies(steps))


def _read_sides(sides):
    """Yield the index and the side of each value near a step."""
    reader, index = FieldReader(sides), -1
    while not reader.is_at_end:
        number = reader.number()
        index += 1 + number // 2
        yield index, number % 2


def _on_side(step, shifted, side):
    """Return the step next to a value whose lowest bit is `side`."""
    if step % 2 == side:
        return step
    # The step below ends where the value is near, or the one above begins there.
    return step - 1 if shifted - step < 0.5 and step else step + 1
