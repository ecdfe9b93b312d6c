"""Subjects of several shapes, from lists and from files."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import assert_same_fit, blobs, fit_to, weights

from dipy_vqvae import VQVAEFit, open_images

SHAPES_2D = [(30, 30), (23, 27), (12, 10)]
SHAPES_3D = [(9, 13, 8), (8, 8, 8), (10, 7, 12)]
SLOW = {"rate_weight": 0.1}


def save(path, data):
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 3, 4, 1]), dtype=data.dtype), path)
    return path


def save_all(folder, volumes, ending=".nii.gz"):
    folder.mkdir(exist_ok=True)
    for index, volume in enumerate(volumes):
        save(folder / f"{index}{ending}", volume)
    return folder


@pytest.fixture(scope="module")
def stacks():
    return [blobs(6, shape, seed) for seed, shape in enumerate(SHAPES_2D)]


@pytest.fixture(scope="module")
def volumes():
    return [blobs(1, shape, seed)[0] for seed, shape in enumerate(SHAPES_3D)]


@pytest.fixture(scope="module")
def fit(stacks):
    return fit_to(stacks, model=SLOW)


@pytest.fixture(scope="module")
def fit_3d(volumes):
    model = {"spatial_dims": 3, "downsampling": (4, 2, 4)}
    return fit_to(volumes, model=model, batch_size=2)


class TestAsAnArray:
    """What can be given as an array gives the same fit as a list and as files."""

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_slices(self, tmp_path, ending):
        images = blobs(24, (12, 10))
        files = [np.moveaxis(images[i : i + 8], 0, 2) for i in (0, 8, 16)]
        folder = save_all(tmp_path / "x", files, ending)
        training = {"model": SLOW, "validation_images": images[:5], "n_epochs": 1}
        training["n_decoder_epochs"] = 1
        as_array = fit_to(images, **training)
        in_a_list = fit_to([images[:8], images[8:16], images[16:]], **training)
        from_files = fit_to(open_images(folder), **training)
        for other in (in_a_list, from_files):
            assert_same_fit(other, as_array)
            assert other.history == as_array.history
            assert other.config == as_array.config

    def test_masked_volumes(self, tmp_path):
        images = blobs(6, (9, 8, 7)).astype(np.float32)
        masks = (images > 20).astype(np.uint8)
        images[masks == 0] = np.nan
        training = {"model": {"spatial_dims": 3}, "batch_size": 4}
        as_array = fit_to(images, mask=masks, **training)
        files = open_images(
            save_all(tmp_path / "x", images),
            mask_files=save_all(tmp_path / "m", masks),
            spatial_dims=3,
        )
        assert_same_fit(fit_to(files, **training), as_array)
        assert_same_fit(fit_to(list(images), mask=list(masks), **training), as_array)

    def test_empty_slices_are_skipped(self, tmp_path):
        images = blobs(12, (12, 10))
        files = np.moveaxis(images, 0, 2).copy()
        files[..., [0, 5]] = 7
        folder = save_all(tmp_path / "x", [files[..., :6], files[..., 6:]])
        used = np.delete(images, [0, 5], 0)
        skipped = fit_to(open_images(folder, skip_empty=True))
        assert_same_fit(skipped, fit_to(used))
        # A file of nothing else is left out.
        save(folder / "2.nii.gz", np.zeros((12, 10, 3), np.uint8))
        assert_same_fit(fit_to(open_images(folder, skip_empty=True)), skipped)


def test_padding_has_no_weight(stacks):
    # Padding to the largest image is masking: the same as one array with a mask.
    shape = np.max(SHAPES_2D, 0)
    images, mask = np.zeros((18, *shape), np.uint8), np.zeros((18, *shape), bool)
    for index, stack in enumerate(stacks):
        part = slice(6 * index, 6 * index + 6)
        images[(part, *map(slice, stack.shape[1:]))] = stack
        mask[(part, *map(slice, stack.shape[1:]))] = True
    # All in one step, which is then padded to the largest.
    training = {"batch_size": 18, "n_epochs": 3}
    a, b = fit_to(stacks, **training), fit_to(images, mask=mask, **training)
    for name, array in weights(a).items():
        npt.assert_allclose(weights(b)[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert a.config.scaling == b.config.scaling


class TestShapes:
    @pytest.mark.parametrize("shape", [(30, 30), (91, 109), (1, 1), (4, 7), (12, 10)])
    def test_slices(self, fit, shape):
        images = blobs(2, shape, seed=3)
        restored = fit.predict(images)
        assert restored.shape == images.shape
        assert np.isfinite(restored).all()
        npt.assert_array_equal(
            fit.decode(fit.encode(images), image_shape=shape), restored
        )

    @pytest.mark.parametrize("shape", [(37, 51, 33), (8, 9, 1)])
    def test_volumes(self, fit_3d, shape):
        volume = blobs(1, shape, seed=3)
        assert fit_3d.predict(volume).shape == volume.shape
        grid = tuple(-(-n // f) for n, f in zip(shape, (4, 2, 4)))
        assert fit_3d.encode(volume).shape == (1, *grid)

    def test_one_slice_of_one_subject(self, tmp_path):
        path = save(tmp_path / "x.nii", blobs(1, (30, 29))[0][..., np.newaxis])
        images = open_images(path)
        one = fit_to(images, n_epochs=1, batch_size=4)
        (restored,) = one.predict(images)
        assert images.put_back(0, restored).shape == (30, 29, 1)

    def test_the_company_of_an_image_changes_nothing(self, fit, stacks, tmp_path):
        folder = save_all(tmp_path / "x", [np.moveaxis(s, 0, 2) for s in stacks])
        opened = open_images(folder)
        for call in (fit.encode, fit.predict):
            together, from_files = call(stacks), call(opened)
            for index, stack in enumerate(stacks):
                npt.assert_array_equal(together[index], call(stack))
                npt.assert_array_equal(from_files[index], call(stack))
        counts = sum(fit.usage(stack).histogram for stack in stacks)
        npt.assert_array_equal(fit.usage(stacks).histogram, counts)
        npt.assert_array_equal(fit.usage(opened).histogram, counts)
        grids = fit.encode(stacks)
        decoded = fit.decode(grids, image_shape=SHAPES_2D)
        for image, restored in zip(decoded, fit.predict(stacks)):
            npt.assert_array_equal(image, restored)
        # Without shapes: whole blocks.
        assert [d.shape[1:] for d in fit.decode(grids)] == [
            (32, 32),
            (24, 28),
            (12, 12),
        ]

    def test_entries_that_are_one_image(self, fit_3d, volumes):
        codes = fit_3d.encode(volumes)
        assert [c.shape for c in codes] == [(3, 7, 2), (2, 4, 2), (3, 4, 3)]
        restored = fit_3d.predict(volumes)
        for volume, one, image in zip(volumes, codes, restored):
            assert image.shape == volume.shape
            npt.assert_array_equal(fit_3d.encode(volume[np.newaxis])[0], one)
        decoded = fit_3d.decode(codes, image_shape=SHAPES_3D)
        for image, other in zip(decoded, restored):
            npt.assert_array_equal(image, other)

    def test_model_files(self, fit, stacks, tmp_path):
        fit.save(tmp_path / "x.safetensors")
        loaded = VQVAEFit.load(tmp_path / "x.safetensors")
        assert loaded.config == fit.config and loaded.config.mixed_shapes
        assert fit.image_shape == (30, 30)
        for a, b in zip(loaded.encode(stacks), fit.encode(stacks)):
            npt.assert_array_equal(a, b)
        assert loaded.description["training_images"]["subjects"] == 3


@pytest.fixture(scope="module", params=[2, 3])
def data(request):
    dims = request.param
    shapes = SHAPES_2D if dims == 2 else SHAPES_3D
    n = 6 if dims == 2 else 1
    data = [blobs(n, shape, seed) for seed, shape in enumerate(shapes)]
    return data, {"spatial_dims": dims, "scaling": "volume"}


class TestScalingOfVolumes:
    """Each volume has an intensity scaling of its own."""

    def test_units_do_not_matter(self, data):
        data, model = data
        # In units of any scale and offset.
        units = [(1e-3, 5.0), (1e5, 0.0), (2.0, -700.0)]
        others = [
            scale * d.astype(float) + offset for d, (scale, offset) in zip(data, units)
        ]
        a, b = fit_to(data, model=model), fit_to(others, model=model)
        for name, array in weights(a).items():
            npt.assert_allclose(
                weights(b)[name], array, rtol=1e-3, atol=1e-4, err_msg=name
            )
        restored = a.predict(data)
        in_units = a.predict(others)
        for one, other, (scale, offset) in zip(restored, in_units, units):
            npt.assert_allclose(
                (other - offset) / scale, one, rtol=1e-3, atol=1 if scale < 1 else 0.1
            )

    def test_encode_then_decode_is_predict(self, data):
        data, model = data
        fit = fit_to(data, model=model, n_epochs=1)
        shapes = [d.shape[1:] for d in data]
        decoded = fit.decode(
            fit.encode(data), image_shape=shapes, scaling=fit.scaling_of(data)
        )
        for a, b, one in zip(decoded, fit.predict(data), data):
            npt.assert_array_equal(a, b)
            scaling = fit.scaling_of(one)
            low, high = np.percentile(one, (0.5, 99.5))
            npt.assert_allclose((scaling.offset, scaling.scale), (low, high - low))
        # Without units: about 0 to 1.
        assert np.abs(fit.decode(fit.encode(data[0]))).max() < 10

    def test_constant_volumes(self, data, tmp_path):
        data, model = data
        flat = [*data, np.full_like(data[1], 5)]
        for scaling in ("volume", "range"):
            with pytest.raises(ValueError, match=r"images\[3\]: is constant \(all 5.0"):
                fit_to(flat, model={**model, "scaling": scaling})
        fit = fit_to(data, model=model, n_epochs=1)
        with pytest.raises(ValueError, match=r"images\[3\]: is constant"):
            fit.encode(flat)

    def test_kept_in_the_model_file(self, data, tmp_path):
        data, model = data
        fit = fit_to(data, model=model, n_epochs=1)
        fit.save(tmp_path / "x.safetensors")
        loaded = VQVAEFit.load(tmp_path / "x.safetensors")
        for a, b in zip(loaded.predict(data), fit.predict(data)):
            npt.assert_array_equal(a, b)


def test_positions_inside(fit):
    mask = np.zeros((9, 10))
    mask[0, 0] = mask[8, 9] = 3
    inside = fit.positions_inside(mask)
    npt.assert_array_equal(inside, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    npt.assert_array_equal(fit.positions_inside(mask[None]), inside[None])
    with pytest.raises(ValueError, match="2 axes, or one more"):
        fit.positions_inside(mask[0])
