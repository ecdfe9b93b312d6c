"""What cannot be used is refused; what can is used: empty masks, constant slices."""

import numpy as np
import numpy.testing as npt
import pytest

import dipy_vqvae as dv
from dipy_vqvae.report import calibration_report
from dipy_vqvae.workflows.fit_anomaly import describe_rates

SHAPE = (16, 16)


def images_of(seed, n=4):
    return np.random.default_rng(seed).normal(100, 5, (n, *SHAPE))


@pytest.fixture(scope="module")
def networks():
    images = images_of(0, 40)
    mask = np.ones(images.shape, bool)
    mask[20:, :, :4] = False
    vqvae = dv.VQVAEModel(8, n_channels=8, n_blocks=1)
    vqvae = vqvae.fit(images, mask=mask, n_epochs=1)
    prior = dv.PixelCNNModel(8, n_channels=8, n_layers=2, n_attention=0).fit(
        vqvae.encode(images, mask=mask), mask=vqvae.positions_inside(mask), n_epochs=1
    )
    return vqvae, prior


@pytest.fixture(scope="module")
def fit(networks):
    model = dv.AnomalyModel(*networks, n_restorations=2, smoothing=1)
    return model.fit([images_of(seed) for seed in range(1, 8)])


def test_a_prior_of_another_model(networks):
    vqvae, _ = networks
    codes = np.zeros((20, 4, 4), np.int64)
    prior = dv.PixelCNNModel(6, n_channels=8, n_layers=2, n_attention=0)
    healthy = [images_of(seed) for seed in range(1, 8)]
    with pytest.raises(ValueError, match="the prior is for 6 codes, but .* has 8"):
        dv.AnomalyModel(vqvae, prior.fit(codes, n_epochs=1)).fit(healthy)


def test_few_subjects_say_what_they_can_tell(fit):
    assert "of at least 0.12 can be told" in describe_rates(fit)
    report = calibration_report(fit, [str(i) for i in range(7)])
    assert "7 healthy subjects cannot tell p-values or family-wise rates" in report
    with pytest.raises(ValueError, match="7 healthy subjects cannot tell .* 1/8"):
        fit.lesions([images_of(20)], alpha=0.1)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, float("nan")])
def test_no_rate(fit, alpha):
    with pytest.raises(ValueError, match="alpha must be"):
        fit.lesions([images_of(20)], alpha=alpha)


def test_slices_outside_of_the_mask(networks, fit):
    images = images_of(30)
    mask = np.zeros(images.shape, bool)
    mask[1:3, 2:14, 4:] = True
    healthy = [images_of(seed) for seed in range(1, 8)]
    model = dv.AnomalyModel(*networks, n_restorations=2, smoothing=1)
    for detector in (fit, model.fit(healthy, mask=[mask] * 7)):
        scores = detector.scores([images], mask=[mask])
        npt.assert_array_equal(np.isnan(scores.image_z[0]), [1, 0, 0, 1])
        npt.assert_array_equal(np.isnan(scores.image_p[0]), [1, 0, 0, 1])
        assert np.isfinite(scores.z).all() and np.isfinite(scores.maximum).all()
        (z,) = detector.score_map([images], mask=[mask])
        assert not z[~mask].any() and z[mask].all()
        restored = detector.restore([images], mask=[mask])
        assert not restored.mean[0][~mask].any()
    with pytest.raises(ValueError, match="selects nothing"):
        fit.scores([images], mask=[np.zeros_like(mask)])


def test_constant_slices(networks):
    def with_constant(seed):
        images = images_of(seed)
        images[0] = 100
        return images

    model = dv.AnomalyModel(*networks, n_restorations=2, smoothing=1)
    fit = model.fit([with_constant(seed) for seed in range(1, 8)])
    images = with_constant(30)
    scores = fit.scores([images, np.full_like(images, 100)])
    for values in (scores.z, scores.maximum, scores.p, scores.p_cluster):
        assert np.isfinite(values).all()
    for p in (*scores.image_p, *scores.image_p_maximum):
        assert ((p >= 1 / 29) & (p <= 1)).all()
    for z in fit.score_map([images]):
        assert np.isfinite(z).all()
