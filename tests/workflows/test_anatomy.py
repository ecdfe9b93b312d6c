"""Commands on subjects that are stored in different orders, and where samples lie."""

import logging
from pathlib import Path

import nibabel as nib
from nibabel.orientations import apply_orientation, inv_ornt_aff
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs

from dipy_vqvae import VQVAEFit
from dipy_vqvae.codes import load_codes
from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.reading import reading_of
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow
from dipy_vqvae.workflows.sample import SampleVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 1.0}
TINY_PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0, "out_report": None}
AFFINE = np.array([[2, 0, 0, -9], [0, 3, 0, 4], [0, 0, 5, 1], [0, 0, 0, 1.0]])
# Stored as posterior, superior, right, as left, posterior, superior, and plainly.
ORDERS = {
    "PSR": [[2, 1], [0, -1], [1, 1]],
    "LPS": [[0, -1], [1, -1], [2, 1]],
    "RAS": [[0, 1], [1, 1], [2, 1]],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    volume = np.moveaxis(blobs(5, (11, 10)), 0, 2)  # axial slices, padded to 12 x 12
    for name, order in ORDERS.items():
        data = apply_orientation(volume, np.array(order))
        affine = AFFINE @ inv_ornt_aff(np.array(order), volume.shape)
        assert "".join(nib.aff2axcodes(affine)) == name
        nib.save(nib.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    paths = [str(folder / f"{name}.nii.gz") for name in ORDERS]
    FitVQVAEFlow().run(paths, **TINY, slice_axis="axial", out_dir=str(folder / "m"))
    return folder, paths, str(folder / "m" / "vqvae.safetensors")


def values(path):
    return np.asarray(nib.load(path).dataobj)


def test_results_are_alike_and_stored_as_their_files(study, tmp_path):
    _, paths, model = study
    out = {"out_dir": str(tmp_path)}
    ReconstructVQVAEFlow().run(model, paths, **out)
    EncodeVQVAEFlow().run(model, paths, **out)
    DecodeVQVAEFlow().run(model, f"{tmp_path}/*_codes.nii.gz", **out)
    plain = None
    for name in reversed(ORDERS):
        restored = nib.load(tmp_path / f"{name}_reconstruction.nii.gz")
        assert "".join(nib.aff2axcodes(restored.affine)) == name
        decoded = tmp_path / f"{name}_codes_decoded.nii.gz"
        npt.assert_array_equal(values(decoded), np.asarray(restored.dataobj))
        codes = nib.load(tmp_path / f"{name}_codes.nii.gz")
        assert "".join(nib.aff2axcodes(codes.affine)) == name
        turned = [nib.as_closest_canonical(image) for image in (restored, codes)]
        plain = plain or turned
        for ours, expected in zip(turned, plain):
            npt.assert_array_equal(ours.get_fdata(), expected.get_fdata())
            npt.assert_allclose(ours.affine, expected.affine, atol=1e-5)
    stacks = [load_codes(tmp_path / f"{name}_codes.nii.gz").codes for name in ORDERS]
    npt.assert_array_equal(stacks[0], stacks[1])


def test_the_plane_is_named(study, tmp_path, caplog):
    _, paths, model = study
    assert reading_of(VQVAEFit.load(model)).slice_axis == "axial"
    report = Path(model).with_name("report.html")
    assert "Trained on 15 axial slices" in report.read_text(encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
        FitVQVAEFlow().run(
            paths[0], **TINY, slice_axis=2, out_report=None, out_dir=str(tmp_path)
        )
    text = (
        "Training on 11 images (sagittal slices) of 10 x 5 from 1 file, each in 3 x 2"
    )
    assert text in caplog.text
    assert "That is few" in caplog.text


def test_samples_of_slices(study, tmp_path):
    _, paths, model = study
    out = {"out_dir": str(tmp_path)}
    FitPixelCNNFlow().run(model, paths, **TINY_PRIOR, **out)
    prior = str(tmp_path / "pixelcnn.safetensors")
    SampleVQVAEFlow().run(model, prior, **out)
    samples = nib.load(tmp_path / "samples.nii.gz")
    assert samples.shape == (11, 10, 100)
    assert nib.aff2axcodes(samples.affine) == ("R", "A", "S")
    npt.assert_allclose(samples.header.get_zooms(), (2, 3, 5))


def test_samples_of_volumes_lie_where_the_images_do(tmp_path):
    tilted = AFFINE.copy()
    tilted[:3, :3] = nib.eulerangles.euler2mat(0.2, 0.1, -0.1) @ tilted[:3, :3]
    for i in range(3):
        data = blobs(1, (8, 8, 8), seed=i)[0]
        nib.save(nib.Nifti1Image(data, tilted), tmp_path / f"{i}.nii.gz")
    paths, out = f"{tmp_path}/?.nii.gz", {"out_dir": str(tmp_path / "m")}
    FitVQVAEFlow().run(paths, **TINY, spatial_dims=3, out_report=None, **out)
    model = str(tmp_path / "m" / "vqvae.safetensors")
    FitPixelCNNFlow().run(model, paths, **TINY_PRIOR, **out)
    prior = str(tmp_path / "m" / "pixelcnn.safetensors")
    SampleVQVAEFlow().run(model, prior, **out)
    samples = nib.load(tmp_path / "m" / "samples.nii.gz")
    assert samples.shape == (8, 8, 8, 8)
    npt.assert_allclose(samples.affine, tilted, atol=1e-5)


def test_colours_of_the_labels(study, tmp_path):
    _, paths, model = study
    EncodeVQVAEFlow().run(
        model, paths[:1], out_dir=str(tmp_path), out_lut="colours.txt"
    )
    lines = (tmp_path / "colours.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert [int(row[0]) for row in rows] == list(range(7))
    assert rows[0] == ["0", "background", "0", "0", "0", "0"]
    assert all(0 <= int(number) <= 255 for row in rows for number in row[2:])
    labels = values(tmp_path / "codes.nii.gz")
    assert 1 <= labels.min() and labels.max() <= 6
