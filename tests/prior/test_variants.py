"""Codes of changed copies of the images, which a prior learns from but does not draw."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel, VQVAEModel
from dipy_vqvae.prior.task import VARIANT_SHARE, draw_variants
from dipy_vqvae.vqvae import small_shifts

KINDS = ["gated", "plain"]
GRID = (2, 3)


def fit_to(codes, variants, *, kind="gated", **training):
    model = PixelCNNModel(n_codes=3, n_channels=16, n_layers=1, kind=kind)
    training = {"n_epochs": 150, "batch_size": 16, **training}
    return model.fit(codes, variants=variants, **training)


@pytest.fixture(scope="module", params=KINDS)
def fit(request):
    """A prior of grids of zeros, with variants of ones and twos."""
    zeros = np.zeros((64, *GRID), np.int32)
    return fit_to(zeros, [zeros + 1, zeros + 2], kind=request.param)


def test_likelihoods_and_samples_are_of_the_images_alone(fit):
    zeros = np.zeros((1, *GRID), np.int32)
    of_images, *of_variants = fit.log_prob(
        np.concatenate([zeros, zeros + 1, zeros + 2])
    )
    assert of_images > -0.1 and max(of_variants) < -6
    assert (fit.sample(20) == 0).mean() > 0.98
    grids = np.array(list(product(range(3), repeat=6))).reshape(-1, *GRID)
    npt.assert_allclose(np.exp(fit.log_prob(grids)).sum(), 1, atol=1e-5)


def test_the_network_is_told_which_variant_it_is(fit):
    net, codes = fit.net, torch.zeros(3, *GRID, dtype=torch.int64)
    with torch.inference_mode():
        alone = net(codes).softmax(1)
        told = net(codes, None, None, torch.arange(3)).softmax(1)
    npt.assert_allclose(told[0], alone[0], rtol=1e-6)
    # The first code: 0, 1 or 2 with almost all probability.
    assert [int(p[:, 0, 0].argmax()) for p in told] == [0, 1, 2]


def test_half_of_a_step_are_variants_of_all_kinds():
    drawn = draw_variants(30_000, 3, 7)
    counts = np.bincount(drawn) / len(drawn)
    npt.assert_allclose(
        counts, [1 - VARIANT_SHARE, *[VARIANT_SHARE / 3] * 3], atol=0.01
    )
    npt.assert_array_equal(drawn, draw_variants(30_000, 3, 7))
    assert (drawn != draw_variants(30_000, 3, 8)).any()


def test_files_and_resumed_fits(fit, tmp_path):
    rng = np.random.default_rng(0)
    codes, *variants = rng.integers(3, size=(3, 40, *GRID))
    fit.save(tmp_path / "prior.safetensors")
    assert PixelCNNFit.load(tmp_path / "prior.safetensors").config.n_variants == 2
    whole = fit_to(codes, variants, n_epochs=2, checkpoint=tmp_path / "a.ckpt")
    again = fit_to(codes, variants, n_epochs=2, checkpoint=tmp_path / "a.ckpt")
    npt.assert_array_equal(whole.log_prob(codes), again.log_prob(codes))
    with pytest.raises(ValueError, match="another training"):
        fit_to(codes, variants[::-1], n_epochs=2, checkpoint=tmp_path / "a.ckpt")


def test_masks_and_grids_that_differ():
    rng = np.random.default_rng(0)
    codes = [rng.integers(3, size=(20, *shape)) for shape in (GRID, (3, 2))]
    masks = [rng.random(c.shape) < 0.8 for c in codes]
    variant = [np.where(m, c, 99) for c, m in zip(codes, masks)]
    model = PixelCNNModel(n_codes=3, n_channels=8, n_layers=1)
    options = {"mask": masks, "spatial_dims": 2, "n_epochs": 1}
    fit = model.fit(codes, variants=[variant], **options)
    other = model.fit(
        codes, variants=[[np.where(m, c, 0) for c, m in zip(codes, masks)]], **options
    )
    # What is outside of a variant has no influence.
    npt.assert_array_equal(*(f.log_prob(codes, mask=masks) for f in (fit, other)))


def test_lists_of_other_shapes_than_the_codes():
    codes = [np.zeros((4, *GRID), int), np.zeros((2, 3, 2), int)]
    model = PixelCNNModel(n_codes=3)
    with pytest.raises(ValueError, match=r"\(2, 3, 2\)\], got \[\(2, 3, 2\), \(4"):
        model.fit(codes, variants=[codes[::-1]], spatial_dims=2)


@pytest.mark.parametrize(
    ("variants", "error", "message"),
    [
        (np.zeros((4, *GRID), int), TypeError, "must be a list of codes.*ndarray"),
        ([np.zeros((3, *GRID), int)], ValueError, r"variants\[0\] must have the shape"),
        ([np.full((4, *GRID), 3)], ValueError, r"variants\[0\].*3"),
        ([np.zeros((4, *GRID))], TypeError, r"variants\[0\].*integers"),
    ],
)
def test_variants_that_cannot_be_used(variants, error, message):
    with pytest.raises(error, match=message):
        fit_to(np.zeros((4, *GRID), int), variants)


# Images that are moved.


@pytest.fixture(scope="module", params=[2, 3])
def vqvae(request):
    d = request.param
    # Not whole numbers of blocks.
    images = np.random.default_rng(0).random((12, *(7, 12, 9)[:d])).astype(np.float32)
    model = VQVAEModel(n_codes=16, n_channels=8, code_dim=4, spatial_dims=d)
    return model.fit(images, n_epochs=2), images


def moved(images, shift):
    """Move images, the edges repeated."""
    for axis, by in enumerate(shift, start=1):
        n = images.shape[axis]
        images = images.take((np.arange(n) - by).clip(0, n - 1), axis)
    return images


def test_codes_of_moved_images(vqvae):
    fit, images = vqvae
    for shift in [(2, 0, -1)[: fit.spatial_dims], (0, 99, 1)[: fit.spatial_dims]]:
        npt.assert_array_equal(
            fit.encode(images, shift=shift), fit.encode(moved(images, shift))
        )
    mask = np.random.default_rng(1).random(images.shape) < 0.7
    shift = (1,) * fit.spatial_dims
    inside = fit.positions_inside(moved(mask, shift))
    codes = fit.encode(images, mask=mask, shift=shift)
    expected = fit.encode(moved(images, shift), mask=moved(mask, shift))
    npt.assert_array_equal(codes[inside], expected[inside])


def test_small_shifts():
    assert small_shifts(0, (4, 4)) == []
    all_of_them = small_shifts(24, (4, 4))
    assert len(set(all_of_them)) == 24 and (0, 0) not in all_of_them
    lengths = [np.hypot(*shift) for shift in all_of_them]
    assert lengths == sorted(lengths) and max(lengths) == np.hypot(2, 2)
    assert small_shifts(2, (1, 2)) == [(0, 1), (0, -1)]
    with pytest.raises(ValueError, match="n_shifts must be at most 24"):
        small_shifts(25, (4, 4))


@pytest.mark.parametrize("shift", [1, (1,), (0.5, 0), (1, 2, 3)])
def test_shifts_that_cannot_be_used(shift):
    images = np.random.default_rng(0).random((4, 8, 8))
    fit = VQVAEModel(n_codes=4, n_channels=4, code_dim=2).fit(images, n_epochs=1)
    with pytest.raises((ValueError, TypeError), match="shift must"):
        fit.encode(images, shift=shift)
