"""What is kept of a VQ-VAE: model files and checkpoints; validation and devices."""

import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import assert_same_fit, blobs, fit_to

from dipy_vqvae import PixelCNNModel, VQVAEFit
from dipy_vqvae.storage.model_file import load_model, save_model
from dipy_vqvae.vqvae import model as vqvae
from dipy_vqvae.vqvae.fit import encode_batches
from dipy_vqvae.vqvae.task import DecoderTask, VQVAETask


@pytest.fixture(scope="module")
def images():
    return blobs(24, (12, 10))


@pytest.fixture(scope="module")
def fit(images):
    return fit_to(images)


# Model files.


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_save_and_load(images, tmp_path, codebook):
    path = tmp_path / "vqvae.safetensors"
    model = {
        "codebook": codebook,
        "n_codes": np.int64(8),
        "downsampling": (4, 2),
        "rate_weight": 0.1 * (codebook == "ema"),
        "n_hidden": 5 if codebook == "ema" else None,
    }
    fit = fit_to(images, model=model, validation_images=images[:4])
    fit.save(path)
    loaded = VQVAEFit.load(path)
    codes = fit.encode(images)
    npt.assert_array_equal(loaded.encode(images), codes)
    npt.assert_array_equal(loaded.decode(codes), fit.decode(codes))
    npt.assert_array_equal(loaded.predict(images), fit.predict(images))
    npt.assert_array_equal(loaded.codebook, fit.codebook)
    assert loaded.history == fit.history
    assert loaded.config == fit.config
    assert loaded.latent_shape == (3, 5)
    assert loaded.description["training_images"]["number"] == 24
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def resave(fit, path, change):
    """Save a fit with its content changed by `change(config, arrays, description)`."""
    fit.save(path)
    content = load_model(path, kind="vqvae")
    config, arrays = dict(content.config), dict(content.arrays)
    description = dict(content.description)
    change(config, arrays, description)
    save_model(
        path, kind="vqvae", config=config, arrays=arrays, description=description
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a, d: c.pop("n_codes"), "n_codes"),
        (lambda c, a, d: c.update(n_codes=1), "n_codes must be .*, got 1"),
        (lambda c, a, d: c.update(n_codes="8"), "n_codes must be .*, got '8'"),
        (lambda c, a, d: c.update(surprise=1), "surprise"),
        (lambda c, a, d: c.update(architecture="u-net"), "'u-net'"),
        (lambda c, a, d: c.update(architecture=["strided"]), "architecture"),
        (lambda c, a, d: c.update(downsampling=4), "downsampling"),
        (lambda c, a, d: c.update(downsampling=[4]), "downsampling"),
        (lambda c, a, d: c.update(n_blocks=[1]), "n_blocks"),
        (lambda c, a, d: c.update(scaling=None), "scaling"),
        (lambda c, a, d: c.update(bounds=[1, 0]), "bounds"),
        (lambda c, a, d: c.update(n_channels=16), "shape"),
        (lambda c, a, d: c.update(n_hidden=16), "shape"),
        (lambda c, a, d: c.update(n_refinements=10**9), "n_refinements"),
        (lambda c, a, d: a.pop("quantiser.codebook"), "quantiser.codebook"),
        (lambda c, a, d: a.update(extra=np.zeros(2)), "extra"),
        (lambda c, a, d: d.pop("history"), "history"),
        (lambda c, a, d: d.update(history={"epochs": 3}), "history"),
        (lambda c, a, d: d.clear(), "history"),
    ],
)
def test_files_that_do_not_hold_together(fit, tmp_path, change, message):
    path = tmp_path / "changed.safetensors"
    resave(fit, path, change)
    with pytest.raises(ValueError, match=message) as error:
        VQVAEFit.load(path)
    assert "changed.safetensors" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "prior.safetensors"
    save_model(path, kind="pixelcnn", config={}, arrays={})
    with pytest.raises(
        ValueError, match="is a pixelcnn model, a vqvae model is needed"
    ):
        VQVAEFit.load(path)
    with pytest.raises(FileNotFoundError):
        VQVAEFit.load(tmp_path / "missing.safetensors")


# Validation, stopping, checkpoints, devices.


def test_a_fit_says_what_it_is(images):
    fit = fit_to(images)
    text = repr(fit)
    assert text.startswith("<VQVAEFit: n_codes=8, code_dim=4, image_shape=(12, 10), ")
    assert f"latent_shape=(3, 3), epochs=2, loss={fit.history['loss'][-1]:.4g}>" in text
    model = PixelCNNModel(n_codes=8, n_channels=8, n_layers=1)
    prior = model.fit(fit.encode(images), n_epochs=1)
    start = "<PixelCNNFit: kind='gated', n_codes=8, grid_shape=(3, 3), n_classes=0, "
    assert repr(prior).startswith(start)


def test_validation_and_patience(images):
    held_out = blobs(5, (12, 10), seed=1)
    fit = fit_to(images, validation_images=held_out)
    assert len(fit.history["validation_mse"]) == 2
    assert fit.history["validation_n_used"][-1] == fit.usage(held_out).n_used
    npt.assert_allclose(
        fit.history["validation_perplexity"][-1], fit.usage(held_out).perplexity
    )
    stopped = fit_to(
        images, validation_images=held_out, n_epochs=50, patience=1, learning_rate=0.5
    )
    assert len(stopped.history["loss"]) < 50
    with pytest.raises(ValueError, match="patience needs validation_images"):
        fit_to(images, patience=1)
    with pytest.raises(ValueError, match="validation_images have 3 channels"):
        fit_to(images, validation_images=np.zeros((2, 9, 10, 3)))


def test_a_resumed_fit_is_the_same(images, tmp_path, monkeypatch):
    checkpoint = tmp_path / "vqvae.checkpoint"
    uninterrupted = fit_to(images, n_epochs=3, model={"rate_weight": 0.1})
    original, calls = VQVAETask.loss, []

    def stop_in_the_fifth_step(self, indices, progress, random_seed):
        calls.append(progress)
        if len(calls) == 5:
            raise RuntimeError("the power went off")
        return original(self, indices, progress, random_seed)

    monkeypatch.setattr(VQVAETask, "loss", stop_in_the_fifth_step)
    again = {
        "n_epochs": 3,
        "model": {"rate_weight": 0.1},
        "checkpoint": checkpoint,
        "checkpoint_minutes": 0,
    }
    with pytest.raises(RuntimeError, match="the power went off"):
        fit_to(images, **again)
    resumed = fit_to(images, **again)
    assert len(calls) == 5 + 5  # 9 steps, 4 of them done before
    assert_same_fit(resumed, uninterrupted)
    assert resumed.history == uninterrupted.history
    # Finished: the same again without a step.
    assert_same_fit(fit_to(images, **again), uninterrupted)
    assert len(calls) == 10


def test_a_decoder_that_goes_on_alone_is_resumed(images, tmp_path, monkeypatch):
    again = {"n_epochs": 1, "n_decoder_epochs": 2}
    uninterrupted = fit_to(images, **again)
    original, calls = DecoderTask.loss, []

    def stop_in_the_fourth_step(self, indices, progress, random_seed):
        calls.append(progress)
        if len(calls) == 4:
            raise RuntimeError("the power went off")
        return original(self, indices, progress, random_seed)

    monkeypatch.setattr(DecoderTask, "loss", stop_in_the_fourth_step)
    again["checkpoint"] = tmp_path / "vqvae.checkpoint"
    with pytest.raises(RuntimeError, match="the power went off"):
        fit_to(images, **again, checkpoint_minutes=0)
    assert_same_fit(fit_to(images, **again, checkpoint_minutes=0), uninterrupted)
    assert len(calls) == 4 + 3  # 6 steps, 3 of them done before


def test_a_decoder_goes_on_where_a_code_is_rounded_otherwise(
    images, tmp_path, monkeypatch
):
    """As on another device; but not after another encoder."""
    again = {"n_epochs": 1, "checkpoint": tmp_path / "v.ckpt", "checkpoint_minutes": 0}
    original, calls = DecoderTask.loss, []

    def stop_in_the_second_step(self, indices, progress, random_seed):
        calls.append(progress)
        if len(calls) == 2:
            raise RuntimeError("the power went off")
        return original(self, indices, progress, random_seed)

    def encode_with_one_other(net, batches):
        codes = encode_batches(net, batches)
        codes.flat[0] = (codes.flat[0] + 1) % 8
        return codes

    monkeypatch.setattr(DecoderTask, "loss", stop_in_the_second_step)
    with pytest.raises(RuntimeError, match="the power went off"):
        fit_to(images, **again, n_decoder_epochs=2)
    monkeypatch.setattr(vqvae, "encode_batches", encode_with_one_other)
    fit_to(images, **again, n_decoder_epochs=2)
    assert len(calls) == 2 + 5  # 6 steps, 1 of them done before

    joint = VQVAETask.__new__(VQVAETask)
    joint.advice = None
    fit, joint.n_items, joint.description = fit_to(images, n_epochs=1), 1, {}
    joint.module = fit.net
    described = [DecoderTask(fit.net, np.zeros((1, 3, 2)), joint).describe()]
    with torch.no_grad():
        for weight in (
            next(fit.net.encoder.parameters()),
            fit.net.quantiser.codebook,
            next(fit.net.decoder.parameters()),
        ):
            weight += 1
            described.append(DecoderTask(fit.net, np.zeros(1), joint).describe())
    assert described[0] != described[1] != described[2] == described[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"n_codes": 9}}, "model.n_codes was 8, now it is 9"),
        ({"n_epochs": 4}, "n_epochs was 1, now it is 4"),
        ({"mask": np.ones((12, 10))}, "mask_fingerprint"),
        ({"validation_images": blobs(2, (12, 10))}, "validation_images"),
    ],
)
def test_a_checkpoint_of_another_training(images, tmp_path, change, message):
    checkpoint = tmp_path / "vqvae.checkpoint"
    fit_to(images, n_epochs=1, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=message):
        fit_to(images, **{"n_epochs": 1, "checkpoint": checkpoint, **change})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(images, fit, tmp_path, caplog):
    other = fit_to(images, model={"use_cuda": True})
    assert "torch finds no GPU" in caplog.text
    assert_same_fit(other, fit)
    fit.save(tmp_path / "v.safetensors")
    caplog.clear()
    VQVAEFit.load(tmp_path / "v.safetensors", use_cuda=True)
    assert "torch finds no GPU" in caplog.text
