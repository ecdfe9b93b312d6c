"""Reading images: names, formats, and checks on arrays and masks."""

import gzip
import logging
from pathlib import Path
import struct
import subprocess
import sys

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import (
    check_images,
    check_mask,
    expand_paths,
    image_kind,
    read_image,
)

OBLIQUE = np.array(
    [
        [-1.9, 0.3, 0.1, 90.0],
        [0.3, 1.8, -0.4, -120.0],
        [0.2, 0.5, 5.1, -70.0],
        [0, 0, 0, 1],
    ]
)


def save_nifti(path, data, affine=OBLIQUE, image_class=nib.Nifti1Image):
    nib.save(image_class(data, affine, dtype=data.dtype), path)
    return path


def save_idx(path, data):
    header = bytes([0, 0, 8, data.ndim]) + struct.pack(f">{data.ndim}I", *data.shape)
    Path(path).write_bytes(gzip.compress(header + data.astype(np.uint8).tobytes()))
    return path


def ramp(shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.nii.gz", "a.nii", "c.NII.GZ"):
        save_nifti(tmp_path / name, ramp((4, 3, 2)))
    np.save(tmp_path / "d.npy", ramp((2, 4, 3)))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.nii").write_text("not an image")
    (tmp_path / "sub").mkdir()
    return tmp_path


class TestExpandPaths:
    def test_folder_is_its_images_sorted(self, folder, caplog):
        with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
            files = expand_paths(folder)
        assert [f.name for f in files] == ["a.nii", "b.nii.gz", "c.NII.GZ", "d.npy"]
        assert (
            "skipped files that are not images: .hidden.nii, notes.txt, sub"
            in caplog.text
        )

    def test_glob_and_order(self, folder):
        files = expand_paths([folder / "d.npy", f"{folder}/*.nii*"])
        assert [f.name for f in files] == ["d.npy", "a.nii", "b.nii.gz"]

    def test_recursive_glob(self, folder):
        save_nifti(folder / "sub" / "e.nii", ramp((4, 3, 2)))
        files = expand_paths(f"{folder}/**/*.nii")
        assert [f.name for f in files] == ["a.nii", "e.nii"]

    def test_a_file_named_twice_comes_once(self, folder):
        assert len(expand_paths([folder / "a.nii", str(folder), folder])) == 4

    def test_a_name_that_exists_is_no_pattern(self, folder):
        path = save_nifti(folder / "scan[1].nii", ramp((4, 3, 2)))
        (folder / "odd*name").mkdir()
        assert expand_paths(str(path)) == [path]
        with pytest.raises(OSError, match=r"odd\*name: contains no image files"):
            expand_paths(folder / "odd*name")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing.nii", "missing.nii: no such file"),
            ("*.mgz", r"\*.mgz: no file matches"),
            ("*.txt", r"\*.txt: contains no image files"),
            ("sub", "sub: contains no image files"),
        ],
    )
    def test_nothing_there(self, folder, name, message):
        with pytest.raises(OSError, match=message):
            expand_paths(folder / name)

    def test_nothing_given(self):
        with pytest.raises(ValueError, match="no image files given"):
            expand_paths([])
        with pytest.raises(OSError, match="file is empty"):
            expand_paths("")

    def test_home(self, folder, monkeypatch):
        monkeypatch.setenv("HOME", str(folder))
        assert expand_paths("~/a.nii") == [folder / "a.nii"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.nii", "nifti"),
        ("x.NII.gz", "nifti"),
        ("x.npy", "npy"),
        ("t10k-images-idx3-ubyte", "idx"),
        ("t10k-images.idx3-ubyte.gz", "idx"),
        ("x.idx", "idx"),
        ("t10k-labels-idx1-ubyte", None),
        ("x.gz", None),
        ("nii", None),
        ("x.npz", None),
    ],
)
def test_image_kind(name, kind):
    assert image_kind(name) == kind


class TestReadImage:
    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8"])
    @pytest.mark.parametrize("byte_order", ["<", ">"])
    @pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_nifti(self, tmp_path, dtype, byte_order, image_class, suffix):
        data = ramp((5, 4, 3), dtype)
        header = image_class.header_class(endianness=byte_order)
        header.set_data_dtype(dtype)
        path = tmp_path / f"x{suffix}"
        nib.save(image_class(data, OBLIQUE, header), path)
        image = read_image(path)
        npt.assert_array_equal(image.data, data)
        npt.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
        assert image.data.dtype == np.dtype(dtype)
        assert image.data.dtype.isnative
        assert (image.path, image.kind) == (path, "nifti")

    def test_nifti_as_nibabel_reads_it(self, tmp_path):
        rng = np.random.default_rng(0)
        image = nib.Nifti1Image(rng.normal(size=(5, 4, 3, 2)), OBLIQUE)
        image.set_data_dtype(np.int16)  # stored with a slope and an intercept
        nib.save(image, tmp_path / "x.nii.gz")
        stored = nib.load(tmp_path / "x.nii.gz")
        ours = read_image(tmp_path / "x.nii.gz")
        npt.assert_array_equal(ours.data, np.asanyarray(stored.dataobj))
        npt.assert_array_equal(ours.affine, stored.affine)

    def test_nifti_does_not_follow_the_file(self, tmp_path):
        path = save_nifti(tmp_path / "x.nii", ramp((5, 4, 3)))
        image = read_image(path)
        save_nifti(path, np.zeros((5, 4, 3), np.int16))
        npt.assert_array_equal(image.data, ramp((5, 4, 3)))

    def test_compression_is_told_by_content(self, tmp_path):
        path = save_nifti(tmp_path / "x.nii", ramp((5, 4, 3)))
        (tmp_path / "plain.nii.gz").write_bytes(path.read_bytes())
        npt.assert_array_equal(
            read_image(tmp_path / "plain.nii.gz").data[0, 0], [0, 1, 2]
        )

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_npy(self, tmp_path, order):
        data = np.asarray(ramp((3, 4, 5), ">f4"), order=order)
        np.save(tmp_path / "x.npy", data)
        image = read_image(str(tmp_path / "x.npy"))
        npt.assert_array_equal(image.data, data)
        assert image.data.dtype == np.float32
        assert image.affine is None
        assert image.kind == "npy"
        assert not isinstance(image.data, np.memmap)

    def test_idx(self, tmp_path):
        path = save_idx(tmp_path / "x-idx3-ubyte.gz", ramp((3, 4, 5)))
        image = read_image(path)
        npt.assert_array_equal(image.data, ramp((3, 4, 5)))
        assert (image.kind, image.affine) == ("idx", None)


class TestCheckImages:
    @pytest.mark.parametrize(
        "dtype", [bool, np.uint8, np.int64, np.uint64, np.float16, np.float64, ">f4"]
    )
    def test_types(self, dtype):
        images = (ramp((3, 4, 5)) % 2).astype(dtype)
        checked = check_images(images, spatial_dims=2, allow_constant=False)
        assert checked.shape == (3, 4, 5, 1)
        assert checked.dtype.isnative
        npt.assert_array_equal(checked[..., 0], images)

    def test_channels_and_volumes(self):
        assert check_images(ramp((3, 4, 5, 2)), spatial_dims=2).shape == (3, 4, 5, 2)
        assert check_images(ramp((3, 4, 5, 2)), spatial_dims=3).shape[-2:] == (2, 1)
        images = ramp((3, 4, 5, 2, 3))
        assert check_images(images, spatial_dims=3) is images

    @pytest.mark.parametrize("bad", [np.zeros((3, 4, 5), complex), [[["a"]]], None])
    def test_not_numbers(self, bad):
        with pytest.raises(TypeError, match="must be real numbers"):
            check_images(bad, spatial_dims=2)

    @pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5, 2, 1)])
    def test_axes(self, shape):
        with pytest.raises(
            ValueError, match=r"scans must have shape \(N, H, W\) or \(N, H, W, C\)"
        ):
            check_images(np.ones(shape), spatial_dims=2, name="scans")
        with pytest.raises(ValueError, match="spatial_dims must be 2 or 3"):
            check_images(np.ones(shape), spatial_dims=4)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_finite(self, value, dtype):
        images = np.ones((3, 4, 5), dtype)
        images[1, 1, 1] = value
        with pytest.raises(ValueError, match="images: has 1 NaN or Inf among 60"):
            check_images(images, spatial_dims=2)

    def test_empty(self):
        with pytest.raises(ValueError, match="is empty"):
            check_images(np.zeros((0, 4, 5)), spatial_dims=2)

    def test_constant(self):
        images = np.full((3, 4, 5), 3.0)
        assert check_images(images, spatial_dims=2).shape == (3, 4, 5, 1)
        with pytest.raises(ValueError, match=r"images are constant \(all 3.0\)"):
            check_images(images, spatial_dims=2, allow_constant=False)


class TestCheckMask:
    def test_one_for_all_and_one_for_each(self):
        images = np.zeros((3, 4, 5, 2))
        mask = ramp((4, 5)) > 9
        npt.assert_array_equal(check_mask(mask, images), [mask] * 3)
        each = np.stack([mask, ~mask, mask]).astype(np.float32)
        npt.assert_array_equal(check_mask(each, images), each > 0)

    @pytest.mark.parametrize(
        "shape", [(5, 4), (3, 4), (4, 5, 2), (3, 4, 5, 2), (1, 4, 5)]
    )
    def test_shape(self, shape):
        with pytest.raises(ValueError, match="mask must have the shape"):
            check_mask(np.ones(shape), np.zeros((3, 4, 5, 2)))

    def test_nothing_inside(self):
        with pytest.raises(ValueError, match="selects nothing"):
            check_mask(np.zeros((4, 5)), np.zeros((3, 4, 5, 2)))

    def test_not_a_mask(self):
        with pytest.raises(ValueError, match="must be boolean"):
            check_mask(np.full((4, 5), "a"), np.zeros((3, 4, 5, 2)))


def test_no_heavy_imports():
    code = (
        "import sys, dipy_vqvae.data, dipy_vqvae.data.mnist, dipy_vqvae.experiment.data; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'scipy.ndimage') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
