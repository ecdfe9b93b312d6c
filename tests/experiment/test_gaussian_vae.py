"""The Gaussian VAE: its terms against torch.distributions, collapse on toy data."""

import math

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from dipy_vqvae.experiment import gaussian_vae as gv
from dipy_vqvae.training import TrainingOptions, train

SIDE = 6
N_LATENTS = 4


def toy_vae(**options):
    """Linear encoder and decoder, one position of latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gv.GaussianVAE(
            nn.Conv2d(1, 2 * N_LATENTS, SIDE),
            nn.ConvTranspose2d(N_LATENTS, 1, SIDE),
            (N_LATENTS, 1, 1),
            **options,
        )


def toy_images(n):
    """Two factors of variation, and noise of a variance of 0.0009."""
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((2, SIDE, SIDE))
    amounts = 0.3 * rng.standard_normal((n, 2))
    noise = 0.03 * rng.standard_normal((n, SIDE, SIDE))
    return (np.tensordot(amounts, patterns, axes=1) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    return toy_images(2000)


@pytest.fixture(scope="module")
def fitted(images):
    vae = toy_vae()
    options = TrainingOptions(
        n_epochs=60,
        batch_size=100,
        learning_rate=0.05,
        warmup_steps=10,
        optimizer="adam",
        weight_decay=0.0,
    )
    history = train(
        gv.GaussianVAETask(vae, images, validation_images=images[:200]), options
    )
    return vae, history


def test_kl_equals_torch_distributions():
    rng = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn((2, 5, 3, 2, 2), generator=rng)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0))
    assert_allclose(gv.gaussian_kl(mean, log_variance), expected, atol=1e-6)
    assert gv.gaussian_kl(torch.zeros(1), torch.zeros(1)) == 0


def some_output(n=7):
    rng = torch.Generator().manual_seed(0)
    images, reconstruction = torch.rand((2, n, 1, 4, 3), generator=rng)
    mean, log_variance = torch.randn((2, n, 2, 1, 1), generator=rng)
    return images, gv.GaussianVAEOutput(reconstruction, mean, log_variance)


def test_negative_elbo_equals_torch_distributions():
    images, out = some_output()
    terms = gv.negative_elbo(images, out, 0.3)
    log_likelihood = Normal(out.reconstruction, math.sqrt(0.3)).log_prob(images)
    posterior = Normal(out.mean, (0.5 * out.log_variance).exp())
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum() / 7
    assert terms["kl"] == pytest.approx(kl.item(), rel=1e-5)
    expected = -log_likelihood.mean() + kl / 12
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_default_variance_is_the_best_one():
    images, out = some_output()
    best = gv.negative_elbo(images, out)
    mse = best["mse"].item()
    assert mse == pytest.approx((images - out.reconstruction).square().mean().item())
    at_mse = gv.negative_elbo(images, out, mse)["loss"].item()
    assert best["loss"].item() == pytest.approx(at_mse, rel=1e-6)
    for factor in (0.9, 1.1):
        assert gv.negative_elbo(images, out, factor * mse)["loss"] > best["loss"]


def test_a_perfect_reconstruction_has_a_finite_loss():
    images, out = some_output()
    out = gv.GaussianVAEOutput(images, out.mean, out.log_variance)
    assert torch.isfinite(gv.negative_elbo(images, out)["loss"])


def test_draws_have_the_posterior_mean_and_variance():
    class Constant(nn.Module):
        def forward(self, x):
            mean = torch.full((len(x), 1, 1, 1), 3.0)
            return torch.cat([mean, torch.full_like(mean, math.log(0.25))], dim=1)

    vae = gv.GaussianVAE(Constant(), nn.Identity(), (1, 1, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = vae(torch.zeros(20_000, 1, 1, 1)).reconstruction
    assert draws.mean().item() == pytest.approx(3, abs=0.02)
    assert draws.std().item() == pytest.approx(0.5, abs=0.02)


def test_log_variance_cannot_overflow():
    vae = toy_vae()
    _, log_variance = vae.posterior(torch.full((1, 1, SIDE, SIDE), 1e30))
    assert torch.isfinite(log_variance.exp()).all()
    assert (log_variance.exp() > 0).all()


def test_active_units():
    rng = np.random.default_rng(0)
    spread = np.sqrt([0.0, 0.005, 0.02, 1.0])
    means = 5 + spread * rng.standard_normal((5000, 4))
    assert_array_equal(gv.active_units(means), [False, False, True, True])
    assert_array_equal(gv.active_units(means, 0.5), [False, False, False, True])


def test_as_many_latents_are_active_as_the_data_have_factors(fitted, images):
    # A linear VAE whose variance is fitted is probabilistic PCA: what the data
    # have no use for collapses exactly (Lucas et al. 2019).
    vae, history = fitted
    usage = gv.posterior_usage(vae, images, batch_size=300)
    assert usage.n_latents == N_LATENTS
    assert usage.n_active == 2
    assert usage.active.shape == usage.kl.shape == (N_LATENTS, 1, 1)
    assert usage.kl[usage.active].min() > 1
    assert usage.kl[~usage.active].max() < 0.01
    # The residual is the noise that was put in.
    assert usage.mse == pytest.approx(0.0009, rel=0.2)
    assert usage.bits_per_image == pytest.approx(usage.kl.sum() / np.log(2))
    assert history["validation_loss"][-1] < history["validation_loss"][0]
    assert history["mse"][-1] < 0.1 * history["mse"][0]


def test_usage_equals_the_slow_sums(fitted, images):
    vae, _ = fitted
    usage = gv.posterior_usage(vae, images[:50], batch_size=7)
    with torch.no_grad():
        mean, log_variance = vae.posterior(torch.from_numpy(images[:50, None]))
        reconstruction = vae.decoder(mean)[:, 0].numpy()
    expected = kl_divergence(
        Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    ).mean(dim=0)
    assert_allclose(usage.kl, expected, rtol=1e-4, atol=1e-6)
    assert usage.mse == pytest.approx(np.mean((reconstruction - images[:50]) ** 2))
    assert_array_equal(usage.active, mean.numpy().var(axis=0) > 0.01)


def test_samples_resemble_the_data(fitted, images):
    vae, _ = fitted
    samples = gv.sample(vae, 2000, random_seed=1)
    assert samples.shape == images.shape
    assert samples.dtype == np.float32
    ours, theirs = (a.reshape(2000, -1) for a in (samples, images))
    difference = np.linalg.norm(np.cov(ours.T) - np.cov(theirs.T))
    assert difference < 0.25 * np.linalg.norm(np.cov(theirs.T))


def test_samples_depend_on_the_seed_alone(fitted):
    vae, _ = fitted
    samples = gv.sample(vae, 30, random_seed=3)
    assert_array_equal(gv.sample(vae, 30, random_seed=3), samples)
    assert_allclose(gv.sample(vae, 11, random_seed=3, batch_size=4), samples[:11])
    assert not np.allclose(gv.sample(vae, 30, random_seed=4), samples)


def test_reconstruct_keeps_the_shape(fitted, images):
    vae, _ = fitted
    reconstructed = gv.reconstruct(vae, images[:10], batch_size=4)
    assert reconstructed.shape == (10, SIDE, SIDE)
    assert np.mean((reconstructed - images[:10]) ** 2) < 0.002
    with_channel = gv.reconstruct(vae, images[:10, ..., None])
    assert_allclose(with_channel[..., 0], reconstructed, atol=1e-5)


def test_the_same_seed_gives_the_same_weights(images):
    options = TrainingOptions(
        n_epochs=1, batch_size=100, learning_rate=0.01, optimizer="adam"
    )
    before = torch.random.get_rng_state()
    weights = []
    for _ in range(2):
        vae = toy_vae()
        train(gv.GaussianVAETask(vae, images[:500]), options)
        weights.append(torch.cat([p.flatten() for p in vae.parameters()]))
    assert torch.equal(*weights)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_large_fixed_variance_makes_everything_collapse(images):
    vae = toy_vae(pixel_variance=1e4)
    options = TrainingOptions(
        n_epochs=5, batch_size=100, learning_rate=0.05, optimizer="adam"
    )
    train(gv.GaussianVAETask(vae, images), options)
    usage = gv.posterior_usage(vae, images)
    assert usage.n_active == 0
    assert usage.kl.max() < 0.1
