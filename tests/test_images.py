"""Reading images: names, formats, layouts, and files that cannot be used."""

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

from dipy_vqvae.images import (
    check_images,
    check_mask,
    expand_paths,
    image_kind,
    load_images,
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
        assert "skipped, not images: .hidden.nii, notes.txt, sub" in caplog.text

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
        with pytest.raises(OSError, match=r"odd\*name: no image files there"):
            expand_paths(folder / "odd*name")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing.nii", "missing.nii: no such file"),
            ("*.mgz", r"\*.mgz: no file matches"),
            ("*.txt", r"\*.txt: no image files there"),
            ("sub", "sub: no image files there"),
        ],
    )
    def test_nothing_there(self, folder, name, message):
        with pytest.raises(OSError, match=message):
            expand_paths(folder / name)

    def test_nothing_given(self):
        with pytest.raises(ValueError, match="no image files given"):
            expand_paths([])
        with pytest.raises(OSError, match="empty name"):
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


def nifti_bytes(data, path):
    return save_nifti(path, data).read_bytes()


class TestBadFiles:
    """Each error is one line that begins with the file."""

    def check(self, path, message, error=ValueError):
        with pytest.raises(error, match=message) as caught:
            read_image(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: "), text
        assert "\n" not in text
        return caught.value

    @pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
    def test_text_named_nifti(self, tmp_path, name):
        path = tmp_path / name
        path.write_text("This is no image.\n" * 100)
        self.check(path, "not a NIfTI file")
        path.write_bytes(b"")
        self.check(path, "not a NIfTI file, it is empty")

    def test_truncated_gzip(self, tmp_path):
        data = np.random.default_rng(0).normal(size=(9, 9, 9))
        whole = nifti_bytes(data, tmp_path / "whole.nii.gz")
        path = tmp_path / "x.nii.gz"
        for size in (10, 50, len(whole) // 2, len(whole) - 20, len(whole) - 2):
            path.write_bytes(whole[:size])
            self.check(path, "gzip data are damaged or cut short")

    def test_damaged_gzip(self, tmp_path):
        data = np.random.default_rng(0).normal(size=(9, 9, 9))
        whole = bytearray(nifti_bytes(data, tmp_path / "whole.nii.gz"))
        path = tmp_path / "x.nii.gz"
        for position in range(400, len(whole), len(whole) // 9):
            damaged = whole.copy()
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            self.check(path, "gzip data are damaged")

    def test_truncated_plain(self, tmp_path):
        whole = nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii")
        path = tmp_path / "x.nii"
        path.write_bytes(whole[:-1])
        self.check(path, r"declares \(9, 9, 9\) voxels \(1458 bytes\), the file is too")
        path.write_bytes(whole[:200])
        self.check(path, "not a NIfTI file")
        path = tmp_path / "x.nii.gz"
        path.write_bytes(gzip.compress(whole[:-1]))
        self.check(path, "damaged or cut short.*Expected 1458 bytes, got 1457")

    def test_header_that_declares_terabytes(self, tmp_path):
        whole = bytearray(nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii"))
        whole[42:48] = struct.pack("<3h", 30000, 30000, 30000)
        path = tmp_path / "x.nii.gz"
        for content in (bytes(whole), gzip.compress(whole)):
            path.write_bytes(content)
            self.check(path, "the file is too short")

    def test_header_bytes_at_random(self, tmp_path):
        """Whatever the header says: an image, or an error of ours."""
        whole = nifti_bytes(ramp((3, 3, 3)), tmp_path / "whole.nii")
        rng = np.random.default_rng(0)
        path = tmp_path / "x.nii"
        for _ in range(300):
            content = bytearray(whole)
            for position in rng.integers(0, 352, size=3):
                content[position] = rng.integers(256)
            path.write_bytes(content)
            try:
                read_image(path)
            except (OSError, ValueError) as error:
                assert str(error).startswith(f"{path}: ")

    @pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 6, 2, 3)])
    def test_number_of_axes(self, tmp_path, shape):
        path = save_nifti(tmp_path / "x.nii.gz", ramp(shape))
        self.check(path, f"has {len(shape)} axes")

    @pytest.mark.parametrize(
        ("dtype", "message"),
        [
            (np.complex64, "has complex64 values"),
            ([("R", "u1"), ("G", "u1"), ("B", "u1")], "has RGB values"),
        ],
    )
    def test_types(self, tmp_path, dtype, message):
        data = np.zeros((4, 5, 6), dtype)
        self.check(save_nifti(tmp_path / "x.nii", data), message)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["x.nii.gz", "x.npy"])
    def test_not_finite(self, tmp_path, value, name):
        data = np.zeros((4, 5, 6), np.float32)
        data[1, 2, 3] = data[3, 2, 1] = value
        path = tmp_path / name
        np.save(path, data) if name == "x.npy" else save_nifti(path, data)
        self.check(path, "has 2 NaN or Inf among 120 values")

    def test_affine_not_finite(self, tmp_path):
        affine = np.eye(4)
        affine[0, 3] = np.nan
        header = nib.Nifti1Header()
        header.set_sform(affine, code=1)
        nib.save(nib.Nifti1Image(ramp((3, 3, 3)), None, header), tmp_path / "x.nii")
        self.check(tmp_path / "x.nii", "affine has NaN")

    @pytest.mark.parametrize("shape", [(0, 28, 28), (3, 0, 4)])
    def test_empty(self, tmp_path, shape):
        np.save(tmp_path / "x.npy", np.zeros(shape))
        self.check(tmp_path / "x.npy", "is empty")
        save_idx(tmp_path / "x.idx", np.zeros(shape))
        self.check(tmp_path / "x.idx", "is empty")

    def test_empty_nifti(self, tmp_path):
        whole = bytearray(nifti_bytes(ramp((9, 9, 9)), tmp_path / "whole.nii"))
        whole[42:44] = b"\x00\x00"
        path = tmp_path / "x.nii"
        path.write_bytes(whole)
        self.check(path, "is empty")

    @pytest.mark.parametrize(
        "data",
        [
            np.array([{"a": 1}], dtype=object),
            np.array(["text"]),
            np.zeros(3, complex),
            np.zeros(3, [("a", "i4")]),
            np.zeros(3, "M8[s]"),
        ],
    )
    def test_npy_types(self, tmp_path, data):
        np.save(tmp_path / "x.npy", data, allow_pickle=True)
        self.check(tmp_path / "x.npy", "only real numbers|not a readable .npy")

    def test_npy_never_unpickles(self, tmp_path):
        path = tmp_path / "x.npy"
        path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        self.check(path, "not a readable .npy file")

    def test_npy_content(self, tmp_path):
        np.save(tmp_path / "whole.npy", ramp((9, 9, 9)))
        whole = (tmp_path / "whole.npy").read_bytes()
        path = tmp_path / "x.npy"
        huge = whole.replace(b"(9, 9, 9), }   ", b"(9999999, 9, 9)").replace(
            b"(9, 9, 9)", b"(9,9999999)"
        )
        for content in (b"", b"text", whole[:40], whole[:-1], huge):
            path.write_bytes(content)
            self.check(path, "not a readable .npy file")
        np.savez(tmp_path / "x.npz", a=ramp((9, 9)))
        (tmp_path / "x.npz").rename(path)
        self.check(path, "not a readable .npy file")

    def test_other_names(self, tmp_path):
        (tmp_path / "x.txt").write_text("text")
        self.check(tmp_path / "x.txt", "not an image file that is read here")

    def test_folder_and_missing(self, tmp_path):
        (tmp_path / "x.nii").mkdir()
        self.check(tmp_path / "x.nii", "is a folder", IsADirectoryError)
        self.check(tmp_path / "y.nii", "no such file", FileNotFoundError)

    @pytest.mark.parametrize("name", ["x.nii", "x.npy", "x.idx"])
    def test_unreadable(self, tmp_path, monkeypatch, name):
        path = tmp_path / name
        path.write_bytes(b"content")

        def refuse(file, *args, **kwargs):
            raise PermissionError(13, "Permission denied", str(file))

        # Not by chmod: who runs the tests may be allowed everything.
        monkeypatch.setattr("builtins.open", refuse)
        monkeypatch.setattr(np.lib.format, "open_memmap", refuse)
        self.check(path, r"cannot be read \(Permission denied\)", PermissionError)


class TestLoadSlices:
    @pytest.mark.parametrize("slice_axis", [0, 1, 2])
    def test_volume(self, tmp_path, slice_axis):
        data = ramp((5, 4, 3))
        path = save_nifti(tmp_path / "x.nii.gz", data)
        loaded = load_images(path, slice_axis=slice_axis)
        assert loaded.images.dtype == np.int16
        assert len(loaded) == data.shape[slice_axis]
        for index, image in enumerate(loaded.images):
            npt.assert_array_equal(image, data.take(index, axis=slice_axis))
        npt.assert_array_equal(loaded.sources.slice_index, np.arange(len(loaded)))
        npt.assert_array_equal(loaded.sources.volume_index, 0)

    @pytest.mark.parametrize("slice_axis", [0, 1, 2])
    def test_series_as_images(self, tmp_path, slice_axis):
        data = ramp((5, 4, 3, 2))
        path = save_nifti(tmp_path / "x.nii.gz", data)
        loaded = load_images(path, slice_axis=slice_axis)
        assert len(loaded) == 2 * data.shape[slice_axis]
        sources = loaded.sources
        for image, s, v in zip(
            loaded.images, sources.slice_index, sources.volume_index
        ):
            npt.assert_array_equal(image, data[..., v].take(s, axis=slice_axis))

    @pytest.mark.parametrize("slice_axis", [0, 1, 2])
    def test_series_as_channels(self, tmp_path, slice_axis):
        data = ramp((5, 4, 3, 2))
        path = save_nifti(tmp_path / "x.nii.gz", data)
        loaded = load_images(path, slice_axis=slice_axis, volumes_as="channels")
        assert loaded.images.shape[-1] == 2
        for index, image in enumerate(loaded.images):
            npt.assert_array_equal(image, data.take(index, axis=slice_axis))

    def test_arrays(self, tmp_path):
        np.save(tmp_path / "one.npy", ramp((4, 5)))
        np.save(tmp_path / "stack.npy", ramp((3, 4, 5)))
        np.save(tmp_path / "channels.npy", ramp((3, 4, 5, 2)))
        save_idx(tmp_path / "x.idx", ramp((3, 4, 5)))
        npt.assert_array_equal(load_images(tmp_path / "one.npy").images, [ramp((4, 5))])
        for name in ("stack.npy", "x.idx"):
            loaded = load_images(tmp_path / name)
            npt.assert_array_equal(loaded.images, ramp((3, 4, 5)))
        loaded = load_images(tmp_path / "channels.npy")
        npt.assert_array_equal(loaded.images, ramp((3, 4, 5, 2)))

    def test_several_files(self, tmp_path):
        np.save(tmp_path / "a.npy", ramp((3, 4, 5), np.uint8))
        save_nifti(tmp_path / "b.nii", ramp((4, 5, 2), np.float32))
        loaded = load_images([tmp_path / "b.nii", tmp_path / "a.npy"])
        assert loaded.images.shape == (5, 4, 5)
        assert loaded.images.dtype == np.float32
        sources = loaded.sources
        npt.assert_array_equal(sources.file_index, [0, 0, 1, 1, 1])
        npt.assert_array_equal(sources.slice_index, [0, 1, 0, 1, 2])
        assert [f.path.name for f in sources.files] == ["b.nii", "a.npy"]
        assert sources.files[1].affine is None
        npt.assert_allclose(sources.files[0].affine, OBLIQUE, atol=1e-5)

    def test_shapes_differ(self, tmp_path):
        np.save(tmp_path / "a.npy", ramp((3, 4, 5)))
        save_nifti(tmp_path / "b.nii", ramp((5, 4, 2)))
        with pytest.raises(
            ValueError, match=r"a.npy has images of \(4, 5\) and .*b.nii of \(5, 4\)"
        ):
            load_images(tmp_path)

    def test_numbers_of_volumes_differ(self, tmp_path):
        save_nifti(tmp_path / "a.nii", ramp((5, 4, 2, 3)))
        save_nifti(tmp_path / "b.nii", ramp((5, 4, 2, 2)))
        assert len(load_images(tmp_path)) == 10
        with pytest.raises(ValueError, match=r"\(5, 4, 3\) and .*\(5, 4, 2\)"):
            load_images(tmp_path, volumes_as="channels")

    @pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5, 6)])
    def test_not_a_stack(self, tmp_path, shape):
        np.save(tmp_path / "x.npy", ramp(shape))
        with pytest.raises(ValueError, match="x.npy: .* is not a stack of 2D images"):
            load_images(tmp_path / "x.npy")

    def test_labels_are_not_images(self, tmp_path):
        save_idx(tmp_path / "x.idx", ramp((7, 3)))
        with pytest.raises(ValueError, match="x.idx: .* is not a stack of 2D images"):
            load_images(tmp_path / "x.idx")

    @pytest.mark.parametrize(
        "options", [{"spatial_dims": 1}, {"slice_axis": 3}, {"volumes_as": "x"}]
    )
    def test_options(self, tmp_path, options):
        path = save_nifti(tmp_path / "x.nii", ramp((5, 4, 2)))
        with pytest.raises(ValueError, match="must be"):
            load_images(path, **options)


class TestLoadVolumes:
    def test_volumes_and_series(self, tmp_path):
        data = ramp((5, 4, 3, 2))
        save_nifti(tmp_path / "a.nii", data)
        save_nifti(tmp_path / "b.nii", data[..., 1])
        loaded = load_images(tmp_path, spatial_dims=3)
        npt.assert_array_equal(
            loaded.images, [data[..., 0], data[..., 1], data[..., 1]]
        )
        npt.assert_array_equal(loaded.sources.volume_index, [0, 1, 0])
        loaded = load_images(tmp_path / "a.nii", spatial_dims=3, volumes_as="channels")
        npt.assert_array_equal(loaded.images, [data])

    @pytest.mark.parametrize("shape", [(5, 4, 3), (2, 5, 4, 3), (2, 5, 4, 3, 2)])
    def test_arrays(self, tmp_path, shape):
        np.save(tmp_path / "x.npy", ramp(shape))
        images = load_images(tmp_path / "x.npy", spatial_dims=3).images
        npt.assert_array_equal(
            images, ramp(shape)[None] if len(shape) == 3 else ramp(shape)
        )

    def test_slices_are_not_volumes(self, tmp_path):
        save_idx(tmp_path / "x.idx", ramp((3, 4, 5)))
        with pytest.raises(ValueError, match="is not a stack of 3D images"):
            load_images(tmp_path / "x.idx", spatial_dims=3)


class TestSources:
    @pytest.mark.parametrize("spatial_dims", [2, 3])
    @pytest.mark.parametrize("volumes_as", ["images", "channels"])
    @pytest.mark.parametrize("slice_axis", [0, 1, 2])
    @pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2), (5, 4, 3, 1)])
    def test_nifti_put_back(
        self, tmp_path, spatial_dims, volumes_as, slice_axis, shape
    ):
        data = [ramp(shape), ramp(shape) + 1000]
        for index, values in enumerate(data):
            save_nifti(tmp_path / f"{index}.nii", values)
        loaded = load_images(
            tmp_path,
            spatial_dims=spatial_dims,
            volumes_as=volumes_as,
            slice_axis=slice_axis,
        )
        back = list(loaded.sources.put_back(loaded.images))
        for index, (file, values) in enumerate(back):
            assert file.path.name == f"{index}.nii"
            assert values.shape == file.shape
            npt.assert_array_equal(values, data[index])

    @pytest.mark.parametrize(
        ("spatial_dims", "shape"),
        [(2, (4, 5)), (2, (3, 4, 5)), (2, (3, 4, 5, 2)), (3, (4, 5, 6))]
        + [(3, (2, 4, 5, 6)), (3, (2, 4, 5, 6, 2))],
    )
    def test_npy_put_back(self, tmp_path, spatial_dims, shape):
        np.save(tmp_path / "x.npy", ramp(shape))
        loaded = load_images(tmp_path / "x.npy", spatial_dims=spatial_dims)
        ((_, values),) = loaded.sources.put_back(loaded.images)
        npt.assert_array_equal(values, ramp(shape))

    def test_results_on_another_grid(self, tmp_path):
        save_nifti(tmp_path / "x.nii", ramp((8, 7, 12, 2)))
        loaded = load_images(tmp_path / "x.nii", slice_axis=1)
        codes = loaded.images[:, ::2, ::3]
        ((_, values),) = loaded.sources.put_back(codes)
        npt.assert_array_equal(values, ramp((8, 7, 12, 2))[::2, :, ::3])

    def test_number_of_results(self, tmp_path):
        save_nifti(tmp_path / "x.nii", ramp((5, 4, 3)))
        loaded = load_images(tmp_path / "x.nii")
        with pytest.raises(ValueError, match="2 results for 3 images"):
            list(loaded.sources.put_back(loaded.images[:2]))

    def test_skip_empty(self, tmp_path, caplog):
        data = ramp((5, 4, 3, 2))
        data[:, :, 1, 0] = 7
        data[:, :, 2, 1] = 0
        save_nifti(tmp_path / "x.nii", data)
        assert len(load_images(tmp_path)) == 6
        with caplog.at_level(logging.INFO, logger="dipy_vqvae"):
            loaded = load_images(tmp_path, skip_empty=True)
        assert "skipped 2 of 6 images" in caplog.text
        npt.assert_array_equal(loaded.sources.slice_index, [0, 2, 0, 1])
        npt.assert_array_equal(loaded.sources.volume_index, [0, 0, 1, 1])
        ((_, values),) = loaded.sources.put_back(loaded.images, fill=-1)
        data[:, :, 1, 0] = data[:, :, 2, 1] = -1
        npt.assert_array_equal(values, data)

    def test_all_empty(self, tmp_path):
        save_nifti(tmp_path / "x.nii", np.ones((5, 4, 3), np.uint8))
        with pytest.raises(ValueError, match="all 3 images are empty"):
            load_images(tmp_path, skip_empty=True)

    def test_one_channel_is_enough_to_keep(self, tmp_path):
        data = np.zeros((5, 4, 3, 2), np.uint8)
        data[0, 0, 1, 1] = 1
        save_nifti(tmp_path / "x.nii", data)
        loaded = load_images(tmp_path, volumes_as="channels", skip_empty=True)
        npt.assert_array_equal(loaded.sources.slice_index, [1])


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
        "import sys, dipy_vqvae.images, dipy_vqvae.mnist, dipy_vqvae.digits; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'scipy.ndimage') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
