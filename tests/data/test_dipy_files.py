"""The commands on images that DIPY ships, as they are."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow
from dipy_vqvae.workflows.sample import SampleVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}
TINY_PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ["S0_10", "aniso_vox", "test_piesno"])
def test_from_fit_to_samples(name, spatial_dims, tmp_path):
    data = pytest.importorskip("dipy.data")
    path, out = str(data.get_fnames(name=name)), str(tmp_path)
    FitVQVAEFlow().run([path], spatial_dims=spatial_dims, **TINY, out_dir=out)
    model = str(tmp_path / "vqvae.safetensors")
    FitPixelCNNFlow().run(model, [path], **TINY_PRIOR, out_dir=out)
    EncodeVQVAEFlow().run(model, [path], out_dir=out)
    DecodeVQVAEFlow().run(model, [str(tmp_path / "codes.nii.gz")], out_dir=out)
    ReconstructVQVAEFlow().run(model, [path], out_dir=out)
    SampleVQVAEFlow().run(
        model, str(tmp_path / "pixelcnn.safetensors"), n_samples=2, out_dir=out
    )
    original = nib.load(path)
    restored = nib.load(tmp_path / "reconstruction.nii.gz")
    residual = nib.load(tmp_path / "residual.nii.gz")
    for image in (restored, residual):
        assert image.shape == original.shape
        npt.assert_allclose(image.affine, original.affine, rtol=1e-6)
    npt.assert_allclose(
        restored.get_fdata() + residual.get_fdata(),
        original.get_fdata(),
        rtol=1e-5,
        atol=1e-5 * np.ptp(original.get_fdata()),
    )
    decoded = nib.load(tmp_path / "decoded.nii.gz").get_fdata()
    npt.assert_array_equal(decoded, restored.get_fdata())
    assert (tmp_path / "samples.nii.gz").exists()
    for report in ("report.html", "pixelcnn_report.html"):
        assert "data:image/png" in (tmp_path / report).read_text(encoding="utf-8")
