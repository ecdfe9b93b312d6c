"""Images of which only a part counts."""

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import SETTINGS, assert_same_fit, blobs, fit_to, weights

from dipy_vqvae import VQVAEModel
from dipy_vqvae.vqvae.task import VQVAETask


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


@pytest.fixture(scope="module")
def mask():
    # Nothing of the first column of blocks is inside.
    mask = np.zeros((12, 10))
    mask[1:11, 4:9] = 2
    return mask


@pytest.fixture(scope="module")
def masked_fit(images, mask):
    return fit_to(images, mask=mask, model={"rate_weight": 0.1})


def garbage(images, mask, value):
    """`images` as floats, with `value` outside the mask."""
    return np.where(np.broadcast_to(mask, images.shape) != 0, images, value)


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_what_is_outside_has_no_influence(images, mask, masked_fit, value):
    changed = garbage(images, mask, value)
    other = fit_to(changed, mask=mask, model={"rate_weight": 0.1})
    assert_same_fit(other, masked_fit)
    assert other.config == masked_fit.config
    assert other.history == masked_fit.history
    npt.assert_array_equal(
        masked_fit.predict(changed, mask=mask), masked_fit.predict(images, mask=mask)
    )
    npt.assert_array_equal(
        masked_fit.encode(changed, mask=mask), masked_fit.encode(images, mask=mask)
    )


def test_zeros_outside(images, mask, masked_fit):
    reconstruction = masked_fit.predict(images + np.uint8(1), mask=mask)
    assert reconstruction.shape == images.shape
    npt.assert_array_equal(reconstruction[:, mask == 0], 0)
    codes = masked_fit.encode(images + np.uint8(1), mask=mask)
    inside = mask != 0
    npt.assert_array_equal(
        reconstruction[:, inside], masked_fit.decode(codes)[:, inside]
    )


def test_usage_counts_what_is_inside(images, mask, masked_fit):
    codes = masked_fit.encode(images, mask=mask)
    usage = masked_fit.usage(images, mask=mask)
    # The first column of blocks has nothing inside.
    inside = np.bincount(codes[:, :, 1:].ravel(), minlength=8)
    npt.assert_array_equal(usage.histogram, inside)
    one = np.zeros((24, 12, 10))
    one[3, 11, 9] = 1
    usage = masked_fit.usage(images, mask=one)
    assert usage.histogram.sum() == 1
    (code,) = np.flatnonzero(usage.histogram)
    assert code == masked_fit.encode(images, mask=one)[3, 2, 2]


def test_a_full_mask_changes_nothing(images, fit):
    for mask in (np.ones((12, 10), bool), np.ones((24, 12, 10), int)):
        masked = fit_to(images, mask=mask)
        for name, array in weights(fit).items():
            npt.assert_allclose(
                weights(masked)[name], array, rtol=1e-3, atol=1e-4, err_msg=name
            )
        npt.assert_array_equal(
            masked.predict(images, mask=mask), masked.predict(images)
        )


def test_masked_training_is_training_on_cropped_images():
    whole = blobs(10, (16, 12))
    mask = np.zeros((16, 12), bool)
    mask[:14, :11] = True
    cropped = fit_to(whole[:, :14, :11])
    masked = fit_to(whole, mask=mask)
    for name, array in weights(cropped).items():
        npt.assert_allclose(
            weights(masked)[name], array, rtol=1e-3, atol=1e-4, err_msg=name
        )
    assert masked.config.scaling == cropped.config.scaling
    npt.assert_array_equal(
        cropped.encode(whole[:, :14, :11]), cropped.encode(whole, mask=mask)
    )


def test_images_outside_are_left_out(images):
    mask = np.ones((24, 12, 10), bool)
    mask[[0, 5, 23]] = False
    all_inside = np.ones((21, 12, 10), bool)
    assert_same_fit(
        fit_to(images, mask=mask), fit_to(images[mask[:, 0, 0]], mask=all_inside)
    )


def test_the_variance_is_that_of_the_inside(images, mask, monkeypatch):
    seen = {}
    original = VQVAETask.__init__

    def spy(self, *args, **kwargs):
        seen.update(kwargs)
        original(self, *args, **kwargs)

    monkeypatch.setattr(VQVAETask, "__init__", spy)
    fit = fit_to(images, mask=mask, n_epochs=1)
    inside = images[:, mask != 0]
    scaled = (inside - float(inside.min())) / float(inside.max() - inside.min())
    npt.assert_allclose(seen["variance"], scaled.var(), rtol=1e-10)
    assert fit.config.bounds == (inside.min(), inside.max())


def test_background_does_not_use_up_the_codebook():
    # Noise in a small part of large blank images.
    rng = np.random.default_rng(0)
    images = np.zeros((8, 24, 24), np.float32)
    images[:, 8:16, 8:16] = rng.uniform(0.5, 1, (8, 8, 8))
    mask = np.zeros((24, 24))
    mask[8:16, 8:16] = 1
    fit = fit_to(images, mask=mask, n_epochs=1, model={"n_codes": 16})
    # 32 blocks inside: the data-driven start has most codes there already.
    assert fit.usage(images, mask=mask).n_used >= 10


def test_validation_with_masks(images, mask):
    held_out = blobs(5, (12, 10), seed=1)
    model = {"bounded": False}
    fit = fit_to(images, mask=mask, validation_images=held_out, model=model)
    changed = garbage(held_out, mask, -999.0)
    same = fit_to(images, mask=mask, validation_images=changed, model=model)
    assert fit.history == same.history
    inside = mask != 0
    error = fit.predict(held_out, mask=mask).astype(float) - held_out
    mse = np.mean((error[:, inside] / fit.config.scaling.scale) ** 2)
    npt.assert_allclose(fit.history["validation_mse"][-1], mse, rtol=1e-4)
    whole = fit_to(
        images, mask=mask, validation_images=held_out, validation_mask=np.ones((12, 10))
    )
    assert whole.history["validation_mse"] != fit.history["validation_mse"]


@pytest.mark.parametrize(
    "mask",
    [np.ones((10, 12)), np.ones((23, 12, 10)), np.ones((24, 12, 10, 1)), np.ones(10)],
)
def test_masks_of_another_shape(fit, images, mask):
    for call in (fit.encode, fit.predict, fit.usage, VQVAEModel(**SETTINGS).fit):
        with pytest.raises(ValueError, match="mask must have the shape"):
            call(images, mask=mask)


def test_other_bad_masks(fit, images):
    model = VQVAEModel(**SETTINGS)
    with pytest.raises(ValueError, match="selects nothing"):
        model.fit(images, mask=np.zeros((12, 10)))
    with pytest.raises(ValueError, match="mask must be boolean or numbers"):
        fit.predict(images, mask=np.full((12, 10), "x"))
    with pytest.raises(ValueError, match="mask must be boolean or numbers, got comp"):
        fit.encode(images, mask=np.ones((12, 10), complex))
    corner = np.zeros((12, 10))
    corner[0, 0] = 1
    for call in (model.fit, fit.predict):
        with pytest.raises(ValueError, match="mask has 1 NaN: make them 0"):
            call(images, mask=np.where(corner, np.nan, 1))
    constant = images.copy()
    constant[:, 0, 0] = 3
    for scaling in ("range", "none"):
        model.scaling = scaling
        with pytest.raises(ValueError, match=r"inside the mask are constant \(all 3.0"):
            model.fit(constant, mask=corner)
    with pytest.raises(ValueError, match="validation_mask needs validation_images"):
        VQVAEModel(**SETTINGS).fit(images, validation_mask=corner)
