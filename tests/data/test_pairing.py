"""Masks and subjects by the names of files."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from dipy_vqvae import open_images
from dipy_vqvae.data import bids_name, distinct_words, expand_paths, subject_of
from dipy_vqvae.data.pairing import PairingError, pair_masks
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.inputs import choose_held_out, find_files


@pytest.mark.parametrize(
    ("name", "entities", "suffix"),
    [
        ("sub-01_T1w.nii.gz", {"sub": "01"}, "T1w"),
        (
            "a/sub-A1_ses-2_run-03_bold.nii",
            {"sub": "A1", "ses": "2", "run": "03"},
            "bold",
        ),
        ("sub-01_desc-brain_mask.mgz", {"sub": "01", "desc": "brain"}, "mask"),
    ],
)
def test_names_of_bids(name, entities, suffix):
    found = bids_name(name)
    assert (found.entities, found.suffix) == (entities, suffix)


@pytest.mark.parametrize(
    "name",
    [
        "IXI012-HH-1211_T1.nii.gz",
        "T1w.nii",
        "ses-1_T1w.nii",
        "sub-01.nii",
        "sub-1_2.nii",
    ]
    + ["sub-01_sub-02_T1w.nii", "sub-01_a-b-c_T1w.nii", "sub-_T1w.nii"],
)
def test_other_names(name):
    assert bids_name(name) is None


def test_subjects():
    assert subject_of("x/sub-01_ses-2_T1w.nii.gz") == "sub-01"
    assert subject_of("sub-02/ses-1/T1.nii") == "sub-02"
    assert subject_of("study/sub-01.nii.gz") == "sub-01"
    assert subject_of("sub-study/s1/t1.nii") == "sub-study"
    assert subject_of("study/s1/t1.nii") == "study/s1/t1.nii"


def test_words_that_tell_apart():
    assert distinct_words(["s1/t1.nii", "s2/t1.nii"]) == [("s1",), ("s2",)]
    assert distinct_words(["a_1_x.nii", "a_2_x.nii"]) == [("1",), ("2",)]
    assert distinct_words(["one.nii"]) == [()]


def subjects(kind, *words):
    return [f"{kind}/sub-{word}_{kind}.nii.gz" for word in words]


def test_by_entities():
    images = subjects("T1w", "01_ses-1", "01_ses-2", "02_ses-1")
    masks = subjects("mask", "02_ses-1", "01_ses-2", "01_ses-1")
    assert pair_masks(images, masks) == masks[::-1]
    # One mask for all sessions, and one for both contrasts.
    assert pair_masks(images, subjects("mask", "02", "01")) == (
        subjects("mask", "01", "01", "02")
    )
    both = [*subjects("T1w", "01", "02"), *subjects("FLAIR", "01", "02")]
    masks = subjects("mask", "01_desc-brain", "02_desc-brain")
    assert pair_masks(both, masks) == masks * 2
    # What the mask is of does not count, its space does.
    masks = subjects("mask", "01_label-GM", "01_space-MNI_label-GM")
    images = subjects("T1w", "01", "01_space-MNI_desc-preproc")
    assert pair_masks(images, masks[::-1]) == masks
    assert pair_masks(images[:1], [masks[1]]) == [masks[1]]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (("01", "02"), ("01", "03"), "sub-02_T1w.nii.gz: no mask has .*sub-01_T1w.nii"),
        (("01", "02"), ("01",), "sub-02_T1w.nii.gz: no mask"),
        (("02",), ("03",), "sub-02_T1w.nii.gz: no mask"),
        (("01", "02"), ("01", "02", "03"), "sub-03_mask.nii.gz: this mask .* none"),
        (("01_ses-1", "02_ses-1"), ("01_ses-2", "02_ses-1"), "sub-01_ses-1_T1w.*: no"),
        (("01", "02"), ("01_ses-1", "02"), "sub-01_T1w.nii.gz: no mask"),
        (("01", "02"), ("01_desc-a", "01_desc-b", "02"), "could have the mask .* or "),
        (("1", "2", "3"), ("4", "5", "6"), r"sub-1_.* \(and 2 more\): no mask"),
    ],
)
def test_entities_that_do_not_pair(images, masks, message):
    with pytest.raises(PairingError, match=message):
        pair_masks(subjects("T1w", *images), subjects("mask", *masks))


def test_by_other_names():
    names = [f"h_{i:03d}.nii.gz" for i in (1, 3, 4)]
    images = [f"images/{name}" for name in names]
    labels = [f"labels/{name}" for name in names]
    assert pair_masks(images, labels[::-1]) == labels
    with pytest.raises(PairingError, match="h_003.nii.gz: no mask"):
        pair_masks(images[:2], labels[::2])
    with pytest.raises(PairingError, match="labels/h_004.nii.gz: this mask"):
        pair_masks(images[:2], labels)
    folders = [f"data/s{i}/t1.nii" for i in (1, 2)]
    masks = [f"data/s{i}/mask.nii" for i in (2, 1)]
    assert pair_masks(folders, masks) == masks[::-1]
    # The name of one image alone is not the mask of all.
    with pytest.raises(PairingError, match="h_003.nii.gz .*: no mask"):
        pair_masks(images, [labels[0]])
    assert pair_masks(images, ["brain.nii"]) == ["brain.nii"] * 3


@pytest.fixture
def dataset(tmp_path):
    for subject in ("01", "02"):
        for session in ("1", "2"):
            folder = tmp_path / f"bids/sub-{subject}/ses-{session}/anat"
            folder.mkdir(parents=True)
            for kind in ("T1w", "FLAIR"):
                data = np.full((6, 5, 4), int(subject), np.uint8)
                data[0] = int(session)
                path = folder / f"sub-{subject}_ses-{session}_{kind}.nii.gz"
                nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return tmp_path / "bids"


def test_a_dataset_is_named_by_a_pattern(dataset):
    with pytest.raises(OSError, match=r'"[^"]*bids/sub-\*/\*\*/\*_(T1w|FLAIR).nii.gz"'):
        open_images(dataset)
    assert len(open_images(f"{dataset}/**/*_T1w.nii.gz").files) == 4


def test_a_folder_of_several_kinds_is_refused(dataset):
    folder = dataset / "sub-01/ses-1/anat"
    with pytest.raises(ValueError, match=r"several kinds \(1 FLAIR, 1 T1w\)"):
        expand_paths(folder)


def test_a_pattern_of_several_kinds_is_warned_of(dataset, caplog):
    open_images(f"{dataset}/**/*.nii.gz")
    assert "4 FLAIR, 4 T1w" in caplog.text
    caplog.clear()
    open_images(f"{dataset}/**/*_T1w.nii.gz")
    assert not caplog.text
    first = next(dataset.glob("**/*_T1w.nii.gz"))
    derived = dataset / "derivatives" / first.name.replace("_T1w", "_desc-new_T1w")
    derived.parent.mkdir()
    derived.write_bytes(first.read_bytes())
    open_images(f"{dataset}/**/*_T1w.nii.gz")
    assert "4 T1w, 1 desc-new_T1w" in caplog.text or "1 desc-new_T1w, 4" in caplog.text
    caplog.clear()
    open_images(f"{dataset}/sub-*/**/*_T1w.nii.gz")
    assert not caplog.text


@pytest.mark.parametrize("random_seed", range(6))
def test_subjects_are_held_out_with_all_their_sessions(dataset, random_seed):
    images = open_images(f"{dataset}/**/*_T1w.nii.gz")
    others, held_out = images.split(0.4, random_seed=random_seed)
    for part in (others, held_out):
        assert len({subject_of(file.path) for file in part.files}) == 1
        assert len(part.files) == 2
    paths = [file.path for file in images.files]
    chosen = choose_held_out(paths, 0.4, random_seed=random_seed)
    assert chosen == [file.path for file in held_out.files]


def test_masks_of_a_dataset(dataset):
    for i, path in enumerate(sorted(dataset.glob("**/*_T1w.nii.gz"))):
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[: i + 1] = 1
        name = path.name.replace("_T1w", "_desc-brain_mask")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), path.with_name(name))
    images = open_images(
        sorted(dataset.glob("**/*_T1w.nii.gz"), reverse=True),
        mask_files=f"{dataset}/**/*_mask.nii.gz",
    )
    n_inside = [images.read_mask(i).sum() for i in range(4)]
    assert n_inside == [20 * n for n in (4, 3, 2, 1)]


def test_another_session_is_not_another_subject(dataset, caplog):
    """Held-out files of a subject that is trained on say little about other subjects."""
    options = SimpleNamespace(
        input_files=[f"{dataset}/sub-0?/ses-1/anat/*_T1w.nii.gz"],
        mask_files=None,
        validation_files=[f"{dataset}/sub-01/ses-2/anat/*_T1w.nii.gz"],
        validation_mask_files=None,
        validation_fraction=0,
    )
    find_files(options)
    assert "1 of 1 are of subjects of the training" in caplog.text
    options.input_files = [f"{dataset}/sub-01/**/*_T1w.nii.gz"]
    options.validation_files, options.validation_fraction = None, 0.5
    with pytest.raises(UsageError, match="is the only one"):
        find_files(options)
