"""Codes by their distance and by their length under a prior."""

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import PixelCNNModel

K, D = 5, 3


@pytest.fixture(scope="module")
def codebook():
    return np.random.default_rng(0).normal(size=(K, D)).astype(np.float32)


@pytest.fixture(scope="module")
def codes():
    return np.sort(np.random.default_rng(1).integers(0, K, (40, 3, 4)), axis=2)


@pytest.fixture(scope="module")
def latents(codes, codebook):
    noise = np.random.default_rng(2).normal(size=(*codes.shape, D))
    return (codebook[codes] + 0.6 * noise).astype(np.float32)


def fit_to(codes, **kwargs):
    model = PixelCNNModel(K, n_channels=8, n_layers=1, n_components=2)
    return model.fit(codes, n_epochs=8, batch_size=8, **kwargs)


@pytest.fixture(scope="module")
def prior(codes):
    return fit_to(codes)


def distances(latents, codebook):
    return np.square(latents[..., np.newaxis, :] - codebook).sum(-1)


def test_each_code_is_the_cheapest_given_those_before(prior, latents, codebook):
    price = 0.3
    found = prior.quantise(latents, codebook, price=price)
    nats = -np.log(prior.predict(found).astype(float))
    costs = distances(latents, codebook) + price * D * nats
    npt.assert_array_equal(found, costs.argmin(-1))
    assert found.dtype == np.int32


def test_a_price_gives_fewer_bits_and_more_distance(prior, latents, codebook):
    bits, errors = [], []
    for price in (1e-9, 0.1, 1.0):
        found = prior.quantise(latents, codebook, price=price)
        bits.append(-prior.log_prob(found).sum())
        errors.append(np.square(latents - codebook[found]).sum())
    assert bits[0] > bits[1] > bits[2]
    assert errors[0] < errors[1] < errors[2]
    nearest = distances(latents, codebook).argmin(-1)
    npt.assert_array_equal(prior.quantise(latents, codebook, price=1e-9), nearest)


def test_masks_and_grids_that_differ(codes, latents, codebook):
    grids = [codes[:30], codes[30:, :2], codes[0, :, :3]]
    mask = [np.random.default_rng(0).random(g.shape) < 0.7 for g in grids]
    prior = fit_to(grids, mask=mask, spatial_dims=2)
    vectors = [latents[:30], latents[30:, :2], latents[0, :, :3]]
    found = prior.quantise(vectors, codebook, price=0.3, mask=mask)
    for a, b, z, inside in zip(found, grids, vectors, mask):
        assert a.shape == b.shape
        assert (a[~inside] == prior.outside_code).all()
        a, b, z, inside = (
            x if b.ndim == 3 else x[np.newaxis] for x in (a, b, z, inside)
        )
        nats = -np.log(prior.predict(a, mask=inside).astype(float))
        costs = distances(z, codebook) + 0.3 * D * nats
        npt.assert_array_equal(a[inside], costs.argmin(-1)[inside])


def test_what_is_refused(prior, latents, codebook):
    with pytest.raises(ValueError, match="price must be above 0"):
        prior.quantise(latents, codebook, price=0)
    with pytest.raises(ValueError, match="price must be"):
        prior.quantise(latents, codebook, price=-1)
    with pytest.raises(ValueError, match="latents have 2 channels, the codebook 3"):
        prior.quantise(latents[..., :2], codebook, price=1)
