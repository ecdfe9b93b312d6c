"""The number of threads changes results by rounding at most."""

from contextlib import contextmanager

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import blobs, weights

from dipy_vqvae import PixelCNNModel, VQVAEModel
from dipy_vqvae.nn.quantiser import nearest_code

VQVAE = {"n_codes": 16, "code_dim": 8, "n_channels": 32, "n_blocks": 1}
PRIOR = {"n_codes": 16, "n_channels": 32, "n_layers": 2}
# A few steps: later, a code that is chosen otherwise by rounding may change more.
TRAINING = {"n_epochs": 1, "batch_size": 32}
KINDS = ["gated", "plain"]


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_threads(function, numbers=(1, 2, 3)):
    """What a function returns with some numbers of threads."""
    results = []
    for n in numbers:
        with threads(n):
            results.append(function())
    return results


def assert_close_weights(fits):
    """Close as a whole: Adam makes whole steps of gradients that are mere rounding."""
    first, *others = (
        np.concatenate([array.ravel() for array in weights(fit).values()])
        for fit in fits
    )
    for other in others:
        assert np.linalg.norm(other - first) < 1e-3 * np.linalg.norm(first)


@pytest.fixture(scope="module")
def images():
    return blobs(96, (24, 24))


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(0).integers(16, size=(96, 7, 7))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize(
    "settings",
    [
        {"rate_weight": 0.02},
        {"architecture": "strided", "codebook": "gradient"},
    ],
)
def test_training_a_vqvae(images, settings, optimizer):
    model = VQVAEModel(**VQVAE, **settings)
    training = {**TRAINING, "optimizer": optimizer}
    fits = with_threads(lambda: model.fit(images, **training), (1, 3))
    assert fits[0].history.n_steps == 3
    assert_close_weights(fits)
    for fit in fits[1:]:
        npt.assert_allclose(fit.history["loss"], fits[0].history["loss"], rtol=1e-4)
        same = fit.encode(images) == fits[0].encode(images)
        assert same.mean() > 0.999


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_a_prior(codes, kind, optimizer):
    model = PixelCNNModel(**PRIOR, kind=kind, dropout=0.2)
    training = {**TRAINING, "optimizer": optimizer}
    fits = with_threads(lambda: model.fit(codes, **training), (1, 3))
    assert_close_weights(fits)
    for fit in fits[1:]:
        npt.assert_allclose(fit.history["loss"], fits[0].history["loss"], rtol=1e-5)


def test_using_a_vqvae(images):
    fit = VQVAEModel(**VQVAE, rate_weight=0.02).fit(images, **TRAINING)
    encoded = with_threads(lambda: fit.encode(images))
    decoded = with_threads(lambda: fit.decode(encoded[0]))
    for i in (1, 2):
        assert (encoded[i] == encoded[0]).mean() > 0.999
        npt.assert_allclose(decoded[i], decoded[0], atol=1e-2)  # of 255


@pytest.mark.parametrize("kind", KINDS)
def test_using_a_prior(codes, kind):
    prior = PixelCNNModel(**PRIOR, kind=kind).fit(codes, **TRAINING)
    for result in with_threads(lambda: prior.log_prob(codes)):
        npt.assert_allclose(result, prior.log_prob(codes), rtol=1e-5)
    # Logits are computed in double precision: rounding changes no code.
    for drawn in with_threads(lambda: prior.sample(20, random_seed=1)):
        npt.assert_array_equal(drawn, prior.sample(20, random_seed=1))


def test_nearest_codes():
    vectors, codebook = torch.randn(3000, 16), torch.randn(1024, 16)
    first, *others = with_threads(lambda: nearest_code(vectors, codebook))
    for codes in others:
        assert (codes == first).float().mean() > 0.999
