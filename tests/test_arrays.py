"""What counts as an array, alone or in a list, and what of it must not be lost."""

import logging

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
import torch
from toy_vqvae import assert_same_fit, blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae import metrics
from dipy_vqvae.arrays import as_array, is_array

IMAGES = blobs(10, (12, 9))


class Dataset:
    """An array of another library: it has nothing but the protocol."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


ARRAYS = {
    "another library": Dataset,
    "torch": torch.from_numpy,
    "torch with a graph": lambda a: torch.from_numpy(a.astype("f4")).requires_grad_(),
    "bfloat16": lambda a: torch.from_numpy(a).bfloat16(),
    "memory map": lambda a: np.asarray(a).view(np.memmap),
    "nothing is masked": np.ma.masked_array,
}


@pytest.fixture(scope="module")
def fit():
    return fit_to([IMAGES[:4], IMAGES[4:]])


@pytest.fixture(scope="module")
def prior(fit):
    codes = fit.encode(IMAGES)
    model = dv.PixelCNNModel(n_codes=8, n_channels=8, n_layers=1)
    return model.fit(codes, mask=np.ones(codes.shape[1:], bool), n_epochs=1)


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_all_arrays_are_arrays(fit, make):
    given = make(IMAGES)
    expected = np.asarray(as_array(given, "images"), np.float64)
    npt.assert_array_equal(fit.encode(given), fit.encode(expected))
    # A list is one of subjects, whatever its arrays are; images of other sizes too.
    other = make(np.ascontiguousarray(IMAGES[:3, :8]))
    trained = fit_to([given, other], n_epochs=1)
    assert trained.config.mixed_shapes and trained.n_channels_in == 1
    assert trained.description["training_images"]["number"] == 13
    npt.assert_array_equal(fit.encode([given, other])[0], fit.encode(expected))
    mask = np.zeros((12, 9), np.uint8)
    mask[2:9] = 1
    found = fit.predict([given], mask=[make(mask) if make is not Dataset else mask])
    npt.assert_array_equal(found[0][:, mask == 0], 0)


@pytest.mark.parametrize("make", [torch.from_numpy, Dataset], ids=["torch", "other"])
def test_codes_of_all_kinds(fit, prior, make):
    codes = fit.encode(IMAGES)
    mask = np.ones(codes.shape[1:], bool)
    mask[0] = False
    npt.assert_array_equal(fit.decode(make(codes)), fit.decode(codes))
    lists = [make(codes[:4]), make(codes[4:])]
    npt.assert_array_equal(np.concatenate(fit.decode(lists)), fit.decode(codes))
    expected = prior.log_prob(codes, mask=mask)
    npt.assert_array_equal(prior.log_prob(make(codes), mask=make(mask)), expected)
    found = prior.log_prob(lists, mask=[make(mask)] * 2)
    npt.assert_array_equal(found, expected)
    sample = prior.sample(2, codes=make(codes[:2]), keep=make(mask), random_seed=3)
    npt.assert_array_equal(sample[:, mask], codes[:2, mask])


def test_a_subject_may_be_a_list_of_its_slices(fit):
    lists = [[torch.from_numpy(a) for a in part] for part in (IMAGES[:4], IMAGES[4:])]
    expected = fit_to([IMAGES[:4], IMAGES[4:]], n_epochs=1)
    found = fit_to(lists, n_epochs=1)
    assert found.history == expected.history
    images = "training_images"
    assert found.description[images] == expected.description[images]
    assert [c.shape for c in fit.encode(lists)] == [(4, 3, 3), (6, 3, 3)]
    with pytest.raises(ValueError, match="are masked"):
        fit_to([[np.ma.masked_equal(a, a.max()) for a in IMAGES[:4]], IMAGES[4:]])


def test_masks_in_metrics_are_masks():
    mask = np.zeros((12, 9), np.uint8)
    mask[2:9, 3:7] = 2
    restored = IMAGES + 1.0
    restored[:, 0, 0] = 1e300
    kinds = [mask, mask > 0, mask.astype(float), np.stack([mask] * 10)]
    found = [
        metrics.reconstruction_errors(IMAGES, restored, spatial_dims=2, mask=m)
        for m in kinds
    ]
    assert found[0]["mse"] == 1 and all(f == found[0] for f in found)
    inside = IMAGES[:, mask > 0]
    assert found[0]["data_range"] == float(inside.max()) - float(inside.min())
    bad = np.where(mask, 1, np.nan)
    for call in (
        lambda: metrics.psnr(IMAGES, restored, data_range=1, mask=bad),
        lambda: metrics.ssim(IMAGES, restored, data_range=1, mask=bad),
        lambda: metrics.code_usage(np.zeros((12, 9), int), 8, mask=bad),
        lambda: fit_to(IMAGES, mask=bad),
    ):
        with pytest.raises(ValueError, match="has 80 NaN"):
            call()


def test_similarity_far_from_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 32, 32))
    y = x + 0.3 * rng.normal(size=x.shape)
    mask = rng.random((32, 32)) > 0.3
    for where in (None, mask):
        options = {"data_range": 6.0, "mask": where}
        for offset in (1e8, -1e9):
            # The variances are those of x; the means are as good as equal.
            far = metrics.ssim(x + offset, y + offset, **options)
            assert ((far > 0.2) & (far < 1)).all()
            shifted = metrics.ssim(x + 1e4, y + 1e4, **options)
            npt.assert_allclose(far, shifted, atol=1e-2)


def test_one_mask_is_also_that_of_held_out_lists():
    mask = np.zeros((12, 9), bool)
    mask[2:9, 3:7] = True
    other = np.where(mask, IMAGES[:3], 255)
    expected = fit_to(IMAGES, mask=mask, validation_images=other).history
    found = fit_to(IMAGES, mask=mask, validation_images=[other]).history
    assert found["validation_mse"] == expected["validation_mse"]


def test_a_number_is_not_an_array():
    assert not is_array(np.float64(3)) and not is_array([1, 2]) and not is_array("x")
    assert is_array(np.zeros(())) and is_array(torch.zeros(2)) and is_array(Dataset(0))


def layouts():
    rng = np.random.default_rng(0)
    shapes = [(12, 9), (3, 12, 9, 1), (2, 8, 8), (5, 4), (1, 16, 9, 1)]
    return [rng.integers(0, 255, shape, np.uint8) for shape in shapes]


def test_each_entry_of_a_list_gets_its_own_axes(fit):
    images = layouts()
    assert [r.shape for r in fit.predict(images)] == [i.shape for i in images]
    masks = [np.ones(shape) for shape in ((12, 9), (12, 9), (8, 8), (5, 4), (16, 9))]
    restored = fit.predict(images, mask=masks)
    assert [r.shape for r in restored] == [i.shape for i in images]
    for entry, codes in zip(images, fit.encode(images)):
        assert codes.ndim == (2 if entry.ndim == 2 else 3)
    volumes = [
        np.arange(4 * 5 * 6 * n, dtype=float).reshape(s)
        for n, s in ((1, (4, 5, 6)), (2, (2, 4, 5, 6)), (2, (2, 4, 5, 6, 1)))
    ]
    model = {"spatial_dims": 3, "downsampling": 2}
    fit3 = fit_to(volumes, model=model, n_epochs=1)
    assert [r.shape for r in fit3.predict(volumes)] == [v.shape for v in volumes]
    npt.assert_array_equal(fit3.predict(volumes)[1], fit3.predict(volumes)[2][..., 0])


def test_masked_values_are_not_values(fit, prior):
    images = np.ma.masked_equal(IMAGES, IMAGES.max())
    codes = np.ma.masked_equal(fit.encode(IMAGES), 3)
    for call in (
        lambda: fit_to(images),
        lambda: fit_to(IMAGES, mask=images),
        lambda: fit_to([IMAGES, images]),
        lambda: fit_to(IMAGES, validation_images=images),
        lambda: fit.encode(images),
        lambda: fit.positions_inside(images),
        lambda: fit.decode(codes),
        lambda: fit.decode([codes]),
        lambda: prior.log_prob(codes),
        lambda: prior.predict(codes),
        lambda: metrics.psnr(IMAGES, images, data_range=1),
        lambda: metrics.code_usage(codes, 8),
        lambda: as_array([IMAGES, images], "list"),
    ):
        with pytest.raises(ValueError, match=r"are masked; pass its values \(\.data\)"):
            call()


def test_files_and_images_of_nibabel(fit, tmp_path):
    """They are opened for a fit, and results for an image of nibabel have its axes."""
    path = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(np.moveaxis(IMAGES, 0, 2), np.eye(4)), path)
    loaded = nib.load(path)
    expected = fit.encode(IMAGES)
    for given in (path, str(path), [path], [loaded]):
        npt.assert_array_equal(fit.encode(given)[0], expected)
        assert_same_fit(fit_to(given, n_epochs=1), fit_to([path], n_epochs=1))
    npt.assert_array_equal(fit.encode(loaded), expected)
    restored = fit.predict(loaded)
    npt.assert_array_equal(np.moveaxis(restored, 2, 0), fit.predict(IMAGES))
    with pytest.raises(FileNotFoundError, match="y.nii: no such file"):
        fit.encode("y.nii")
    for given in ("x.nii", loaded, ["x.nii", IMAGES]):
        with pytest.raises(TypeError, match=r"dipy_vqvae\.open_images"):
            fit.decode(given)
    with pytest.raises(TypeError, match=r"dipy_vqvae\.open_images"):
        fit.encode(["x.nii", IMAGES])
    with pytest.raises(TypeError, match=r"pass the \.images"):
        fit.predict(dv.load_images(tmp_path / "x.nii"))


def test_images_in_colour(caplog):
    colours = np.zeros((16, 12, 3), np.uint8) + np.arange(16)[:, None, None]
    caplog.set_level(logging.WARNING)
    fit_to([colours, colours[:, :9]], n_epochs=1)
    assert "taken for 16 images of 12 x 3 without channels" in caplog.text
    caplog.clear()
    fit_to(colours[None], n_epochs=1)
    fit_to([IMAGES, colours[..., 0]], n_epochs=1)
    assert not caplog.records


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[..., ::-2]])
def test_memory_may_lie_in_any_way(fit, prior, view):
    def turned(array):
        return array[view]

    pairs = [(turned(IMAGES), turned(IMAGES).copy())]
    pairs.append((np.asfortranarray(pairs[0][1]), pairs[0][1]))
    one = np.broadcast_to(IMAGES[0], (4, *IMAGES.shape[1:]))
    pairs.append((one, np.array(one)))
    for given, expected in pairs:
        npt.assert_array_equal(fit.predict(given), fit.predict(expected))
        assert fit_to(given, n_epochs=1).history == fit_to(expected, n_epochs=1).history
    codes = fit.encode(IMAGES)
    for given, expected in (
        (turned(codes), turned(codes).copy()),
        (np.asfortranarray(codes).astype(">i8"), codes),
        (np.broadcast_to(codes[0], codes.shape), np.repeat(codes[:1], 10, 0)),
    ):
        npt.assert_array_equal(fit.decode(given), fit.decode(expected))
        npt.assert_array_equal(prior.log_prob(given), prior.log_prob(expected))
        npt.assert_array_equal(prior.predict(given), prior.predict(expected))
    labels = np.arange(10)[::-1] % 2
    model = dv.PixelCNNModel(n_codes=8, n_channels=8, n_layers=1)
    fits = [model.fit(codes, labels=i, n_epochs=1) for i in (labels, labels.copy())]
    assert fits[0].history == fits[1].history
    npt.assert_array_equal(
        fits[0].sample(5, labels=labels[:5]),
        fits[0].sample(5, labels=labels[:5].copy()),
    )
