"""Priors that judge codes by those before them, and by those after them."""

from itertools import product

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel

K = 3


def fit_to(codes, **options):
    model = PixelCNNModel(
        K,
        n_channels=8,
        n_layers=2,
        both_directions=True,
        kind=options.pop("kind", "gated"),
    )
    return model.fit(codes, **{"n_epochs": 2, "batch_size": 16, **options})


def grids(n, *shape):
    rng = np.random.default_rng(0)
    return (np.add.reduce(np.indices(shape)) + rng.integers(0, 2, (n, *shape))) % K


@pytest.mark.parametrize("kind", ["gated", "plain"])
def test_probabilities_sum_to_one(kind):
    prior = fit_to(grids(64, 2, 3), kind=kind)
    all_grids = np.array(list(product(range(K), repeat=6))).reshape(-1, 2, 3)
    log_prob = prior.log_prob(all_grids)
    npt.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)
    both = [-prior.surprisal(all_grids, reverse=r).nats.sum((1, 2)) for r in (0, 1)]
    assert np.abs(both[0] - both[1]).max() > 0.1
    npt.assert_allclose(log_prob, np.log(np.mean(np.exp(both), 0)), rtol=1e-5)
    for one in both:
        npt.assert_allclose(np.exp(one).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 4)])
def test_the_reverse_network_sees_exactly_what_comes_after(shape):
    net = fit_to(grids(32, *shape)).net.double()
    torch.manual_seed(0)
    codes = torch.as_tensor(grids(1, *shape))
    with torch.no_grad():
        # The last layers of attention begin at zero: give them something to say.
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        logits = net.forward_reverse(codes).flatten(2)
        for i in range(codes.numel()):
            changed = codes.flatten().clone()
            changed[i] = (changed[i] + 1) % K
            other = net.forward_reverse(changed.reshape(codes.shape)).flatten(2)
            moved = (other - logits).abs().amax((0, 1)) > 0
            assert moved[:i].all() and not moved[i:].any()


def test_masks_and_grids_of_several_shapes():
    codes = [grids(20, 4, 5), grids(20, 3, 6)]
    mask = [np.ones(c.shape, bool) for c in codes]
    mask[0][:, 0, :2] = False
    prior = fit_to(codes, mask=mask, spatial_dims=2)
    results = prior.surprisal(codes, mask=mask, reverse=True)
    assert [r.nats.shape for r in results] == [c.shape for c in codes]
    npt.assert_array_equal(results[0].inside, mask[0])
    changed = np.where(mask[0], codes[0], (codes[0] + 1) % K)
    again = prior.surprisal([changed, codes[1]], mask=mask, reverse=True)
    npt.assert_array_equal(again[0].nats, results[0].nats)
    assert (prior.sample(3, mask=mask[0][:3], grid_shape=(4, 5)) < K).all()


def test_files(tmp_path):
    codes = grids(64, 4, 5)
    straight = fit_to(codes, n_epochs=4)
    straight.save(tmp_path / "prior.safetensors")
    loaded = PixelCNNFit.load(tmp_path / "prior.safetensors")
    npt.assert_array_equal(loaded.log_prob(codes), straight.log_prob(codes))
    assert loaded.config.both_directions
    assert len(straight.history["loss"]) == 4
    one_way = PixelCNNModel(K, n_channels=8, n_layers=2).fit(codes, n_epochs=1)
    with pytest.raises(ValueError, match="both_directions"):
        one_way.surprisal(codes, reverse=True)


def test_the_loss_is_that_of_both():
    codes = grids(64, 4, 5)
    prior = fit_to(codes, validation_codes=codes)
    both = [prior.surprisal(codes, reverse=r).nats.mean() for r in (False, True)]
    npt.assert_allclose(prior.history["validation_loss"][-1], np.mean(both), rtol=1e-4)


def test_draws_in_the_reverse_order_are_of_the_reverse_network():
    codes = grids(64, 2, 2)
    prior = fit_to(codes, n_epochs=8)
    drawn = prior.sample(4000, reverse=True)
    log_prob = -prior.surprisal(drawn, reverse=True).nats.sum((1, 2))
    found, where, counts = np.unique(
        drawn.reshape(-1, 4), axis=0, return_index=True, return_counts=True
    )
    expected = 4000 * np.exp(log_prob[where])
    assert len(found) > 10
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 5).all()


def test_completion_in_the_reverse_order_depends_on_what_comes_after():
    codes = grids(1, 4, 5)[0]
    prior = fit_to(grids(64, 4, 5), n_epochs=8)
    keep = np.ones((4, 5), bool)
    keep[1, 2] = False
    drawn = prior.sample(2000, codes=codes, keep=keep, reverse=True)
    npt.assert_array_equal(drawn[:, keep], np.broadcast_to(codes[keep], (2000, 19)))
    shares = np.bincount(drawn[:, 1, 2], minlength=K) / 2000
    axes = (0, 1)
    flipped = torch.as_tensor(np.flip(codes, axes)[None].copy())
    logits = prior.net.reverse(flipped)[0, :, 2, 2].detach()
    npt.assert_allclose(shares, logits.softmax(0).numpy(), atol=0.05)
