"""What a command must not lose or mix up: inputs, other trainings, other spaces."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_vqvae import blobs

from dipy_vqvae import VQVAEFit, open_images
from dipy_vqvae.training import loop as training
from dipy_vqvae.workflows.command.errors import SomeFilesFailed, UsageError
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.inputs import read_labels
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}
TINY = {**TINY, "batch_size": 8, "out_report": None}
TINY_PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0, "out_report": None}
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])


def write(path, affine=LPS, seed=0, shape=(12, 10), n=4):
    data = np.moveaxis(blobs(n, shape, seed=seed), 0, 2).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def fit(images, out_dir, *, force=False, **options):
    FitVQVAEFlow(force=force).run(images, **{**TINY, **options}, out_dir=str(out_dir))
    return str(out_dir / options.get("out_vqvae", "vqvae.safetensors"))


@pytest.fixture
def images(tmp_path):
    return [write(tmp_path / f"s{i}.nii.gz", seed=i) for i in range(3)]


# Inputs and other trainings


@pytest.mark.parametrize("ending", ["", ".decoder"])
def test_an_input_is_no_checkpoint(images, tmp_path, ending):
    model = fit(images, tmp_path / "m")
    labels = tmp_path / f"m/p.safetensors.checkpoint{ending}"
    labels.write_text("0 1 2 " * 4)
    with pytest.raises(UsageError, match="out_pixelcnn would overwrite the input"):
        FitPixelCNNFlow(force=True).run(
            model,
            images,
            label_file=str(labels),
            out_pixelcnn="p.safetensors",
            out_dir=str(tmp_path / "m"),
            **TINY_PRIOR,
        )
    assert labels.read_text() == "0 1 2 " * 4
    with pytest.raises(UsageError, match="--out_history and --out_vqvae would"):
        name = f"v.safetensors.checkpoint{ending}"
        fit(images, tmp_path, out_vqvae="v.safetensors", out_history=name)


def stopped(images, folder, monkeypatch, step):
    """A training that was killed after a step."""

    class Killed(BaseException):
        pass

    take_step = training._Run._take_step

    def kill(run):
        take_step(run)
        if run.state.step > step:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training._Run, "_take_step", kill)
        fit(images, folder, checkpoint_steps=1, n_epochs=5.0)


def test_results_of_another_training_stay_in_the_second_stage(
    images, tmp_path, monkeypatch
):
    from dipy_vqvae.vqvae.task import DecoderTask

    folder, options = tmp_path / "m", {"n_decoder_epochs": 2.0}
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(DecoderTask, "loss", raise_runtime_error)
        fit(images, folder, **options)
    (folder / "vqvae_history.json").write_text("precious")
    with pytest.raises(FileExistsError, match="vqvae_history.json exists already"):
        fit(images, folder, resume=True, **options)
    assert (folder / "vqvae_history.json").read_text() == "precious"


def raise_runtime_error(*args):
    raise RuntimeError("the power went off")


@pytest.mark.parametrize("name", ["vqvae_history.json", "report.html"])
def test_results_of_another_training_stay(images, tmp_path, monkeypatch, name):
    """Those written after the checkpoint of one that had not ended are not its own."""
    folder = tmp_path / "m"
    stopped(images, folder, monkeypatch, step=2)
    (folder / name).write_text("precious")
    options = {"resume": True, "n_epochs": 5.0, "out_report": "report.html"}
    with pytest.raises(FileExistsError, match=f"{name} exists already"):
        fit(images, folder, **options)
    assert (folder / name).read_text() == "precious"
    fit(images, folder, force=True, **options)
    assert (folder / name).read_text() != "precious"


@pytest.mark.parametrize("scaling", ["range", "percentile", "none"])
@pytest.mark.parametrize("held_out", [(3, 8, 8), (1, 5, 6)])
def test_a_training_with_constant_held_out_images_is_over(
    images, tmp_path, scaling, held_out
):
    """What a training accepts, the same command with --resume accepts as well."""
    np.save(tmp_path / "held_out.npy", np.full(held_out, 7, np.uint8))
    options = {"validation_files": [str(tmp_path / "held_out.npy")], "scaling": scaling}
    path = Path(fit(images, tmp_path / "m", **options))
    before = path.read_bytes()
    fit(images, tmp_path / "m", resume=True, **options)
    assert path.read_bytes() == before
    np.save(tmp_path / "held_out.npy", np.full(held_out, 8, np.uint8))
    with pytest.raises(FileExistsError, match="validation_images.fingerprint was"):
        fit(images, tmp_path / "m", resume=True, **options)


def test_links_between_folders_are_seen_through(images, tmp_path):
    model = fit(images, tmp_path / "m")
    write(tmp_path / "a/s.nii.gz", seed=1), write(tmp_path / "b/s.nii.gz", seed=2)
    (tmp_path / "c").mkdir()
    for name in "ab":
        (tmp_path / name / "codes").symlink_to(tmp_path / "c")
    EncodeVQVAEFlow(output_strategy="append").run(
        model, [str(tmp_path / f"{x}/s.nii.gz") for x in "ab"], out_dir="codes"
    )
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert names == ["a_s_codes.nii.gz", "b_s_codes.nii.gz"]
    with pytest.raises(UsageError, match="would both write"):
        fit(
            images,
            tmp_path,
            out_vqvae="a/codes/v.safetensors",
            out_history="b/codes/v.safetensors",
        )


def test_a_link_to_nowhere_is_found_before_the_training(images, tmp_path, monkeypatch):
    monkeypatch.setattr("dipy_vqvae.vqvae.model.train", lambda *a, **k: pytest.fail())
    (tmp_path / "m").mkdir()
    (tmp_path / "m/vqvae.safetensors").symlink_to("disk/v.safetensors")
    with pytest.raises(
        FileNotFoundError, match="is a link to disk/v.safetensors, whose"
    ):
        fit(images, tmp_path / "m", force=True)


def test_a_home_folder_is_one_everywhere(images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    FitVQVAEFlow().run(["~/s0.nii.gz"], **TINY, out_dir="~/m")
    EncodeVQVAEFlow().run("~/m/vqvae.safetensors", ["~/s0.nii.gz"], out_dir="~/c")
    assert os.listdir(tmp_path / "c")
    assert not (tmp_path / "~").exists()


def test_a_folder_with_brackets_is_no_pattern(tmp_path):
    inside = write(tmp_path / "d[1]/x.nii.gz")
    write(tmp_path / "d1/y.nii.gz")
    found = open_images(str(tmp_path / "d[1]" / "*.nii.gz"))
    assert [str(file.path) for file in found.files] == [inside]
    found = open_images(str(tmp_path / "d[12]" / "*.nii.gz"))
    assert [file.path.name for file in found.files] == ["y.nii.gz"]


# Spaces


def messages(caplog):
    return [record.message for record in caplog.records if record.levelname != "INFO"]


def test_masks_that_lie_elsewhere_are_said(images, tmp_path, caplog):
    masks = []
    for i, affine in enumerate((LPS, LPS @ np.diag([1, 1, 1.01, 1]), np.eye(4))):
        path = tmp_path / f"mask{i}.nii.gz"
        nib.save(nib.Nifti1Image(np.ones((12, 10, 4), np.uint8), affine), path)
        masks.append(path)
    open_images(images[:2], mask_files=masks[:2])
    assert not messages(caplog)
    open_images(images, mask_files=masks)
    (message,) = messages(caplog)
    assert f"{masks[2]}: its affine differs from that of {images[2]}" in message
    caplog.clear()
    open_images(images, mask_files=masks[2])
    assert "(and 2 more)" in messages(caplog)[0]


def test_other_orientations_are_said(images, tmp_path, caplog):
    other = write(tmp_path / "other.nii.gz", np.diag([2.0, -2, 3, 1]))
    open_images(images)
    assert not messages(caplog)
    open_images([*images, other])
    assert f"LPS (3, such as {images[0]}), RPS (1, such as {other})" in caplog.text
    model = fit(images, tmp_path / "m")
    caplog.clear()
    for paths, n in ((images, 0), ([other], 1)):
        ReconstructVQVAEFlow(force=True).run(model, paths, out_dir=str(tmp_path / "r"))
        assert len(messages(caplog)) == n
    assert "its orientation is RPS, that of the training images LPS" in caplog.text


def test_what_is_trained_on_is_not_held_out(images, tmp_path, caplog):
    fit(images, tmp_path / "m", validation_files=[images[1]])
    assert "1 of 1 are of subjects of the training" in caplog.text
    caplog.clear()
    fit(images[:2], tmp_path / "n", validation_files=[images[2]])
    assert not messages(caplog)


# Values


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_values_beyond_single_precision(images, tmp_path, value):
    data = np.zeros((12, 10, 4))
    data[3, 3] = value
    path = tmp_path / "large.nii.gz"
    nib.save(nib.Nifti1Image(data, LPS), path)
    with pytest.raises(ValueError, match="large.nii.gz: has values from .* single"):
        fit([str(path)], tmp_path / "m")
    with pytest.raises(ValueError, match="single precision ends at 3.403e"):
        VQVAEFit.load(fit(images, tmp_path / "m")).predict(np.moveaxis(data, 2, 0))


def test_a_learning_rate_beyond_single_precision(images, tmp_path):
    with pytest.raises(ValueError, match="learning_rate.* at most 1e[+]38"):
        fit(images, tmp_path / "m", learning_rate=1e300)


def test_labels_with_a_mark_of_byte_order(tmp_path):
    (tmp_path / "labels.txt").write_text("3\n1 2", encoding="utf-8-sig")
    assert read_labels(tmp_path / "labels.txt").tolist() == [3, 1, 2]


def test_codes_are_no_image(images, tmp_path, caplog):
    model = fit(images, tmp_path / "m")
    EncodeVQVAEFlow().run(model, [images[0]], out_dir=str(tmp_path / "c"))
    (codes,) = (tmp_path / "c").iterdir()
    with pytest.raises(SomeFilesFailed):
        EncodeVQVAEFlow().run(model, [str(codes)], out_dir=str(tmp_path / "d"))
    assert "contains codes of dipy_encode_vqvae, not images" in caplog.text


def test_a_slice_axis_is_not_for_volumes(tmp_path):
    volume = write(tmp_path / "v.nii.gz", shape=(8, 8), n=8)
    model = fit([volume, volume], tmp_path / "m", spatial_dims=3)
    with pytest.raises(UsageError, match="--slice_axis is for models of 2D images"):
        EncodeVQVAEFlow().run(model, [volume], slice_axis=1, out_dir=str(tmp_path))
