"""The digit classifier: its files, its shipped weights, what it does off digits."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from sklearn.datasets import load_digits
import torch

from dipy_vqvae.experiment import classifier as ruler
from dipy_vqvae.metrics import frechet_distance
from dipy_vqvae.storage.model_file import save_model


@pytest.fixture(scope="module")
def shipped():
    return ruler.load_classifier()


@pytest.fixture(scope="module")
def digits():
    # Real digits of another source than the training data, made to look alike:
    # 20 x 20 in a frame of 4, by repetition and averaging.
    data = load_digits()
    large = np.repeat(np.repeat(data.images / 16, 5, axis=1), 5, axis=2)
    small = large.reshape(-1, 20, 2, 20, 2).mean(axis=(2, 4))
    return np.pad(small, ((0, 0), (4, 4), (4, 4))), data.target


def test_shipped_weights_read_digits(shipped, digits):
    images, labels = digits
    chances = ruler.probabilities(shipped, images)
    assert chances.shape == (len(images), 10)
    assert chances.dtype == np.float32
    assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    # Never trained on this font; chance is 0.1.
    assert (chances.argmax(axis=1) == labels).mean() > 0.8


def test_features_tell_digits_from_others(shipped, digits):
    images, _ = digits
    rng = np.random.default_rng(0)
    real = ruler.features(shipped, images)
    assert real.shape == (len(images), 64)
    assert real.dtype == np.float32
    assert real.min() >= 0
    assert (real.max(axis=0) > 0).sum() > 32
    halves = [frechet_distance(real[::2], real[1::2])]
    for noise in (0.3, 0.6):
        noisy = images + noise * rng.standard_normal(images.shape)
        halves.append(frechet_distance(ruler.features(shipped, noisy), real))
    assert halves[0] < halves[1] / 4 < halves[1] < halves[2]


@pytest.mark.parametrize("value", [0.0, 1.0, "noise", "beyond"])
def test_any_image_has_finite_features(shipped, value):
    rng = np.random.default_rng(0)
    images = {
        "noise": rng.random((3, 28, 28)),
        "beyond": rng.standard_normal((3, 28, 28)) * 1e6,
    }.get(value, np.full((3, 28, 28), value))
    assert np.isfinite(ruler.features(shipped, images)).all()
    chances = ruler.probabilities(shipped, images)
    assert np.isfinite(chances).all()
    assert_array_equal(chances, ruler.probabilities(shipped, images.clip(0, 1)))


def test_batches_and_channel_axis_make_no_difference(shipped, digits):
    images = digits[0][:23]
    at_once = ruler.features(shipped, images)
    in_parts = ruler.features(shipped, images[..., None], batch_size=5)
    assert_allclose(in_parts, at_once, rtol=1e-4, atol=1e-4)
    assert ruler.features(shipped, images[:0]).shape == (0, 64)
    assert ruler.probabilities(shipped, images[:0]).shape == (0, 10)


def test_images_that_it_cannot_measure(shipped):
    with pytest.raises(ValueError, match=r"\(2, 27, 28\)"):
        ruler.features(shipped, np.zeros((2, 27, 28)))
    with pytest.raises(ValueError, match="uint8; divide bytes by 255"):
        ruler.probabilities(shipped, np.zeros((2, 28, 28), dtype=np.uint8))
    with pytest.raises(ValueError, match="NaN"):
        ruler.features(shipped, np.full((1, 28, 28), np.nan))


def test_save_and_load(tmp_path):
    # channels_last, as training leaves it, is another order in memory.
    made = ruler.DigitClassifier(n_channels=4, n_features=16)
    made = made.to(memory_format=torch.channels_last)
    path = tmp_path / "c.safetensors"
    ruler.save_classifier(path, made, description={"why": "test"})
    loaded = ruler.load_classifier(path)
    assert not loaded.training
    assert loaded.config == made.config
    for name, values in loaded.state_dict().items():
        expected = made.state_dict()[name].half().float()
        assert_array_equal(values.numpy(), expected.numpy())
    images = np.random.default_rng(0).random((3, 28, 28))
    assert_allclose(
        ruler.features(loaded, images), ruler.features(made, images), atol=1e-2
    )
    assert made.training


def test_loading_leaves_random_numbers_alone():
    before = torch.random.get_rng_state()
    ruler.load_classifier()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "config", [{"n_layers": 3}, {"n_channels": 10**9}, {"n_channels": "many"}, {}]
)
def test_files_that_do_not_fit(tmp_path, config):
    path = tmp_path / "c.safetensors"
    arrays = {"conv1.bias": np.zeros(3, np.float16)}
    save_model(path, kind="digit_classifier", config=config, arrays=arrays)
    with pytest.raises(ValueError, match="c.safetensors: settings or weights do not"):
        ruler.load_classifier(path)


def test_weights_beyond_half_precision_are_not_written(tmp_path):
    made = ruler.DigitClassifier()
    with torch.no_grad():
        made.head.bias[0] = 1e6
    with (
        pytest.raises(ValueError, match="head.bias"),
        np.errstate(over="ignore"),
    ):
        ruler.save_classifier(tmp_path / "c.safetensors", made)
    assert not list(tmp_path.iterdir())
