"""What the logits of a position depend on: all codes before it and no other."""

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.plain_pixelcnn import PlainPixelCNN

N_CODES = 16


def dependence(net, grid_shape):
    """Whether the logits at each position depend on the input at each position.

    Returns
    -------
    depends : bool array, shape (P, P)
        By position of the logits, and position of the embedded code: whether any
        entry of the Jacobian between them is not zero.
    """
    net = net.double().eval()
    n = int(np.prod(grid_shape))
    rng = np.random.default_rng(0)
    # One copy of the same grid for each position whose logits are looked at.
    codes = torch.from_numpy(rng.integers(N_CODES, size=grid_shape)).expand(
        n, *grid_shape
    )
    labels = torch.ones(n, dtype=torch.int64) if net.n_classes else None
    embedded = net.embed(codes).detach().requires_grad_()
    logits = net.forward_embedded(embedded, labels).flatten(2)  # (P, K, P)
    weights = torch.from_numpy(rng.normal(size=N_CODES))
    at_own_position = logits.diagonal(dim1=0, dim2=2)  # (K, P)
    (weights @ at_own_position).sum().backward()
    return (embedded.grad != 0).any(1).flatten(1).numpy()


def earlier(n):
    """Row p, column q: whether q comes before p."""
    return np.tri(n, k=-1, dtype=bool)


def random_net(kind, grid_shape, **settings):
    torch.manual_seed(0)
    net = kind(N_CODES, grid_shape, **settings)
    # What training starts at zero must not hide a path.
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.normal_(std=0.1)
    return net


@pytest.mark.parametrize(
    ("grid_shape", "n_classes"),
    [
        ((8, 8), 0),
        ((8, 8), 3),
        ((10, 6), 0),
        ((4, 4, 4), 0),
        ((3, 5, 4), 3),
        ((9,), 0),
        ((1, 6), 0),
        ((6, 1), 0),
    ],
)
@pytest.mark.parametrize("sizes", [{}, {"n_layers": 1, "n_attention": 2}])
def test_the_gated_prior_sees_all_that_comes_before_and_nothing_else(
    grid_shape, n_classes, sizes
):
    net = random_net(GatedPixelCNN, grid_shape, n_classes=n_classes, **sizes)
    depends = dependence(net, grid_shape)
    npt.assert_array_equal(depends, earlier(len(depends)))


def test_the_gated_prior_on_another_grid_than_that_of_the_training():
    depends = dependence(random_net(GatedPixelCNN, (5, 5)), (7, 9))
    npt.assert_array_equal(depends, earlier(63))


def test_the_gated_prior_sees_as_far_as_its_layers_reach():
    # Each layer adds one row to the three of the first.
    net = random_net(GatedPixelCNN, (9, 1), n_layers=2)
    depends = dependence(net, (9, 1))
    distance = np.subtract.outer(np.arange(9), np.arange(9))
    npt.assert_array_equal(depends, (distance > 0) & (distance <= 5))


@pytest.mark.parametrize(
    ("grid_shape", "n_classes", "n_unseen"),
    [((7, 7), 0, 136), ((8, 8), 3, 433), ((3, 4, 4), 0, 0), ((9,), 0, 3 + 2 + 1)],
)
def test_the_plain_prior_sees_nothing_that_comes_later_and_has_a_blind_spot(
    grid_shape, n_classes, n_unseen
):
    # The blind spot is known, and kept: this is the baseline. 7 x 7 positions have
    # 1176 pairs of an earlier and a later one, 8 x 8 have 2016.
    net = random_net(PlainPixelCNN, grid_shape, n_classes=n_classes, n_embedding=16)
    depends = dependence(net, grid_shape)
    before = earlier(len(depends))
    assert not depends[~before].any()
    assert (before & ~depends).sum() == n_unseen
