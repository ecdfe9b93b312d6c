"""Masks go with images by their order, and their names are not against it."""

from pathlib import Path

import pytest

from dipy_vqvae.data import expand_paths
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.inputs import pair_masks

NAMES = ("sub-1", "sub-2", "sub-10", "sub-10b")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        for path in (f"img/{name}.nii.gz", f"masks/{name}_mask.nii.gz"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "*.nii.gz"])
def test_numbers_are_in_order(folder, pattern):
    images, masks = (folder / kind / pattern for kind in ("img", "masks"))
    paths = expand_paths([images])
    assert [path.name for path in paths] == [f"{name}.nii.gz" for name in NAMES]
    pairs = pair_masks(paths, [str(masks)])
    assert [path.name for path in pairs] == [f"{n}_mask.nii.gz" for n in NAMES]


def test_the_mask_of_another_image_is_refused(folder):
    paths = expand_paths([folder / "img"])
    masks = [folder / f"masks/{name}_mask.nii.gz" for name in reversed(NAMES)]
    with pytest.raises(UsageError, match="sub-1.nii.gz would get the mask .*sub-10b_"):
        pair_masks(paths, masks)


def test_names_that_say_nothing_go_by_order(tmp_path):
    paths = [Path("a.nii"), Path("ab.nii")]
    masks = [tmp_path / "x.nii", tmp_path / "y.nii"]
    for mask in masks:
        mask.write_bytes(b"")
    assert pair_masks(paths, masks) == masks
