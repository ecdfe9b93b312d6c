"""Outputs as BIDS derivatives: names, sidecars, one description, and the validator."""

from inspect import signature
import json
import os
from pathlib import Path
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae import workflows
from dipy_vqvae.codes import load_codes
from dipy_vqvae.workflows.command.bids import Derivatives, dataset_of
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.compress import CompressVQVAEFlow
from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.decompress import DecompressVQVAEFlow
from dipy_vqvae.workflows.detect_anomaly import DetectAnomalyFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A model, and a dataset of two subjects with masks in another dataset."""
    folder = tmp_path_factory.mktemp("study")
    save_models(folder)
    description = {"Name": "heads", "BIDSVersion": "1.10.0"}
    for dataset in ("raw", "raw/derivatives/masks"):
        (folder / dataset).mkdir(parents=True)
        text = json.dumps(description)
        (folder / dataset / "dataset_description.json").write_text(text)
    for subject in ("01", "02"):
        where = f"sub-{subject}/ses-1/anat/sub-{subject}_ses-1_acq-high"
        data = np.moveaxis(blobs(4, (12, 10), seed=int(subject)), 0, 2)
        masks = folder / "raw/derivatives/masks"
        write(folder / f"raw/{where}_T1w.nii.gz", data)
        write(masks / f"{where}_desc-brain_mask.nii.gz", (data > 9).astype(np.uint8))
    return folder


def save_models(folder):
    fit = fit_to(blobs(16, (12, 10)))
    model = dv.PixelCNNModel(fit.n_codes, n_channels=4, n_layers=1)
    prior = model.fit(fit.encode(blobs(16, (12, 10))), n_epochs=1)
    healthy = [blobs(4, (12, 10), seed=50 + i) for i in range(6)]
    detector = dv.AnomalyModel(fit, prior, n_restorations=1).fit(healthy)
    for name, saved in (("vqvae", fit), ("pixelcnn", prior), ("anomaly", detector)):
        saved.save(folder / f"{name}.safetensors")


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, np.diag([2, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def run_all(study, out):
    names = ("vqvae", "pixelcnn", "anomaly")
    vqvae, prior, detector = (str(study / f"{name}.safetensors") for name in names)
    images = f"{study}/raw/sub-*/**/*_T1w.nii.gz"
    masks = f"{study}/raw/derivatives/masks/**/*_mask.nii.gz"
    options = {"bids": True, "out_dir": str(out)}
    ReconstructVQVAEFlow().run(vqvae, images, mask_files=masks, **options)
    EncodeVQVAEFlow().run(vqvae, images, **options)
    DecodeVQVAEFlow().run(vqvae, f"{out}/**/*_desc-codes_T1w.nii.gz", **options)
    CompressVQVAEFlow().run(vqvae, prior, images, mask_files=masks, **options)
    packed = f"{out}/**/*.vqz"
    DecompressVQVAEFlow().run(vqvae, prior, packed, **options)
    DetectAnomalyFlow().run(detector, images, alpha=0.2, **options)


@pytest.fixture(scope="module")
def derivatives(study):
    out = study / "raw/derivatives/vqvae"
    run_all(study, out)
    return out


def test_outputs_keep_their_entities(study, derivatives):
    names = {
        p.relative_to(derivatives).as_posix() for p in derivatives.rglob("*.nii.gz")
    }
    assert names == {
        f"sub-{s}/ses-1/anat/sub-{s}_ses-1_acq-high_desc-{desc}_T1w.nii.gz"
        for s in ("01", "02")
        for desc in (
            *("reconstruction", "residual", "codes", "decoded", "decompressed"),
            *("zmap", "log10p", "lesions", "restored"),
        )
    }
    stem = derivatives / "sub-01/ses-1/anat/sub-01_ses-1_acq-high_desc-codes_T1w"
    assert load_codes(f"{stem}.nii.gz").n_codes == 8
    record = json.loads(Path(f"{stem}.json").read_text())
    assert record["Sources"] == [
        "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_acq-high_T1w.nii.gz"
    ]
    assert record["Model"]["File"] == "vqvae.safetensors"
    assert record["GeneratedBy"]["Name"] == "dipy_vqvae"
    assert record["SkullStripped"] is False
    stem = str(stem).replace("-codes", "-reconstruction")
    record = json.loads(Path(f"{stem}.json").read_text())
    assert record["SkullStripped"] is True and len(record["Sources"]) == 2
    stem = stem.replace("-reconstruction", "-decoded")
    (source,) = json.loads(Path(f"{stem}.json").read_text())["Sources"]
    assert source.startswith("bids::sub-01") and "desc-codes" in source
    stem = stem.replace("-decoded", "-decompressed")
    record = json.loads(Path(f"{stem}.json").read_text())
    assert record["SkullStripped"] is True
    assert record["Model"]["Prior"] == "pixelcnn.safetensors"
    assert record["Sources"] == [
        source.replace("codes_T1w.nii.gz", "compressed_T1w.vqz")
    ]
    record = json.loads(
        Path(f"{stem.replace('decompressed', 'zmap')}.json").read_text()
    )
    assert record["Model"]["File"] == "anomaly.safetensors"
    assert record["Description"].startswith("Signed scores")
    assert record["SkullStripped"] is False and len(record["Sources"]) == 1


def test_sources_in_another_dataset(study, derivatives, tmp_path):
    """Compressed images are no images, and yet sources."""
    models = [str(study / f"{name}.safetensors") for name in ("vqvae", "pixelcnn")]
    packed = f"{derivatives}/**/*.vqz"
    DecompressVQVAEFlow().run(*models, packed, bids=True, out_dir=str(tmp_path))
    record = json.loads((tmp_path / "dataset_description.json").read_text())
    assert list(record["DatasetLinks"]) == ["raw"]
    (sidecar,) = tmp_path.rglob("sub-02*.json")
    (source,) = json.loads(sidecar.read_text())["Sources"]
    assert source.startswith("bids:raw:sub-02/ses-1/anat/")


def test_one_description(derivatives):
    record = json.loads((derivatives / "dataset_description.json").read_text())
    assert record["DatasetType"] == "derivative"
    commands = [entry["Description"] for entry in record["GeneratedBy"]]
    verbs = ("reconstruct", "encode", "decode", "compress", "decompress")
    assert commands == [*(f"dipy_{v}_vqvae" for v in verbs), "dipy_detect_anomaly"]
    assert set(record["DatasetLinks"].values()) == {"../..", "../masks"}
    for link in record["DatasetLinks"].values():
        assert (derivatives / link / "dataset_description.json").exists()
    ignored = (derivatives / ".bidsignore").read_text().split()
    assert ignored == [
        *("metrics.csv", "mosaic.png", "*_desc-compressed_*", "sizes.csv"),
        *("scores.csv", "detection_report.html"),
    ]


@pytest.mark.skipif(
    not shutil.which("bids-validator-deno"), reason="needs bids-validator-deno"
)
def test_the_validator_finds_no_error(derivatives):
    command = ["bids-validator-deno", str(derivatives), "--format", "json"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_outputs_that_exist_are_kept(study, derivatives):
    model = str(study / "vqvae.safetensors")
    images = f"{study}/raw/sub-*/**/*_T1w.nii.gz"
    sidecar = next(derivatives.rglob("*desc-codes_T1w.json"))
    before = sidecar.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="--force"):
        EncodeVQVAEFlow().run(model, images, bids=True, out_dir=str(derivatives))
    assert sidecar.stat().st_mtime_ns == before


def test_wrong_use(study, tmp_path):
    model = str(study / "vqvae.safetensors")
    images = f"{study}/raw/sub-*/**/*_T1w.nii.gz"
    other = tmp_path / "head.nii.gz"
    shutil.copy(next(study.glob("raw/sub-01/**/*_T1w.nii.gz")), other)
    with pytest.raises(UsageError, match="head.nii.gz has no BIDS name"):
        EncodeVQVAEFlow().run(model, str(other), bids=True, out_dir=str(tmp_path / "o"))
    with pytest.raises(UsageError, match="no derivative"):
        EncodeVQVAEFlow().run(model, images, bids=True, out_dir=str(study / "raw"))
    with pytest.raises(UsageError, match="--bids and --out_strat"):
        flow = EncodeVQVAEFlow(mix_names=True)
        flow.run(model, images, bids=True, out_dir=str(tmp_path / "o"))
    assert not (tmp_path / "o").exists() or not os.listdir(tmp_path / "o")


def test_all_commands_with_outputs_for_each_input_can():
    flows = [getattr(workflows, n) for n in dir(workflows) if n.endswith("Flow")]
    able = {f.short_name for f in flows if "bids" in signature(f.run).parameters}
    assert able == {flow.short_name for flow in flows if flow.outputs_per_input}
    assert "compress_vqvae" in able and "detect_anomaly" in able


def test_names():
    out = Derivatives(Path("o"), "dipy_x", {})
    z = out.path("a/sub-1_desc-codes_FLAIR.nii", "z.nii.gz")
    assert z.as_posix() == "o/sub-1/anat/sub-1_desc-z_FLAIR.nii.gz"
    bold = out.path("sub-1_task-rest_bold.nii", "my_recon.nii")
    assert bold.as_posix() == "o/sub-1/func/sub-1_task-rest_desc-myrecon_bold.nii"
    assert dataset_of("/data/x/sub-1/anat/sub-1_T1w.nii").as_posix() == "/data/x"
