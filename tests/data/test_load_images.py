"""Many files as one array, and results put back into their layout."""

import gzip
import logging
from pathlib import Path
import struct

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae.data import ImageSet, load_images

OBLIQUE = np.array(
    [
        [-1.9, 0.3, 0.1, 90.0],
        [0.3, 1.8, -0.4, -120.0],
        [0.2, 0.5, 5.1, -70.0],
        [0, 0, 0, 1],
    ]
)


def save_nifti(path, data):
    nib.save(nib.Nifti1Image(data, OBLIQUE, dtype=data.dtype), path)
    return path


def save_idx(path, data):
    header = bytes([0, 0, 8, data.ndim]) + struct.pack(f">{data.ndim}I", *data.shape)
    Path(path).write_bytes(gzip.compress(header + data.astype(np.uint8).tobytes()))
    return path


def ramp(shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


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
        with pytest.raises(ValueError, match="2 channels, those of .* have 3"):
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


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.npy"])
def test_the_array_is_the_callers(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, ramp((3, 5, 4)))
    else:
        save_nifti(path, ramp((5, 4, 3)))
    loaded = load_images(path)
    assert isinstance(loaded, ImageSet)
    loaded.images[:] = 0  # a view of no cache
    assert load_images(path).images.any()
