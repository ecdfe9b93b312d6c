"""The workflows that encode, decode and reconstruct: files, masks, bad input."""

import csv
import logging

import nibabel as nib
import numpy as np
import numpy.testing as npt
from PIL import Image
import pytest
from toy_vqvae import blobs

from dipy_vqvae import VQVAEFit, metrics
from dipy_vqvae.workflows.command.errors import SomeFilesFailed, UsageError
from dipy_vqvae.workflows.decode import DecodeVQVAEFlow
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow

TINY = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_blocks": 1, "n_epochs": 2.0}
OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.0, 90.0],
        [-0.3, 1.8, 0.2, 12.5],
        [0.0, -0.2, 5.0, 7.0],
        [0, 0, 0, 1],
    ]
)


def write(path, data, affine=OBLIQUE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def values(path):
    return np.asarray(nib.load(path).dataobj)


def series(seed, shape=(13, 9, 5)):
    """A volume of slices that differ, int16."""
    stack = blobs(shape[2], shape[:2], seed=seed)
    return np.moveaxis(stack, 0, 2).astype(np.int16)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder with models of slices, of volumes, and of two channels."""
    folder = tmp_path_factory.mktemp("models")
    train = folder / "train"
    for i in range(4):
        write(train / f"{i}.nii.gz", series(i))
    FitVQVAEFlow().run([str(train)], **TINY, out_dir=str(folder / "flat"))
    FitVQVAEFlow().run(
        [str(train)],
        **TINY,
        spatial_dims=3,
        downsampling=[4, 4, 2],
        batch_size=2,
        scaling="volume",
        out_report=None,
        out_dir=str(folder / "solid"),
    )
    for i in range(2):
        both = np.stack([series(i), 3 * series(i + 5)], axis=-1)
        write(folder / "pairs" / f"{i}.nii.gz", both)
    FitVQVAEFlow().run(
        [str(folder / "pairs")],
        **TINY,
        volumes_as="channels",
        out_report=None,
        out_dir=str(folder / "channels"),
    )
    return folder


def model(models, kind):
    return str(models / kind / "vqvae.safetensors")


def round_trip(vqvae, paths, folder, **options):
    """Codes, decoded, and reconstructions, by the name of the input."""
    out = {name: str(folder / name) for name in ("codes", "decoded", "restored")}
    EncodeVQVAEFlow(mix_names=True).run(vqvae, paths, out_dir=out["codes"], **options)
    DecodeVQVAEFlow(mix_names=True).run(vqvae, [out["codes"]], out_dir=out["decoded"])
    ReconstructVQVAEFlow(mix_names=True).run(
        vqvae, paths, out_dir=out["restored"], **options
    )
    return folder / "codes", folder / "decoded", folder / "restored"


CASES = {
    "slices": ("flat", (13, 9, 5), {}),
    "other axis": ("flat", (5, 13, 9), {"slice_axis": 0}),
    "one slice": ("flat", (30, 31, 1), {}),
    "series of slices": ("flat", (13, 9, 5, 3), {}),
    "volume": ("solid", (13, 9, 5), {}),
    "series of volumes": ("solid", (6, 7, 5, 3), {}),
    "channels": ("channels", (13, 9, 5, 2), {}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_encoding_and_decoding_is_reconstructing(models, tmp_path, case, masked):
    kind, shape, options = CASES[case]
    rng = np.random.default_rng(1)
    data = rng.integers(0, 900, shape).astype(np.float32)
    path = write(tmp_path / "s.nii.gz", data)
    if masked:
        mask = rng.random(shape[:3]) > 0.6
        mask[0, 0, 0] = True
        mask_file = write(tmp_path / "m.nii.gz", mask.astype(np.uint8))
        options = {**options, "mask_files": mask_file}
    codes, decoded, restored = round_trip(
        model(models, kind), [path], tmp_path, **options
    )
    first, second = (
        nib.load(folder / name)
        for folder, name in (
            (decoded, "s_codes_decoded.nii.gz"),
            (restored, "s_reconstruction.nii.gz"),
        )
    )
    npt.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
    for image in (first, second):
        assert image.shape == shape and image.get_data_dtype() == np.float32
        npt.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    if masked:
        for name in ("s_reconstruction.nii.gz", "s_residual.nii.gz"):
            assert not values(restored / name)[~mask].any()
        assert values(restored / "s_reconstruction.nii.gz")[mask].any()
    grid = nib.load(codes / "s_codes.nii.gz")
    assert grid.get_data_dtype() == np.int16
    assert grid.shape[3:] == (() if kind == "channels" else shape[3:])


@pytest.mark.parametrize("suffix", ["npy", "idx"])
def test_arrays_go_the_same_way(models, tmp_path, suffix):
    images = blobs(4, (12, 10), seed=3)
    if suffix == "npy":
        path = tmp_path / "s.npy"
        np.save(path, images)
    else:
        path = tmp_path / "s-images-idx3-ubyte"
        header = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
        path.write_bytes(header + images.tobytes())
    _, decoded, restored = round_trip(model(models, "flat"), [str(path)], tmp_path)
    (first,), (second,) = decoded.iterdir(), restored.glob("*reconstruction.nii.gz")
    assert values(first).shape == (12, 10, 4)
    npt.assert_array_equal(values(first), values(second))
    npt.assert_array_equal(nib.load(first).affine, np.eye(4))


def test_several_files_and_one_of_codes_that_is_none(models, tmp_path, caplog):
    paths = [write(tmp_path / f"s{i}" / "t1.nii.gz", series(i)) for i in range(3)]
    vqvae = model(models, "flat")
    EncodeVQVAEFlow().run(vqvae, paths, out_dir=str(tmp_path / "c"))
    found = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert found == [f"s{i}_t1_codes.nii.gz" for i in range(3)]
    # An image among the codes, and codes of another model.
    write(tmp_path / "c" / "image.nii.gz", series(9))
    write(tmp_path / "v.nii.gz", series(0))
    FitVQVAEFlow().run(
        paths,
        **{**TINY, "random_seed": 5},
        out_report=None,
        out_dir=str(tmp_path / "o"),
    )
    EncodeVQVAEFlow().run(
        str(tmp_path / "o" / "vqvae.safetensors"),
        paths[:1],
        out_dir=str(tmp_path / "c"),
        out_codes="other.nii.gz",
    )
    with (
        caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
        pytest.raises(SomeFilesFailed, match="2 of 5 files failed"),
    ):
        DecodeVQVAEFlow().run(vqvae, [str(tmp_path / "c")], out_dir=str(tmp_path / "d"))
    assert "image.nii.gz: no codes as dipy_encode_vqvae" in caplog.text
    assert "other.nii.gz: these codes are of another model" in caplog.text
    assert len(list((tmp_path / "d").iterdir())) == 3


# Masks


def test_only_what_is_inside_counts(models, tmp_path):
    volume, other = series(2), series(2)
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:9, 3:8, 1:4] = 7  # any number but 0
    other[mask == 0] = 30_000
    vqvae = model(models, "flat")
    rows = []
    for name, data in (("a", volume), ("b", other)):
        ReconstructVQVAEFlow().run(
            vqvae,
            [write(tmp_path / f"{name}.nii.gz", data)],
            mask_files=[write(tmp_path / "m.nii.gz", mask)],
            out_dir=str(tmp_path / name),
        )
        with open(tmp_path / name / "metrics.csv", newline="") as stream:
            (row,) = csv.DictReader(stream)
        rows.append({k: float(v) for k, v in row.items() if k != "file"})
    assert rows[0] == rows[1]
    inside = mask > 0
    restored = values(tmp_path / "a" / "reconstruction.nii.gz")
    npt.assert_array_equal(restored, values(tmp_path / "b" / "reconstruction.nii.gz"))
    error = (volume.astype(float) - restored)[inside]
    expected = {
        "n_images": 5,
        "n_voxels": inside.sum(),
        "mse": np.square(error).mean(),
        "mae": np.abs(error).mean(),
        "data_range": np.ptp(volume[inside]),
    }
    for key, value in expected.items():
        npt.assert_allclose(rows[0][key], value, rtol=1e-5)
    fit = VQVAEFit.load(vqvae)
    stack, where = np.moveaxis(volume, 2, 0), np.moveaxis(inside, 2, 0)
    usage = fit.usage(stack, mask=where)
    npt.assert_allclose(rows[0]["perplexity"], usage.perplexity, rtol=1e-5)
    ssim = metrics.ssim(
        stack,
        np.moveaxis(restored, 2, 0),
        data_range=np.ptp(volume[inside]),
        mask=where,
    )
    weights = where.sum(axis=(1, 2))
    expected = np.nansum(ssim * weights) / weights.sum()
    npt.assert_allclose(rows[0]["ssim"], expected, rtol=1e-5)


def test_masks_go_with_images_in_order(models, tmp_path, caplog):
    vqvae = model(models, "flat")
    paths, masks = [], []
    for i in range(3):
        paths.append(write(tmp_path / f"i{i}.nii.gz", series(i, (12, 10, 3 + i))))
        mask = np.zeros((12, 10, 3 + i), np.uint8)
        mask[:, :, i] = 1
        masks.append(write(tmp_path / f"m{i}.nii.gz", mask))
    ReconstructVQVAEFlow().run(
        vqvae, paths, mask_files=masks, out_dir=str(tmp_path / "r")
    )
    for i in range(3):
        restored = values(tmp_path / "r" / f"i{i}_reconstruction.nii.gz")
        assert restored.any(axis=(0, 1)).tolist() == [j == i for j in range(3 + i)]
    with pytest.raises(UsageError, match="2 masks for 3 images"):
        EncodeVQVAEFlow().run(vqvae, paths, mask_files=masks[:2], out_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        EncodeVQVAEFlow().run(vqvae, paths, mask_files=[str(tmp_path / "nowhere.nii")])
    # In another order the shapes differ: both files are named, the others are done.
    with (
        caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
        pytest.raises(SomeFilesFailed, match="2 of 3"),
    ):
        EncodeVQVAEFlow().run(
            vqvae,
            paths,
            mask_files=[masks[1], masks[0], masks[2]],
            out_dir=str(tmp_path / "c"),
        )
    lines = [line for line in caplog.text.splitlines() if "ERROR" in line]
    assert len(lines) == 2 and "m1.nii.gz" in lines[0] and "i0.nii.gz" in lines[0]
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["i2_codes.nii.gz"]


def test_a_mask_is_never_overwritten(models, tmp_path):
    path = write(tmp_path / "i.nii.gz", series(0))
    mask = write(tmp_path / "codes.nii.gz", np.ones((13, 9, 5), np.uint8))
    with pytest.raises(UsageError, match="overwrite the input"):
        EncodeVQVAEFlow(force=True).run(
            model(models, "flat"), [path], mask_files=mask, out_dir=str(tmp_path)
        )


# The picture


@pytest.mark.parametrize(("kind", "n"), [("flat", 1), ("flat", 3), ("solid", 2)])
def test_the_mosaic_shows_every_file(models, tmp_path, kind, n):
    paths = [write(tmp_path / f"{i}.nii.gz", series(i)) for i in range(n)]
    ReconstructVQVAEFlow().run(
        model(models, kind), paths, out_dir=str(tmp_path / "r"), out_residual=None
    )
    with Image.open(tmp_path / "r" / "mosaic.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # Greys of images, and red and blue of residuals.
    assert len(np.unique(colours, axis=0)) > 30
    assert (colours[:, 0] > colours[:, 2] + 60).any()


def test_a_constant_image_has_a_mosaic_too(models, tmp_path):
    path = write(tmp_path / "c.nii.gz", np.full((8, 8, 2), 3, np.int16))
    ReconstructVQVAEFlow().run(model(models, "flat"), [path], out_dir=str(tmp_path))
    assert (tmp_path / "mosaic.png").is_file()


# Bad input: one line that names the file, and nothing else lost


def bad_files(folder):
    """A file for each way to be unusable, by name."""
    good = series(0).astype(np.float32)
    nan, inf = good.copy(), good.copy()
    nan[0, 0, 0], inf[1, 1, 1] = np.nan, np.inf
    rgb = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    write(folder / "nan.nii", nan)
    write(folder / "inf.nii", inf)
    write(folder / "flat.nii", good[:, 0, 0])
    write(folder / "five.nii", good[..., np.newaxis, np.newaxis].repeat(2, -1))
    write(folder / "rgb.nii", rgb)
    write(folder / "complex.nii", good.astype(np.complex64))
    (folder / "text.nii.gz").write_text("no image")
    (folder / "cut.nii").write_bytes((folder / "nan.nii").read_bytes()[:700])
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("flow", [EncodeVQVAEFlow, ReconstructVQVAEFlow])
def test_files_that_cannot_be_used(models, tmp_path, caplog, flow):
    bad = bad_files(tmp_path / "in")
    for name, dtype in (("long.nii", np.int64), ("ok.nii", np.uint8)):
        data = series(1).astype(dtype)
        nib.save(nib.Nifti1Image(data, OBLIQUE, dtype=dtype), tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    with (
        caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
        pytest.raises(SomeFilesFailed, match=f"{len(bad)} of {len(bad) + 2}"),
    ):
        flow().run(
            model(models, "flat"), [str(tmp_path / "in")], out_dir=str(tmp_path / "o")
        )
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(bad)
    for name, line in zip(bad, lines):
        assert name in line and "\n" not in line and "unexpected" not in line
    done = {path.name.partition("_")[0] for path in (tmp_path / "o").glob("*.nii.gz")}
    assert done == {"long", "ok"}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nan", "nan.nii: has 1 NaN or Inf"),
        ("flat", "flat.nii: has 1 axes"),
        ("five", "five.nii: has 5 axes"),
        ("rgb", "rgb.nii: has RGB"),
        ("complex", "complex.nii: has complex64"),
        ("text", "text.nii.gz: not a NIfTI file"),
        ("cut", "cut.nii"),
    ],
)
def test_a_training_names_the_file_it_cannot_use(tmp_path, name, match):
    bad_files(tmp_path / "in")
    write(tmp_path / "good.nii", series(1))
    (path,) = (tmp_path / "in").glob(f"{name}.*")
    with pytest.raises(ValueError, match=match):
        FitVQVAEFlow().run(
            [str(tmp_path / "good.nii"), str(path)], **TINY, out_dir=str(tmp_path / "o")
        )
    assert not list((tmp_path / "o").glob("*"))


def test_models_of_slices_and_of_volumes_are_told_apart(models, tmp_path, caplog):
    np.save(tmp_path / "volumes.npy", np.ones((2, 8, 9, 4)))
    np.save(tmp_path / "slice.npy", np.ones((8, 9)))
    four = write(tmp_path / "four.nii.gz", np.ones((8, 9, 4, 3), np.float32))
    three = write(tmp_path / "three.nii.gz", series(0))
    for kind, path, match in (
        ("flat", tmp_path / "volumes.npy", "4 channels, the model was trained on 1"),
        ("solid", tmp_path / "slice.npy", "not a stack of 3D images"),
        ("channels", four, "3 channels, the model was trained on 2"),
        ("channels", three, "1 channel, the model was trained on 2"),
    ):
        caplog.clear()
        with (
            caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
            pytest.raises(SomeFilesFailed),
        ):
            EncodeVQVAEFlow().run(
                model(models, kind), [str(path)], out_dir=str(tmp_path)
            )
        assert match in caplog.text


def test_a_mask_that_selects_nothing(models, tmp_path, caplog):
    path = write(tmp_path / "i.nii.gz", series(0))
    mask = write(tmp_path / "m.nii.gz", np.zeros((13, 9, 5), np.uint8))
    with (
        caplog.at_level(logging.ERROR, logger="dipy_vqvae"),
        pytest.raises(SomeFilesFailed),
    ):
        EncodeVQVAEFlow().run(
            model(models, "flat"), [path], mask_files=mask, out_dir=str(tmp_path)
        )
    assert "m.nii.gz: selects nothing" in caplog.text
