"""Muon: orthogonal steps for kernels, Adam for the rest."""

import numpy as np
import numpy.testing as npt
import pytest
import torch
from torch import nn

from dipy_vqvae.training import TrainingOptions
from dipy_vqvae.training.muon import Muon, orthogonalise
from dipy_vqvae.training.optimizer import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)


def _matrix(shape, singular_values, *, seed=0):
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(shape[0], min(shape))))
    right, _ = np.linalg.qr(rng.normal(size=(shape[1], min(shape))))
    matrix = (left * singular_values) @ right.T
    return left, right, torch.tensor(matrix, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6), (1, 5)])
def test_singular_values_become_nearly_one(shape):
    values = np.geomspace(1.0, 0.02, min(shape))
    left, right, matrix = _matrix(shape, values)
    (result,) = orthogonalise([matrix])
    assert result.shape == matrix.shape
    found = np.linalg.svd(result.numpy(), compute_uv=False)
    assert found.min() > 0.65 and found.max() < 1.25
    # The same singular vectors: it is diagonal in their basis.
    inner = left.T @ result.numpy().astype(np.float64) @ right
    off_diagonal = inner - np.diag(np.diag(inner))
    npt.assert_allclose(off_diagonal, 0, atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 12), (40, 12)])
def test_weak_directions_are_as_exact_as_strong_ones(shape):
    _, _, matrix = _matrix(shape, np.geomspace(1.0, 0.001, 12))
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.double().T / matrix.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    (result,) = orthogonalise([matrix])
    npt.assert_allclose(result.T.numpy(), x.numpy(), atol=1e-5)


def test_the_scale_of_a_gradient_has_no_influence_and_zero_stays_zero():
    _, _, matrix = _matrix((4, 9), np.array([1.0, 0.7, 0.4, 0.2]))
    many = [matrix, 1e-6 * matrix, 1e4 * matrix, torch.zeros(4, 9)]
    once, small, large, zero = orthogonalise(many)
    npt.assert_allclose(small.numpy(), once.numpy(), atol=1e-4)
    npt.assert_allclose(large.numpy(), once.numpy(), atol=1e-4)
    assert not zero.any()


def _net():
    return nn.Sequential(
        nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def _step(net, optimizer, seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(0, 5, (16, 2)))
    y = torch.from_numpy(rng.integers(0, 3, 16))
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def _options(**changes):
    return TrainingOptions(
        n_epochs=1, batch_size=1, learning_rate=0.01, optimizer="muon", **changes
    )


def test_matrices_take_steps_of_one_size_and_the_rest_is_adams():
    torch.manual_seed(0)
    net, reference = _net(), _net()
    reference.load_state_dict(net.state_dict())
    parameters = list(net.parameters())
    optimizer = make_optimizer(net, parameters, _options())
    assert isinstance(optimizer, Muon)
    assert {id(p) for p in optimizer.matrices} == {id(net[2].weight), id(net[4].weight)}
    adam = torch.optim.Adam(reference.parameters(), lr=0.01, betas=(0.9, 0.99))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    _step(net, optimizer, 0)
    _step(reference, adam, 0)
    for name, p in net.named_parameters():
        moved = (p - before[name]).detach()
        if name in ("2.weight", "4.weight"):
            # Root mean square 0.1 of the rate, singular values near 1 (0.65 to 1.25).
            assert 0.5e-3 < moved.square().mean().sqrt() < 1.3e-3
        else:
            expected = dict(reference.named_parameters())[name]
            npt.assert_allclose(p.detach(), expected.detach(), atol=1e-6)


def test_it_goes_on_from_its_tensors_as_if_never_stopped():
    torch.manual_seed(1)
    net = _net()
    optimizer = make_optimizer(net, list(net.parameters()), _options(weight_decay=0.1))
    for seed in range(3):
        _step(net, optimizer, seed)
    copy = _net()
    copy.load_state_dict(net.state_dict())
    parameters = list(copy.parameters())
    resumed = make_optimizer(copy, parameters, _options(weight_decay=0.1))
    tensors = optimizer_tensors(optimizer, list(net.parameters()))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    restore_optimizer(resumed, parameters, tensors)
    for seed in range(3, 6):
        _step(net, optimizer, seed)
        _step(copy, resumed, seed)
    for mine, theirs in zip(net.parameters(), copy.parameters()):
        assert torch.equal(mine, theirs)


def test_weight_decay_shrinks_matrices_only():
    net = _net()
    optimizer = make_optimizer(net, list(net.parameters()), _options(weight_decay=0.5))
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    for p, old in zip(net.parameters(), before):
        is_matrix = any(p is m for m in optimizer.matrices)
        factor = 1 - 0.01 * 0.5 if is_matrix else 1.0
        npt.assert_allclose(p.detach(), factor * old, rtol=1e-6)


def test_kernels_are_matrices_whatever_their_layout():
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3)
    layout = nn.Conv2d(3, 4, 3)
    layout.load_state_dict(plain.state_dict())
    layout = layout.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8)
    for net in (plain, layout):
        optimizer = make_optimizer(net, list(net.parameters()), _options())
        net(x).square().sum().backward()
        optimizer.step()
    npt.assert_allclose(
        plain.weight.detach(), layout.weight.detach(), rtol=1e-4, atol=1e-6
    )
