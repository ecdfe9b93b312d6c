"""Whole images among healthy ones, in both directions."""

import numpy as np
import numpy.testing as npt
from scipy import ndimage

from dipy_vqvae.anomaly.calibration import conformal_p
from dipy_vqvae.anomaly.typical import (
    PEAK_SMOOTHING,
    image_statistics,
    left_out_atypicality,
    of_subject,
    rarity,
    sharpness,
    typical_of,
)
from dipy_vqvae.prior.surprisal import Surprisal


def surprisal(p, inside=None):
    ones = np.ones(p.shape)
    inside = ones.astype(bool) if inside is None else inside
    return Surprisal(nats=2 * ones, entropy=ones, variance=ones, p=p, inside=inside)


def test_the_first_statistic_counts_as_it_is_and_the_others_beyond_two_deviations():
    rng = np.random.default_rng(0)
    healthy = rng.normal([5, -1, 2], [2, 1, 0.5], (20_000, 3))
    typical = typical_of(healthy)
    npt.assert_allclose(typical.mean, [5, -1, 2], atol=0.05)
    npt.assert_allclose(typical.deviation, [2, 1, 0.5], rtol=0.02)
    images = np.array([[5, -1, 2], [9, -1, 2], [5, 0.5, 1.5], [5, 3, 0.5], [3, -5, 2]])
    npt.assert_allclose(
        typical.atypicality(images), [0, 2, 0, 2 + 1, -1 + 2], atol=0.15
    )


def test_a_new_subject_is_rated_as_those_of_the_calibration():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(400):
        subjects = [rng.normal(size=(3, 4)) for _ in range(19)]
        healthy = [of_subject(own) for own in left_out_atypicality(subjects)]
        new = typical_of(np.concatenate(subjects)).atypicality(rng.normal(size=(3, 4)))
        p.append(conformal_p(of_subject(new), healthy))
    for alpha in (0.05, 0.1, 0.5):
        assert abs(np.mean(np.array(p) <= alpha + 1e-9) - alpha) < 0.045


def test_images_without_statistics():
    statistics = np.array([[1.0, 2], [np.nan, np.nan], [2, 1], [0, 0]])
    atypicality = typical_of(statistics).atypicality(statistics)
    npt.assert_array_equal(np.isnan(atypicality), [0, 1, 0, 0])
    assert of_subject(atypicality) == np.nanmax(atypicality)
    assert np.isnan(of_subject(atypicality[1:2]))


def test_sharpness_falls_with_blur_and_has_no_units():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(1, 200, 200))
    inside = np.ones(noise.shape, bool)
    # Independent values: second differences have the variance 6, first ones 2.
    npt.assert_allclose(sharpness(noise, inside), np.log(3**0.5), atol=0.01)
    npt.assert_allclose(sharpness(7 * noise - 3, inside), sharpness(noise, inside))
    blurred = [
        sharpness(ndimage.gaussian_filter(noise, (0, s, s)), inside) for s in (1, 2)
    ]
    # Of a smooth image with the correlation exp(-d^2 / 4 s^2): about 3^0.5 / (2^0.5 s).
    npt.assert_allclose(blurred[1], np.log(1.5**0.5 / 2), atol=0.08)
    assert blurred[1] < blurred[0] < np.log(3**0.5) - 0.3
    npt.assert_array_equal(
        sharpness(np.full((2, 9, 9), 5), np.ones((2, 9, 9), bool)),
        [np.log(1 + 1e-3)] * 2,
    )


def test_sharpness_does_not_see_what_is_outside():
    rng = np.random.default_rng(3)
    images = rng.normal(size=(2, 12, 10, 9))
    inside = np.zeros(images.shape, bool)
    inside[:, 2:9, 1:8, 3:9] = True
    other = np.where(inside, images, 1e6)
    npt.assert_allclose(sharpness(images, inside), sharpness(other, inside))


def test_rarity_is_a_radius():
    # Radii in the plane that are exceeded with probabilities exp(-r^2 / 2).
    p = np.exp(-(np.array([[[0.0, 1], [2, 3]]]) ** 2) / 2)
    npt.assert_allclose(rarity([surprisal(p)]), [[[0, 1], [2, 3]]], atol=1e-12)
    assert rarity([surprisal(np.full((1, 2, 2), 1 + 1e-15))]).max() == 0
    inside = np.array([[[True, True], [True, False]]])
    both = rarity([surprisal(p, inside), surprisal(np.ones(p.shape), inside)])
    npt.assert_allclose(both, [[[0, 0.5], [1, 0]]], atol=1e-12)


def test_statistics_of_an_image():
    p = np.ones((2, 16, 16))
    p[1, 8, 8] = np.exp(-10)
    errors = np.full((2, 64, 64), 0.25)
    errors[:, :, 32:] = 100
    inside = np.zeros(errors.shape, bool)
    inside[:, :, :32] = True
    images = np.random.default_rng(4).normal(size=errors.shape)
    found = image_statistics([surprisal(p)], errors, images, inside)
    kernel = np.exp(-(np.arange(-6, 7) ** 2) / (2 * PEAK_SMOOTHING**2))
    peak = 10 / kernel.sum() ** 2
    npt.assert_allclose(np.exp(found[:, 0]), [1e-6, peak], rtol=1e-3)
    npt.assert_allclose(found[:, 1], 16)  # 256 codes, each of one nat more
    npt.assert_allclose(found[:, 2], np.log(0.25 + 1e-4))
    npt.assert_allclose(found[:, 3], sharpness(images, inside))
