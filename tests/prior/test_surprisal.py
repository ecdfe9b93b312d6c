"""Surprisal: the length of codes beside what the prior expected of it."""

import numpy as np
import numpy.testing as npt
import pytest
from scipy import stats

from dipy_vqvae import PixelCNNModel

K = 5


def prior_of(shape, *, mask=None, kind="gated", n_epochs=2):
    """A prior that knows a little, of grids with a gradient."""
    rng = np.random.default_rng(0)
    place = np.add.reduce(np.indices(shape))
    codes = (place + rng.integers(0, 3, (200, *shape))) % K
    model = PixelCNNModel(K, kind=kind, n_channels=8, n_layers=2)
    return model.fit(codes, mask=mask, n_epochs=n_epochs, batch_size=20)


def disc(shape):
    centred = [axis - n // 2 for axis, n in zip(np.indices(shape), shape)]
    return np.hypot.reduce(centred) < 2.5


CASES = [((6, 6), False), ((4, 4, 4), False), ((6, 6), True), ((4, 5, 4), True)]


@pytest.mark.parametrize(("shape", "has_mask"), CASES)
@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_samples_have_a_standard_normal_z(shape, has_mask, kind):
    mask = disc(shape) if has_mask else None
    prior = prior_of(shape, mask=mask, kind=kind)
    samples = prior.sample(2000, mask=mask, random_seed=1)
    result = prior.surprisal(samples, mask=mask)
    assert stats.kstest(result.z, "norm").pvalue > 0.01
    assert abs(result.z.mean()) < 0.1
    assert 0.9 < result.z.std() < 1.1
    # Each place by itself has mean 0 and variance 1, if seldom a normal distribution.
    each = result.map[result.inside]
    assert abs(each.mean()) < 0.02
    assert 0.9 < each.std() < 1.1


def test_it_tells_what_the_prior_does_not_draw():
    prior = prior_of((6, 6), n_epochs=10)
    rng = np.random.default_rng(2)
    assert np.median(prior.surprisal(rng.integers(0, K, (50, 6, 6))).z) > 3
    # The likeliest codes are not those of a sample, either.
    assert np.median(prior.surprisal(prior.sample(50, temperature=0.2)).z) < -2


def test_it_agrees_with_predict_and_log_prob():
    mask = disc((5, 6))
    prior = prior_of((5, 6), mask=mask)
    codes = prior.sample(4, mask=mask)
    result = prior.surprisal(codes, mask=mask)
    p = prior.predict(codes, mask=mask).astype(float)
    for index in zip(*np.nonzero(result.inside)):
        lengths = -np.log(p[index])
        mean = (p[index] * lengths).sum()
        npt.assert_allclose(result.nats[index], lengths[codes[index]], atol=1e-5)
        npt.assert_allclose(result.entropy[index], mean, atol=1e-5)
        variance = (p[index] * (lengths - mean) ** 2).sum()
        npt.assert_allclose(result.variance[index], variance, atol=1e-5)
        no_likelier = p[index] <= p[index][codes[index]] + 1e-7
        npt.assert_allclose(result.p[index], p[index][no_likelier].sum(), atol=1e-5)
    npt.assert_allclose(
        result.nats.sum((1, 2)), -prior.log_prob(codes, mask=mask), rtol=1e-6
    )
    for values in (result.nats, result.entropy, result.variance, result.p, result.map):
        assert (values[:, ~mask] == 0).all()


def test_lists_and_conditions():
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, K, shape) for shape in ((3, 4, 4), (5, 3), (2, 4, 5))]
    labels, ages = np.array([0, 1, 1, 0, 1, 0]), np.arange(6.0)
    prior = PixelCNNModel(K, n_channels=8, n_layers=2).fit(
        codes, labels=labels, covariates={"age": ages}, spatial_dims=2, n_epochs=1
    )
    conditions = {"labels": labels, "covariates": {"age": ages}}
    results = prior.surprisal(codes, **conditions)
    assert [r.nats.shape for r in results] == [(3, 4, 4), (1, 5, 3), (2, 4, 5)]
    nats = np.concatenate([r.nats.sum((1, 2)) for r in results])
    npt.assert_allclose(nats, -prior.log_prob(codes, **conditions), rtol=1e-6)


def test_a_place_without_a_choice_is_no_surprise():
    prior = prior_of((3, 3))
    bias = prior.net.head[-1].bias
    bias.data[:] = 0
    bias.data[2] = 1e4
    result = prior.surprisal(np.full((1, 3, 3), 2))
    npt.assert_array_equal(result.map, 0)
    npt.assert_allclose(result.p, 1)
    npt.assert_array_equal(result.z, 0)
    # The code that is impossible is the most surprising of all.
    codes = np.full((1, 3, 3), 2)
    codes[0, 1, 1] = 3
    result = prior.surprisal(codes)
    assert result.map[0, 1, 1] > 1e6 and result.z[0] > 1e6
    assert np.count_nonzero(result.map) == 1
