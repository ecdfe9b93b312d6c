"""What a DIPY user expects of commands and their files."""

import importlib
import inspect
from pathlib import Path

from dipy.io.image import load_nifti
import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

from dipy_vqvae import workflows
from dipy_vqvae.workflows import DecodeVQVAEFlow, EncodeVQVAEFlow, ReconstructVQVAEFlow

FLOWS = [getattr(workflows, n) for n in dir(workflows) if n.endswith("Flow")]
EXTENSIONS = (
    ".nii.gz",
    ".png",
    ".html",
    ".json",
    ".csv",
    ".txt",
    ".safetensors",
    ".vqz",
)
OBLIQUE = np.array(
    [[-1.9, 0.3, 0.1, 9], [0.3, 1.8, -0.4, -12], [0.2, 0.5, 5, -7], [0, 0, 0, 1]]
)


def parameters(flow):
    return inspect.signature(flow.run).parameters.values()


@pytest.mark.parametrize("flow", FLOWS)
def test_each_output_has_an_option(flow):
    names = [p.name for p in parameters(flow) if p.name.startswith("out_")]
    without = (workflows.FetchMnistFlow, workflows.DescribeVQVAEFlow)
    assert "out_dir" in names or flow in without
    defaults = [p.default for p in parameters(flow) if p.name in names[1:]]
    for default in filter(None, defaults):
        assert default.endswith(EXTENSIONS)
    # DIPY's parser takes any name with "out_" in it for an output.
    assert not [
        p.name for p in parameters(flow) if "out_" in p.name and p.name not in names
    ]


@pytest.mark.parametrize("flow", FLOWS)
def test_flags_are_off_by_default(flow):
    """From the command line DIPY's parser passes False, whatever the default."""
    flags = [p for p in parameters(flow) if isinstance(p.default, bool)]
    assert all(flag.default is False for flag in flags)


@pytest.mark.parametrize("flow", FLOWS)
def test_commands_are_named_after_a_verb_and_a_thing(flow):
    verb, thing = flow.get_short_name().split("_")
    assert thing in ("vqvae", "pixelcnn", "anomaly", "mnist")
    assert not verb.endswith(("er", "or", "ion"))
    cli = importlib.import_module("dipy_vqvae.workflows.cli")
    assert callable(getattr(cli, flow.get_short_name()))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    fit_to(blobs(16, (12, 10))).save(folder / "vqvae.safetensors")
    (folder / "heads").mkdir()
    for i in range(2):
        data = np.moveaxis(blobs(4, (11, 9), seed=i), 0, 2).astype(np.int16)
        nib.save(nib.Nifti1Image(data, OBLIQUE), folder / "heads" / f"s{i}.nii.gz")
    return folder


def test_a_file_a_folder_a_glob_or_a_path(study, tmp_path):
    heads, outputs = study / "heads", []
    for inputs in (heads, str(heads), f"{heads}/*.nii.gz", heads.glob("*.nii.gz")):
        inputs = inputs if isinstance(inputs, (str, Path)) else sorted(inputs)
        flow, out = EncodeVQVAEFlow(), tmp_path / "deep" / str(len(outputs))
        flow.run(study / "vqvae.safetensors", inputs, out_dir=out)
        outputs.append(sorted(path.name for path in out.iterdir()))
        assert flow.last_generated_outputs["out_codes"] == out / "s0_codes.nii.gz"
        assert len(flow.flat_outputs) == 2
    assert outputs == [["s0_codes.nii.gz", "s1_codes.nii.gz"]] * 4
    flow.run(study / "vqvae.safetensors", heads / "s0.nii.gz", out_dir=tmp_path)
    assert (tmp_path / "codes.nii.gz").exists()


def test_outputs_open_in_dipy_and_lie_on_their_image(study, tmp_path):
    model, image = study / "vqvae.safetensors", study / "heads" / "s0.nii.gz"
    for flow in (EncodeVQVAEFlow, ReconstructVQVAEFlow):
        flow().run(model, image, out_dir=tmp_path)
    DecodeVQVAEFlow().run(model, tmp_path / "codes.nii.gz", out_dir=tmp_path)
    data, affine, voxels = load_nifti(image, return_voxsize=True)
    for name in ("reconstruction", "residual", "decoded"):
        path = tmp_path / f"{name}.nii.gz"
        result, result_affine, sizes = load_nifti(path, return_voxsize=True)
        assert result.shape == data.shape and result.dtype == np.float32
        npt.assert_allclose(result_affine, affine)
        npt.assert_allclose(sizes, voxels)
    total = sum(
        load_nifti(tmp_path / f"{n}.nii.gz")[0] for n in ("residual", "decoded")
    )
    npt.assert_allclose(total, data, atol=1e-3)
    codes, of_codes = load_nifti(tmp_path / "codes.nii.gz")
    assert codes.shape == (3, 3, 4) and codes.dtype.kind == "i"
    npt.assert_allclose(of_codes[:, 2], affine[:, 2])
    assert (tmp_path / "mosaic.png").exists()
