"""Samples of volumes: how many by default, and where they lie."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 0, 2, -126], [0, -2, 0, 72], [0, 0, 0, 1]])
SMALL = ["--spatial_dims", 3, "--n_channels", 8, "--n_codes", 8, "--n_epochs", 1]
TINY_PRIOR = ["--n_channels", 8, "--n_layers", 1, "--n_epochs", 1]


@pytest.mark.parametrize("agree", [True, False])
def test_samples_lie_where_all_training_volumes_do(command, tmp_path, agree):
    for i in range(3):
        volume = blobs(1, (8, 12, 8), seed=i)[0].astype(np.int16)
        moved = AFFINE.copy()
        moved[0, 3] += 5 * i * (not agree)
        nib.save(nib.Nifti1Image(volume, moved), tmp_path / f"s{i}.nii.gz")
    report = ["--out_report", "None"]
    code, out, err = command("dipy_fit_vqvae", "*.nii.gz", *SMALL, *report)
    assert code == 0, err
    # Three volumes are three steps an epoch.
    lines = out.splitlines()
    assert lines[0].startswith(
        "Training on 3 images of 8 x 12 x 8 from 3 files, each in"
    )
    assert any(line.startswith("3 steps: 1 epoch of 3 items") for line in lines)
    assert "That is few" in out and "8 x 12 x 8, 1 epoch, 3 steps: loss" in out
    code, out, err = command(
        "dipy_fit_pixelcnn", "vqvae.safetensors", "s?.nii.gz", *TINY_PRIOR, *report
    )
    assert code == 0, err
    # What is done is said first, before torch and the model are loaded.
    assert out.startswith("Encoding the images of 3 files with vqvae.safetensors\n")
    models = ["vqvae.safetensors", "pixelcnn.safetensors"]
    code, out, err = command("dipy_sample_vqvae", *models)
    assert code == 0, err
    assert out.startswith(f"Sampling with {' and '.join(models)}\n")
    samples = nib.load(tmp_path / "samples.nii.gz")
    assert samples.shape == (8, 12, 8, 8)
    expected = AFFINE if agree else np.vstack([AFFINE[:3] * [1, 1, 1, 0], AFFINE[3]])
    npt.assert_allclose(samples.affine, expected)


def test_a_prior_is_asked_for(command, tmp_path):
    (tmp_path / "v.safetensors").write_bytes(b"x")
    code, _, err = command("dipy_sample_vqvae", "v.safetensors")
    assert code == 2 and "pixelcnn_file is missing" in err and "v.safetensors" in err
    code, _, err = command("dipy_sample_vqvae", "mnits")
    assert code == 1 and "mnits: no such model file, nor the name of a model" in err


def test_digits_without_training(command, tmp_path):
    (tmp_path / "mnist").mkdir()  # a folder of that name is not in the way
    code, _, err = command(
        "dipy_sample_vqvae", "mnist", "--n_samples", 12, "--out_dir", "digits"
    )
    assert code == 0, err
    samples = nib.load(tmp_path / "digits" / "samples.nii.gz")
    assert samples.shape == (28, 28, 12)
    assert (tmp_path / "digits" / "samples.png").stat().st_size > 1000


def test_help_names_the_arguments_and_the_papers(command):
    code, out, _ = command("dipy_sample_vqvae", "--help")
    assert code == 0
    assert "vqvae_file [pixelcnn_file]" in out
    assert "--pixelcnn_file" not in out
    for paper in (
        "Garyfallidis",
        "Neural Discrete Representation",
        "PixelCNN Decoders",
    ):
        assert paper in out, paper
    _, out, _ = command("dipy_encode_vqvae", "--help")
    assert "PixelCNN Decoders" not in out
    _, out, _ = command("dipy_detect_anomaly", "--help")
    assert "PixelCNN Decoders" in out and "Naval Marimont" in out
