"""Priors that are a mixture of kinds of grids."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel
from dipy_vqvae.prior.components import fit_classes

K = 3


def grids(n, *shape, seed=0):
    """Grids of two kinds, and a little noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n).reshape(-1, *(1,) * len(shape))
    clean = np.where(kind, np.add.reduce(np.indices(shape)) % K, 2)
    noise = rng.random((n, *shape)) < 0.2
    return np.where(noise, rng.integers(0, K, (n, *shape)), clean)


def fit_to(codes, *, n_components=3, kind="gated", both_directions=False, **options):
    model = PixelCNNModel(
        K,
        n_channels=8,
        n_layers=2,
        kind=kind,
        n_components=n_components,
        both_directions=both_directions,
    )
    return model.fit(codes, **{"n_epochs": 3, "batch_size": 16, **options})


def all_grids(*shape):
    n = np.prod(shape)
    return np.array(list(product(range(K), repeat=int(n)))).reshape(-1, *shape)


def test_classes_find_the_kinds():
    codes = grids(400, 4, 5)
    classes = fit_classes(codes, 2, n_codes=K, random_seed=0)
    found = classes.find(codes)
    kinds = (codes == 2).mean((1, 2)) > 0.6
    agree = (found == kinds).mean()
    assert max(agree, 1 - agree) > 0.98
    npt.assert_allclose(np.exp(classes.log_weights), 0.5, atol=0.1)
    # Distributions at each position.
    p = np.exp(classes.log_p).reshape(20, K, 2)
    npt.assert_allclose(p.sum(1), 1, rtol=1e-4)


def test_classes_do_not_see_what_is_outside():
    codes = grids(300, 4, 5)
    codes[:150, 0] = K
    classes = fit_classes(codes, 3, n_codes=K, random_seed=1)
    joint = classes.joint(codes)
    log_p = classes.log_p.reshape(20, K, 3)
    for i in (0, 299):
        own = [log_p[j, k] for j, k in enumerate(codes[i].ravel()) if k < K]
        assert len(own) == (15 if i == 0 else 20)
        npt.assert_allclose(joint[i], np.sum(own, 0) + classes.log_weights, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gated", "plain"])
@pytest.mark.parametrize("both_directions", [False, True])
def test_probabilities_sum_to_one(kind, both_directions):
    prior = fit_to(grids(96, 2, 3), kind=kind, both_directions=both_directions)
    every = all_grids(2, 3)
    log_prob = prior.log_prob(every)
    npt.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)
    # The sum over the components, each with its own network.
    net, weights = prior.net, np.exp(prior.config.log_weights[0])
    npt.assert_allclose(weights.sum(), 1)
    codes = torch.as_tensor(every)
    p = 0
    for c, weight in enumerate(weights):
        with torch.no_grad():
            logits = net(codes, torch.full((len(codes),), c))
        own = logits.log_softmax(1).gather(1, codes[:, None]).sum((1, 2, 3))
        p = p + weight * own.exp().numpy()
    first = np.exp(-prior.surprisal(every).nats.sum((1, 2)))
    npt.assert_allclose(first, p, rtol=1e-4)
    if not both_directions:
        npt.assert_allclose(np.exp(log_prob), p, rtol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_codes_are_judged_by_those_before(reverse):
    prior = fit_to(grids(96, 2, 3), both_directions=True)
    every = all_grids(2, 3)
    nats = prior.surprisal(every, reverse=reverse).nats.reshape(len(every), -1)
    flat = every.reshape(len(every), -1)
    for i in range(6):
        before = slice(i + 1, None) if reverse else slice(0, i)
        # The same whatever comes after, and it sums to 1 over the codes.
        keys = [tuple(row[before]) + (row[i],) for row in flat]
        by_key = {}
        for key, value in zip(keys, nats[:, i]):
            npt.assert_allclose(by_key.setdefault(key, value), value, rtol=1e-4)
        sums = {}
        for key, value in by_key.items():
            sums[key[:-1]] = sums.get(key[:-1], 0) + np.exp(-value)
        npt.assert_allclose(list(sums.values()), 1, rtol=1e-5)


def test_samples_have_the_probabilities():
    prior = fit_to(grids(96, 2, 2))
    drawn = prior.sample(6000, random_seed=4)
    found, where, counts = np.unique(
        drawn.reshape(-1, 4), axis=0, return_index=True, return_counts=True
    )
    expected = 6000 * np.exp(prior.log_prob(drawn[where]))
    assert len(found) > 20
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 5).all()
    npt.assert_array_equal(prior.sample(5, first=10, random_seed=4), drawn[10:15])


@pytest.mark.parametrize("reverse", [False, True])
def test_completions_have_the_probabilities(reverse):
    prior = fit_to(grids(96, 2, 2), n_epochs=8, both_directions=True)
    codes = np.array([[2, 1], [0, 1]])
    known = int(reverse)  # the row that a draw is conditioned on
    keep = np.zeros((2, 2), bool)
    keep[known] = True
    drawn = prior.sample(6000, codes=codes, keep=keep, reverse=reverse)
    every = all_grids(2, 2)
    every = every[(every[:, known] == codes[known]).all(1)]
    p = np.exp(-prior.surprisal(every, reverse=reverse).nats.sum((1, 2)))
    shares = [(drawn == grid).all((1, 2)).mean() for grid in every]
    npt.assert_allclose(shares, p / p.sum(), atol=0.03)


def test_labels_masks_validation_and_files(tmp_path):
    codes, labels = grids(96, 4, 5), np.arange(96) % 2
    mask = np.ones((4, 5), bool)
    mask[0, :2] = False
    options = {"mask": mask, "labels": labels}
    prior = fit_to(
        codes,
        **options,
        validation_codes=codes,
        validation_mask=mask,
        validation_labels=labels,
    )
    prior.save(tmp_path / "prior.safetensors")
    loaded = PixelCNNFit.load(tmp_path / "prior.safetensors")
    log_prob = loaded.log_prob(codes, **options)
    npt.assert_array_equal(log_prob, prior.log_prob(codes, **options))
    assert loaded.n_classes == 2 and loaded.config.n_components == 3
    changed = np.where(mask, codes, (codes + 1) % K)
    npt.assert_array_equal(prior.log_prob(changed, **options), log_prob)
    sample = prior.sample(4, labels=1, mask=mask)
    assert sample.shape == (4, 4, 5)
    # The loss is that of codes and component together: not less than the sum's.
    loss = prior.history["validation_loss"][-1]
    assert 0 <= loss + log_prob.sum() / (96 * 18) < np.log(3)
