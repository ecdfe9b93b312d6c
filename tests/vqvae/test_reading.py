"""A fit reads other files as its training images were read."""

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv

# The third axis is left to right, as that of many whole-head scans.
AFFINE = np.array([[0, 0, 2.0, 0], [-2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])


def heads(n=2, shape=(12, 9, 8)):
    return [nib.Nifti1Image(volume, AFFINE) for volume in blobs(n, shape)]


@pytest.mark.parametrize("is_saved", [False, True])
def test_slices_of_a_plane_stay_those_of_the_plane(tmp_path, is_saved):
    images = heads()
    paths = [tmp_path / f"{i}.nii.gz" for i in range(2)]
    for path, image in zip(paths, images):
        nib.save(image, path)
    opened = dv.open_images(paths, slice_axis="axial")
    fit = fit_to(opened, n_epochs=1)
    if is_saved:
        fit.save(tmp_path / "fit.safetensors")
        fit = dv.load(tmp_path / "fit.safetensors")
    assert fit.reading.slice_axis == "axial" and fit.reading.orientation == "RAS"
    codes = fit.encode(opened)
    # 9 axial slices of 8 (left to right) by 12 voxels.
    assert codes[0].shape == (9, 2, 3)
    for other in (paths, images, [str(path) for path in paths]):
        for a, b in zip(fit.encode(other), codes):
            npt.assert_array_equal(a, b)
    restored = fit.predict(images[0])
    assert restored.shape == images[0].shape
    expected = opened.put_back(0, fit.predict(opened)[0])
    npt.assert_array_equal(restored, expected)


def test_held_out_files_are_opened_as_the_training_images(tmp_path):
    images = heads(3)
    held_out = tmp_path / "held_out.nii.gz"
    nib.save(images[2], held_out)
    opened = dv.open_images(images[:2], slice_axis="axial")
    losses = [
        fit_to(opened, validation_images=validation, n_epochs=1).history[
            "validation_loss"
        ]
        for validation in (held_out, dv.open_images(held_out, slice_axis="axial"))
    ]
    assert losses[0] == losses[1]


def test_fits_of_arrays_take_the_third_axis():
    fit = fit_to(blobs(8, (12, 9)), n_epochs=1)
    assert fit.layout == {"slice_axis": 2, "volumes_as": "images"}
    assert fit.encode(heads()[0]).shape == (8, 3, 3)


def test_masks_of_loaded_images_may_be_arrays():
    images = heads()
    masks = [np.asarray(image.dataobj) > 20 for image in images]
    loaded = [nib.Nifti1Image(np.uint8(mask), AFFINE) for mask in masks]
    fit = fit_to(images, mask=masks, n_epochs=1)
    assert (
        fit.history["loss"] == fit_to(images, mask=loaded, n_epochs=1).history["loss"]
    )
    restored = fit.predict(images[0], mask=masks[0])
    npt.assert_array_equal(restored[~masks[0]], 0)
    npt.assert_array_equal(restored, fit.predict(images[0], mask=loaded[0]))
    with pytest.raises(ValueError, match="list of 2 masks"):
        fit.predict(images, mask=masks[0])
    with pytest.raises(ValueError, match="shape"):
        fit.predict(images[0], mask=masks[0][1:])


def test_the_report_of_a_prior_takes_files_and_not_codes(tmp_path):
    images = heads()
    path = tmp_path / "0.nii.gz"
    nib.save(images[0], path)
    opened = dv.open_images(path, slice_axis="axial")
    fit = fit_to(opened, n_epochs=1)
    codes = fit.encode(opened)
    prior = dv.PixelCNNModel(8, n_channels=4, n_layers=1).fit(codes, n_epochs=1)
    masks = [np.asarray(image.dataobj) > 20 for image in images]
    htmls = [prior.report(i, fit).html for i in (opened, path, images[:1])]
    assert htmls[0] == htmls[1] == htmls[2]
    # The masks arrive.
    with pytest.raises(ValueError, match="trained without one"):
        prior.report(images[:1], fit, mask=masks[:1])
    with pytest.raises(TypeError, match="images: got codes"):
        prior.report(codes, fit)
