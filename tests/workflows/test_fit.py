"""The workflows that fit: subjects of any shape, masks, subjects held out, reports."""

import json
import logging

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, weights

from dipy_vqvae import PixelCNNFit, VQVAEFit
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.inputs import choose_held_out
from dipy_vqvae.workflows.reading import reading_of
from dipy_vqvae.workflows.sample import SampleVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}
TINY = {**TINY, "out_report": None, "batch_size": 8}
TINY_PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0, "out_report": None}
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])


def write(path, data, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def subject(i, shape=(12, 10), n=4):
    stack = blobs(n, shape, seed=i)
    return np.moveaxis(stack, 0, 2).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Subjects of one shape, of several shapes, and a mask for each."""
    home = tmp_path_factory.mktemp("subjects")
    for i in range(5):
        write(home / "alike" / f"{i}.nii.gz", subject(i))
        shape = (9 + i, 12 - i)
        write(home / "mixed" / f"{i}.nii.gz", (1 + 99 * i) * subject(i, shape))
        mask = np.zeros((*shape, 4), np.uint8)
        mask[1:7, 1:7, :3] = 1
        write(home / "masks" / f"{i}.nii.gz", mask)
    return home


def fit_all(paths, out_dir, **options):
    flow = FitVQVAEFlow()
    flow.run([str(paths)], **{**TINY, **options}, out_dir=str(out_dir))
    return VQVAEFit.load(out_dir / "vqvae.safetensors")


# Holding out


def test_a_fraction_of_the_files_is_held_out(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
        fit = fit_all(folder / "alike", tmp_path / "a", validation_fraction=0.4)
    paths = sorted((folder / "alike").iterdir())
    held = choose_held_out(paths, 0.4, random_seed=0)
    assert len(held) == 2
    assert all(str(path) in caplog.text for path in held)
    assert "Training on 12 images (axial slices) of 12 x 10" in caplog.text
    # The same as naming them.
    others = [str(path) for path in paths if path not in held]
    FitVQVAEFlow().run(
        others,
        **TINY,
        validation_files=[str(path) for path in held],
        out_dir=str(tmp_path / "b"),
    )
    other = VQVAEFit.load(tmp_path / "b" / "vqvae.safetensors")
    assert fit.history.validation == other.history.validation
    for name, array in weights(fit).items():
        npt.assert_array_equal(array, weights(other)[name])
    # It is the seed that chooses.
    chosen = {tuple(choose_held_out(paths, 0.4, random_seed=s)) for s in range(8)}
    assert len(chosen) > 1


def test_the_prior_holds_out_the_same_subjects(folder, tmp_path, caplog):
    fit_all(folder / "alike", tmp_path, validation_fraction=0.4, random_seed=3)
    np.savetxt(tmp_path / "labels.txt", np.arange(20) % 2, fmt="%d")
    with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
        FitPixelCNNFlow().run(
            str(tmp_path / "vqvae.safetensors"),
            [str(folder / "alike")],
            **TINY_PRIOR,
            validation_fraction=0.4,
            random_seed=3,
            label_file=str(tmp_path / "labels.txt"),
            out_dir=str(tmp_path),
        )
    paths = sorted((folder / "alike").iterdir())
    for path in choose_held_out(paths, 0.4, random_seed=3):
        assert str(path) in caplog.text
    prior = PixelCNNFit.load(tmp_path / "pixelcnn.safetensors")
    assert prior.n_classes == 2 and "validation_loss" in prior.history


@pytest.mark.parametrize("flow", ["vqvae", "pixelcnn"])
def test_the_only_file_is_never_split(folder, tmp_path, flow):
    path = str(folder / "alike" / "0.nii.gz")
    with pytest.raises(UsageError, match=r"0\.nii\.gz is the only one"):
        if flow == "vqvae":
            FitVQVAEFlow().run([path], validation_fraction=0.5, out_dir=str(tmp_path))
        else:
            model = tmp_path / "vqvae.safetensors"
            model.touch()
            FitPixelCNNFlow().run(
                str(model), [path], validation_fraction=0.5, out_dir=str(tmp_path)
            )


# Shapes, masks, units


def test_subjects_of_several_shapes_and_units(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
        fit = fit_all(
            folder / "mixed", tmp_path, scaling="volume", validation_fraction=0.2
        )
    assert "Training on 16 images (axial slices) of 4 shapes from" in caplog.text
    assert fit.config.scaling.method == "volume"
    FitPixelCNNFlow().run(
        str(tmp_path / "vqvae.safetensors"),
        [str(folder / "mixed")],
        **{**TINY_PRIOR, "out_report": "p.html"},
        out_dir=str(tmp_path),
    )
    assert "shapes from" in (tmp_path / "p.html").read_text(encoding="utf-8")
    SampleVQVAEFlow().run(
        str(tmp_path / "vqvae.safetensors"),
        str(tmp_path / "pixelcnn.safetensors"),
        n_samples=3,
        out_dir=str(tmp_path / "s"),
    )
    samples = nib.load(tmp_path / "s" / "samples.nii.gz")
    assert samples.shape[2] == 3
    # As the training images lie: to the left, to the back, upwards.
    assert nib.aff2axcodes(samples.affine) == ("L", "P", "S")
    npt.assert_allclose(samples.header.get_zooms(), (2, 2, 3))


def test_what_is_outside_masks_has_no_influence(folder, tmp_path):
    masks = str(folder / "masks")
    first = fit_all(folder / "mixed", tmp_path / "a", mask_files=masks)
    for i in range(5):
        mask = nib.load(folder / "masks" / f"{i}.nii.gz").get_fdata() > 0
        data = nib.load(folder / "mixed" / f"{i}.nii.gz").get_fdata()
        data[~mask] = np.nan if i % 2 else -1e9
        write(tmp_path / "other" / f"{i}.nii.gz", data.astype(np.float32))
    second = fit_all(tmp_path / "other", tmp_path / "b", mask_files=masks)
    for name, array in weights(first).items():
        npt.assert_array_equal(array, weights(second)[name])
    # The prior counts what is inside only.
    for name, images in (("a", folder / "mixed"), ("b", tmp_path / "other")):
        FitPixelCNNFlow().run(
            str(tmp_path / name / "vqvae.safetensors"),
            [str(images)],
            **TINY_PRIOR,
            mask_files=masks,
            out_dir=str(tmp_path / name),
        )
    histories = [
        PixelCNNFit.load(tmp_path / name / "pixelcnn.safetensors").history["loss"]
        for name in ("a", "b")
    ]
    npt.assert_allclose(*histories, rtol=1e-6)
    # Samples take the three slices of a mask in turn.
    mask_file = folder / "masks" / "0.nii.gz"
    SampleVQVAEFlow().run(
        str(tmp_path / "a" / "vqvae.safetensors"),
        str(tmp_path / "a" / "pixelcnn.safetensors"),
        n_samples=5,
        mask_file=str(mask_file),
        out_dir=str(tmp_path / "samples"),
    )
    samples = nib.load(tmp_path / "samples" / "samples.nii.gz").get_fdata()
    mask = nib.load(mask_file).get_fdata()[:, :, [0, 1, 2, 0, 1]] > 0
    assert samples.shape == mask.shape
    assert not samples[~mask].any() and samples[mask].any()
    fit_all(folder / "mixed", tmp_path / "c", random_seed=7)
    with pytest.raises(ValueError, match="fitted on codes of another VQ-VAE"):
        SampleVQVAEFlow().run(
            str(tmp_path / "c" / "vqvae.safetensors"),
            str(tmp_path / "a" / "pixelcnn.safetensors"),
            out_dir=str(tmp_path / "samples_c"),
        )


def test_masks_of_training_and_of_others_go_together(folder, tmp_path):
    paths = [str(path) for path in sorted((folder / "mixed").iterdir())]
    masks = [str(path) for path in sorted((folder / "masks").iterdir())]
    with pytest.raises(UsageError, match="go together"):
        FitVQVAEFlow().run(
            paths[:3],
            **TINY,
            mask_files=masks[:3],
            validation_files=paths[3:],
            out_dir=str(tmp_path),
        )
    with pytest.raises(
        UsageError, match="--validation_mask_files: .* this mask belongs"
    ):
        FitVQVAEFlow().run(
            paths[:2],
            **TINY,
            mask_files=masks[:2],
            validation_files=paths[2:4],
            validation_mask_files=masks[2:],
            out_dir=str(tmp_path),
        )
    with pytest.raises(ValueError, match=r"mixed/1\.nii\.gz: no mask has this name"):
        FitVQVAEFlow().run(
            paths[:2], **TINY, mask_files=masks[:1], out_dir=str(tmp_path)
        )
    assert not list(tmp_path.glob("*.safetensors"))


# Other options


def test_options_reach_the_model(folder, tmp_path):
    fit = fit_all(
        folder / "alike",
        tmp_path,
        loss="mae",
        commitment=0.3,
        n_decoder_epochs=0.5,
        mixed_precision=True,
        max_minutes=30.0,
        out_history="vqvae_history.json",
        out_report="report.html",
    )
    # Both stages are in the history, its file and the report.
    assert 1 < fit.history.epochs[-1] < 2
    history = json.loads((tmp_path / "vqvae_history.json").read_text())
    assert history["epochs"] == fit.history.epochs
    assert history["train"]["quantisation"][-1] is None
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (
        f"Trained for {fit.history.epochs[-1]:.3g} epochs ({fit.history.n_steps:,} steps"
        in text
    )
    model = fit.description["model"]
    assert (model["loss"], model["commitment"]) == ("mae", 0.3)
    assert model["mixed_precision"] is True
    patches = fit_all(folder / "alike", tmp_path / "p", patch_shape=[8, 4])
    assert tuple(patches.description["patch_shape"]) == (8, 4)


def test_a_time_limit_ends_the_training(folder, tmp_path):
    fit = fit_all(folder / "alike", tmp_path, n_epochs=100_000.0, max_minutes=0.02)
    assert fit.history.seconds[-1] < 60


def test_the_files_directions_are_kept(folder, tmp_path):
    write(tmp_path / "odd" / "a.nii.gz", subject(0), np.diag([4.0, 4.0, 4.0, 1.0]))
    for i in range(3):
        write(tmp_path / "odd" / f"{i}.nii.gz", subject(i))
    reading = reading_of(fit_all(tmp_path / "odd", tmp_path))
    assert reading.orientation == "LPS"
    npt.assert_allclose(reading.voxel_size, (2, 2, 3))


def test_reports_are_left(folder, tmp_path):
    fit_all(
        folder / "alike", tmp_path, validation_fraction=0.2, out_report="report.html"
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "4 held-out images" in text
    n_pictures = text.count("data:image/png")
    assert "No prior yet" in text
    FitPixelCNNFlow().run(
        str(tmp_path / "vqvae.safetensors"),
        [str(folder / "alike")],
        **{**TINY_PRIOR, "out_report": "pixelcnn_report.html"},
        validation_fraction=0.2,
        out_dir=str(tmp_path),
    )
    text = (tmp_path / "pixelcnn_report.html").read_text(encoding="utf-8")
    assert "Fitted to 16 grids of 3 × 3 codes" in text
    completed = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert completed.count("data:image/png") == n_pictures + 1
    assert "No prior yet" not in completed
    with pytest.raises(FileExistsError, match="report.html"):
        fit_all(
            folder / "alike",
            tmp_path,
            out_vqvae="b.safetensors",
            out_history=None,
            out_report="report.html",
        )
