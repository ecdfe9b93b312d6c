"""Priors that know a class and continuous covariates of each grid."""

from itertools import product
import logging

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel
from dipy_vqvae.sampling.draws import draw
from dipy_vqvae.sampling.sampler import FullPasses, sample_codes

K = 3
SETTINGS = {"n_codes": K, "n_channels": 16, "n_layers": 2}
KINDS = ["gated", "plain"]


def grids_of_age(n, shape=(2, 3), seed=0):
    """Grids in which code 2 is the more frequent the higher the age, 20 to 80."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, n)
    share = ((age - 20) / 60).reshape(-1, *[1] * len(shape))
    codes = np.where(
        rng.random((n, *shape)) < share, 2, rng.integers(2, size=(n, *shape))
    )
    return codes, age


def fit_to(codes, covariates, *, kind="gated", **options):
    model = PixelCNNModel(**SETTINGS, kind=kind)
    return model.fit(
        codes, covariates=covariates, **{"n_epochs": 4, "batch_size": 32, **options}
    )


@pytest.fixture(scope="module")
def data():
    return grids_of_age(512)


@pytest.fixture(scope="module", params=KINDS)
def fit(request, data):
    codes, age = data
    labels = (codes[:, 0, 0] > 0).astype(int)
    columns = {"age": age, "side": np.arange(len(age)) % 2}
    return fit_to(codes, columns, kind=request.param, labels=labels)


def conditions(n, age=50, side=0):
    return {"labels": np.zeros(n, int), "covariates": {"age": age, "side": side}}


def test_all_grids_have_a_probability_of_one(fit):
    grids = np.array(list(product(range(K), repeat=4))).reshape(-1, 2, 2)
    for age in (20, 47.5, 80):
        total = np.exp(fit.log_prob(grids, **conditions(len(grids), age))).sum()
        npt.assert_allclose(total, 1, rtol=1e-5)


def test_samples_and_likelihoods_follow_the_covariate(data):
    codes, age = data
    fit = fit_to(codes, {"age": age}, n_epochs=30)
    shares = [
        np.mean(fit.sample(200, covariates={"age": value}, random_seed=1) == 2)
        for value in (25, 50, 75)
    ]
    npt.assert_allclose(shares, [1 / 12, 1 / 2, 11 / 12], atol=0.1)
    right = fit.log_prob(codes, covariates={"age": age}).mean()
    wrong = fit.log_prob(codes, covariates={"age": age[::-1]}).mean()
    assert right > wrong + 0.5
    without = PixelCNNModel(**SETTINGS).fit(codes, n_epochs=30, batch_size=32)
    assert right > without.log_prob(codes).mean() + 0.3


def test_each_sample_has_conditions_of_its_own(fit):
    n = 12
    ages = np.linspace(20, 80, n)
    labels = np.arange(n) % 2
    drawn = fit.sample(
        n, labels=labels, covariates={"age": ages, "side": 1}, random_seed=4
    )
    for i in range(n):
        one = fit.sample(
            1,
            first=i,
            labels=labels[i : i + 1],
            covariates={"age": ages[i], "side": [1]},
            random_seed=4,
        )
        npt.assert_array_equal(one[0], drawn[i])


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_full_passes(kind, grid):
    codes, age = grids_of_age(64, grid)
    labels = np.arange(64) % 2
    fit = fit_to(codes, {"age": age}, kind=kind, labels=labels, n_epochs=1)
    with torch.no_grad():  # covariates should matter
        fit.net.covariate_bias[-1].weight.normal_(0, 0.5)
    given = {
        "labels": labels[:5],
        "covariates": np.linspace(-1, 1, 5, dtype=np.float32)[:, None],
        "grid_shape": grid,
        "random_seed": 2,
    }
    for options in ({}, {"top_k": 2}, {"top_p": 0.6, "temperature": 0.8}):
        expected = sample_codes(fit.net, 5, stepper=FullPasses, **given, **options)
        for size in (2, 5):
            found = sample_codes(fit.net, 5, batch_size=size, **given, **options)
            npt.assert_array_equal(found, expected)


def test_names_and_ranges_are_kept(fit, data, tmp_path):
    codes, age = data
    fit.save(tmp_path / "p.safetensors")
    again = PixelCNNFit.load(tmp_path / "p.safetensors")
    assert again.config == fit.config
    assert [c.name for c in again.config.covariates] == ["age", "side"]
    first = again.config.covariates[0]
    assert (first.low, first.high) == (age.min(), age.max())
    npt.assert_array_equal(
        again.log_prob(codes[:9], **conditions(9, age[:9])),
        fit.log_prob(codes[:9], **conditions(9, age[:9])),
    )


def test_the_order_of_columns_does_not_matter(fit, data):
    codes, age = data
    turned = {"side": 0, "age": age[:9]}
    npt.assert_array_equal(
        fit.log_prob(codes[:9], labels=np.zeros(9, int), covariates=turned),
        fit.log_prob(codes[:9], **conditions(9, age[:9])),
    )


def test_validation_masks_and_checkpoints(data, tmp_path):
    codes, age = data
    mask = np.ones(codes.shape[1:], bool)
    mask[0, 0] = False
    options = {
        "mask": mask,
        "validation_codes": codes[:20],
        "validation_mask": mask,
        "validation_covariates": {"age": age[:20]},
        "checkpoint": tmp_path / "c",
    }
    fit = fit_to(codes, {"age": age}, n_epochs=1, **options)
    assert np.isfinite(fit.history["validation_loss"]).all()
    assert fit.sample(3, mask=mask, covariates={"age": 30}).shape == (3, 2, 3)
    with pytest.raises(ValueError, match="covariates_fingerprint was"):
        fit_to(codes, {"age": age[::-1]}, n_epochs=1, **options)
    with pytest.raises(ValueError, match="validation_covariates: the prior has age"):
        fit_to(codes, {"age": age}, **{**options, "validation_covariates": None})


def test_values_outside_the_range_are_warned_of(fit, data, caplog):
    caplog.set_level(logging.WARNING)
    fit.sample(2, labels=0, covariates={"age": [50, 95], "side": 0})
    assert "age is 95 in one grid, outside of the training's range from" in caplog.text
    assert "(1 of 2 grids are)" in caplog.text


@pytest.mark.parametrize(
    ("covariates", "error", "match"),
    [
        ({"age": [1.0, np.nan]}, ValueError, r"\['age'\] has 1 NaN or Inf, .* grid 1"),
        ({"age": [1.0]}, ValueError, r"a number for each of the 2 grids, got .*\(1,\)"),
        ({"age": ["old", "young"]}, TypeError, r"\['age'\] must be numbers, got <U5"),
        ([[1.0], [2.0]], TypeError, r"columns by name, such as .* got list"),
        ({"weight": [1.0, 2.0]}, ValueError, "the prior has age, got weight"),
        ({"age": 1, "weight": 2}, ValueError, "the prior has age, got age, weight"),
        (None, ValueError, "the prior has age, got none"),
    ],
)
def test_covariates_that_cannot_be_used(data, covariates, error, match):
    codes, age = data
    fit = fit_to(codes, {"age": age}, n_epochs=1)
    with pytest.raises(error, match=match):
        fit.log_prob(codes[:2], covariates=covariates)
    with pytest.raises(error, match=match):
        fit.sample(2, covariates=covariates)
    if covariates is not None and "weight" not in covariates:
        with pytest.raises(error):
            PixelCNNModel(**SETTINGS).fit(codes[:2], covariates=covariates, n_epochs=1)
    without = PixelCNNModel(**SETTINGS).fit(codes, n_epochs=1)
    with pytest.raises(ValueError, match="the prior has none, got age"):
        without.sample(1, covariates={"age": 3})


# top_k and top_p


def allowed(p, top_k, top_p):
    """Probabilities after top_k and top_p, one row, slowly."""
    order = np.argsort(-p, kind="stable")
    kept = order[: top_k or len(p)]
    q = p[kept] / p[kept].sum()
    n = 1 + int(np.sum(np.cumsum(q)[:-1] < top_p))
    result = np.zeros_like(p)
    result[kept[:n]] = p[kept[:n]]
    return result / result.sum()


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize(
    ("top_k", "top_p"), [(3, 1.0), (None, 0.5), (5, 0.8), (1, 1.0)]
)
def test_draws_follow_the_reduced_distribution(top_k, top_p, temperature):
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4, 9)))
    u = (np.arange(20_000) + 0.5) / 20_000
    for row in logits:
        many = row.expand(len(u), -1)
        codes = draw(many, torch.from_numpy(u), temperature, top_k, top_p).numpy()
        p = np.exp(row.numpy() / temperature)
        expected = allowed(p / p.sum(), top_k, top_p)
        found = np.bincount(codes, minlength=9) / len(u)
        npt.assert_allclose(found, expected, atol=2e-4)
        assert (found[expected == 0] == 0).all()


def test_the_likeliest_code_alone(fit):
    given = {"labels": 0, "covariates": {"age": 60, "side": 1}, "random_seed": 3}
    expected = fit.sample(4, temperature=0, **given)
    npt.assert_array_equal(fit.sample(4, top_k=1, **given), expected)
    npt.assert_array_equal(fit.sample(4, top_p=1e-9, **given), expected)
    plain = fit.sample(4, **given)
    npt.assert_array_equal(fit.sample(4, top_k=K, top_p=1.0, **given), plain)


@pytest.mark.parametrize(
    ("option", "value"),
    [("top_k", 0), ("top_k", K + 1), ("top_k", 1.5), ("top_p", 0), ("top_p", 1.1)],
)
def test_options_that_cannot_be_used(fit, option, value):
    with pytest.raises(ValueError, match=option):
        fit.sample(1, labels=0, covariates={"age": 50, "side": 0}, **{option: value})
