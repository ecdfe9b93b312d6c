"""The scaling that images get if none is asked for."""

import logging

import nibabel as nib
import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.vqvae import survey_images


def volumes(factors, shape=(8, 8, 10)):
    return [
        factor * volume.astype(np.float32)
        for factor, volume in zip(factors, blobs(len(factors), shape))
    ]


def files_of(folder, factors, shape=(8, 8, 10)):
    for i, volume in enumerate(volumes(factors, shape)):
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / f"{i}.nii.gz")
    return str(folder / "*.nii.gz")


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(
    ("factors", "method"), [((1, 1.3, 1.1), "range"), ((1, 1, 40), "volume")]
)
def test_it_follows_from_the_ranges_of_volumes(tmp_path, spatial_dims, factors, method):
    pattern = files_of(tmp_path, factors)
    images = dv.open_images(pattern, spatial_dims=spatial_dims)
    fit = fit_to(images, model={"spatial_dims": spatial_dims}, n_epochs=1)
    assert fit.config.scaling.method == method
    # As if it had been asked for.
    asked = {"spatial_dims": spatial_dims, "scaling": method}
    same = fit_to(images, model=asked, n_epochs=1)
    codes = zip(fit.encode(images), same.encode(images))
    assert all((a == b).all() for a, b in codes)


def test_a_list_has_subjects_and_an_array_has_one():
    different = volumes((1, 50))
    fit = fit_to(different, model={"spatial_dims": 3}, n_epochs=1)
    assert fit.config.scaling.method == "volume"
    # Volumes of one acquisition have one unit, such as those of a diffusion series.
    fit = fit_to(np.stack(different), model={"spatial_dims": 3}, n_epochs=1)
    assert fit.config.scaling.method == "range"


def test_only_voxels_inside_count():
    images = volumes((1, 1, 1))
    masks = [np.ones(image.shape, bool) for image in images]
    images[1][0, 0, 0], masks[1][0, 0, 0] = 1e6, False
    fit = fit_to(images, mask=masks, model={"spatial_dims": 3}, n_epochs=1)
    assert fit.config.scaling.method == "range"


def test_an_array_may_have_constant_volumes():
    images = np.stack([*volumes((1, 1, 50)), np.zeros((8, 8, 10))])
    fit = fit_to(images, model={"spatial_dims": 3}, n_epochs=1)
    assert fit.config.scaling.method == "range"


@pytest.mark.parametrize("n", [50, 3000])
def test_equal_contrasts_are_equal_however_many(n):
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(4, 4, 4)).astype(np.float32) for _ in range(n)]
    data = survey_images(images, None, spatial_dims=3, method=None)
    assert data.survey.scaling.method == "range"
    images[: n // 5] = [30 * image for image in images[: n // 5]]
    data = survey_images(images, None, spatial_dims=3, method=None)
    assert data.survey.scaling.method == "volume"


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_images_of_any_type(spatial_dims):
    images = [image > 60 for image in blobs(3, (8, 8, 10))]
    if spatial_dims == 2:
        images = [np.moveaxis(image, 2, 0) for image in images]
    data = survey_images(images, None, spatial_dims=spatial_dims, method=None)
    assert data.survey.scaling.method == "range"


def test_single_slices_have_one_scaling(tmp_path):
    # A dark slice is dark, whatever the others are.
    images = dv.open_images(files_of(tmp_path, (1, 50), (8, 8, 3)))
    assert fit_to(images, n_epochs=1).config.scaling.method == "range"
    dark_and_bright = np.stack([*blobs(8, (8, 8)), *(blobs(8, (8, 8)) // 20)])
    assert fit_to(dark_and_bright, n_epochs=1).config.scaling.method == "range"


def test_it_is_logged_and_held_out_volumes_have_it_too(tmp_path, caplog):
    images = dv.open_images(files_of(tmp_path, (1, 1, 40)), spatial_dims=3)
    with caplog.at_level(logging.INFO, "dipy_vqvae"):
        fit = fit_to(
            images, model={"spatial_dims": 3}, n_epochs=1, validation_images=images
        )
    assert "contrasts of the subjects differ" in caplog.text
    assert fit.history["validation_loss"][-1] < 5


def test_one_scaling_is_logged_as_well(tmp_path, caplog):
    images = dv.open_images(files_of(tmp_path, (1, 1.3, 1.1)), spatial_dims=3)
    with caplog.at_level(logging.INFO, "dipy_vqvae"):
        fit_to(images, model={"spatial_dims": 3}, n_epochs=1, validation_images=images)
    assert "One scaling for all images, by their range" in caplog.text
    assert caplog.messages.count(
        "Reading all images once, for their range and variance"
    ) == caplog.text.count("Reading all held-out images once")


def test_images_outside_of_their_masks_are_counted(caplog):
    images, masks = blobs(4, (8, 8, 10)), np.ones((4, 8, 8, 10), bool)
    masks[1:3] = False
    with caplog.at_level(logging.INFO, "dipy_vqvae"):
        fit_to(images, mask=masks, model={"spatial_dims": 3}, n_epochs=1)
    assert "2 of 4 images are left out" in caplog.text
    assert "1 epoch of 2 items" in caplog.text
