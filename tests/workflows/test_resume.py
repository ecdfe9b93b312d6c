"""Trainings that are killed, through the commands; `benchmarks/resume.py` does more."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from dipy_vqvae import PixelCNNModel, VQVAEModel
from dipy_vqvae.storage.checkpoint_paths import second_stage
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow

pytestmark = pytest.mark.long

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "resume.py"
_spec = importlib.util.spec_from_file_location("resume_benchmark", _SCRIPT)
resume = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(resume)

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}


class Killed(BaseException):
    """What no training expects."""


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 255, (24, 8, 8), np.uint8)


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_a_killed_command_resumes_to_the_same_files(tmp_path):
    resume.make_images(tmp_path)
    rng, training = np.random.default_rng(0), resume.TRAININGS[0]
    outcome = resume.run_training(tmp_path, training, rng, n_kills=1, others=())
    assert outcome.kills == outcome.in_training == 1
    assert outcome.differences == []


def test_a_difference_is_found(tmp_path):
    resume.make_images(tmp_path)
    images = np.load(tmp_path / "train.npy")[:24]
    for seed, name in enumerate(("whole", "cut")):
        (tmp_path / name).mkdir()
        np.save(tmp_path / "images.npy", images)
        FitVQVAEFlow().run(
            [str(tmp_path / "images.npy")],
            **TINY,
            random_seed=seed,
            out_dir=str(tmp_path / name),
        )
    found = resume.compare(tmp_path / "whole", tmp_path / "cut", "vqvae.safetensors")
    assert {"array encoder.layers.0.weight", "description"} & set(found)
    assert "vqvae_history.json" in found


def flow_killed_at_the_end(monkeypatch, folder, images):
    """Run the flow until the model is written and the history is not."""
    from dipy_vqvae.workflows import results

    def kill(*_, **__):
        raise Killed

    np.save(folder / "images.npy", images)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(results, "save_record", kill)
        run_flow(folder)


def run_flow(folder, **options):
    options = {**TINY, "n_decoder_epochs": 1.0, **options}
    FitVQVAEFlow(force=options.pop("force", False)).run(
        [str(folder / "images.npy")], out_dir=str(folder / "m"), **options
    )


@pytest.mark.parametrize("is_later", [False, True])
def test_killed_while_the_results_are_written(tmp_path, monkeypatch, images, is_later):
    folder = tmp_path / "m"
    flow_killed_at_the_end(monkeypatch, tmp_path, images)
    assert (folder / "vqvae.safetensors").exists()
    checkpoint = folder / "vqvae.safetensors.checkpoint"
    assert checkpoint.exists() and second_stage(checkpoint).exists()
    if is_later:
        (folder / "vqvae_history.json").write_text("{}")
        second_stage(checkpoint).unlink()
    with pytest.raises(FileExistsError, match="add --force"):
        run_flow(tmp_path)
    run_flow(tmp_path, resume=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.html",
        "vqvae.safetensors",
        "vqvae_history.json",
    ]


def test_nothing_is_left_to_train(tmp_path, images, caplog):
    caplog.set_level("INFO", "dipy_vqvae")
    folder = tmp_path / "m"
    np.save(tmp_path / "images.npy", images)
    run_flow(tmp_path, resume=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "report.html").unlink()  # a run that was killed before it
    caplog.clear()
    run_flow(tmp_path, resume=True, use_cuda=True)
    assert "vqvae.safetensors is there: nothing is left to train" in caplog.text
    assert "starting" not in caplog.text
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(after) == set(before)
    del before["report.html"], after["report.html"]  # it has a date
    assert after == before
    np.save(tmp_path / "other.npy", images[:5])
    (folder / "vqvae_history.json").unlink()
    run_flow(tmp_path, resume=True)
    assert (folder / "vqvae_history.json").read_bytes() == before["vqvae_history.json"]
    # Another training is another training.
    for options, text in (
        ({"n_epochs": 3.0}, "fitting.n_epochs was 1.0, now it is 3.0"),
        ({"n_codes": 5}, "model.n_codes was 6, now it is 5"),
        ({"n_decoder_epochs": 2.0}, "n_decoder_epochs was 1.0, now it is 2.0"),
        ({"n_decoder_epochs": 0, "patch_shape": 4}, "fitting.patch_shape was null"),
        (
            {"validation_files": [str(tmp_path / "other.npy")]},
            "validation_images was null",
        ),
    ):
        with pytest.raises(FileExistsError, match=text):
            run_flow(tmp_path, resume=True, **options)
    np.save(tmp_path / "images.npy", images[::-1])
    with pytest.raises(FileExistsError, match="training_images.fingerprint was"):
        run_flow(tmp_path, resume=True)
    assert (folder / "vqvae.safetensors").read_bytes() == before["vqvae.safetensors"]
    run_flow(tmp_path, resume=True, force=True)
    assert (folder / "vqvae.safetensors").read_bytes() != before["vqvae.safetensors"]


def test_resuming_does_not_overwrite_older_results(tmp_path, monkeypatch, images):
    folder = tmp_path / "m"
    folder.mkdir()
    flow_killed_at_the_end(monkeypatch, tmp_path, images)
    old = folder / "vqvae_history.json"
    old.write_text("precious")
    os.utime(old, (1, 1))
    with pytest.raises(FileExistsError, match="vqvae_history.json exists already"):
        run_flow(tmp_path, resume=True)
    assert old.read_text() == "precious"
    run_flow(tmp_path, resume=True, force=True)
    assert "loss" in old.read_text()


def test_a_new_training_starts_with_no_old_checkpoint(tmp_path, monkeypatch, images):
    flow_killed_at_the_end(monkeypatch, tmp_path, images)
    other = images[::-1].copy()
    np.save(tmp_path / "images.npy", other)
    run_flow(tmp_path, force=True)
    assert not list((tmp_path / "m").glob("*.checkpoint*"))


def test_a_second_stage_without_a_first_is_refused_at_once(tmp_path, images):
    path = tmp_path / "run.ckpt"
    second_stage(path).write_text("of an earlier training")
    model = VQVAEModel(6, 3, n_channels=8)
    with pytest.raises(
        FileExistsError, match="run.ckpt.decoder exists without .*run.ckpt: it belongs"
    ):
        model.fit(images, n_epochs=1, n_decoder_epochs=1, checkpoint=path)
    assert not path.exists()
    assert second_stage(path).read_text() == "of an earlier training"


def test_decoder_epochs_resume(tmp_path, images, monkeypatch):
    path = tmp_path / "run.ckpt"
    model = VQVAEModel(6, 3, n_channels=8)
    options = {"n_epochs": 2, "n_decoder_epochs": 2, "batch_size": 6}
    expected = model.fit(images, **options)
    from dipy_vqvae.vqvae.task import DecoderTask

    loss, calls = DecoderTask.loss, []

    def kill(self, indices, progress, random_seed):
        calls.append(progress)
        if len(calls) == 4:
            raise Killed
        return loss(self, indices, progress, random_seed)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DecoderTask, "loss", kill)
        model.fit(images, **options, checkpoint=path, checkpoint_steps=2)
    assert second_stage(path).exists()
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            DecoderTask,
            "loss",
            lambda *args: calls.append(0) or loss(*args),
        )
        fit = model.fit(images, **options, checkpoint=path)
    assert len(calls) == 8 - 2, "two steps were saved"
    assert fit.history == expected.history
    for name, tensor in expected.net.state_dict().items():
        np.testing.assert_array_equal(tensor, fit.net.state_dict()[name])


def test_other_validation_codes_are_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    rng = np.random.default_rng(0)
    codes, held_out, other = rng.integers(0, 4, (3, 16, 3, 3))
    model = PixelCNNModel(4, n_channels=4, n_layers=1)
    fit = {"n_epochs": 1, "checkpoint": path}
    model.fit(codes, validation_codes=held_out, **fit)
    with pytest.raises(ValueError, match="validation_codes.fingerprint was"):
        model.fit(codes, validation_codes=other, **fit)
    with pytest.raises(ValueError, match="validation_codes.number was 16, now it is"):
        model.fit(codes, **fit)
    with pytest.raises(ValueError, match="training_codes.fingerprint was"):
        model.fit(other, validation_codes=held_out, **fit)
