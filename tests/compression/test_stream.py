"""The range coder, against a slow one in whole numbers; sides of rounding steps."""

from itertools import accumulate

import numpy as np
import numpy.testing as npt
import pytest
from toy_lengths import nats_of

from dipy_vqvae.compression import CodeReader, CodeWriter
from dipy_vqvae.compression.grid import STEPS_PER_NAT, frequencies, to_steps

WORD, STATE = 1 << 32, 1 << 64


def draw(nats, seed=0):
    """Draw codes from probabilities."""
    u = np.random.default_rng(seed).random((len(nats), 1))
    return (np.exp(-nats).cumsum(1) < u).sum(1).clip(max=nats.shape[1] - 1)


def decode_slowly(content, nats):
    """Decode with a range coder in Python's integers, as constriction documents it."""
    content += bytes(-len(content) % 4 + 8)
    words = iter(
        int.from_bytes(content[i : i + 4], "big") for i in range(0, len(content), 4)
    )
    point = next(words) * WORD + next(words)
    lower, width, codes = 0, STATE - 1, []
    for counts in frequencies(to_steps(nats)[0]) + 1:
        ends = list(accumulate(int(count) for count in counts))
        unit = width >> 24
        quantile = (point - lower) % STATE // unit
        code = sum(end <= quantile for end in ends)
        codes.append(code)
        start = ends[code] - int(counts[code])
        lower = (lower + unit * start) % STATE
        width = unit * int(counts[code])
        if width < WORD:
            lower, width = lower * WORD % STATE, width * WORD
            point = (point * WORD + next(words, 0)) % STATE
    return codes


@pytest.mark.parametrize("n_codes", [2, 7, 300])
def test_the_format_is_that_of_a_coder_in_whole_numbers(n_codes):
    nats = nats_of(400, n_codes)
    codes = draw(nats)
    writer = CodeWriter(1e-9)
    for part in np.split(np.arange(400), [1, 30, 30, 200]):
        writer.write(codes[part], nats[part])
    words, sides = writer.finish()
    assert decode_slowly(words, nats) == codes.tolist()
    reader = CodeReader(words, sides)
    found = [reader.read(nats[part]) for part in np.split(np.arange(400), [100, 101])]
    npt.assert_array_equal(np.concatenate(found), codes)
    bits = nats[np.arange(400), codes].sum() / np.log(2)
    assert 8 * len(words) < 1.001 * bits + 32


def near_some_steps(nats, *, every, distance):
    """Move some of the lengths to where rounding decides."""
    nats = nats.copy()
    values = nats.reshape(-1)
    chosen = values[::every]
    values[::every] = (np.floor(chosen * STEPS_PER_NAT) + 0.5) / STEPS_PER_NAT
    values[::every] += distance * np.resize([-1, 0, 1], len(chosen))
    return nats


@pytest.mark.parametrize("seed", range(3))
def test_a_machine_that_rounds_otherwise_reads_the_same(seed):
    tolerance = 1e-6
    rng = np.random.default_rng(seed)
    nats = near_some_steps(nats_of(300, 20, seed=seed), every=7, distance=tolerance / 9)
    codes = draw(nats)
    writer = CodeWriter(tolerance)
    writer.write(codes, nats)
    words, sides = writer.finish()
    assert len(sides) > 300
    for _ in range(3):
        other = nats + rng.uniform(-0.999, 0.999, nats.shape) * tolerance
        assert (to_steps(other)[0] != to_steps(nats)[0]).any()
        reader = CodeReader(words, sides)
        npt.assert_array_equal(reader.read(other), codes)
    # Without the sides it would read others.
    assert CodeReader(words, b"").read(other).tolist() != codes.tolist()


def test_sides_are_rare():
    nats = nats_of(2000, 256)
    writer = CodeWriter(1e-9)
    writer.write(draw(nats), nats)
    # Of half a million values, 64 in a thousand million are so near.
    assert len(writer.finish()[1]) < 8


def test_nothing():
    writer = CodeWriter(1e-9)
    writer.write(np.zeros(0, int), np.zeros((0, 5)))
    words, sides = writer.finish()
    assert (words, sides) == (b"", b"")
    assert CodeReader(words, sides).read(np.zeros((0, 5))).size == 0


def test_bytes_of_others_are_no_codes():
    nats = nats_of(500, 9)
    rng = np.random.default_rng(0)
    for n in (0, 1, 7):
        with pytest.raises(ValueError, match="no codes of|more codes than the bytes"):
            CodeReader(rng.bytes(n), b"").read(nats)
