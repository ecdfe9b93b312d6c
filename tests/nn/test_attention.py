"""Two ways to compute attention, for few positions and for many."""

import numpy.testing as npt
import pytest
import torch

from dipy_vqvae.nn import attention
from dipy_vqvae.nn.attention import Attention, AttentionBlock


def make(n_channels, n_blocks=2):
    torch.manual_seed(0)
    net = Attention(n_channels, n_embedding=5, n_blocks=n_blocks, dropout=0.0).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def result(net, states, embedded):
    states.grad = None
    out = net(states, embedded)
    out.square().sum().backward()
    return out.detach().numpy(), states.grad.numpy()


@pytest.mark.parametrize("grid", [(7, 9), (9, 10), (4, 4, 5)])
def test_the_fused_kernel_and_products_of_matrices_agree(grid, monkeypatch):
    net = make(32)
    states = torch.randn(2, 32, *grid, dtype=torch.float64, requires_grad=True)
    embedded = torch.randn(2, 5, *grid, dtype=torch.float64)
    results = []
    for most in (0, 1000):
        monkeypatch.setattr(attention, "FEW_POSITIONS", most)
        results.append(result(net, states, embedded))
    for one, other in zip(*results):
        npt.assert_allclose(one, other, atol=1e-10 * abs(one).max())


def test_each_position_equals_the_formula():
    block = AttentionBlock(16, dropout=0.0).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 6, 16, dtype=torch.float64)
    with torch.no_grad():
        found = block(x)
        normed = block.norm(x[0])
        q, k, v = (part(normed) for part in (block.query, block.key, block.value))
        for i in range(6):
            weights = torch.softmax(k[: i + 1] @ q[i] / 4, dim=0)
            y = x[0, i] + block.out(weights @ v[: i + 1])
            npt.assert_allclose(found[0, i].numpy(), (y + block.inner(y)).numpy())
