"""What reconstructions are judged by, and the time that a training may take."""

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import blobs, fit_to

from dipy_vqvae.training import TrainingOptions, share_time
from dipy_vqvae.vqvae.losses import LOSSES, reconstruction_loss


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


def test_values():
    difference = torch.tensor([1.0, -2.0, 3.0, 100.0]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    loss, mse, n_inside = reconstruction_loss(
        difference, weight, kind="mae", variance=4.0
    )
    assert (float(loss), float(mse), int(n_inside)) == (1.0, pytest.approx(14 / 3), 3)
    loss, mse, n_inside = reconstruction_loss(
        difference[..., :1, :], None, kind="mse", variance=4.0
    )
    assert (float(loss), float(mse), n_inside) == (0.625, 2.5, 2)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_weight_cuts_the_gradient(kind):
    difference = torch.randn(2, 1, 3, 3, requires_grad=True)
    weight = (torch.rand(2, 1, 3, 3) > 0.5).float()
    loss, mse, _ = reconstruction_loss(difference, weight, kind=kind, variance=2.0)
    (gradient,) = torch.autograd.grad(loss, difference)
    npt.assert_array_equal(gradient.numpy() != 0, weight.numpy() == 1)
    assert not mse.requires_grad


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_has_no_units(kind):
    # Which the weights of the other terms rely on.
    difference = torch.randn(2, 1, 3, 3)
    one, _, _ = reconstruction_loss(difference, None, kind=kind, variance=2.0)
    other, _, _ = reconstruction_loss(3 * difference, None, kind=kind, variance=18.0)
    npt.assert_allclose(float(one), float(other), rtol=1e-6)


def test_each_loss_is_best_at_what_it_measures():
    # Outliers: an image is flat but for one very bright pixel in twenty.
    rng = np.random.default_rng(0)
    images = (rng.random((64, 8, 8)) < 0.05).astype(np.float32)
    errors = {}
    for kind in LOSSES:
        model = {"loss": kind, "n_codes": 2, "random_seed": 1}
        fit = fit_to(images, model=model, n_epochs=20, learning_rate=5e-3)
        difference = fit.predict(images) - images
        errors[kind] = np.abs(difference).mean(), np.square(difference).mean()
        assert fit.description["model"]["loss"] == kind
    assert errors["mae"][0] < errors["mse"][0]
    assert errors["mse"][1] < errors["mae"][1]


def test_validation_is_in_the_units_of_the_loss(images):
    fit = fit_to(
        images, model={"loss": "mae", "bounded": False}, validation_images=images[:7]
    )
    difference = fit.predict(images[:7]).astype(float) - images[:7]
    expected = np.abs(difference).mean() / images.std()
    npt.assert_allclose(fit.history["validation_loss"][-1], expected, rtol=1e-4)


def test_the_decoder_has_its_share_of_the_time():
    options = TrainingOptions(
        n_epochs=6, batch_size=8, learning_rate=1e-3, max_seconds=60, patience=2
    )
    joint, decoder = share_time(options, 2)
    assert (joint.n_epochs, decoder.n_epochs) == (6, 2)
    assert (joint.max_seconds, decoder.max_seconds) == (45, 15)
    assert (joint.patience, decoder.patience) == (2, None)
    assert share_time(options, 0) == (options, None)
    _, decoder = share_time(options.replace(max_seconds=None), 2)
    assert decoder.max_seconds is None
