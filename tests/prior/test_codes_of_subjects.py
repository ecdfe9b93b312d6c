"""A prior takes what a VQ-VAE gives: an array, or codes of several subjects."""

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv

TINY = {"n_channels": 4, "n_layers": 1}


@pytest.fixture(scope="module")
def subjects():
    return [blobs(6, (8, 12)), blobs(5, (8, 8), seed=1), blobs(1, (12, 8), seed=2)[0]]


def test_codes_know_their_axes(subjects):
    fit = fit_to(subjects)
    codes = fit.encode(subjects)
    assert [grids.shape for grids in codes] == [(6, 2, 3), (5, 2, 2), (3, 2)]
    assert codes.spatial_dims == codes[:2].spatial_dims == 2
    prior = dv.PixelCNNModel(8, **TINY).fit(codes, n_epochs=1)
    assert prior.grid_shape == (3, 3)
    told = dv.PixelCNNModel(8, **TINY).fit(list(codes), spatial_dims=2, n_epochs=1)
    npt.assert_array_equal(prior.log_prob(codes), told.log_prob(codes))
    held_out = dv.PixelCNNModel(8, **TINY).fit(
        codes[:2], validation_codes=codes[2:], n_epochs=1
    )
    assert held_out.history.validation["loss"]
    with pytest.raises(ValueError, match="needs spatial_dims"):
        dv.PixelCNNModel(8, **TINY).fit(list(codes), n_epochs=1)


def test_codes_of_volumes():
    """Arrays of three axes: here one grid of three, and not several of two."""
    volumes = [blobs(1, (8, 8, 8), seed=i)[0] for i in range(3)]
    fit = fit_to(volumes, model={"spatial_dims": 3}, batch_size=2)
    prior = dv.PixelCNNModel(8, **TINY).fit(fit.encode(volumes), n_epochs=1)
    assert prior.grid_shape == (2, 2, 2)
    assert prior.log_prob(fit.encode(volumes)).shape == (3,)


def test_seeds_from_generators():
    codes = np.random.default_rng(0).integers(0, 8, (12, 3, 3))
    model = dv.PixelCNNModel(8, **TINY, random_seed=np.random.default_rng(5))
    expected = int(np.random.default_rng(5).integers(2**63))
    # Drawn once: the model says which training is to be repeated.
    assert model.random_seed == expected and str(expected) in repr(model)
    prior = model.fit(codes, n_epochs=1)
    npt.assert_array_equal(
        prior.sample(4, rng=np.random.default_rng(5)),
        prior.sample(4, random_seed=expected),
    )
    rng = np.random.default_rng(5)
    first, second = prior.sample(4, random_seed=rng), prior.sample(4, random_seed=rng)
    npt.assert_array_equal(first, prior.sample(4, random_seed=expected))
    assert (first != second).any(), "a generator goes on"
    with pytest.raises(TypeError, match="numpy.random.Generator"):
        prior.sample(4, rng=3)
    with pytest.raises(ValueError, match="random_seed"):
        prior.sample(4, random_seed=-1)
