"""Files that are opened and read when they are needed."""

import gzip
import os
import struct

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import load_images, open_images
from dipy_vqvae.data.file_cache import FileCache

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
ENDINGS = [".nii", ".nii.gz"]


def save(path, data):
    if str(path).endswith(".npy"):
        np.save(path, data)
    elif "idx" in path.name:
        header = struct.pack(f">4B{data.ndim}I", 0, 0, 8, data.ndim, *data.shape)
        path.write_bytes(gzip.compress(header + data.tobytes()))
    else:
        nib.save(nib.Nifti1Image(data, AFFINE, dtype=data.dtype), path)
    return path


def noise(shape, dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 99, shape).astype(dtype)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
@pytest.mark.parametrize("volumes_as", ["images", "channels"])
@pytest.mark.parametrize(
    "how",
    [
        {"slice_axis": 0},
        {"slice_axis": 1},
        {"slice_axis": 2},
        {"spatial_dims": 3},
    ],
)
def test_as_load_images_reads_it(tmp_path, ending, shape, volumes_as, how):
    path = save(tmp_path / f"x{ending}", noise(shape))
    how = {**how, "volumes_as": volumes_as}
    loaded, opened = load_images(path, **how), open_images(path, **how)
    assert len(opened) == len(loaded)
    images = opened.read(0)
    npt.assert_array_equal(images, loaded.images)
    assert images.dtype == loaded.images.dtype
    assert images.shape[1 : 1 + opened.spatial_dims] == opened.shapes[0]
    rows = np.array([len(opened) - 1, 0])
    some = opened.rows(0, rows)
    assert some.shape[-1] == opened.n_channels
    npt.assert_array_equal(some.reshape(images[rows].shape), images[rows])
    npt.assert_array_equal(opened.put_back(0, images), noise(shape))


@pytest.mark.parametrize("name", ["x.npy", "x-idx3-ubyte.gz", "x.nii.gz"])
def test_other_formats(tmp_path, name):
    path = save(tmp_path / name, noise((4, 6, 5), np.uint8))
    loaded, opened = load_images(path), open_images(path)
    npt.assert_array_equal(opened.read(0), loaded.images)
    assert opened.files[0].dtype == loaded.images.dtype


def test_scaled_and_big_endian_files(tmp_path):
    image = nib.Nifti1Image(noise((4, 5, 6)), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "a.nii")
    swapped = nib.Nifti1Image(
        noise((4, 5, 6)).astype(">f4"), AFFINE, nib.Nifti1Header(endianness=">")
    )
    nib.save(swapped, tmp_path / "b.nii")
    opened = open_images(tmp_path)
    for index in (0, 1):
        path = opened.files[index].path
        npt.assert_array_equal(opened.read(index), load_images(path).images)
        assert opened.read(index).dtype == opened.files[index].dtype


def test_files_of_several_shapes_and_types(tmp_path):
    save(tmp_path / "a.nii.gz", noise((5, 4, 3)))
    save(tmp_path / "b.nii", noise((6, 7, 2), np.float32))
    opened = open_images(tmp_path)
    assert opened.shapes == ((5, 4), (6, 7))
    assert opened.counts == (3, 2)
    assert len(opened.sources) == len(opened) == 5
    assert opened.read(1).dtype == np.float32
    npt.assert_array_equal(opened.files[1].affine, AFFINE)


def test_voxels_are_not_read_before_they_are_asked_for(tmp_path):
    for ending in ENDINGS:
        path = save(tmp_path / f"x{ending}", np.full((4, 4, 4), np.nan, np.float32))
        opened = open_images(path)
        with pytest.raises(ValueError, match=f"{path}: has 64 NaN"):
            opened.read(0)


def test_memory_of_the_cache_is_bounded(tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}.nii.gz", noise((10, 10, 10), seed=i))
    opened = open_images(tmp_path, cache_bytes=4500)
    for i in [0, 1, 2, 3, 0, 5]:
        npt.assert_array_equal(
            opened.read(i), np.moveaxis(noise((10, 10, 10), seed=i), 2, 0)
        )
        assert opened._cache.held <= 4500
    # One file is always held, however large.
    assert FileCache(1).get("x", lambda: np.ones(9)).sum() == 9


@pytest.mark.parametrize("ending", [*ENDINGS, ".npy"])
def test_a_file_that_changes_or_vanishes(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", noise((5, 4, 3)))
    opened = open_images(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match=f"{path}: has changed since"):
        opened.read(0)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path}: no such file"):
        opened.read(0)


class TestSplit:
    @pytest.fixture
    def opened(self, tmp_path):
        for i in range(10):
            save(tmp_path / f"{i}.nii.gz", noise((4, 4, 3 + i)))
        return open_images(tmp_path)

    def names(self, images):
        return [file.path.name[0] for file in images.files]

    def test_by_subject(self, opened):
        others, held_out = opened.split(0.2, random_seed=3)
        assert len(held_out.files) == 2
        assert sorted(self.names(others) + self.names(held_out)) == list("0123456789")
        assert self.names(others) == sorted(self.names(others))
        again = opened.split(0.2, random_seed=3)[1]
        assert self.names(again) == self.names(held_out)
        draws = {
            tuple(self.names(opened.split(0.2, random_seed=s)[1])) for s in range(9)
        }
        assert len(draws) > 1

    def test_groups_stay_together(self, opened):
        groups = list("aabbccddee")
        for seed in range(5):
            others, held_out = opened.split(0.4, random_seed=seed, groups=groups)
            held = {groups[int(n)] for n in self.names(held_out)}
            assert len(held) == 2
            assert held.isdisjoint(groups[int(n)] for n in self.names(others))

    def test_bad_splits(self, opened):
        with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 1"):
            opened.split(1)
        with pytest.raises(ValueError, match="cannot hold out subjects"):
            opened.select([3]).split(0.5)
        with pytest.raises(ValueError, match="2 groups for 10 files"):
            opened.split(0.5, groups="ab")
        with pytest.raises(ValueError, match="at least one file"):
            opened.select([])


class TestMasks:
    @pytest.mark.parametrize("ending", ENDINGS)
    @pytest.mark.parametrize("how", [{"slice_axis": 1}, {"spatial_dims": 3}])
    def test_of_a_volume_for_all_volumes(self, tmp_path, ending, how):
        save(tmp_path / f"x{ending}", noise((5, 4, 3, 2)))
        mask = noise((5, 4, 3), np.uint8, seed=1) > 50
        path = save(tmp_path / f"mask{ending}", mask.astype(np.uint8))
        opened = open_images(tmp_path / f"x{ending}", mask_files=path, **how)
        back = opened.put_back(0, opened.read_mask(0))
        assert back.dtype == bool
        npt.assert_array_equal(back, np.stack([mask, mask], -1))
        rows = np.array([1, 0])
        npt.assert_array_equal(opened.mask_rows(0, rows), opened.read_mask(0)[rows])

    @pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4)])
    def test_of_a_stack(self, tmp_path, shape):
        save(tmp_path / "x.npy", noise((3, 5, 4, 2)))
        mask = noise(shape, seed=1) > 50
        path = save(tmp_path / "mask.npy", mask)
        opened = open_images(tmp_path / "x.npy", mask_files=path)
        npt.assert_array_equal(opened.read_mask(0), np.broadcast_to(mask, (3, 5, 4)))

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_nan_outside(self, tmp_path, ending):
        data = noise((5, 4, 3), np.float32)
        data[0] = np.nan
        save(tmp_path / f"x{ending}", data)
        mask = np.ones((5, 4, 3), np.uint8)
        mask[0] = 0
        save(tmp_path / f"m{ending}", mask)
        opened = open_images(
            tmp_path / f"x{ending}", mask_files=tmp_path / f"m{ending}"
        )
        images = opened.put_back(0, opened.read(0))
        npt.assert_array_equal(images[1:], data[1:])
        npt.assert_array_equal(images[0], 0)
        data[1, 0, 0] = np.inf
        save(tmp_path / f"x{ending}", data)
        opened = open_images(
            tmp_path / f"x{ending}", mask_files=tmp_path / f"m{ending}"
        )
        with pytest.raises(ValueError, match="has 1 NaN or Inf"):
            opened.read(0)

    def test_masks_that_do_not_fit(self, tmp_path):
        save(tmp_path / "x.nii.gz", noise((5, 4, 3)))
        wrong = save(tmp_path / "wrong.nii.gz", noise((5, 4, 2)))
        with pytest.raises(ValueError, match=rf"{wrong}.*\(5, 4, 2\).*\(5, 4, 3\)"):
            open_images(tmp_path / "x.nii.gz", mask_files=wrong)
        empty = save(tmp_path / "empty.nii.gz", np.zeros((5, 4, 3), np.uint8))
        opened = open_images(tmp_path / "x.nii.gz", mask_files=empty)
        for read in (opened.read, opened.read_mask):
            with pytest.raises(ValueError, match=f"{empty}: selects nothing"):
                read(0)
        with pytest.raises(ValueError, match="2 masks for 3 images"):
            open_images(tmp_path, mask_files=[wrong, empty])


def test_other_bad_files(tmp_path):
    save(tmp_path / "a.nii", noise((5, 4, 3, 2)))
    save(tmp_path / "b.nii", noise((5, 4, 3, 3)))
    save(tmp_path / "c.nii", noise((5, 4, 3)))
    assert open_images(tmp_path).counts == (6, 9, 3)
    for name, n in (("b", "3 channels"), ("c", "no channels")):
        files = [tmp_path / "a.nii", tmp_path / f"{name}.nii"]
        with pytest.raises(ValueError, match=rf"{name}.nii: its images have {n}"):
            open_images(files, volumes_as="channels")
    save(tmp_path / "flat.nii", noise((5,)))
    with pytest.raises(ValueError, match="flat.nii: has 1 axes"):
        open_images(tmp_path)
    (tmp_path / "d.nii").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="d.nii: not a NIfTI file"):
        open_images(tmp_path / "d.nii")
    short = save(tmp_path / "short.nii", noise((50, 4, 3)))
    short.write_bytes(short.read_bytes()[:500])
    with pytest.raises(ValueError, match="short.nii: its header declares"):
        open_images(short)
    save(tmp_path / "flat.npy", noise((5,)))
    with pytest.raises(ValueError, match="flat.npy: an array of shape"):
        open_images(tmp_path / "flat.npy")


def test_large_whole_numbers(tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 2, 2), 2**53, np.int64))
    assert open_images(tmp_path).read(0).max() == 2**53
    np.save(tmp_path / "x.npy", np.full((1, 2, 2), -(2**53) - 1))
    with pytest.raises(ValueError, match="x.npy: has int64 values from -9007"):
        open_images(tmp_path).read(0)


@pytest.mark.parametrize(
    ("name", "n_images"), [("S0_10", 10), ("aniso_vox", 24), ("test_piesno", 14)]
)
def test_files_that_dipy_ships(name, n_images):
    data = pytest.importorskip("dipy.data")
    path = data.get_fnames(name=name)
    opened = open_images(path)
    assert len(opened.read(0)) == len(opened) == n_images
    assert len(open_images(path, spatial_dims=3)) == 1


def test_one_mask_for_several_files(tmp_path):
    masks = []
    for i in range(3):
        save(tmp_path / f"{i}.nii.gz", noise((5, 4, 3)))
        masks.append(save(tmp_path / f"m{i // 2}.nii", noise((5, 4, 3), np.uint8, i)))
    files = [tmp_path / f"{i}.nii.gz" for i in range(3)]
    opened = open_images(files, mask_files=masks)
    assert [mask.path.name for mask in opened.masks] == ["m0.nii", "m0.nii", "m1.nii"]


def test_fortran_order(tmp_path):
    data = np.asfortranarray(noise((3, 5, 4)))
    np.save(tmp_path / "x.npy", data)
    npt.assert_array_equal(open_images(tmp_path).read(0), data)


def test_one_file_with_two_masks_is_read_with_each(tmp_path):
    values = np.ones((4, 4, 2), np.float32)
    values[0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii.gz")
    for name, inside in (("good", np.isfinite(values)), ("bad", np.ones((4, 4, 2)))):
        mask = nib.Nifti1Image(inside.astype(np.uint8), np.eye(4))
        nib.save(mask, tmp_path / f"{name}.nii.gz")
    masks = [tmp_path / "good.nii.gz", tmp_path / "bad.nii.gz"]
    images = open_images([tmp_path / "v.nii.gz"] * 2, mask_files=masks)
    assert not images.read(0)[:, 0].any()
    with pytest.raises(ValueError, match="NaN"):
        images.read(1)
