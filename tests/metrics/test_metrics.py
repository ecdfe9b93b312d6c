"""Figures against slow references and values known by hand."""

from itertools import combinations, product
import math
import subprocess
import sys

import numpy as np
import numpy.testing as npt
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from dipy_vqvae import metrics
from dipy_vqvae.metrics import CodeUsage, populations, reconstruction, sharpness


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pair(rng):
    reference = rng.random((3, 14, 17))
    return reference, reference + 0.1 * rng.standard_normal(reference.shape)


def slow_ssim(x, y, data_range, inside):
    """Wang et al. 2004, one pixel after the other; windows mirrored at the edge."""
    offsets = np.arange(-5, 6)
    taps = np.exp(-0.5 * (offsets / 1.5) ** 2)
    window = taps / taps.sum()
    for _ in range(x.ndim - 1):
        window = np.multiply.outer(window, taps / taps.sum())
    padded = [np.pad(a, 5, mode="symmetric") for a in (x, y, inside.astype(float))]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for index in np.argwhere(inside):
        cut = tuple(slice(i, i + 11) for i in index)
        u, v, m = (a[cut] for a in padded)
        w = window * m / (window * m).sum()
        mu, mv = (w * u).sum(), (w * v).sum()
        su, sv = (w * (u - mu) ** 2).sum(), (w * (v - mv) ** 2).sum()
        suv = (w * (u - mu) * (v - mv)).sum()
        values.append(
            (2 * mu * mv + c1)
            * (2 * suv + c2)
            / ((mu**2 + mv**2 + c1) * (su + sv + c2))
        )
    return np.mean(values)


def test_errors_by_hand():
    reference = np.array([[0, 10], [5, 5]], dtype=np.uint8)
    image = np.array([[10, 0], [5, 7]], dtype=np.uint8)
    assert_array_equal(metrics.mean_squared_error(reference, image), [100, 2])
    assert_array_equal(metrics.mean_absolute_error(reference, image), [10, 1])
    decibels = metrics.psnr(reference, image, data_range=255)
    assert_allclose(decibels, 10 * np.log10(255**2 / np.array([100, 2])))


def test_psnr_of_equal_images_is_infinite(pair):
    assert_array_equal(metrics.psnr(pair[0], pair[0], data_range=1), np.inf)


@pytest.mark.parametrize("shape", [(2, 13, 16), (2, 5, 4), (1, 9, 12, 7)])
def test_ssim_equals_the_definition(rng, shape):
    x = rng.random(shape)
    y = x + 0.2 * rng.standard_normal(shape)
    inside = np.ones(shape[1:], dtype=bool)
    found = metrics.ssim(x, y, data_range=2.0, spatial_dims=len(shape) - 1)
    assert_allclose(found, [slow_ssim(a, b, 2.0, inside) for a, b in zip(x, y)])


def test_masked_ssim_equals_the_definition(rng, pair):
    inside = rng.random(pair[0].shape) < 0.6
    found = metrics.ssim(*pair, data_range=1, mask=inside)
    expected = [slow_ssim(a, b, 1, m) for a, b, m in zip(*pair, inside)]
    assert_allclose(found, expected)


def test_ssim_knows_equality_and_symmetry(pair):
    assert_allclose(metrics.ssim(pair[0], pair[0], data_range=1), 1)
    there = metrics.ssim(*pair, data_range=1)
    assert_allclose(there, metrics.ssim(*pair[::-1], data_range=1))
    assert (there < 1).all()


def test_ssim_scales_with_the_data_range(pair):
    scaled = metrics.ssim(255 * pair[0], 255 * pair[1], data_range=255)
    assert_allclose(scaled, metrics.ssim(*pair, data_range=1))


def test_ssim_averages_channels(rng):
    x, y = rng.random((2, 4, 12, 12, 3))
    each = [metrics.ssim(x[..., c], y[..., c], data_range=1) for c in range(3)]
    assert_allclose(metrics.ssim(x, y, data_range=1), np.mean(each, axis=0))


def test_ssim_in_blocks_equals_ssim_at_once(pair, monkeypatch):
    at_once = metrics.ssim(*pair, data_range=1)
    monkeypatch.setattr(populations, "_BLOCK", 1)
    assert_array_equal(metrics.ssim(*pair, data_range=1), at_once)


IMAGE_FIGURES = [
    metrics.mean_squared_error,
    metrics.mean_absolute_error,
    lambda *a, **k: metrics.psnr(*a, data_range=1, **k),
    lambda *a, **k: metrics.ssim(*a, data_range=1, **k),
]


@pytest.mark.parametrize("figure", IMAGE_FIGURES)
def test_what_is_outside_the_mask_has_no_influence(figure, pair, rng):
    reference, image = pair
    mask = rng.random(reference.shape[1:]) < 0.5
    before = figure(reference, image, mask=mask)
    spoilt = np.where(mask, image, np.nan)
    assert_array_equal(figure(reference, spoilt, mask=mask), before)
    per_image = np.broadcast_to(mask, reference.shape)
    assert_array_equal(figure(reference, image, mask=per_image), before)
    assert not np.allclose(figure(reference, image), before)


@pytest.mark.parametrize("figure", IMAGE_FIGURES)
def test_masks_that_hold_everything_and_nothing(figure, pair):
    mask = np.ones(pair[0].shape, dtype=bool)
    assert_allclose(figure(*pair, mask=mask), figure(*pair))
    mask[1] = False
    assert_array_equal(np.isnan(figure(*pair, mask=mask)), [False, True, False])


@pytest.mark.parametrize("figure", IMAGE_FIGURES)
def test_a_mask_needs_no_channel_axis(figure, rng):
    x, y = rng.random((2, 3, 8, 9, 2))
    mask = rng.random((8, 9)) < 0.5
    both = np.repeat(mask[..., None], 2, axis=-1)
    assert_array_equal(figure(x, y, mask=mask), figure(x, y, mask=both))
    each = np.broadcast_to(mask, (3, 8, 9))
    assert_array_equal(figure(x, y, mask=mask), figure(x, y, mask=each))


@pytest.mark.parametrize("figure", IMAGE_FIGURES)
def test_images_that_do_not_fit(figure, pair):
    with pytest.raises(ValueError, match=r"\(3, 14, 17\) and \(3, 14, 16\)"):
        figure(pair[0], pair[1][..., 1:])
    with pytest.raises(ValueError, match=r"mask of shape \(14, 16\)"):
        figure(*pair, mask=np.ones((14, 16)))
    with pytest.raises(ValueError, match="at least one pixel"):
        figure(np.zeros((2, 0)), np.zeros((2, 0)))


@pytest.mark.parametrize("data_range", [0, -1, np.nan, np.inf])
def test_data_range_must_be_positive(pair, data_range):
    for figure in (metrics.psnr, metrics.ssim):
        with pytest.raises(ValueError, match="data_range"):
            figure(*pair, data_range=data_range)


def test_ssim_needs_as_many_axes_as_it_was_told(pair):
    with pytest.raises(ValueError, match="spatial_dims=3"):
        metrics.ssim(*pair, data_range=1, spatial_dims=3)


def test_code_usage(rng):
    codes = rng.integers(0, 50, size=(20, 3, 3)).astype(np.uint8)
    usage = metrics.code_usage(codes, 64)
    assert isinstance(usage, CodeUsage)
    counts = np.array([(codes == k).sum() for k in range(64)])
    p = counts / counts.sum()
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    assert_array_equal(usage.histogram, counts)
    assert usage.n_used == (counts > 0).sum()
    assert usage.perplexity == pytest.approx(np.exp(entropy))


def test_code_usage_of_extremes():
    assert metrics.code_usage(np.arange(7), 7).perplexity == pytest.approx(7)
    one = metrics.code_usage(np.full((2, 2), 3), 7)
    assert (one.n_used, one.perplexity) == (1, 1)


def test_code_usage_inside_a_mask():
    codes = np.array([[[0, 1], [2, 3]], [[0, 1], [2, 2]]])
    mask = np.array([[False, False], [True, True]])
    usage = metrics.code_usage(codes, 5, mask=mask)
    assert_array_equal(usage.histogram, [0, 0, 3, 1, 0])
    with pytest.raises(ValueError, match="no codes"):
        metrics.code_usage(codes, 5, mask=np.zeros((2, 2)))


@pytest.mark.parametrize("codes", [[0, 5], [-1, 0]])
def test_codes_outside_the_codebook(codes):
    with pytest.raises(ValueError, match="0..4, got values from"):
        metrics.code_usage(codes, 5)
    with pytest.raises(TypeError, match="float64"):
        metrics.code_usage([0.5], 5)


def test_frechet_distance_equals_the_formula(rng):
    a = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
    b = rng.standard_normal((150, 6)) @ rng.standard_normal((6, 6)) + 0.5
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2)
    expected += np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_in_known_cases(rng):
    a = rng.standard_normal((500, 4))
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(a, a + 2.0) == pytest.approx(16)
    # Scaling by s alone: (s - 1)^2 times the total variance.
    scaled = metrics.frechet_distance(a - a.mean(0), 3 * (a - a.mean(0)))
    assert scaled == pytest.approx(4 * a.var(axis=0, ddof=1).sum())
    # All images the same, as argmax sampling gives them: no square root of zero.
    same = np.zeros((500, 4))
    expected = a.var(axis=0, ddof=1).sum() + np.sum(a.mean(0) ** 2)
    assert metrics.frechet_distance(same, a) == pytest.approx(expected)
    assert metrics.frechet_distance(a.astype(np.float32), a) < 1e-6


def test_frechet_distance_refuses_what_has_no_covariance(rng):
    a = rng.standard_normal((5, 3))
    with pytest.raises(ValueError, match="3 and 2 columns"):
        metrics.frechet_distance(a, a[:, :2])
    with pytest.raises(ValueError, match="features_b .* at least 2"):
        metrics.frechet_distance(a, a[:1])
    with pytest.raises(ValueError, match="features_a contain NaN"):
        metrics.frechet_distance(a * np.nan, a)


def test_n_distinct(rng):
    codes = rng.integers(0, 2, size=(300, 2, 3))
    assert metrics.n_distinct(codes) == len(np.unique(codes, axis=0))
    assert metrics.n_distinct(np.zeros((5, 2, 2), dtype=np.float32)) == 1
    assert metrics.n_distinct(np.swapaxes(codes, 1, 2)) == metrics.n_distinct(codes)
    assert metrics.n_distinct(np.zeros((0, 2))) == 0


def slow_pairwise(images):
    return [np.linalg.norm((a - b).ravel()) for a, b in combinations(images, 2)]


def test_mean_pairwise_distance(rng):
    images = rng.random((40, 3, 4))
    exact = np.mean(slow_pairwise(images))
    assert metrics.mean_pairwise_distance(images) == pytest.approx(exact)
    drawn = metrics.mean_pairwise_distance(images, n_pairs=700)
    assert drawn == pytest.approx(exact, rel=0.03)
    assert drawn != exact
    assert drawn == metrics.mean_pairwise_distance(images, n_pairs=700)
    assert drawn != metrics.mean_pairwise_distance(images, n_pairs=700, random_seed=1)


def test_a_pair_never_is_an_image_with_itself():
    images = np.array([[0.0], [1.0], [2.0]])
    for seed in range(20):
        assert metrics.mean_pairwise_distance(images, n_pairs=1, random_seed=seed) >= 1


def test_bytes_do_not_wrap_around():
    images = np.array([[0], [255]], dtype=np.uint8)
    assert metrics.mean_pairwise_distance(images) == 255
    assert metrics.nearest_neighbour_distance(images[:1], images[1:]).distance == 255


def test_pairwise_distance_needs_a_pair():
    with pytest.raises(ValueError, match="two images, got 1"):
        metrics.mean_pairwise_distance(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="n_pairs must be at least 1, got 0"):
        metrics.mean_pairwise_distance(np.zeros((4, 3)), n_pairs=0)


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_nearest_neighbours(rng, monkeypatch, block):
    monkeypatch.setattr(populations, "_BLOCK", block)
    samples, training = rng.random((15, 4, 4)), rng.random((70, 4, 4))
    samples[3] = training[55]
    table = np.array([[np.linalg.norm(s - t) for t in training] for s in samples])
    found = metrics.nearest_neighbour_distance(samples, training)
    assert_array_equal(found.index, table.argmin(axis=1))
    assert_allclose(found.distance, table.min(axis=1))
    assert found.distance[3] == 0


def test_nearest_neighbours_far_from_zero(rng):
    training = 1e6 + rng.random((50, 30))
    samples = training[::5] + 1e-3
    found = metrics.nearest_neighbour_distance(samples, training)
    assert_array_equal(found.index, np.arange(0, 50, 5))


def test_nearest_neighbours_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"\(3,\) cannot be compared .* \(4,\)"):
        metrics.nearest_neighbour_distance(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="no training images"):
        metrics.nearest_neighbour_distance(np.zeros((2, 3)), np.zeros((0, 3)))


def test_metrics_need_no_torch():
    code = (
        "import sys; from dipy_vqvae.metrics import *; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_ssim_of_large_images_is_found_in_parts(monkeypatch, spatial_dims):
    rng = np.random.default_rng(0)
    shape = (2, 60, 23, 20)[: spatial_dims + 1]
    a, noise = rng.normal(size=(2, *shape)).astype(np.float32)
    mask = rng.random(shape) > 0.3
    for where in (None, mask):
        options = {"data_range": 6, "spatial_dims": spatial_dims, "mask": where}
        whole = metrics.ssim(a, a + noise, **options)
        with monkeypatch.context() as patch:
            patch.setattr(reconstruction, "_SSIM_VOXELS", 500)
            parts = metrics.ssim(a, a + noise, **options)
        assert_allclose(parts, whole, rtol=1e-12)


# Errors of a file


@pytest.mark.parametrize("shape", [(3, 9, 8), (3, 9, 8, 2), (1, 9, 8, 7)])
@pytest.mark.parametrize("masked", [True, False])
def test_errors_of_a_file_pool_the_voxels_inside(shape, masked):
    rng = np.random.default_rng(0)
    images, noise = rng.random((2, *shape))
    spatial_dims = 3 if shape[0] == 1 else 2
    mask = np.ones(shape[: spatial_dims + 1], bool)
    if masked:
        mask = rng.random(mask.shape) > 0.5
        mask[-1] &= shape[0] == 1
    restored = images + noise
    errors = metrics.reconstruction_errors(
        images, restored, spatial_dims=spatial_dims, mask=mask if masked else None
    )
    span = np.ptp(images[mask])
    mse = np.square(noise[mask]).mean()
    assert errors["n_images"] == shape[0]
    assert errors["n_voxels"] == mask.sum()
    npt.assert_allclose(errors["mse"], mse)
    npt.assert_allclose(errors["mae"], noise[mask].mean())
    npt.assert_allclose(errors["data_range"], span)
    npt.assert_allclose(errors["psnr"], 10 * np.log10(span**2 / mse))
    options = {"data_range": span, "spatial_dims": spatial_dims, "mask": mask}
    similarity = metrics.ssim(images, restored, **options)
    weights = mask.reshape(len(mask), -1).sum(1)
    expected = np.average(np.nan_to_num(similarity), weights=weights)
    npt.assert_allclose(errors["ssim"], expected)


def test_errors_of_constant_images_and_empty_masks():
    images = np.ones((2, 5, 5))
    errors = metrics.reconstruction_errors(images, images, spatial_dims=2)
    assert errors["mse"] == 0
    assert np.isnan([errors["psnr"], errors["ssim"]]).all()
    errors = metrics.reconstruction_errors(
        images, images, spatial_dims=2, mask=np.zeros((2, 5, 5), bool)
    )
    assert errors["n_voxels"] == 0
    assert np.isnan([errors[name] for name in ("mse", "mae", "psnr", "ssim")]).all()


# Sharpness


def test_sharpness_of_blurred_and_noisy_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 12, 10, 8), np.uint8)
    blurred = gaussian_filter(images.astype(float), (0, 1, 1, 1))
    assert sharpness(images, images, spatial_dims=3) == 1
    assert sharpness(images, blurred, spatial_dims=3) < 0.1
    assert sharpness(images, 3.0 * images, spatial_dims=3) == pytest.approx(9)
    assert math.isnan(
        sharpness(np.ones((1, 4, 4)), images[:1, :4, :4, 0], spatial_dims=2)
    )


def test_sharpness_counts_neighbours_that_are_inside():
    rng = np.random.default_rng(1)
    reference, image = rng.normal(size=(2, 2, 6, 5, 2))
    mask = rng.random((2, 6, 5)) < 0.7
    sums = np.zeros(2)
    for n, i, j in product(range(2), range(6), range(5)):
        for other in ((i + 1, j), (i, j + 1)):
            if other[0] < 6 and other[1] < 5 and mask[n, i, j] and mask[(n, *other)]:
                for total, x in enumerate((reference, image)):
                    sums[total] += np.square(x[n, i, j] - x[(n, *other)]).sum()
    found = sharpness(reference, image, spatial_dims=2, mask=mask)
    assert found == pytest.approx(sums[1] / sums[0])
    image[~mask] = np.nan
    assert sharpness(reference, image, spatial_dims=2, mask=mask) == pytest.approx(
        found
    )
