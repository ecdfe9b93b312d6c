"""Scaling of intensities and its inverse."""

import json

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import IntensityScaling, fit_scaling


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_bytes_become_fractions_of_255():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    scaling = fit_scaling(images)
    assert (scaling.offset, scaling.scale) == (0.0, 255.0)
    scaled = scaling.apply(images)
    npt.assert_array_equal(scaled, images.astype(np.float32) / np.float32(255))
    assert scaled.dtype == np.float32
    npt.assert_array_equal(np.rint(scaling.undo(scaled)), images)


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint16, np.int64, np.uint64, np.float16, np.float64]
)
def test_range_maps_extremes_to_0_and_1(rng, dtype):
    images = rng.integers(0, 100, size=(3, 6, 7)).astype(dtype)
    scaled = fit_scaling(images).apply(images)
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    npt.assert_allclose(fit_scaling(images).undo(scaled), images, rtol=1e-6)


def test_other_data_may_lie_outside(rng):
    scaling = fit_scaling(np.array([[0.0, 10.0]]))
    npt.assert_array_equal(scaling.apply([-10, 20]), [-1, 2])


def test_large_intensities_close_together():
    images = 1e9 + np.arange(100.0).reshape(1, 10, 10)
    scaling = fit_scaling(images)
    npt.assert_allclose(scaling.apply(images).ravel(), np.arange(100) / 99, rtol=1e-6)


def test_percentiles_do_not_follow_outliers(rng):
    images = rng.normal(100, 10, size=(4, 50, 50))
    images[0, 0, 0] = 1e6
    scaling = fit_scaling(images, method="percentile", percentiles=(1, 99))
    low, high = np.percentile(images, (1, 99))
    npt.assert_allclose([scaling.offset, scaling.scale], [low, high - low])
    scaled = scaling.apply(images)
    assert scaled.max() > 1000, "nothing is clipped"
    npt.assert_allclose(scaling.undo(scaled), images, rtol=1e-5)


def test_percentiles_that_coincide(caplog):
    images = np.zeros((2, 50, 50), dtype=np.uint8)
    images[0, 0, :3] = 9
    scaling = fit_scaling(images, method="percentile")
    assert (scaling.offset, scaling.scale) == (0.0, 9.0)
    assert "percentiles are both 0.0" in caplog.text
    assert fit_scaling(images > 0, method="percentile").scale == 1.0


@pytest.mark.parametrize("method", ["range", "percentile"])
def test_only_the_mask_counts(rng, method):
    images = rng.uniform(10, 20, size=(3, 6, 7, 2))
    mask = np.zeros((6, 7), bool)
    mask[2:5, 1:6] = True
    inside = fit_scaling(images[:, 2:5, 1:6], method=method)
    images[:, ~mask] = -1000
    assert fit_scaling(images, mask=mask, method=method) == inside
    each = np.broadcast_to(mask, (3, 6, 7))
    assert fit_scaling(images, mask=each, method=method) == inside


def test_none_changes_nothing(rng):
    images = rng.normal(size=(3, 6, 7)).astype(np.float32)
    scaling = fit_scaling(images, method="none")
    npt.assert_array_equal(scaling.apply(images), images)
    npt.assert_array_equal(scaling.undo(images), images)


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3, 4), (30, 20)])
def test_any_shape_and_memory_order(rng, monkeypatch, shape):
    monkeypatch.setattr("dipy_vqvae.data.intensity._BLOCK", 7)
    scaling = IntensityScaling(offset=1.0, scale=4.0, method="range")
    images = np.asarray(rng.integers(0, 9, size=shape), order="F")
    expected = (images - 1) / 4
    npt.assert_array_equal(scaling.apply(images), expected.astype(np.float32))
    npt.assert_array_equal(scaling.undo(expected), images)
    assert scaling.apply(images).shape == shape


def test_constant_images():
    with pytest.raises(ValueError, match=r"images are constant \(all 3.0\)"):
        fit_scaling(np.full((2, 4, 4), 3))
    images = np.arange(32.0).reshape(2, 4, 4, 1)
    mask = np.zeros((2, 4, 4))
    mask[0, 0, 0] = 1
    with pytest.raises(ValueError, match="images in the mask are constant"):
        fit_scaling(images, mask=mask)


def test_kept_without_loss(rng):
    scaling = fit_scaling(rng.normal(size=(3, 6, 7)), method="percentile")
    kept = json.loads(json.dumps(scaling.to_dict()))
    assert IntensityScaling.from_dict(kept) == scaling


@pytest.mark.parametrize(
    "entries",
    [
        {},
        None,
        {"method": "slice", "offset": 0, "scale": 1},
        {"method": "range", "offset": 0, "scale": 0},
        {"method": "range", "offset": 0, "scale": -1},
        {"method": "range", "offset": float("nan"), "scale": 1},
        {"method": "range", "offset": "x", "scale": 1},
        {"method": "range", "offset": [0], "scale": 1},
    ],
)
def test_entries_that_are_no_scaling(entries):
    with pytest.raises(ValueError):
        IntensityScaling.from_dict(entries)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "slice"},
        {"method": "percentile", "percentiles": (99, 1)},
        {"method": "percentile", "percentiles": (-1, 99)},
        {"mask": np.ones((3, 3))},
    ],
)
def test_options(options):
    with pytest.raises(ValueError, match="must"):
        fit_scaling(np.arange(32.0).reshape(2, 4, 4, 1), **options)


def test_nothing_to_fit_on():
    with pytest.raises(ValueError, match="images are empty"):
        fit_scaling(np.zeros((0, 4, 4)))
