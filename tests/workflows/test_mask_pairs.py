"""Masks go with images by their names, and by their order where names say nothing."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from dipy_vqvae import VQVAEFit, open_images
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.encode import EncodeVQVAEFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow
from dipy_vqvae.workflows.inputs import find_files, images_and_masks
from dipy_vqvae.workflows.reconstruct import ReconstructVQVAEFlow

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
    paths, masks = images_and_masks([images], [str(masks)])
    assert [path.name for path in paths] == [f"{name}.nii.gz" for name in NAMES]
    assert [path.name for path in masks] == [f"{n}_mask.nii.gz" for n in NAMES]


def test_names_count_not_the_order(folder):
    masks = [folder / f"masks/{name}_mask.nii.gz" for name in reversed(NAMES)]
    paths, paired = images_and_masks([folder / "img"], masks)
    assert [path.name for path in paths] == [f"{name}.nii.gz" for name in NAMES]
    assert paired == masks[::-1]


def test_a_missing_image_and_another_missing_mask(folder):
    """As many masks as images: in their order, sub-2 would get the mask of sub-10."""
    (folder / "img/sub-10.nii.gz").unlink()
    (folder / "masks/sub-2_mask.nii.gz").unlink()
    with pytest.raises(UsageError, match="--mask_files: .*sub-2.nii.gz: no mask has"):
        images_and_masks([folder / "img"], [folder / "masks"])


def test_names_that_say_nothing_go_by_order(tmp_path):
    for name in ("a.nii", "ab.nii", "x.nii", "z.nii"):
        (tmp_path / name).write_bytes(b"")
    a, ab, x, z = (tmp_path / name for name in ("a.nii", "ab.nii", "x.nii", "z.nii"))
    assert images_and_masks([a, ab], [x, z]) == ([a, ab], [x, z])
    # A mask may be named for several images, and an image with several masks.
    assert images_and_masks([a, ab, z], [x, x, x]) == ([a, ab, z], [x, x, x])
    assert images_and_masks([a, a, ab], [x, z, z]) == ([a, a, ab], [x, z, z])
    assert images_and_masks([a, ab], [x, x]) == ([a, ab], [x, x])
    # Images without masks of their own are not pairs.
    assert images_and_masks([a, ab, a], x) == ([a, ab], [x, x])
    assert images_and_masks([a, ab, tmp_path], None)[0] == [a, ab, x, z]
    for images, masks in (([a, ab, x], [z, tmp_path / "b.nii"]), ([a, ab], [x, z, x])):
        masks[-1].write_bytes(b"")
        with pytest.raises(UsageError, match=f"{len(masks)} masks for {len(images)}"):
            images_and_masks(images, masks)
    options = SimpleNamespace(
        input_files=[a],
        mask_files=[x],
        validation_files=[ab, a, ab],
        validation_mask_files=[x, x, z],
        validation_fraction=0,
    )
    files = find_files(options)
    assert files.held_out_masks == [x, x, z]


def test_files_that_are_named_twice_as_pairs(tmp_path):
    """The middle of three images has the mask of the first; the first comes again."""
    rng = np.random.default_rng(0)
    paths, masks, inside = [], [], []
    for i in range(3):
        paths.append(str(tmp_path / f"i{i}.nii.gz"))
        data = rng.integers(1, 255, (12, 10, 3)).astype(np.int16)
        nib.save(nib.Nifti1Image(data, np.eye(4)), paths[-1])
    for i in range(2):
        masks.append(str(tmp_path / f"m{i}.nii.gz"))
        inside.append(np.zeros((12, 10, 3), np.uint8))
        inside[-1][:, 5 * i : 5 * i + 5] = 1
        nib.save(nib.Nifti1Image(inside[-1], np.eye(4)), masks[-1])
    images = [*paths, paths[0]]
    order = [0, 0, 1, 1]
    mask_files = [masks[i] for i in order]
    collection = open_images(images, mask_files=mask_files)
    assert len(collection.files) == 4
    for i, mask in enumerate(order):
        expected = np.moveaxis(inside[mask] > 0, 2, 0)
        np.testing.assert_array_equal(collection.read_mask(i), expected)
    tiny = {"n_codes": 6, "code_dim": 3, "n_channels": 8, "n_epochs": 1.0}
    FitVQVAEFlow().run(
        images, mask_files=mask_files, **tiny, out_report=None, out_dir=str(tmp_path)
    )
    model = str(tmp_path / "vqvae.safetensors")
    assert VQVAEFit.load(model).description["training_images"]["number"] == 12
    ReconstructVQVAEFlow().run(
        model, images, mask_files=mask_files, out_dir=str(tmp_path / "r")
    )
    EncodeVQVAEFlow().run(
        model, paths, mask_files=mask_files[:3], out_dir=str(tmp_path / "c")
    )
    assert len(list((tmp_path / "c").iterdir())) == 3
    stems = ["i0.nii.gz_1", "i1", "i2", "i0.nii.gz_4"]
    for stem, mask in zip(stems, order):
        restored = nib.load(tmp_path / "r" / f"{stem}_reconstruction.nii.gz")
        restored = restored.get_fdata()
        assert restored[inside[mask] > 0].all()
        assert not restored[inside[mask] == 0].any()
