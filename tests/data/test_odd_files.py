"""Files as people have them: content elsewhere, axes of length one, odd headers."""

import os
import pickle
import re

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import fit_to

from dipy_vqvae import VQVAEFit, open_images
from dipy_vqvae.data.formats.nifti import read_nifti

ANNEX = "../.git/annex/objects/x1/Z9/MD5E-s9--0f.nii.gz/MD5E-s9--0f.nii.gz"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
VOLUME = np.random.default_rng(0).integers(1, 200, (6, 5, 4), np.int16)


def save(path, data, affine=None):
    affine = np.diag([2, 2, 3, 1]) if affine is None else affine
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.mark.parametrize(
    "name", ["x.nii", "x.nii.gz", "x.npy", "x.idx", "x-idx3-ubyte"]
)
def test_content_that_was_not_fetched(tmp_path, name):
    path = tmp_path / name
    os.symlink(ANNEX, path)
    with pytest.raises(FileNotFoundError, match=rf"'datalad get \S*{name}'"):
        open_images(path)
    with pytest.raises(FileNotFoundError, match="its content is not here"):
        open_images(tmp_path)
    path.unlink()
    path.write_text("/annex/objects/MD5E-s9--0f.nii.gz\n")
    with pytest.raises(OSError, match=rf"{name}: its content is not here.*datalad get"):
        open_images(path)
    path.write_text(ANNEX)  # where git makes no links
    with pytest.raises(OSError, match="datalad get"):
        open_images(path)
    path.write_text(LFS)
    with pytest.raises(OSError, match="git lfs pull"):
        open_images(path)
    path.unlink()
    os.symlink(tmp_path / "gone", path)
    with pytest.raises(
        FileNotFoundError, match=r"a link to \S*gone, which is not there"
    ):
        open_images(path)


def test_models_and_commands_say_so_too(tmp_path, command):
    os.symlink(ANNEX, tmp_path / "m.safetensors")
    (tmp_path / "l.txt").write_text(LFS)
    (tmp_path / "p.safetensors").write_text(
        "/annex/objects/SHA256E-s3--1.safetensors\n"
    )
    for name in ("m.safetensors", "p.safetensors"):
        with pytest.raises(OSError, match="its content is not here"):
            VQVAEFit.load(tmp_path / name)
        code, _, err = command("dipy_encode_vqvae", name, save("i.nii", VOLUME))
        assert code == 1 and "datalad get" in err and err.count("\n") == 1
    code, _, err = command("dipy_encode_vqvae", "m.safetensors", "l.txt")
    assert code == 1


# Axes of length one


@pytest.mark.parametrize("kind", ["nii", "nii.gz"])
@pytest.mark.parametrize("more", [(), (1,), (1, 1), (1, 1, 1, 1)])
def test_axes_of_length_one_at_the_end(tmp_path, more, kind):
    path = save(tmp_path / f"i.{kind}", VOLUME.reshape(*VOLUME.shape, *more))
    slices = np.moveaxis(VOLUME, 2, 0)
    npt.assert_array_equal(open_images(path).read(0), slices)
    npt.assert_array_equal(
        open_images(path).rows(0, np.array([2]))[..., 0], slices[2:3]
    )
    npt.assert_array_equal(open_images(path, spatial_dims=3).read(0), VOLUME[None])
    # Beside a file without them, also where volumes are channels.
    save(tmp_path / f"j.{kind}", VOLUME)
    both = open_images(tmp_path, volumes_as="channels")
    assert both.counts == (4, 4) and both.n_channels == 1
    npt.assert_array_equal(both.read(0), both.read(1))
    fit = fit_to(both, n_epochs=1)
    assert [r.shape for r in fit.predict(both)] == [(4, 6, 5)] * 2


@pytest.mark.parametrize("kind", ["nii", "nii.gz"])
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ((6, 5, 4), (6, 5, 4, 1)),
        ((6, 5, 4, 1), (6, 5, 4)),
        ((6, 5, 4, 1), (6, 5, 4, 1)),
        ((6, 5, 4), (6, 5, 4, 1, 1)),
        ((6, 5, 4, 3), (6, 5, 4, 1)),
        ((6, 5), (6, 5, 1)),
        ((6, 5, 1), (6, 5)),
        ((6, 5), (6, 5)),
        ((6, 5), (6, 5, 1, 1)),
    ],
)
def test_masks_with_axes_of_length_one(tmp_path, image, mask, kind):
    data = np.random.default_rng(0).integers(1, 99, image, np.int16)
    inside = np.random.default_rng(1).random(mask) > 0.4
    save(tmp_path / f"i.{kind}", data)
    save(tmp_path / f"m.{kind}", inside.astype(np.uint8))
    paths = tmp_path / f"i.{kind}", tmp_path / f"m.{kind}"
    for spatial_dims in (2,) if len(mask) < 3 or len(image) < 3 else (2, 3):
        opened = open_images(paths[0], mask_files=paths[1], spatial_dims=spatial_dims)
        images, masks = opened.read(0), opened.read_mask(0)
        assert images.shape == masks.shape
        # Slice by slice, volume by volume: (V, Z, X, Y).
        volumes = data.reshape(6, 5, -1, image[3] if len(image) > 3 else 1)
        where = np.broadcast_to(inside.reshape(6, 5, -1, 1), volumes.shape)
        expected = np.where(where, volumes, 0).transpose(3, 2, 0, 1)
        if spatial_dims == 3:
            images = images.transpose(0, 3, 1, 2)
        npt.assert_array_equal(images.reshape(expected.shape), expected)


@pytest.mark.parametrize("image", [(3, 6, 5), (3, 6, 5, 1), (3, 6, 5, 2), (6, 5)])
@pytest.mark.parametrize("mask", [(3, 6, 5, 1), (6, 5, 1), (6, 5, 1, 1)])
def test_masks_of_arrays_with_axes_of_length_one(tmp_path, image, mask):
    inside = np.random.default_rng(1).random(mask) > 0.4
    np.save(tmp_path / "i.npy", np.ones(image))
    np.save(tmp_path / "m.npy", inside)
    files = {"paths": tmp_path / "i.npy", "mask_files": tmp_path / "m.npy"}
    if len(image) < len(mask) - 1 and mask[0] == 3:
        with pytest.raises(ValueError, match="does not go with"):
            open_images(**files)
        return
    opened = open_images(**files)
    found = opened.read(0).reshape(len(opened), 6, 5, -1)
    npt.assert_array_equal(
        found, np.broadcast_to(inside.reshape(-1, 6, 5, 1), found.shape)
    )


def test_a_slice_is_a_file(tmp_path):
    flat = VOLUME[..., 0]
    opened = open_images(save(tmp_path / "i.nii", flat))
    npt.assert_array_equal(opened.read(0), flat[None])
    npt.assert_array_equal(read_nifti(tmp_path / "i.nii")[0], flat)
    with pytest.raises(
        ValueError, match=r"i\.nii: has 2 axes \(6, 5\), volumes have 3"
    ):
        open_images(tmp_path / "i.nii", spatial_dims=3)
    with pytest.raises(ValueError, match="needs"):
        save(tmp_path / "m.nii", np.ones((6, 5, 2), np.uint8))
        open_images(tmp_path / "i.nii", mask_files=tmp_path / "m.nii")


# Headers


@pytest.mark.parametrize("kind", ["nii", "nii.gz"])
def test_a_zero_sform_beside_a_qform(tmp_path, kind):
    image = nib.Nifti1Image(VOLUME, None)
    image.header.set_qform(np.diag([-2, 2, 3, 1]), 1)
    image.header["sform_code"] = 2
    nib.save(image, tmp_path / f"i.{kind}")
    npt.assert_array_equal(nib.load(tmp_path / f"i.{kind}").affine[:3], 0)
    npt.assert_array_equal(
        read_nifti(tmp_path / f"i.{kind}")[1], np.diag([-2, 2, 3, 1])
    )
    (file,) = open_images(tmp_path / f"i.{kind}").files
    npt.assert_array_equal(file.affine, np.diag([-2, 2, 3, 1]))
    assert file.space["sform_code"] == 0 and file.space["qform_code"] == 1
    image.header["qform_code"] = 0
    nib.save(image, tmp_path / f"i.{kind}")
    with pytest.raises(ValueError, match="no size along an axis"):
        open_images(tmp_path / f"i.{kind}")


def test_what_was_read_may_be_changed(tmp_path):
    np.save(tmp_path / "a.npy", VOLUME)
    save(tmp_path / "b.nii", VOLUME)
    save(tmp_path / "c.nii.gz", VOLUME)
    for name in ("a.npy", "b.nii", "c.nii.gz"):
        opened = open_images(tmp_path / name)
        first = opened.read(0)
        first[:] = 7
        assert not (opened.read(0) == 7).all()


def test_an_empty_file_is_named_with_its_shape(tmp_path):
    for shape in ((0, 8, 8), (5, 0, 7)):
        np.save(tmp_path / "e.npy", np.zeros(shape))
        with pytest.raises(
            ValueError, match=re.escape(f"is empty, its shape is {shape}")
        ):
            open_images(tmp_path / "e.npy")


def test_a_collection_goes_to_other_processes(tmp_path):
    save(tmp_path / "i.nii.gz", VOLUME)
    opened = open_images(tmp_path / "i.nii.gz")
    images = opened.read(0)
    again = pickle.loads(pickle.dumps(opened))
    npt.assert_array_equal(again.read(0), images)
    assert repr(again) == "<ImageCollection: 1 files, 4 images of (6, 5)>"


def test_each_odd_header_is_told_once(tmp_path, caplog):
    for name, field, value in (("a", "pixdim", 0), ("b", "sform_code", 99)):
        image = nib.Nifti1Image(VOLUME, np.eye(4))
        nib.save(image, tmp_path / f"{name}.nii")
        block = bytearray((tmp_path / f"{name}.nii").read_bytes())
        header = np.frombuffer(block[:348], nib.Nifti1Header.template_dtype).copy()
        header[field] = value
        (tmp_path / f"{name}.nii").write_bytes(header.tobytes() + block[348:])
    caplog.set_level("WARNING")
    opened = open_images(tmp_path)
    opened.read(0), opened.read(0), opened.rows(1, slice(2))
    texts = [r.getMessage() for r in caplog.records if "breaks rules" in r.getMessage()]
    assert [text.split(":")[0][-5:] for text in texts] == ["a.nii", "b.nii"]
