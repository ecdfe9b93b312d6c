"""Images of which only a part counts."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import SETTINGS, assert_same_fit, blobs, fit_to, weights

from dipy_vqvae import VQVAEModel, open_images
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
    inside = np.broadcast_to(mask, images.shape) != 0
    return np.where(inside, images.astype(np.asarray(value).dtype), value)


# Values of which no model could use one inside, and the types that have them.
OUTSIDE = {
    "large": np.float64(1e6),
    "NaN": np.float32(np.nan),
    "Inf": np.float16(-np.inf),
    "double": np.finfo(np.float64).min,
    "long double": np.finfo(np.longdouble).max,
    "float32": np.finfo(np.float32).max,
    "int64": np.iinfo(np.int64).min,
    "uint64": np.iinfo(np.uint64).max,
    "int8 all": np.int16(-1),
}


@pytest.mark.parametrize("value", OUTSIDE.values(), ids=OUTSIDE)
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


@pytest.mark.parametrize("scaling", ["percentile", "volume"])
@pytest.mark.parametrize("value", [OUTSIDE["double"], OUTSIDE["uint64"]])
def test_no_influence_on_scalings_patches_and_lists(images, mask, scaling, value):
    options = {"model": {"scaling": scaling}, "patch_shape": 8, "n_epochs": 1}
    fits = []
    for given in (images, garbage(images, mask, value)):
        arrays, masks = [given[:9], given[9:, 1:]], [mask, mask[1:]]
        held_out = {"validation_images": given[:3], "validation_mask": mask}
        fits.append(fit_to(arrays, mask=masks, **held_out, **options))
    assert_same_fit(*fits)
    assert fits[0].history == fits[1].history
    # Not even the description of the images, which a resumed training compares.
    hashes = {"fingerprint": "", "subject_fingerprints": []}
    expected = {**fits[0].description["training_images"], **hashes}
    assert {**fits[1].description["training_images"], **hashes} == expected


@pytest.mark.parametrize("kind", ["npy", "nii", "nii.gz"])
@pytest.mark.parametrize("inside, n_used", [("constant", 5), ("varying", 6)])
def test_what_is_outside_does_not_decide_what_is_empty(tmp_path, kind, inside, n_used):
    mask = np.zeros((8, 8, 6), np.uint8)
    mask[2:6, 2:6] = 1
    clean = np.random.default_rng(0).integers(0, 200, mask.shape).astype(np.float64)
    if inside == "constant":
        clean[2:6, 2:6, 4] = 7  # with and without values around it
    fits = []
    for outside in (0, 7, np.nan, np.finfo(float).min):
        save_volume(tmp_path / f"i.{kind}", np.where(mask, clean, outside))
        save_volume(tmp_path / f"m.{kind}", mask)
        paths = tmp_path / f"i.{kind}", tmp_path / f"m.{kind}"
        opened = open_images(paths[0], mask_files=paths[1], skip_empty=True)
        fits.append(fit_to(opened, n_epochs=1))
        description = fits[-1].description["training_images"]
        assert description["number"] == n_used
        if outside in (7, np.finfo(float).min):
            assert description == fits[0].description["training_images"]
        assert_same_fit(fits[0], fits[-1])


def save_volume(path, volume):
    if path.suffix == ".npy":
        np.save(path, np.moveaxis(volume, 2, 0))
    else:
        nib.save(nib.Nifti1Image(volume, np.eye(4)), path)


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
    npt.assert_allclose(seen["reconstruction_loss"].variance, scaled.var(), rtol=1e-10)
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
    [np.ones((10, 12)), np.ones((23, 12, 10)), np.ones((24, 12, 10, 2)), np.ones(10)],
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
