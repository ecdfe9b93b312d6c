"""The commands of anomaly detection on files: maps, table, masks, labels, reports."""

import csv
import os

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

import dipy_vqvae as dv
from dipy_vqvae.workflows.anomaly import erode

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -20], [0, 0, 5, 10], [0, 0, 0, 1]])
SHAPE = (20, 18, 6)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")


def head(seed):
    """A bright ellipsoid with noise, and its mask."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.indices(SHAPE), -1)
    centre, radii = np.array([9.5, 8.5, 2.5]), np.array([8, 7, 4])
    inside = (((grid - centre + rng.normal(size=3) / 2) / radii) ** 2).sum(-1) < 1
    values = np.where(inside, 100 + 3 * grid[..., 0], 0) + rng.normal(size=SHAPE) * 3
    return values.astype(np.float32), inside


def write(folder, seeds, *, lesion=False):
    folder.mkdir()
    for seed in seeds:
        values, inside = head(seed)
        label = np.zeros(SHAPE, np.uint8)
        if lesion:
            label[11:14, 7:10, 2:4] = 1
            values[label > 0] += 120
        for name, data in (
            ("image", values),
            ("mask", inside.astype(np.uint8)),
            ("label", label),
        ):
            (folder / name).mkdir(exist_ok=True)
            path = folder / name / f"s{seed}.nii.gz"
            nib.save(nib.Nifti1Image(data, AFFINE), path)


@pytest.fixture(scope="module")
def made(fork_server, tmp_path_factory):
    """Models and a detector, made by the commands."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "train", range(12))
    write(folder / "healthy", range(20, 40))
    write(folder / "patients", range(50, 53), lesion=True)
    masks = ["--mask_files", "train/mask"]
    tiny = ["--n_codes", 12, "--code_dim", 4, "--n_channels", 8, "--downsampling", 2]
    prior = ["--n_channels", 8, "--n_layers", 2, "--n_epochs", 2, "--both_directions"]
    condition = ["--condition", "slice_position"]
    models = ["vqvae.safetensors", "pixelcnn.safetensors"]
    for name, *arguments in (
        ("dipy_fit_vqvae", "train/image", *masks, *tiny, "--n_epochs", 8),
        ("dipy_fit_pixelcnn", models[0], "train/image", *masks, *prior, *condition),
        (
            *("dipy_fit_anomaly", *models, "healthy/image", "--n_restorations", 4),
            *("--mask_files", "healthy/mask", "--erode", 2, "--smoothing", 1),
        ),
    ):
        code, _, err = fork_server(name, list(map(str, arguments)), folder)
        assert code == 0, err
    return folder


def test_lesions_are_found_and_files_are_like_the_inputs(run_command, made, tmp_path):
    patients = made / "patients"
    code, _, err = run_command(
        "dipy_detect_anomaly",
        made / "anomaly.safetensors",
        patients / "image",
        *("--mask_files", patients / "mask", "--erode", 2),
        *("--label_files", patients / "label", "--out_dir", "maps"),
    )
    assert code == 0, err
    fit = dv.AnomalyFit.load(made / "anomaly.safetensors")
    with open(tmp_path / "maps/scores.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    for seed, row in zip(range(50, 53), rows):
        maps = {
            name: nib.load(tmp_path / f"maps/s{seed}_{name}.nii.gz")
            for name in ("zmap", "log10p", "lesions", "restored")
        }
        label = np.asarray(nib.load(patients / f"label/s{seed}.nii.gz").dataobj) > 0
        for image in maps.values():
            assert image.shape == SHAPE
            npt.assert_array_equal(image.affine, AFFINE)
        _, inside = head(seed)
        inner = erode(inside, 2, (2, 2, 5), slice_axis=2)
        found = maps["lesions"].get_fdata() > 0
        assert found[label].mean() > 0.5 and not found[~inner].any()
        assert float(row["p_maximum"]) == pytest.approx(1 / 21)
        assert float(row["volume_mm3"]) == pytest.approx(20 * found.sum())
        peak = np.array([float(row[f"peak_{axis}"]) for axis in "xyz"])
        voxel = tuple(np.round(np.linalg.inv(AFFINE) @ [*peak, 1])[:3].astype(int))
        z = maps["zmap"].get_fdata()
        assert abs(z[voxel]) == np.abs(z).max() == pytest.approx(float(row["maximum"]))
        # As by the library.
        image = np.moveaxis(
            nib.load(patients / f"image/s{seed}.nii.gz").get_fdata(), 2, 0
        )
        mask = np.moveaxis(inner, 2, 0)
        ours = fit.score_map([image.astype(np.float32)], mask=[mask])[0]
        npt.assert_allclose(np.moveaxis(z, 2, 0), ours, atol=1e-5)
        restored = np.moveaxis(maps["restored"].get_fdata(), 2, 0)
        again = fit.restore([image.astype(np.float32)], mask=[mask]).mean[0]
        npt.assert_allclose(restored, again, rtol=1e-5, atol=1e-4)
    report = (tmp_path / "maps/detection_report.html").read_text(encoding="utf-8")
    assert "3 of 3" in report and "Beside the known lesions" in report
    assert "No masks were given" not in report


def test_healthy_subjects_are_seldom_called_unlike(run_command, made, tmp_path):
    write(tmp_path / "others", range(60, 64))
    code, _, err = run_command(
        "dipy_detect_anomaly",
        made / "anomaly.safetensors",
        tmp_path / "others/image",
        *("--mask_files", tmp_path / "others/mask", "--out_dir", "maps"),
    )
    assert code == 0, err
    assert "do not hold" not in err  # the rim is that of the calibration
    z = nib.load(tmp_path / "maps/s60_zmap.nii.gz").get_fdata()
    npt.assert_array_equal(z != 0, erode(head(60)[1], 2, (2, 2, 5), slice_axis=2))
    with open(tmp_path / "maps/scores.csv", newline="") as stream:
        p = [float(row["p_maximum"]) for row in csv.DictReader(stream)]
    assert np.median(p) > 0.1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("train", "the VQ-VAE was trained on them"),
        ("patients", "3 healthy subjects are too few"),
    ],
)
def test_what_cannot_calibrate(run_command, made, files, message):
    code, _, err = run_command(
        "dipy_fit_anomaly",
        made / "vqvae.safetensors",
        made / "pixelcnn.safetensors",
        made / files / "image",
        *("--mask_files", made / files / "mask"),
    )
    assert code == 1
    assert message in err.splitlines()[-1]


def test_without_masks_the_report_says_what_they_would_do(run_command, made, tmp_path):
    code, _, err = run_command(
        "dipy_detect_anomaly",
        made / "anomaly.safetensors",
        made / "patients/image",
        *("--error", "fpr", "--out_dir", "maps"),
    )
    assert code == 0, err
    report = (tmp_path / "maps/detection_report.html").read_text(encoding="utf-8")
    assert "No masks were given" in report
    assert "was calibrated with masks" in err


def test_other_voxels_are_warned_of(run_command, made, tmp_path):
    values, _ = head(70)
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 5, 1])), tmp_path / "fine.nii.gz")
    code, _, err = run_command(
        "dipy_detect_anomaly", made / "anomaly.safetensors", "fine.nii.gz"
    )
    assert code == 0
    assert "1 x 1 x 5 mm, those of the training of 2 x 2 x 5 mm" in err


def test_labels_of_another_shape(run_command, made, tmp_path):
    label = np.zeros((*SHAPE[:2], SHAPE[2] + 1), np.uint8)
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    code, _, err = run_command(
        "dipy_detect_anomaly",
        made / "anomaly.safetensors",
        made / "patients/image/s50.nii.gz",
        *("--mask_files", made / "patients/mask/s50.nii.gz"),
        *("--label_files", "label.nii.gz", "--out_dir", "maps"),
    )
    assert code == 1
    assert "label.nii.gz: its images are (7, 20, 18), those of" in err
    assert not list((tmp_path / "maps").glob("*.nii.gz"))


@pytest.mark.parametrize("slice_axis", [None, 2])
def test_erosion_is_by_distance(slice_axis):
    inside = np.zeros((11, 9, 7), bool)
    inside[1:10, 1:8, 1:6] = True
    left = erode(inside, 2.0, (1, 2, 1.5), slice_axis=slice_axis)
    expected = np.zeros_like(inside)
    # More than 2 mm from the nearest voxel outside.
    expected[3:8, 2:7, 2:5] = True
    if slice_axis == 2:
        expected[3:8, 2:7, 1:6] = True
    npt.assert_array_equal(left, expected)
