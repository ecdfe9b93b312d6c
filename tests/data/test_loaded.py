"""Images of nibabel, MGH and Analyze files, and arrays that look like volumes."""

import gzip

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import open_images
from dipy_vqvae.data import as_subjects, read_image

AFFINE = np.array([[0, 0, 2, -5], [-3, 0, 0, 6], [0, 4, 0, 7], [0, 0, 0, 1.0]])
DATA = np.arange(7 * 6 * 5).reshape(7, 6, 5).astype(np.int16)


def image(data=DATA):
    return nib.Nifti1Image(data, AFFINE)


def test_an_image_of_nibabel_is_read_as_its_file(tmp_path):
    nib.save(image(), tmp_path / "x.nii.gz")
    mask = nib.Nifti1Image((DATA % 2).astype(np.uint8), AFFINE)
    nib.save(mask, tmp_path / "m.nii.gz")
    for options in (
        {},
        {"slice_axis": 0},
        {"slice_axis": "axial"},
        {"spatial_dims": 3},
    ):
        for masks in ((None, None), (mask, tmp_path / "m.nii.gz")):
            ours = open_images(image(), mask_files=masks[0], **options)
            file = open_images(tmp_path / "x.nii.gz", mask_files=masks[1], **options)
            npt.assert_array_equal(ours.read(0), file.read(0))
            npt.assert_array_equal(ours.read_mask(0), file.read_mask(0))
            npt.assert_array_equal(
                ours.put_back(0, ours.read(0)), file.put_back(0, file.read(0))
            )
    loaded = nib.load(tmp_path / "x.nii.gz")
    ours = open_images([loaded, image(DATA[:4])])
    assert str(tmp_path / "x.nii.gz") == ours.name(0) and ours.name(1) == "image[1]"
    assert ours.shapes == ((7, 6), (4, 6))
    npt.assert_array_equal(ours.files[0].affine, AFFINE)
    assert ours.files[0].space["sform_code"]


def test_two_images_without_names_are_two():
    images = open_images([image(DATA), image(DATA + 1)])
    npt.assert_array_equal(images.read(1), images.read(0) + 1)
    masks = [image((DATA > 9).astype(np.uint8)), image((DATA > 99).astype(np.uint8))]
    masked = open_images([image(), image()], mask_files=masks)
    assert masked.read_mask(0).sum() == 200 and masked.read_mask(1).sum() == 110


def test_scaled_integers(tmp_path):
    scaled = image()
    scaled.header.set_slope_inter(0.5, 3)
    nib.save(scaled, tmp_path / "x.nii")
    loaded = open_images(nib.load(tmp_path / "x.nii"))
    assert loaded.files[0].dtype == np.float64 and loaded.files[0].stored_bits == 16
    npt.assert_array_equal(loaded.read(0), open_images(tmp_path / "x.nii").read(0))
    assert open_images(tmp_path / "x.nii").files[0].stored_bits == 16


def test_subjects_of_a_model(tmp_path):
    nib.save(image(), tmp_path / "x.nii.gz")
    stack = np.moveaxis(DATA, 2, 0)
    path = tmp_path / "x.nii.gz"
    for images in (image(), [image(), image()], path, str(path), [path]):
        subjects = as_subjects(images, None, spatial_dims=2)
        npt.assert_array_equal(subjects.rows(0, slice(None))[..., 0], stack)
    results = [stack[..., np.newaxis]]
    one = as_subjects(image(), None, spatial_dims=2)
    npt.assert_array_equal(one.give_back(results, are_images=True), DATA)
    assert one.give_back(results).shape == (5, 7, 6, 1)
    some = as_subjects([image()], None, spatial_dims=2)
    npt.assert_array_equal(some.give_back(results, are_images=True)[0], DATA)
    files = as_subjects([path], None, spatial_dims=2)
    npt.assert_array_equal(files.give_back(results, are_images=True)[0], stack)
    mask = image((DATA > 9).astype(np.uint8))
    masked = as_subjects(image(), mask, spatial_dims=2)
    assert masked.mask_rows(0, slice(None)).sum() == 200
    with pytest.raises(TypeError, match="so must masks be, got ndarray"):
        as_subjects(path, DATA > 9, spatial_dims=2)
    with pytest.raises(ValueError, match=r"mask of shape \(7, 6\) does not go with"):
        as_subjects(image(), np.ones((7, 6), bool), spatial_dims=2)
    with pytest.raises(ValueError, match="2 masks for 3 images"):
        open_images([image()] * 3, mask_files=[mask] * 2)


def test_bad_images():
    with pytest.raises(ValueError, match=r"image\[0\].*complex"):
        open_images(nib.Nifti1Image(DATA.astype(np.complex64), AFFINE))
    with pytest.raises(ValueError, match="NaN or Inf"):
        open_images(image(np.full((3, 3, 3), np.nan, np.float32))).read(0)
    singular = nib.Nifti1Image(DATA, np.diag([1, 1, 1, 1.0]))
    singular.affine[0, 0] = 0
    with pytest.raises(ValueError, match="affine"):
        open_images(singular)


@pytest.mark.parametrize("name", ["x.mgz", "x.mgh", "x.img"])
def test_other_formats(tmp_path, name):
    kind = nib.MGHImage if "mg" in name else nib.AnalyzeImage
    affine = np.diag([2.0, 3, 4, 1])
    stored = kind(DATA.astype(np.float32 if "mg" in name else np.int16), affine)
    nib.save(stored, tmp_path / name)
    read = read_image(tmp_path / name)
    npt.assert_array_equal(read.data, DATA)
    npt.assert_array_equal(read.affine, nib.load(tmp_path / name).affine)
    # A folder with x.hdr and x.img has one image.
    images = open_images(tmp_path, slice_axis="coronal")
    assert len(images.files) == 1 and images.shapes == ((7, 5),)
    npt.assert_array_equal(images.put_back(0, images.read(0)), DATA)


@pytest.mark.parametrize("name", ["x.mgz", "x.img"])
def test_damaged_files(tmp_path, name):
    kind = nib.MGHImage if "mg" in name else nib.AnalyzeImage
    nib.save(kind(DATA, np.eye(4)), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"nonsense" * 20):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises((ValueError, OSError), match=name):
            read_image(tmp_path / name)
    if name == "x.mgz":  # a header that asks for more than there can be
        header = bytearray(gzip.decompress(content))
        header[4:16] = np.array([30000, 30000, 30000], ">i4").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(bytes(header)))
        with pytest.raises(ValueError, match=r"x\.mgz: .*too short"):
            read_image(tmp_path / name)


def test_arrays_that_look_like_volumes(caplog):
    loaded = np.asfortranarray(DATA)  # as nibabel reads them
    as_subjects(loaded, None, spatial_dims=2)
    assert "taken for 7 images of 6 x 5" in caplog.text
    assert "numpy.moveaxis(data, 2, 0)" in caplog.text
    series = np.asfortranarray(np.zeros((7, 6, 5, 3)))
    for images, spatial_dims in (([loaded], 2), (series, 3), (series, 2)):
        caplog.clear()
        as_subjects(images, None, spatial_dims=spatial_dims)
        assert "taken for 7 images" in caplog.text
    caplog.clear()
    for images, spatial_dims in (
        (np.moveaxis(loaded, 2, 0), 2),
        (DATA, 2),
        ([loaded], 3),
        (loaded[np.newaxis], 3),
        (np.moveaxis(series, 3, 0), 3),
        ([loaded[..., 0]], 2),
    ):
        as_subjects(images, None, spatial_dims=spatial_dims)
    assert not caplog.text
