"""From log-probabilities to frequencies."""

from fractions import Fraction

import numpy as np
import numpy.testing as npt
import pytest
from toy_lengths import nats_of

from dipy_vqvae.compression import least_bits
from dipy_vqvae.compression.grid import (
    LAST_STEP,
    PRECISION,
    STEPS_PER_NAT,
    frequencies,
    near_steps,
    to_steps,
    weights,
)


def test_weights_are_those_of_the_formula():
    n = np.arange(LAST_STEP + 1)
    npt.assert_array_equal(weights(), np.rint(2.0**24 * np.exp(-n / STEPS_PER_NAT)))
    assert weights()[0] == 1 << PRECISION
    assert weights()[-1] == 0
    assert weights()[LAST_STEP - 2] > 0


@pytest.mark.parametrize("n_codes", [2, 3, 100, 1024])
def test_frequencies_are_whole_shares(n_codes):
    steps, _ = to_steps(nats_of(50, n_codes))
    counts = frequencies(steps)
    least = 4096 // n_codes
    total = (1 << PRECISION) - n_codes - n_codes * least
    assert (counts >= least).all()
    npt.assert_array_equal(counts.sum(1), (1 << PRECISION) - n_codes)
    for row, row_steps in zip(counts[:5], steps[:5]):
        w = [int(weight) for weight in weights()[row_steps]]
        exact = [Fraction(weight * total, sum(w)) for weight in w]
        rest = total - sum(int(share) for share in exact)
        expected = [least + int(share) for share in exact]
        expected[int(np.argmin(row_steps))] += rest
        assert row.tolist() == expected


def test_rounding_costs_little():
    nats = nats_of(2000, 64, sharpness=0.5)
    p = np.exp(-nats)
    counts = frequencies(to_steps(nats)[0]) + 1
    q = counts / counts.sum(1, keepdims=True)
    lost = (p * (np.log(p) - np.log(q))).sum(1).mean()
    # Errors of rounding are uniform: half their variance.
    # What any code has is 2^-12 of all.
    expected = (1 / STEPS_PER_NAT) ** 2 / 24
    assert lost == pytest.approx(expected, rel=0.2)


def test_impossible_codes_can_be_written():
    nats = np.array([[0.0, np.inf, 1e9]])
    steps, _ = to_steps(nats)
    assert steps.tolist() == [[0, LAST_STEP, LAST_STEP]]
    least = 4096 // 3 + 1
    expected = [(1 << PRECISION) - 2 * least, least, least]
    assert (frequencies(steps) + 1).tolist() == [expected]
    assert least_bits(3) == pytest.approx(-np.log2(expected[0] / (1 << PRECISION)))
    # Rounding errors may make the length of a certain code negative.
    assert to_steps(np.array([[-1e-12, 40.0]]))[0].tolist() == [[0, LAST_STEP]]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        to_steps(np.array([[0.0, np.nan]]))


def test_values_near_a_step_are_found():
    step = 1 / STEPS_PER_NAT
    edge = 2.5 * step
    nats = np.array([[edge, edge + 3e-7, edge - 3e-7], [2 * step, edge + 0.1, 1e9]])
    _, shifted = to_steps(nats)
    assert near_steps(shifted, 1e-6).tolist() == [0, 1, 2]
    assert near_steps(shifted, 1e-7).tolist() == [0]
