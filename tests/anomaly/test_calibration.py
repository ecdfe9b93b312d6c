"""Error rates that healthy subjects give."""

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.anomaly.calibration import (
    benjamini_hochberg,
    conformal_p,
    max_threshold,
)


def test_conformal_p_is_valid_and_as_small_as_n_allows():
    rng = np.random.default_rng(0)
    p = np.array(
        [conformal_p(*np.split(rng.normal(size=20), [1])) for _ in range(4000)]
    )
    # Uniform on 1/20, 2/20, …, 1.
    npt.assert_allclose(p.min(), 1 / 20)
    for alpha in (0.05, 0.1, 0.5):
        assert abs((p <= alpha + 1e-9).mean() - alpha) < 0.03
    npt.assert_allclose(conformal_p([5.0, 1.0], [1.0, 1.0, 2.0]), [1 / 4, 1])


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
def test_max_threshold_keeps_its_rate(alpha):
    rng = np.random.default_rng(1)
    exceeds = []
    for _ in range(4000):
        *healthy, new = rng.gumbel(size=40)
        exceeds.append(new > max_threshold(healthy, alpha))
    assert np.mean(exceeds) <= alpha + 0.01
    assert np.mean(exceeds) > alpha - 0.04


def test_too_few_subjects_are_told():
    with pytest.raises(ValueError, match="10 healthy subjects cannot tell .* 1/11"):
        max_threshold(np.arange(10.0), 0.05)
    assert max_threshold(np.arange(10.0), 0.1) == 9
    assert max_threshold(np.arange(9.0), 0.1) == 8


def test_false_discoveries():
    rng = np.random.default_rng(2)
    shares, found = [], []
    for _ in range(300):
        z = rng.normal(size=400)
        z[:40] += 4
        p = 0.5 * (1 - np.vectorize(__import__("math").erf)(z / 2**0.5))
        rejected = benjamini_hochberg(p, 0.1)
        shares.append(rejected[40:].sum() / max(1, rejected.sum()))
        found.append(rejected[:40].mean())
    assert np.mean(shares) < 0.105 and np.mean(found) > 0.8
    assert not benjamini_hochberg(np.ones((3, 3)), 0.1).any()


def test_images_with_nothing_inside_have_no_p():
    p = conformal_p([np.nan, 3.0], [1.0, np.nan, 2.0])
    npt.assert_array_equal(p, [np.nan, 1 / 3])
