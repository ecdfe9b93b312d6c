"""Values that a training cannot use, or hardly: the message names the data."""

import logging

import nibabel as nib
import numpy as np
import pytest
from toy_vqvae import blobs, fit_to

from dipy_vqvae import open_images
from dipy_vqvae.data import survey_subjects
from dipy_vqvae.data.subjects import as_subjects
from dipy_vqvae.training import TrainingDiverged

IMAGES = blobs(24, (16, 16)).astype(np.float64) + 1


def files(folder, images):
    """Images as files, six slices in each."""
    for i, stack in enumerate(images.reshape(-1, 6, 16, 16)):
        volume = np.moveaxis(stack, 0, 2)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / f"{i}.nii")
    return open_images(folder)


def with_voxel(value, dtype=np.float64):
    images = IMAGES.astype(dtype)
    images[13, 3, 3] = value
    return images


@pytest.mark.parametrize("value", [1e30, -1e30, 1e6, -3e5])
def test_one_voxel_is_warned_of_by_file_and_value(tmp_path, caplog, value):
    caplog.set_level(logging.WARNING)
    survey = survey_subjects(
        files(tmp_path, with_voxel(value)), method="range", spatial_dims=2
    )
    (record,) = caplog.records
    assert f"2.nii: has the value {value:.4g}, while 99 % of all" in record.getMessage()
    assert survey.remark in record.getMessage()


@pytest.mark.parametrize("scaling", ["percentile", "volume", "none"])
def test_what_the_network_cannot_compute_is_refused(tmp_path, scaling):
    options = {"model": {"scaling": scaling}, "n_epochs": 1}
    with pytest.raises(ValueError, match=r"2\.nii: has the value -1e\+30, while"):
        fit_to(files(tmp_path, with_voxel(-1e30)), **options)
    fit = fit_to(with_voxel(300), **options)
    with pytest.raises(ValueError, match=r"images\[1\]: has values .* times the range"):
        fit.predict([IMAGES[:2], with_voxel(1e32)])
    inside = np.ones(IMAGES.shape, bool)
    inside[13, 3, 3] = False
    assert np.isfinite(fit.predict(with_voxel(1e32), mask=inside)).all()


def test_a_training_that_fails_speaks_of_the_data(tmp_path, caplog):
    opened = files(tmp_path, with_voxel(1e9))
    # A learning rate that nothing survives.
    with pytest.raises(TrainingDiverged, match=r"2\.nii: has the value 1e\+09"):
        fit_to(opened, learning_rate=1e30, n_epochs=9)
    with pytest.raises(TrainingDiverged, match="Try a lower learning rate"):
        fit_to(IMAGES, learning_rate=1e30, n_epochs=9)


@pytest.mark.parametrize("factor", [1e-200, 1e-40, -1e-300])
def test_too_small_a_contrast(tmp_path, factor):
    with pytest.raises(ValueError, match=r"0\.nii.*multiply them by a power of ten"):
        fit_to(files(tmp_path, IMAGES * factor))


@pytest.mark.parametrize(
    "images", [IMAGES + 1e9, IMAGES.astype(np.int64) + 2**40, 1 + 1e-9 * IMAGES]
)
def test_a_contrast_that_gets_lost_in_single_precision(caplog, images):
    caplog.set_level(logging.WARNING)
    fit = fit_to(images, n_epochs=1)
    assert "subtract a constant first" in caplog.text
    # The warning is true: reconstructions have few values.
    assert len(np.unique(fit.predict(images))) < 300


ORDINARY = {
    "bytes": IMAGES.astype(np.uint8),
    "CT": IMAGES * 8 - 1024,
    "wide": IMAGES**2,
    "small": IMAGES * 1e-20,
    "half precision": IMAGES.astype(np.float16),
    "mostly empty": np.where(np.arange(24)[:, None, None] % 8, 0, IMAGES),
    "one column of noise": np.where(np.arange(16) == 0, 1e-9 * IMAGES, 40 * IMAGES),
    "two values": (IMAGES > 99).astype(float),
    "large whole numbers": IMAGES + 600_000,
}


@pytest.mark.parametrize("images", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("method", ["range", "percentile", "volume", "none"])
def test_nothing_is_said_of_ordinary_images(caplog, images, method):
    if method == "none" and images.max() < 1e-15:
        pytest.skip("refused, see below")
    caplog.set_level(logging.WARNING)
    subjects = as_subjects(images, None, spatial_dims=2)
    survey = survey_subjects(subjects, method=method, spatial_dims=2)
    assert survey.remark is None
    messages = [r.getMessage() for r in caplog.records]
    assert not [text for text in messages if "percentiles are both" not in text]


@pytest.mark.parametrize("method", ["none", "volume"])
def test_each_volume_is_looked_at(method):
    """With a scaling of its own, or values as they are."""
    volume = IMAGES[:16].reshape(1, 16, 16, 16)
    both = np.concatenate([volume, volume * (1e-200 if method == "volume" else 1)])
    model = {"spatial_dims": 3, "scaling": method}
    match = "images, volume 1: all values lie between 1e-200 and"
    if method == "none":
        both, match = both * 1e-20, "the network cannot compute with them as they are"
    with pytest.raises(ValueError, match=match):
        fit_to(both, model=model, n_epochs=1)
    fit = fit_to(volume, model=model, n_epochs=1)
    if method == "volume":
        with pytest.raises(ValueError, match="multiply them by a power of ten"):
            fit.predict(volume * 1e-200)


def test_the_volume_with_the_odd_value_is_named():
    volume = IMAGES[:16].reshape(1, 16, 16, 16)
    other = np.where(np.arange(4096).reshape(volume.shape) == 5, 1e19, volume)
    model = {"spatial_dims": 3, "scaling": "volume"}
    with pytest.raises(ValueError, match=r"images\[1\]: has the value 1e\+19"):
        fit_to([volume * 1e20, other], model=model, n_epochs=1)


def test_numbers_beyond_double_precision():
    images = (IMAGES / 300).astype(np.longdouble) * np.finfo(np.longdouble).max
    with pytest.raises(ValueError, match="single precision ends at"):
        fit_to(images)


def test_the_variance_does_not_overflow():
    """In half precision the squares would: NumPy 1 kept the type of an array."""
    images = (IMAGES * 200).astype(np.float16)
    survey = survey_subjects(
        as_subjects(images, None, spatial_dims=2), method="none", spatial_dims=2
    )
    np.testing.assert_allclose(survey.variance, images.astype(float).var(), rtol=1e-12)
