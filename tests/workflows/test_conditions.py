"""Conditions of priors from files and tables, and in samples, through the commands."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import PixelCNNFit, open_images
from dipy_vqvae.data import slice_positions
from dipy_vqvae.workflows.command import UsageError
from dipy_vqvae.workflows.conditions import (
    conditions_of_files,
    match_files,
    read_table,
)

TINY = ["--n_codes", "8", "--code_dim", "4", "--n_channels", "8", "--n_epochs", "2"]
PRIOR = ["--n_channels", "8", "--n_layers", "1", "--n_epochs", "2"]
FIT, SAMPLE = "dipy_fit_pixelcnn", "dipy_sample_vqvae"
MODELS = ("vqvae.safetensors", "pixelcnn.safetensors")


@pytest.fixture
def study(tmp_path, command):
    """A study of four subjects with a table, and a VQ-VAE of its slices."""
    rng = np.random.default_rng(0)
    lines = ["participant_id\tage\tsex\tsite"]
    for i in (1, 2, 10, 11):
        volume = rng.integers(0, 50, (8, 8, 5)) * np.arange(1, 6)
        folder = tmp_path / f"bids/sub-{i}/anat"
        folder.mkdir(parents=True)
        path = folder / f"sub-{i}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(volume.astype(np.int16), np.eye(4)), path)
        lines.append(f"sub-{i}\t{20 + i}\t{'MF'[i % 2]}\tn/a")
    (tmp_path / "bids/participants.tsv").write_text("\n".join(lines) + "\n")
    files = "bids/*/anat/*.nii.gz"
    assert command("dipy_fit_vqvae", files, *TINY, "--out_report", "None")[0] == 0
    return [MODELS[0], files, *PRIOR, "--participants", "bids/participants.tsv"]


def test_conditions_go_from_files_to_samples(study, command, tmp_path):
    condition = ("--condition", "slice_position", "age", "sex")
    code, _, err = command(FIT, *study, *condition, "--validation_fraction", "0.25")
    assert code == 0 and "warning" not in err
    prior = PixelCNNFit.load(tmp_path / MODELS[1])
    ranges = {c.name: (c.low, c.high) for c in prior.config.covariates}
    assert ranges["slice_position"] == (0, 1)
    assert 21 <= ranges["age"][0] < ranges["age"][1] <= 31
    assert prior.n_classes == 2
    text = (tmp_path / "pixelcnn_report.html").read_text(encoding="utf-8")
    assert "Samples by age, from" in text and "Samples by slice_position" in text
    # The same again is over, other conditions are another training.
    assert (
        command(FIT, *study, *condition, "--validation_fraction", "0.25", "--resume")[0]
        == 0
    )
    code, _, err = command(
        FIT, *study, *condition[:3], "--validation_fraction", "0.25", "--resume"
    )
    assert code == 1 and "another training" in err
    asked = (
        "--slice_position",
        "0.2",
        "0.8",
        "--age=25",
        "--sex",
        "F",
        "--n_samples",
        "4",
    )
    assert command(SAMPLE, *MODELS, *asked, "--out_dir", "a")[0] == 0
    same = (
        "--condition",
        "age=25",
        "slice_position=0.2,0.8",
        "sex=F",
        "--n_samples",
        "4",
    )
    assert command(SAMPLE, *MODELS, *same, "--out_dir", "b")[0] == 0
    found = [nib.load(tmp_path / x / "samples.nii.gz").get_fdata() for x in "ab"]
    npt.assert_array_equal(*found)
    other = ("--slice_position", "0.5", "--age", "25", "--sex", "M", "--n_samples", "4")
    assert command(SAMPLE, *MODELS, *other, "--out_dir", "c")[0] == 0


def test_what_is_not_said_is_drawn(study, command, tmp_path):
    assert command(FIT, *study, "--condition", "age")[0] == 0
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = ("--n_samples", "6", "--random_seed", seed, "--out_dir", name)
        assert command(SAMPLE, *MODELS, *options)[0] == 0
    a, b, c = (nib.load(tmp_path / x / "samples.nii.gz").get_fdata() for x in "abc")
    npt.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--age", "old"], 2, "--age must be numbers, got old"),
        (["--age", "nan"], 2, "--age must be numbers, got nan"),
        (["--sex", "X"], 2, "--sex must be one of F, M, got X"),
        (
            ["--weight", "60"],
            2,
            "--weight: neither an option nor a condition of this prior, which has age, sex",
        ),
        (["--condition", "age"], 2, "--condition must be name=value, got 'age'"),
        (["--condition", "age="], 2, "--condition must be name=value, got 'age='"),
        (["--age"], 2, "unrecognized arguments: --age"),
        (["--sex", "F", "--label", "1"], 2, "--label and --sex exclude each other"),
        (["--top_k", "9"], 2, "--top_k must be at most 8"),
        (["--top_k", "0"], 2, "--top_k must be an integer of at least 1"),
        (["--top_p", "0"], 2, "--top_p must be a number above 0"),
        (["--top_p", "1.5"], 2, "--top_p"),
    ],
)
def test_conditions_of_samples_that_cannot_be(study, command, options, code, message):
    assert command(FIT, *study, "--condition", "age", "sex")[0] == 0
    found, _, err = command(SAMPLE, *MODELS, *options)
    assert found == code and message in err and "Traceback" not in err


def test_values_outside_the_range_are_warned_of(study, command):
    assert command(FIT, *study, "--condition", "age")[0] == 0
    code, _, err = command(SAMPLE, *MODELS, "--age", "-5", "--n_samples", "2")
    assert code == 0
    assert (
        "warning: covariates: age is -5 in one grid, outside of the training's" in err
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--condition", "weight"],
            1,
            "participants.tsv: has no column 'weight', only",
        ),
        (["--condition", "site"], 1, "has no values for bids/sub-1/anat/sub-1_T1w"),
        (["--condition", "age", "age"], 2, "--condition: age is named twice"),
        ([], 2, "--participants requires --condition"),
        (["--condition", "sex", "participant_id"], 2, "are words; one such column"),
        (
            ["--condition", "sex", "--label_file", "l.txt"],
            2,
            "--label_file and --condition sex both give classes",
        ),
    ],
)
def test_conditions_of_a_training_that_cannot_be(
    study, command, tmp_path, options, code, message
):
    (tmp_path / "l.txt").write_text("0 " * 20)
    found, _, err = command(FIT, *study, *options)
    assert found == code and message in err and err.count("\n") == 1
    assert not (tmp_path / MODELS[1]).exists()


def test_missing_subjects_are_named_together(study, command, tmp_path):
    table = tmp_path / "bids/participants.tsv"
    kept = [x for x in table.read_text().splitlines() if not x.startswith("sub-1\t")]
    table.write_text("\n".join(kept).replace("sub-10\t30", "sub-10\tn/a") + "\n")
    code, _, err = command(FIT, *study, "--condition", "age")
    assert code == 1 and err.count("\n") == 1
    assert "sub-1_T1w.nii.gz, bids/sub-10/anat/sub-10_T1w.nii.gz (age of sub-10)" in err
    code, _, err = command(FIT, *study[:-2], "--condition", "age")
    assert code == 2 and "requires --participants" in err
    table.write_text("id\tage\nsub-1\t3\n")
    code, _, err = command(FIT, *study, "--condition", "age")
    assert code == 1 and "has no column 'participant_id', only id, age" in err


def test_volumes_have_no_slice_position(study, command):
    options = [*TINY, "--spatial_dims", "3", "--out_report", "None", "--force"]
    assert command("dipy_fit_vqvae", study[1], *options)[0] == 0
    code, _, err = command(FIT, *study[:-2], "--condition", "slice_position")
    assert code == 2 and "slice_position is for models of 2D images" in err


def test_subjects_are_found_by_whole_words(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "participant_id\tage\nsub-1\t1\nsub-10\t10\nIXI002\t2\n1\t99\n"
    )
    table = read_table(tmp_path / "t.tsv", ["age"])
    paths = ["a/sub-10/x.nii", "sub-1_T1w.nii", "IXI002-Guys-T1.nii", "sub-10_1.nii"]
    ages = [row["age"] for row in match_files(table, paths)]
    assert ages == ["10", "1", "2", "10"]
    with pytest.raises(ValueError, match="mysub-1x.nii, IXI0021.nii"):
        match_files(table, ["mysub-1x.nii", "sub-1.nii", "IXI0021.nii"])
    with pytest.raises(UsageError, match="words"):
        (tmp_path / "w.tsv").write_text("participant_id\ta\tb\nx\tu\tv\n")
        read_table(tmp_path / "w.tsv", ["a", "b"])
    conditions = conditions_of_files(paths, ["age", "slice_position"], table)
    columns = conditions.of_images(1, 3, np.arange(3))
    npt.assert_array_equal(columns["age"], [1, 1, 1])
    npt.assert_array_equal(columns["slice_position"], [0, 1, 2])


def test_positions_along_the_volume_and_the_mask(tmp_path):
    volume = np.ones((4, 5, 3, 2), np.int16)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "i.nii")
    mask = np.zeros((4, 5, 3, 2), np.int16)
    mask[1, 1:4, :, 0] = mask[2, 3, :, 1] = 1
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "m.nii")
    opened = open_images(
        tmp_path / "i.nii", slice_axis=1, mask_files=tmp_path / "m.nii"
    )
    whole = slice_positions(5, 2, None)
    npt.assert_allclose(whole, [0, 0.25, 0.5, 0.75, 1] * 2)
    within = slice_positions(5, 2, opened.read_mask(0))
    npt.assert_allclose(within[:5], [-0.5, 0, 0.5, 1, 1.5])
    assert within[5 + 3] == 0
