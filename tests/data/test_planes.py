"""Slices of a plane are alike, however the files are stored, and come back as stored."""

import itertools

import nibabel as nib
from nibabel.orientations import apply_orientation, inv_ornt_aff
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import load_images, open_images
from dipy_vqvae.codes import CodedImages, load_codes, save_codes
from dipy_vqvae.data import Layout, Turn, layout_of, plane_of

# All ways to store a volume: six orders of its axes, and each of them in two directions.
STORED = [
    np.column_stack([order, flips])
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
AFFINE = np.array([[2, 0, 0, -9], [0, 3, 0, 4], [0, 0, 5, 1], [0, 0, 0, 1.0]])
VOLUME = np.arange(7 * 6 * 5).reshape(7, 6, 5).astype(np.int16)
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


def store(path, ornt, volume=VOLUME):
    """Write a volume, right, anterior and up, with its axes in another order."""
    data = apply_orientation(volume, ornt)
    affine = AFFINE @ inv_ornt_aff(ornt, volume.shape)
    nib.save(nib.Nifti1Image(data, affine), path)
    return data, affine


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_all_ways_to_store_a_volume(tmp_path, plane, name):
    expected = np.moveaxis(VOLUME, PLANES[plane], 0)
    for ornt in STORED:
        data, affine = store(tmp_path / name, ornt)
        images = open_images(tmp_path / name, slice_axis=plane)
        npt.assert_array_equal(images.read(0), expected)
        npt.assert_array_equal(images.rows(0, [3, 1])[..., 0], expected[[3, 1]])
        npt.assert_array_equal(images.put_back(0, images.read(0)), data)
        assert images.shapes == (expected.shape[1:],)
        assert plane_of(affine, images.files[0].slice_axis) == plane
        layout = layout_of(images.files[0], spatial_dims=2)
        npt.assert_array_equal(layout.to_stack(data), expected)
        npt.assert_array_equal(layout.to_volume(expected), data)


@pytest.mark.parametrize("volumes_as", ["images", "channels"])
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_series(tmp_path, volumes_as, name):
    series = np.stack([VOLUME, VOLUME + 1000], axis=-1)
    for ornt in STORED[5::7]:
        data, _ = store(tmp_path / name, ornt, series)
        loaded = load_images(
            tmp_path / name, slice_axis="coronal", volumes_as=volumes_as
        )
        slices = np.moveaxis(series, 1, 0)  # (Y, X, Z, V)
        if volumes_as == "images":
            slices = np.moveaxis(slices, 3, 0).reshape(-1, 7, 5)
        npt.assert_array_equal(loaded.images, slices)
        ((_, back),) = loaded.sources.put_back(loaded.images)
        npt.assert_array_equal(back, data)


def test_masks_are_turned_with_their_images(tmp_path):
    mask = (VOLUME % 4 == 0).astype(np.uint8)
    for ornt in STORED[3::5]:
        store(tmp_path / "x.nii.gz", ornt)
        store(tmp_path / "m.nii.gz", ornt, mask)
        images = open_images(
            tmp_path / "x.nii.gz", slice_axis="axial", mask_files=tmp_path / "m.nii.gz"
        )
        npt.assert_array_equal(images.read_mask(0), np.moveaxis(mask > 0, 2, 0))
        npt.assert_array_equal(images.read(0), np.moveaxis(VOLUME * mask, 2, 0))


def test_an_oblique_affine_has_the_nearest_plane(tmp_path):
    tilt = nib.eulerangles.euler2mat(0.3, 0.2, -0.25)
    affine = AFFINE.copy()
    affine[:3, :3] = tilt @ affine[:3, :3]
    nib.save(nib.Nifti1Image(VOLUME, affine), tmp_path / "x.nii")
    images = open_images(tmp_path / "x.nii", slice_axis="axial")
    npt.assert_array_equal(images.read(0), np.moveaxis(VOLUME, 2, 0))


def test_files_of_several_orders_are_one_collection(tmp_path, caplog):
    for i, ornt in enumerate(STORED[:6]):
        store(tmp_path / f"{i}.nii.gz", ornt)
    images = load_images(tmp_path, slice_axis="axial").images
    npt.assert_array_equal(images, np.tile(np.moveaxis(VOLUME, 2, 0), (6, 1, 1)))
    assert "orientation" not in caplog.text
    open_images(tmp_path, slice_axis=2)
    assert "slice_axis axial, coronal or sagittal" in caplog.text


def test_a_header_without_an_affine_is_a_guess(tmp_path, caplog):
    image = nib.Nifti1Image(VOLUME, None)
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    nib.save(image, tmp_path / "x.nii")
    open_images(tmp_path / "x.nii", slice_axis="axial")
    assert "is a guess" in caplog.text


@pytest.mark.parametrize("slice_axis", ["oblique", 3, "2", None])
def test_other_planes_are_refused(tmp_path, slice_axis):
    with pytest.raises(ValueError, match="'axial', 'coronal', 'sagittal'"):
        open_images(tmp_path, slice_axis=slice_axis)


@pytest.mark.parametrize("plane", PLANES)
def test_codes_lie_on_their_blocks(tmp_path, plane):
    """A code's world coordinates are the mean of its block's, beyond the edge as well."""
    factors = np.ones(3)
    factors[[axis for axis in range(3) if axis != PLANES[plane]]] = (2, 4)
    # In the volume as it is stored first: code j is centred on f j + (f - 1) / 2.
    to_voxel = np.diag([*factors, 1])
    to_voxel[:3, 3] = (factors - 1) / 2
    grid = [int(-(-n // f)) for n, f in zip(VOLUME.shape, factors)]
    codes = np.arange(np.prod(grid)).reshape(grid)
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(AFFINE @ to_voxel, index)
    stack = np.moveaxis(codes, PLANES[plane], 0)
    for ornt in STORED:
        _, affine = store(tmp_path / "x.nii.gz", ornt)
        (file,) = open_images(tmp_path / "x.nii.gz", slice_axis=plane).files
        coded = CodedImages(
            codes=stack,
            layout=layout_of(file, spatial_dims=2),
            image_shape=file.image_shape,
            downsampling=(2, 4),
            n_codes=1000,
            model="m",
            scalings=(),
            affine=affine,
            space=file.space,
        )
        stored = coded.layout.to_volume(stack)
        at = np.stack(np.unravel_index(np.argsort(stored.ravel()), stored.shape), -1)
        found = nib.affines.apply_affine(coded.affine_of_codes, at)
        npt.assert_allclose(found, world.reshape(-1, 3), atol=1e-9)


def test_layouts_of_codes_files(tmp_path):
    from dipy_vqvae.data import IntensityScaling

    layout = Layout(2, slice_axis=0, turn=Turn((2, 0, 1), (False, True, False)))
    coded = CodedImages(
        codes=np.arange(12).reshape(3, 2, 2),
        layout=layout,
        image_shape=(4, 3),
        downsampling=(2, 2),
        n_codes=12,
        model="m",
        scalings=(IntensityScaling(),),
        affine=AFFINE,
    )
    save_codes(tmp_path / "codes.nii.gz", coded)
    loaded = load_codes(tmp_path / "codes.nii.gz")
    assert loaded.layout == layout
    npt.assert_array_equal(loaded.codes, coded.codes)
