"""Results do not depend on the precision that is set around a call."""

import numpy as np
from numpy.testing import assert_array_equal
import pytest
import torch

from dipy_vqvae import PixelCNNModel, VQVAEModel

TINY = {"n_codes": 16, "code_dim": 4, "n_channels": 16, "rate_weight": 0.02}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (48, 12, 12), np.uint8)


@pytest.fixture(scope="module")
def fit(images):
    return VQVAEModel(**TINY).fit(images, n_epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def prior(fit, images):
    codes = fit.encode(images)
    return PixelCNNModel(16, n_channels=8, n_layers=2).fit(codes, n_epochs=1)


def in_half_precision():
    return torch.autocast("cpu", torch.bfloat16)


def test_codes_and_images(fit, images):
    codes, restored = fit.encode(images), fit.predict(images)
    with in_half_precision():
        assert_array_equal(fit.encode(images), codes)
        assert_array_equal(fit.decode(codes), restored)
        assert_array_equal(fit.predict(images), restored)
    # Which is not so of the network alone.
    x = torch.randn(8, 1, 12, 12)
    with torch.no_grad(), in_half_precision():
        rough = fit.net.latents(x)
    with torch.no_grad():
        assert not torch.equal(rough, fit.net.latents(x))


def test_priors(fit, prior, images):
    codes = fit.encode(images)
    expected = prior.log_prob(codes), prior.predict(codes), prior.sample(9)
    with in_half_precision():
        found = prior.log_prob(codes), prior.predict(codes), prior.sample(9)
    for first, second in zip(expected, found):
        assert_array_equal(first, second)


def test_fits(fit, images):
    with in_half_precision():
        found = VQVAEModel(**TINY).fit(images, n_epochs=2, batch_size=16)
    assert found.history == fit.history
    assert_array_equal(found.codebook, fit.codebook)
