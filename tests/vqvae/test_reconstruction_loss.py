"""What reconstructions are judged by, and the time that a training may take."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import blobs, fit_to

from dipy_vqvae.metrics import ssim
from dipy_vqvae.training import TrainingOptions, share_time
from dipy_vqvae.vqvae.losses import LOSSES, ReconstructionLoss, dissimilarity


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


def test_values():
    difference = torch.tensor([1.0, -2.0, 3.0, 100.0]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    loss, mse, n_inside = ReconstructionLoss("mae", 4.0)(difference, 0.0, weight)
    assert (float(loss), float(mse), int(n_inside)) == (1.0, pytest.approx(14 / 3), 3)
    top = difference[..., :1, :]
    loss, mse, n_inside = ReconstructionLoss("mse", 4.0)(top, 0.0, None)
    assert (float(loss), float(mse), n_inside) == (0.625, 2.5, 2)


@pytest.mark.parametrize("ssim_weight", [0.0, 0.5])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_weight_cuts_the_gradient(kind, ssim_weight):
    image = torch.randn(2, 1, 9, 8, requires_grad=True)
    weight = (torch.rand(2, 1, 9, 8) > 0.5).float()
    measure = ReconstructionLoss(kind, 2.0, ssim_weight=ssim_weight)
    loss, mse, _ = measure(image, torch.randn(2, 1, 9, 8), weight)
    (gradient,) = torch.autograd.grad(loss, image)
    npt.assert_array_equal(gradient.numpy() != 0, weight.numpy() == 1)
    assert not mse.requires_grad


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_has_no_units(kind):
    # Which the weights of the other terms rely on.
    image, reference = torch.randn(2, 2, 1, 9, 8)
    one, _, _ = ReconstructionLoss(kind, 2.0, 0.5, 1.0)(image, reference, None)
    measure = ReconstructionLoss(kind, 18.0, 0.5, 3.0)
    other, _, _ = measure(3 * image, 3 * reference, None)
    npt.assert_allclose(float(one), float(other), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 1, 16, 13), (2, 2, 4, 9), (2, 1, 8, 9, 7)])
@pytest.mark.parametrize("is_masked", [False, True])
def test_dissimilarity_equals_that_of_each_window(shape, is_masked):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, *shape))
    mask = rng.random((shape[0], 1, *shape[2:])) < (0.7 if is_masked else 2)
    steps = [range(0, n - min(7, n) + 1, 3) for n in shape[2:]]
    total = n_windows = 0.0
    for b, c, *corner in product(range(shape[0]), range(shape[1]), *steps):
        window = tuple(slice(i, i + 7) for i in corner)
        inside = mask[(b, 0, *window)]
        u, v = (image[(b, c, *window)][inside] for image in (x, y))
        covariance = ((u - u.mean()) * (v - v.mean())).mean()
        value = (2 * u.mean() * v.mean() + 4e-4) / (
            u.mean() ** 2 + v.mean() ** 2 + 4e-4
        )
        value *= (2 * covariance + 36e-4) / (u.var() + v.var() + 36e-4)
        total += (1 - value) * inside.mean()
        n_windows += 1
    expected = total * x.size / n_windows
    weight = torch.from_numpy(mask).double() if is_masked else None
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    found = dissimilarity(*tensors, weight, data_range=2.0)
    npt.assert_allclose(float(found), expected, rtol=1e-6)
    assert (
        abs(float(dissimilarity(tensors[0], *tensors[:1], weight, data_range=2.0)))
        < 1e-9
    )


@pytest.mark.parametrize("offset", [1000.0, 60.0])
def test_dissimilarity_of_bright_places_in_single_precision(offset):
    # Of 1 % noise on a flat place whose intensity is many times the range.
    noise = 0.01 * torch.randn(2, 2, 1, 16, 16, generator=torch.manual_seed(0))
    image, reference = (noise + offset).requires_grad_()
    found = dissimilarity(image, reference, None, data_range=1.0)
    exact = dissimilarity(image.double(), reference.double(), None, data_range=1.0)
    npt.assert_allclose(found.item(), exact.item(), rtol=1e-5)
    assert 0 < found.item() < 2 * image.numel()
    (gradient,) = torch.autograd.grad(found, image)
    assert gradient.dtype == torch.float32 and gradient.abs().max() < 1e3


def test_losses_of_parts_add_up():
    # So processes that share a batch have its loss.
    image, reference = torch.rand(2, 5, 1, 12, 12, dtype=torch.float64)
    weight = (torch.rand(5, 1, 12, 12) > 0.4).double()
    measure = ReconstructionLoss("mae", 1.0, ssim_weight=1.0)
    whole, _, n = measure(image, reference, weight)
    parts = [
        measure(image[part], reference[part], weight[part])
        for part in (slice(0, 2), slice(2, 5))
    ]
    total = sum(float(loss * n_part) for loss, _, n_part in parts)
    npt.assert_allclose(total, float(whole * n), rtol=1e-12)


def test_a_weight_of_similarity_gives_more_of_it(images):
    noisy = images + 0.2 * np.random.default_rng(0).random(images.shape)
    found = []
    for weight in (0.0, 3.0):
        fit = fit_to(noisy, model={"ssim_weight": weight, "n_codes": 16}, n_epochs=20)
        found.append(
            ssim(noisy, fit.predict(noisy), data_range=float(np.ptp(noisy))).mean()
        )
    assert found[1] > found[0] + 0.01


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
