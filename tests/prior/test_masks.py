"""Priors of grids of which only a part counts, or that differ in shape."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest

from dipy_vqvae import PixelCNNFit, PixelCNNModel

K = 3
SETTINGS = {"n_codes": K, "n_channels": 8, "n_layers": 2}
KINDS = ["gated", "plain"]


def grids(n, shape, seed=0):
    """Grids in which a code tells much about the next one."""
    rng = np.random.default_rng(seed)
    steps = rng.random((n, *shape)) < 0.2
    return (np.cumsum(steps, axis=-1) + rng.integers(K, size=(n, *shape[:-1], 1))) % K


def fit_to(codes, *, kind="gated", **training):
    model = PixelCNNModel(**SETTINGS, kind=kind)
    return model.fit(codes, **{"n_epochs": 2, "batch_size": 16, **training})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outside", [255, -1, 3, 2**40, [1, 7, 200]])
def test_new_grids_have_codes_outside(mask, kind, outside):
    inside = grids(48, (3, 4))
    values = np.resize(outside, inside.shape)
    fit = fit_to(np.where(mask, inside, values), mask=mask, kind=kind, n_epochs=1)
    sample = fit.sample(2, mask=mask)
    # The most frequent one of those that can be decoded, if there is any.
    assert (sample[:, ~mask] == (1 if np.size(outside) > 1 else 0)).all()
    kept = fit.sample(
        2,
        mask=mask,
        codes=np.where(mask, inside[:2], values[:2]),
        keep=np.full(mask.shape, True),
    )
    npt.assert_array_equal(kept[:, mask], inside[:2, mask])
    assert 0 <= kept.min() and kept.max() < K


@pytest.fixture(scope="module")
def mask():
    mask = np.ones((3, 4), bool)
    mask[0, 2:] = mask[2, 0] = False
    return mask


@pytest.fixture(scope="module", params=KINDS)
def fit(request, mask):
    codes = np.where(mask, grids(48, (3, 4)), 1)
    return fit_to(codes, mask=mask, kind=request.param)


def all_grids(mask, outside=0):
    """All grids that differ inside of a mask."""
    codes = np.full((K ** mask.sum(), *mask.shape), outside)
    codes[:, mask] = list(product(range(K), repeat=int(mask.sum())))
    return codes


def test_probabilities_of_the_inside_sum_to_one(fit):
    mask = np.zeros((3, 4), bool)
    mask[0, 1:4] = mask[1, 0] = mask[2, 3] = True
    log_prob = fit.log_prob(all_grids(mask), mask=mask)
    npt.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)
    assert np.ptp(log_prob) > 0.1


def test_log_prob_is_the_sum_over_the_inside(fit, mask):
    codes = grids(5, (3, 4), seed=1)
    p = fit.predict(codes, mask=mask)
    at_codes = np.take_along_axis(p, codes[..., np.newaxis], -1)[..., 0]
    npt.assert_allclose(
        fit.log_prob(codes, mask=mask), np.log(at_codes)[:, mask].sum(1), rtol=1e-5
    )


def test_what_is_outside_has_no_influence(fit, mask):
    codes = grids(48, (3, 4))
    other = np.where(mask, codes, np.random.default_rng(5).integers(-9, 99, (3, 4)))
    npt.assert_array_equal(
        fit.log_prob(codes, mask=mask), fit.log_prob(other, mask=mask)
    )
    kind = fit.config.kind
    trained = [
        fit_to(c, mask=mask, kind=kind, validation_codes=c[:8], validation_mask=mask)
        for c in (codes, other)
    ]
    assert trained[0].history == trained[1].history
    npt.assert_array_equal(*[f.log_prob(codes, mask=mask) for f in trained])


def test_validation_counts_the_inside(mask):
    codes = grids(48, (3, 4))
    fit = fit_to(codes, mask=mask, validation_codes=codes[:8], validation_mask=mask)
    nats = -fit.log_prob(codes[:8], mask=mask).mean() / mask.sum()
    npt.assert_allclose(fit.history["validation_loss"][-1], nats, rtol=1e-4)


def test_samples_inside_a_mask(fit, mask):
    assert fit.outside_code == 1
    codes = fit.sample(6, mask=mask, random_seed=2)
    npt.assert_array_equal(codes[:, ~mask], 1)
    assert len(np.unique(codes[:, mask])) == K
    # The likeliest codes are those that the full pass calls so.
    greedy = fit.sample(1, mask=mask, temperature=0)
    likeliest = fit.predict(greedy, mask=mask).argmax(-1)
    npt.assert_array_equal(greedy[:, mask], likeliest[:, mask])
    # Each image has a mask of its own, and given codes are kept.
    masks = np.stack([mask, ~mask])
    keep = np.zeros((3, 4), bool)
    keep[0, 0] = True
    given = np.full((3, 4), 2)
    drawn = fit.sample(2, mask=masks, codes=given, keep=keep)
    assert drawn[0, 0, 0] == 2
    npt.assert_array_equal(drawn[~masks], 1)


def test_model_files(fit, mask, tmp_path):
    fit.save(tmp_path / "prior.safetensors")
    loaded = PixelCNNFit.load(tmp_path / "prior.safetensors")
    assert loaded.config == fit.config
    codes = grids(5, (3, 4), seed=1)
    npt.assert_array_equal(
        loaded.log_prob(codes, mask=mask), fit.log_prob(codes, mask=mask)
    )


def test_grids_with_nothing_inside_are_left_out(mask):
    codes = grids(20, (3, 4))
    masks = np.repeat(mask[None], 20, 0)
    masks[[3, 7]] = False
    labels = np.arange(20) % 2
    used = np.delete(np.arange(20), [3, 7])
    with_all = fit_to(codes, mask=masks, labels=labels)
    without = fit_to(codes[used], mask=masks[used], labels=labels[used])
    assert with_all.history == without.history
    assert with_all.log_prob(codes, mask=masks, labels=labels)[3] == 0


@pytest.fixture(scope="module", params=KINDS)
def mixed(request):
    codes = [grids(20, (3, 4)), grids(1, (2, 5), 1)[0], grids(20, (2, 2), 2)]
    return fit_to(codes, spatial_dims=2, kind=request.param)


class TestMixedGrids:
    @pytest.mark.parametrize("shape", [(3, 5), (2, 2), (1, 4), (4, 1)])
    def test_probabilities_sum_to_one(self, mixed, shape):
        assert mixed.grid_shape == (3, 5)
        inside = np.ones(shape, bool)
        if inside.sum() > 6:
            inside[0, 2:] = inside[1:, :3] = False
        log_prob = mixed.log_prob(
            all_grids(inside), mask=None if inside.all() else inside
        )
        npt.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)

    def test_the_company_of_a_grid_changes_nothing(self, mixed):
        a, b, c = grids(2, (2, 2)), grids(1, (3, 4))[0], grids(3, (4, 6))
        together = mixed.log_prob([a, b, c])
        assert together.shape == (6,)
        npt.assert_allclose(together[:2], mixed.log_prob(a), rtol=1e-6)
        npt.assert_allclose(together[2:3], mixed.log_prob(b[None]), rtol=1e-6)
        npt.assert_allclose(together[3:], mixed.log_prob(c), rtol=1e-6)

    def test_samples(self, mixed):
        assert mixed.sample(3).shape == (3, 3, 5)
        small = mixed.sample(4, grid_shape=(2, 3), temperature=0)
        assert small.shape == (4, 2, 3)
        npt.assert_array_equal(mixed.predict(small).argmax(-1), small)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.ones((4, 3), bool), ValueError, r"must have shape \(3, 4\) or \(8, 3, 4\)"),
        (np.zeros((3, 4), bool), ValueError, "selects nothing"),
        (np.ones((3, 4)), TypeError, "must be bool, got float64"),
    ],
)
def test_bad_masks(fit, bad, error, message):
    codes = grids(8, (3, 4))
    for call in (fit.log_prob, fit.predict, PixelCNNModel(**SETTINGS).fit):
        with pytest.raises(error, match=message):
            call(codes, mask=bad)


def test_other_bad_input(fit, mask):
    codes = grids(8, (3, 4))
    with pytest.raises(ValueError, match="needs spatial_dims"):
        fit_to([codes])
    with pytest.raises(ValueError, match="must be a list of 2 masks"):
        fit_to([codes, codes], mask=mask, spatial_dims=2)
    with pytest.raises(ValueError, match=r"codes\[1\] range from 3"):
        fit_to([codes, np.full((3, 4), 3)], spatial_dims=2)
    unmasked = fit_to(codes, n_epochs=1)
    for call in (unmasked.log_prob, lambda codes, mask: unmasked.sample(1, mask=mask)):
        with pytest.raises(ValueError, match="was trained without one"):
            call(codes, mask=mask)
    with pytest.raises(ValueError, match="validation_codes have a mask"):
        fit_to(codes, validation_codes=codes, validation_mask=mask)
    with pytest.raises(ValueError, match=r"mask must have shape \(3, 4\)"):
        fit.sample(2, mask=mask.T)
