"""The commands that compress images and restore them."""

import csv

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs

from dipy_vqvae import PixelCNNFit, VQVAEFit
from dipy_vqvae.workflows.command import SomeFilesFailed, UsageError
from dipy_vqvae.workflows.compress import CompressVQVAEFlow
from dipy_vqvae.workflows.decompress import DecompressVQVAEFlow
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 2.0}
PRIOR = {"n_channels": 8, "n_layers": 1, "n_epochs": 1.0, "out_report": None}
OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.0, 90.0],
        [-0.3, 1.8, 0.2, 12.5],
        [0.0, -0.2, 5.0, 7.0],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four subjects with masks and a table; models with conditions and without."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    lines = ["participant_id\tage\tsex"]
    for i in range(4):
        data = np.moveaxis(blobs(5 + i % 2, (13, 9), seed=i), 0, 2).astype(np.int16)
        mask = rng.random(data.shape) < 0.4
        mask[:, 5:] = False
        for name, values in (("images", data), ("masks", mask.astype(np.uint8))):
            (folder / name).mkdir(exist_ok=True)
            image = nib.Nifti1Image(values, OBLIQUE)
            image.header.set_xyzt_units("mm", "sec")
            nib.save(image, folder / name / f"sub-{i}.nii.gz")
        lines.append(f"sub-{i}\t{20 + i}\t{'MF'[i % 2]}")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    images, out = [str(folder / "images")], str(folder)
    FitVQVAEFlow().run(images, **TINY, out_report=None, out_dir=out)
    vqvae = f"{out}/vqvae.safetensors"
    FitPixelCNNFlow().run(vqvae, images, **PRIOR, out_dir=out)
    FitPixelCNNFlow().run(
        vqvae,
        images,
        **PRIOR,
        mask_files=[f"{out}/masks"],
        condition=["slice_position", "age", "sex"],
        participants=f"{out}/participants.tsv",
        out_pixelcnn="conditional.safetensors",
        out_history=None,
        out_dir=out,
    )
    return folder


def round_trip(study, prior, out, **options):
    vqvae, images = f"{study}/vqvae.safetensors", [f"{study}/images"]
    CompressVQVAEFlow().run(
        vqvae, f"{study}/{prior}", images, out_dir=f"{out}/packed", **options
    )
    DecompressVQVAEFlow().run(
        vqvae, f"{study}/{prior}", [f"{out}/packed"], out_dir=f"{out}/scans"
    )
    masks = {"mask_files": options["mask_files"]} if "mask_files" in options else {}
    ReconstructVQVAEFlow().run(vqvae, images, out_dir=f"{out}/restored", **masks)
    return [
        (
            out / f"scans/sub-{i}_compressed_decompressed.nii.gz",
            out / f"restored/sub-{i}_reconstruction.nii.gz",
        )
        for i in range(4)
    ]


@pytest.mark.parametrize("is_conditional", [False, True])
def test_what_comes_back_is_the_reconstruction(study, tmp_path, is_conditional):
    prior, options = "pixelcnn.safetensors", {}
    if is_conditional:
        prior = "conditional.safetensors"
        options = {
            "mask_files": [f"{study}/masks"],
            "participants": f"{study}/participants.tsv",
        }
    for pair in round_trip(study, prior, tmp_path, **options):
        first, second = map(nib.load, pair)
        assert first.header == second.header
        assert first.get_fdata().tobytes() == second.get_fdata().tobytes()
    with open(tmp_path / "packed/sizes.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(tmp_path / "restored/metrics.csv", newline="") as stream:
        metrics = list(csv.DictReader(stream))
    assert len(rows) == 4
    for i, (row, measured) in enumerate(zip(rows, metrics)):
        assert row["file"].endswith(f"sub-{i}.nii.gz")
        size = (tmp_path / f"packed/sub-{i}_compressed.vqz").stat().st_size
        assert int(row["bytes"]) == size
        n_voxels = 13 * 9 * (5 + i % 2)
        npt.assert_allclose(float(row["bits_per_voxel"]), 8 * size / n_voxels, 1e-5)
        for name in ("psnr", "ssim"):
            assert row[name] == measured[name]
        code_bytes = float(row["bits_by_prior"]) / 8
        assert abs(float(row["bytes_of_codes"]) - code_bytes) < 0.003 * code_bytes + 8
        if not is_conditional:
            # An oblique affine, twice, and what the header has besides.
            assert size <= 1.003 * code_bytes + 64 + 100


def test_bits_are_those_of_the_prior(study, tmp_path):
    vqvae = VQVAEFit.load(study / "vqvae.safetensors")
    prior = PixelCNNFit.load(study / "pixelcnn.safetensors")
    data = nib.load(study / "images/sub-2.nii.gz").get_fdata()
    bits = -prior.log_prob(vqvae.encode(np.moveaxis(data, 2, 0))).sum() / np.log(2)
    flow = CompressVQVAEFlow()
    models = [f"{study}/{name}.safetensors" for name in ("vqvae", "pixelcnn")]
    flow.run(*models, [f"{study}/images/sub-2.nii.gz"], out_dir=str(tmp_path))
    with open(flow.last_generated_outputs["out_sizes"], newline="") as stream:
        (row,) = csv.DictReader(stream)
    npt.assert_allclose(float(row["bits_by_prior"]), bits, rtol=1e-4)
    assert (tmp_path / "compressed.vqz").exists()


def test_another_rate(study, tmp_path):
    vqvae = VQVAEFit.load(study / "vqvae.safetensors")
    prior = PixelCNNFit.load(study / "pixelcnn.safetensors")
    models = [f"{study}/{name}.safetensors" for name in ("vqvae", "pixelcnn")]
    path = f"{study}/images/sub-2.nii.gz"
    CompressVQVAEFlow().run(*models, [path], rate=9.0, out_dir=str(tmp_path))
    data = np.moveaxis(nib.load(path).get_fdata(), 2, 0)
    content = (tmp_path / "compressed.vqz").read_bytes()
    expected = prior.quantise(vqvae.latents(data), vqvae.codebook, price=9.0)
    npt.assert_array_equal(prior.decompress(content)[0], expected)
    assert (expected != vqvae.encode(data)).any()


def test_labels_come_from_a_file(study, tmp_path):
    counts = [5, 6, 5, 6]
    labels = np.concatenate([np.full(n, i % 3) for i, n in enumerate(counts)])
    np.savetxt(tmp_path / "labels.txt", labels, fmt="%d")
    vqvae, images = f"{study}/vqvae.safetensors", [f"{study}/images"]
    options = {"label_file": str(tmp_path / "labels.txt"), "out_dir": str(tmp_path)}
    FitPixelCNNFlow().run(vqvae, images, **PRIOR, **options)
    prior = f"{tmp_path}/pixelcnn.safetensors"
    CompressVQVAEFlow().run(vqvae, prior, images, **options)
    DecompressVQVAEFlow().run(
        vqvae, prior, [f"{tmp_path}/*.vqz"], out_dir=str(tmp_path)
    )
    with pytest.raises(UsageError, match="requires --label_file"):
        CompressVQVAEFlow().run(vqvae, prior, images, out_dir=f"{tmp_path}/a")
    (tmp_path / "labels.txt").write_text("0 1 2")
    with pytest.raises(ValueError, match="has 3 labels, there are 22 images"):
        CompressVQVAEFlow().run(
            vqvae, prior, images, **{**options, "out_dir": f"{tmp_path}/b"}
        )


def test_what_is_refused(study, tmp_path):
    vqvae, images = f"{study}/vqvae.safetensors", [f"{study}/images"]
    conditional = f"{study}/conditional.safetensors"
    plain = f"{study}/pixelcnn.safetensors"
    out = {"out_dir": str(tmp_path)}
    with pytest.raises(UsageError, match="was fitted with age, sex: it requires --par"):
        CompressVQVAEFlow().run(vqvae, conditional, images, **out)
    table = tmp_path / "other.tsv"
    text = (study / "participants.tsv").read_text()
    table.write_text(text.replace("\tM", "\tX"))
    with pytest.raises(ValueError, match="sex is 'X', the prior was fitted for F, M"):
        CompressVQVAEFlow().run(
            vqvae, conditional, images, participants=str(table), **out
        )
    with pytest.raises(
        UsageError, match="--participants: the prior was fitted without"
    ):
        CompressVQVAEFlow().run(vqvae, plain, images, participants=str(table), **out)
    with pytest.raises(UsageError, match="--label_file: the prior was fitted without"):
        CompressVQVAEFlow().run(vqvae, plain, images, label_file=str(table), **out)
    with pytest.raises(OSError, match="contains no .vqz files"):
        DecompressVQVAEFlow().run(vqvae, plain, images, **out)


def test_damaged_files_are_named_and_others_are_restored(study, tmp_path, caplog):
    models = [f"{study}/{name}.safetensors" for name in ("vqvae", "pixelcnn")]
    images = [f"{study}/images/sub-{i}.nii.gz" for i in (0, 1)]
    CompressVQVAEFlow().run(*models, images, out_dir=str(tmp_path))
    bad = tmp_path / "sub-0_compressed.vqz"
    content = bytearray(bad.read_bytes())
    content[50] ^= 1
    bad.write_bytes(content)
    with pytest.raises(SomeFilesFailed, match="1 of 2 files failed: .*sub-0"):
        DecompressVQVAEFlow().run(
            *models, [str(tmp_path / "*.vqz")], out_dir=str(tmp_path / "scans")
        )
    assert f"{bad}: damaged: its checksum is not that of its content" in caplog.text
    assert [path.name for path in (tmp_path / "scans").iterdir()] == [
        "sub-1_compressed_decompressed.nii.gz"
    ]
