"""VQVAEModel and VQVAEFit: what a fit gives, and what it depends on."""

import random

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import SETTINGS, TRAINING, assert_same_fit, blobs, fit_to, weights

from dipy_vqvae import VQVAEFit, VQVAEModel
from dipy_vqvae.nn.quantiser import EMAQuantiser, to_rows


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


# What a fit gives.


def test_outputs(fit, images):
    codes = fit.encode(images)
    assert (codes.shape, codes.dtype) == ((24, 3, 3), np.int32)
    assert codes.min() >= 0 and codes.max() < 8
    decoded = fit.decode(codes)
    assert (decoded.shape, decoded.dtype) == ((24, 12, 10), np.float32)
    npt.assert_array_equal(fit.predict(images), decoded)
    assert (fit.codebook.shape, fit.codebook.dtype) == ((8, 4), np.float32)
    assert (fit.n_codes, fit.spatial_dims, fit.n_channels_in) == (8, 2, 1)
    assert (fit.image_shape, fit.latent_shape) == ((12, 10), (3, 3))
    assert len(fit.history["loss"]) == 2
    usage = fit.usage(images)
    npt.assert_array_equal(usage.histogram, np.bincount(codes.ravel(), minlength=8))
    assert usage.n_used == len(np.unique(codes))


def test_the_codebook_is_a_copy(fit, images):
    before = fit.predict(images)
    fit.codebook[:] = 0
    npt.assert_array_equal(fit.predict(images), before)


def test_a_code_decodes_its_own_vector(fit):
    # The codes of a picture are those of the vectors that the encoder gives.
    x = torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        vectors = to_rows(fit.net.latents(x)).numpy()
        codes = fit.net.codes(x).numpy().ravel()
    distance = ((vectors[:, None] - fit.codebook) ** 2).sum(2)
    npt.assert_array_equal(codes, distance.argmin(1))


def test_batch_sizes_change_nothing(fit, images):
    codes = fit.encode(images)
    decoded = fit.decode(codes)
    for size in (1, 7, 100):
        npt.assert_array_equal(fit.encode(images, batch_size=size), codes)
        npt.assert_allclose(
            fit.predict(images, batch_size=size), decoded, rtol=1e-5, atol=1e-3
        )


def test_few_or_large_images_make_many_steps(images, monkeypatch):
    few = fit_to(images, batch_size=None)
    assert few.history.n_steps == 2 * 24
    assert_same_fit(few, fit_to(images, batch_size=1))
    many = blobs(400, (4, 4))
    assert fit_to(many, batch_size=None, n_epochs=1).history.n_steps == 50
    # Room for three images of 4 x 4 in a step.
    monkeypatch.setattr("dipy_vqvae.vqvae.task.MOST_VOXELS", 50)
    steps = fit_to(many, batch_size=None, n_epochs=1, n_decoder_epochs=1).history
    assert steps.n_steps == 2 * 134


def test_images_of_another_size(fit):
    for shape in ((5, 9), (16, 16), (1, 1)):
        images = blobs(2, shape)
        assert fit.encode(images).shape == (2, -(-shape[0] // 4), -(-shape[1] // 4))
        assert fit.predict(images).shape == images.shape


def test_decode_to_another_shape(fit):
    codes = np.zeros((2, 2, 3), int)
    assert fit.decode(codes).shape == (2, 8, 12)
    whole = fit.decode(codes, image_shape=(8, 12))
    npt.assert_array_equal(fit.decode(codes, image_shape=(5, 9)), whole[:, :5, :9])
    for shape in ((8, 13), (4, 12), (8,), (8.0, 12)):
        with pytest.raises(ValueError, match="image_shape"):
            fit.decode(codes, image_shape=shape)


# What a fit depends on.


def test_the_model_stays_as_it_was(images):
    model = VQVAEModel(**SETTINGS, downsampling=[4, 2])
    before = {**vars(model), "downsampling": [4, 2]}
    assert model.fit(images, **TRAINING) is not model.fit(images, **TRAINING)
    assert vars(model) == before


def test_the_same_seed_gives_the_same_fit(fit, images):
    again = fit_to(images)
    assert_same_fit(fit, again)
    assert again.history == fit.history
    other = fit_to(images, model={"random_seed": 1})
    assert (other.codebook != fit.codebook).any()
    # One that goes its own way from the first weights on, not from the first step.
    assert abs(other.history["loss"][0] - fit.history["loss"][0]) > 1e-6


def test_no_public_call_touches_the_global_random_states(images, tmp_path):
    torch.default_generator.manual_seed(7)
    np.random.seed(7)
    random.seed(7)

    def states():
        return (
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),
            random.getstate(),
        )

    before = states()
    fit = fit_to(images, n_epochs=1, model={"rate_weight": 0.1})
    assert states() == before
    fit.save(tmp_path / "v.safetensors")
    fit = VQVAEFit.load(tmp_path / "v.safetensors")
    fit.decode(fit.encode(images))
    fit.predict(images)
    fit.usage(images)
    assert states() == before


def test_the_loss_falls(images):
    history = fit_to(images, n_epochs=8, model={"codebook": "gradient"}).history
    assert history["mse"][-1] < 0.8 * history["mse"][0]


def test_without_decay_codes_are_the_means_of_the_last_batch(images):
    # One batch of all images, and a learning rate of next to nothing.
    model = {"decay": 0.0, "n_codes": 4}
    how = {"batch_size": 24, "n_epochs": 3, "learning_rate": 1e-12}
    fit = fit_to(images, model=model, **how)
    assert fit.description["model"]["decay"] == 0
    padded = np.pad(images, [(0, 0), (0, 0), (0, 2)])
    x = torch.from_numpy(fit.config.scaling.apply(padded)[:, None])
    x[..., 10:] = 0
    with torch.no_grad():
        vectors = to_rows(fit.net.latents(x)).numpy()
    previous = fit_to(images, model=model, **{**how, "n_epochs": 2}).codebook
    codes = ((vectors[:, None] - previous) ** 2).sum(2).argmin(1)
    for k in np.unique(codes):
        npt.assert_allclose(fit.codebook[k], vectors[codes == k].mean(0), atol=1e-4)


def test_revive_below_keeps_rare_codes_in_use():
    # Nearly all patches are alike; the codes that others want are rare.
    images = blobs(400, (8, 8))
    images[:380] = images[0]
    model = {"n_codes": 32, "random_seed": 1}
    n_used = []
    for share in (0.0, 0.5):
        model["revive_below"] = share
        fit = fit_to(images, model=model, n_epochs=6, weight_decay=0.0)
        assert fit.description["model"]["revive_below"] == share
        n_used.append(fit.usage(images).n_used)
    assert n_used[1] > n_used[0]


def test_revive_until_is_when_re_initialisation_ends(monkeypatch):
    images = blobs(64, (8, 8))
    images[:60] = images[0]
    revive, counts = EMAQuantiser._revive, []
    monkeypatch.setattr(
        EMAQuantiser,
        "_revive",
        lambda *args, **kwargs: counts.append(1) or revive(*args, **kwargs),
    )
    n_calls = []
    for until in (0.0, 0.5, 1.0):
        counts.clear()
        model = {"n_codes": 32, "revive_below": 0.5, "revive_until": until}
        fit = fit_to(images, model=model, n_epochs=8, batch_size=4)
        assert fit.description["model"]["revive_until"] == until
        n_calls.append(len(counts))
    assert n_calls[0] == 0 < n_calls[1] < n_calls[2]
    # Trainings of before the setting existed are continued.
    assert "revive_until" not in fit_to(images, n_epochs=1).description["model"]


@pytest.mark.parametrize("architecture", ["subpixel", "strided"])
@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("shape", [(9, 10), (5, 6, 7)])
def test_all_kinds_fit(architecture, codebook, shape):
    images = blobs(6, shape)
    model = {
        "architecture": architecture,
        "codebook": codebook,
        "spatial_dims": len(shape),
        "downsampling": (4, 2, 2)[: len(shape)],
        "n_blocks": (0, 1),
    }
    fit = fit_to(images, model=model, n_epochs=1)
    assert fit.predict(images).shape == images.shape
    assert np.isfinite(fit.history["loss"]).all()


def test_rate_weight(images):
    nats = []
    for weight in (1e-9, 1.0):
        fit = fit_to(images, model={"rate_weight": weight}, n_epochs=6)
        nats.append(fit.history["nats_per_code"][-1])
        assert fit.predict(images[:, :1, :1]).shape == (24, 1, 1)
    assert nats[1] < nats[0]


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_the_decoder_goes_on_alone(images, codebook):
    model = {"codebook": codebook}
    joint = fit_to(images, model=model)
    finished = fit_to(images, model=model, n_decoder_epochs=5)
    for name, array in weights(joint).items():
        same = np.array_equal(weights(finished)[name], array)
        assert same == (not name.startswith("decoder.")), name
    npt.assert_array_equal(finished.encode(images), joint.encode(images))

    def error(fit):
        return np.square(fit.predict(images).astype(float) - images).mean()

    assert error(finished) < error(joint)


def test_the_history_has_both_stages(images, tmp_path):
    options = {"validation_images": images[:5], "patience": None}
    joint = fit_to(images, **options).history
    fit = fit_to(images, n_decoder_epochs=1.5, **options)
    history = fit.history
    assert history.epochs[:3] == [1.0, 2.0, 3.0] and 3.3 < history.epochs[3] <= 3.5
    per_epoch = joint.n_steps // 2
    assert history.n_steps == round(history.epochs[-1] * per_epoch)
    for name in ("loss", "validation_loss", "validation_perplexity", "quantisation"):
        assert history[name][:2] == joint[name]
    assert history["quantisation"][2:] == [None, None]
    # The last values are those of the network that is kept.
    restored = fit.predict(images[:5]).astype(float)
    scale = fit.config.scaling.scale
    error = np.square((restored - images[:5]) / scale).mean()
    npt.assert_allclose(history["validation_mse"][-1], error, rtol=1e-5)
    assert history["validation_perplexity"][-1] == fit.usage(images[:5]).perplexity
    assert history["mse"][-1] < joint["mse"][-1]
    assert history.best_epoch == history.epochs[np.argmin(history["validation_loss"])]
    assert np.all(np.diff(history.seconds) > 0)
    fit.save(tmp_path / "m.safetensors")
    assert VQVAEFit.load(tmp_path / "m.safetensors").history == history


def test_mixed_precision(images):
    # Adam, as Muon's steps are as long however small the gradient.
    how = {"optimizer": "adam", "learning_rate": 2e-3}
    fit = fit_to(images, model={"mixed_precision": True, "rate_weight": 0.1}, **how)
    assert {t.dtype.name for t in weights(fit).values()} == {"float32", "int64"}
    assert fit.predict(images).dtype == np.float32
    plain = fit_to(images, model={"rate_weight": 0.1}, **how)
    npt.assert_allclose(fit.history["mse"], plain.history["mse"], rtol=0.05)


def test_volumes_of_odd_sizes():
    volumes = blobs(8, (9, 7, 5))
    fit = fit_to(volumes, model={"spatial_dims": 3}, n_epochs=12, batch_size=4)
    assert fit.latent_shape == (3, 2, 2)
    assert fit.predict(volumes).shape == volumes.shape
    assert fit.history["mse"][-1] < 0.8 * fit.history["mse"][0]


@pytest.mark.parametrize("shape", [(30, 30), (37, 51)])
def test_odd_sizes(shape):
    images = blobs(3, shape)
    fit = fit_to(images, n_epochs=1)
    assert fit.encode(images).shape == (3, -(-shape[0] // 4), -(-shape[1] // 4))
    assert fit.predict(images).shape == images.shape
    assert fit.decode(fit.encode(images)).shape == images.shape


def test_a_single_image():
    images = blobs(1, (12, 10))
    assert fit_to(images).predict(images).shape == images.shape


# Types and units.


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"),
    [
        (1, 0, np.uint8),
        (1, 0, ">i2"),
        (1 / 255, 0, np.float64),
        (3.0, -1000, np.int16),
        (5e5 / 255, 81_627, np.float32),
    ],
)
@pytest.mark.parametrize("scaling", ["range", "percentile"])
def test_units_are_undone(fit, images, scale, offset, dtype, scaling):
    # The scaled images are those of the first fit, and so must the results be.
    changed = (images * scale + offset).astype(dtype)
    other = fit_to(changed, model={"scaling": scaling})
    reconstruction = other.predict(changed)
    assert reconstruction.dtype == np.float32
    low, high = float(changed.min()), float(changed.max())
    assert reconstruction.min() >= low and reconstruction.max() <= np.float32(high)
    error = (reconstruction.astype(float) - changed) / (high - low)
    reference = (fit.predict(images).astype(float) - images) / 255
    assert np.mean(error**2) < 1.5 * np.mean(reference**2) + 1e-4


def test_types_of_the_same_values_give_the_same_fit(fit, images):
    for dtype in (np.int64, np.float16, np.float64):
        assert_same_fit(fit_to(images.astype(dtype)), fit)


def test_boolean_images():
    images = blobs(6, (8, 8)) > 100
    reconstruction = fit_to(images).predict(images)
    assert reconstruction.min() >= 0 and reconstruction.max() <= 1


def test_bounds():
    images = blobs(6, (8, 8)) / np.float32(255)
    low, high = images.min(), images.max()
    codes = np.arange(8).reshape(2, 2, 2)
    fit = fit_to(images, n_epochs=1, learning_rate=0.1)
    # What the decoder gives without its last layer.
    vectors = torch.from_numpy(fit.codebook[codes]).movedim(-1, 1)
    with torch.inference_mode():
        free = fit.config.scaling.undo(fit.net.decoder[:-1](vectors)[:, 0].numpy())
    assert free.min() < low or free.max() > high
    npt.assert_allclose(fit.decode(codes), np.clip(free, low, high), atol=1e-6)
    free = fit_to(images, n_epochs=1, learning_rate=0.1, model={"bounded": False})
    assert free.decode(codes).min() < low or free.decode(codes).max() > high


def test_channels():
    images = np.stack([blobs(6, (9, 8)), 255 - blobs(6, (9, 8))], axis=-1)
    fit = fit_to(images)
    assert (fit.n_channels_in, fit.image_shape) == (2, (9, 8))
    assert fit.encode(images).shape == (6, 3, 2)
    assert fit.decode(fit.encode(images)).shape == images.shape
    assert fit.predict(images).shape == images.shape
    assert fit.predict(images, mask=np.eye(9, 8)).shape == images.shape
    with pytest.raises(ValueError, match="1 channels, the model was trained on 2"):
        fit.encode(images[..., 0])


def test_one_channel_with_and_without_its_axis(fit, images):
    with_axis = fit_to(images[..., None])
    assert_same_fit(with_axis, fit)
    codes = fit.encode(images)
    assert with_axis.decode(codes).shape == (24, 12, 10, 1)
    assert fit.decode(codes).shape == (24, 12, 10)
    # `predict` follows its argument.
    for either in (fit, with_axis):
        assert either.predict(images).shape == (24, 12, 10)
        assert either.predict(images[..., None]).shape == (24, 12, 10, 1)
