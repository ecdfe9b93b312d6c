"""Shifted copies for a prior, through the command."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import PixelCNNFit, PixelCNNModel, VQVAEFit

TINY = ["--n_codes", "8", "--code_dim", "4", "--n_channels", "8", "--n_epochs", "2"]
PRIOR = ["--n_channels", "8", "--n_layers", "1", "--n_epochs", "2"]
FIT = "dipy_fit_pixelcnn"


@pytest.fixture
def study(tmp_path, command):
    """Three volumes with masks, and a VQ-VAE of their slices."""
    rng = np.random.default_rng(0)
    for i in range(3):
        volume = rng.integers(0, 50, (12, 8, 5 + i)).astype(np.int16)
        mask = (rng.random(volume.shape) < 0.7).astype(np.uint8)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"v{i}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"m{i}.nii.gz")
    assert command("dipy_fit_vqvae", "v*.nii.gz", *TINY, "--out_report", "None")[0] == 0
    return ["vqvae.safetensors", "v*.nii.gz", *PRIOR]


def test_the_prior_is_that_of_the_library(study, command, tmp_path):
    assert command(FIT, *study, "--n_shifts", "2")[0] == 0
    prior = PixelCNNFit.load(tmp_path / "pixelcnn.safetensors")
    assert prior.config.n_variants == 2
    fit = VQVAEFit.load(tmp_path / "vqvae.safetensors")
    slices = [
        np.moveaxis(nib.load(tmp_path / f"v{i}.nii.gz").get_fdata(), 2, 0)
        for i in range(3)
    ]
    codes, *variants = (
        np.concatenate([fit.encode(s, shift=shift) for s in slices])
        for shift in (None, (0, 1), (1, 0))
    )
    model = PixelCNNModel(n_codes=8, n_channels=8, n_layers=1)
    expected = model.fit(codes, variants=variants, n_epochs=2)
    npt.assert_array_equal(prior.log_prob(codes), expected.log_prob(codes))


def test_masks_held_out_files_and_resume(study, command):
    options = ["--mask_files", "m*.nii.gz", "--validation_fraction", "0.4"]
    assert command(FIT, *study, *options, "--n_shifts", "1")[0] == 0
    again = command(FIT, *study, *options, "--n_shifts", "1", "--resume")
    assert again[0] == 0
    code, _, err = command(FIT, *study, *options, "--n_shifts", "2", "--resume")
    assert code == 1 and "another training" in err


@pytest.mark.parametrize(
    ("n", "code", "message"),
    [("-1", 2, "n_shifts must be an integer"), ("25", 1, "must be at most 24")],
)
def test_numbers_that_cannot_be_used(study, command, n, code, message):
    got, _, err = command(FIT, *study, "--n_shifts", n)
    assert got == code and message in err and "Traceback" not in err


def test_attention_is_for_gated_priors(study, command):
    got, _, err = command(FIT, *study, "--kind", "plain", "--n_attention", "1")
    assert got == 2 and "--n_attention is for --kind gated" in err
