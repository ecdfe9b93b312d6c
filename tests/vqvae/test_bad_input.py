"""Images, settings and codes that a VQ-VAE refuses, with a clear message each."""

import numpy as np
import pytest
from toy_vqvae import SETTINGS, blobs, fit_to

from dipy_vqvae import VQVAEModel


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((12, 10)), ValueError, r"shape \(N, H, W\).* first axis"),
        (np.zeros((2, 3, 4, 5, 6)), ValueError, r"got \(2, 3, 4, 5, 6\)"),
        (np.zeros((0, 12, 10)), ValueError, "empty"),
        (np.zeros((3, 0, 10)), ValueError, "empty"),
        (np.full((3, 8, 8), np.nan), ValueError, "NaN or Inf"),
        (np.where(np.eye(8)[None], np.inf, 0), ValueError, "8 NaN or Inf"),
        (np.full((3, 8, 8), 7), ValueError, r"constant \(all 7.0\)"),
        (np.zeros((3, 8, 8), complex), TypeError, "real numbers.*complex128"),
        (np.full((3, 8, 8), "x"), TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
)
def test_images_that_cannot_be_used(fit, bad, error, message):
    with pytest.raises(error, match=message):
        VQVAEModel(**SETTINGS).fit(bad)
    if "constant" not in message:
        for call in (fit.encode, fit.predict, fit.usage):
            with pytest.raises(error, match=message):
                call(bad)


def test_constant_images_can_be_encoded(fit):
    images = np.full((2, 12, 10), 3)
    assert fit.predict(images).shape == images.shape


def test_a_model_of_the_other_number_of_axes(fit):
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        fit.encode(np.zeros((2, 3, 4, 5, 1)))
    with pytest.raises(ValueError, match="5 channels, the model was trained on 1"):
        fit.encode(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"\(N, X, Y, Z\)"):
        fit_to(blobs(3, (8, 8)), model={"spatial_dims": 3})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n_codes", 1, "n_codes must be an integer of at least 2, got 1"),
        ("n_codes", 8.0, "n_codes must be .*, got 8.0"),
        ("n_codes", True, "n_codes must be .*, got True"),
        ("code_dim", 0, "code_dim must be .*, got 0"),
        ("spatial_dims", 4, "spatial_dims must be one of 2, 3, got 4"),
        ("downsampling", 0, "downsampling must be .*, got 0"),
        ("downsampling", (4, 4, 4), "must be an integer .*, or 2 of them"),
        ("downsampling", None, "downsampling must be .*, got None"),
        ("downsampling", 2.5, "downsampling must be .*, got 2.5"),
        ("architecture", "resnet", "one of subpixel, strided, got"),
        ("architecture", ["strided"], "one of subpixel, strided, got"),
        ("n_channels", -1, "n_channels must be .*, got -1"),
        ("n_blocks", -1, "n_blocks must be .*, got -1"),
        ("n_hidden", 0, "n_hidden must be .*, got 0"),
        ("n_refinements", 101, "n_refinements must be .*, got 101"),
        ("n_blocks", (1, 2, 3), "must be an integer .*, or 2 of them"),
        ("codebook", "vq", "one of ema, gradient, got"),
        ("loss", "huber", "one of mse, mae, got"),
        ("commitment", -0.1, "commitment must be .*, got -0.1"),
        ("commitment", np.inf, "commitment must be .*, got inf"),
        ("decay", 1.0, "decay must be .*, got 1.0"),
        ("revive_below", 1.5, "revive_below must be .*, got 1.5"),
        ("rate_weight", np.nan, "rate_weight must be .*, got nan"),
        ("rate_weight", "1", "rate_weight must be .*, got '1'"),
        ("scaling", "z-score", "z-score"),
        ("random_seed", -1, "random_seed must be .*, got -1"),
        ("random_seed", 2**64, "random_seed"),
    ],
)
def test_settings_out_of_range(images, setting, value, message):
    with pytest.raises(ValueError, match=message):
        VQVAEModel(**{**SETTINGS, setting: value}).fit(images)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_epochs", 0),
        ("n_decoder_epochs", -1),
        ("batch_size", 0),
        ("learning_rate", -1),
        ("schedule", "step"),
    ],
)
def test_training_options_out_of_range(images, setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*, got {value!r}"):
        VQVAEModel(**SETTINGS).fit(images, **{setting: value})


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (np.full((2, 3, 3), 8), ValueError, r"range from 8 to 8.*\[0, 8\)"),
        (np.full((2, 3, 3), -1), ValueError, "range from -1 to -1"),
        (np.zeros((2, 3, 3)), TypeError, "must be integers, got float64"),
        (np.zeros((3, 3), int), ValueError, r"shape \(N, \*grid\) with 2 axes"),
        (np.zeros((0, 3, 3), int), ValueError, "empty"),
        (np.zeros((2, 3, 3), bool), TypeError, "must be integers, got bool"),
    ],
)
def test_codes_that_cannot_be_decoded(fit, codes, error, message):
    with pytest.raises(error, match=message):
        fit.decode(codes)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_batch_sizes_out_of_range(fit, images, size):
    for call in (fit.encode, fit.predict, fit.usage):
        with pytest.raises(ValueError, match=f"batch_size must be .*, got {size}"):
            call(images, batch_size=size)
    with pytest.raises(ValueError, match=f"batch_size must be .*, got {size}"):
        fit.decode(np.zeros((1, 3, 3), int), batch_size=size)
