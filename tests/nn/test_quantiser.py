"""Nearest codes, codebooks that learn, and codes that come back to life."""

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae.nn import quantiser as quantize
from dipy_vqvae.nn.quantiser import (
    EMAQuantiser,
    GradientQuantiser,
    from_rows,
    kmeans,
    nearest_code,
    to_rows,
)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def clusters(centres, n_each, spread=0.01):
    """Vectors around centres ``(K, D)``, ``(K * n_each, D)``."""
    centres = torch.as_tensor(centres, dtype=torch.float32)
    vectors = centres.repeat_interleave(n_each, dim=0)
    return vectors + spread * torch.randn_like(vectors)


def distances(a, b):
    """Distances of all rows of a ``(N, D)`` from all of b, ``(N, M)``."""
    return (a.detach()[:, None] - b.detach()).norm(dim=2)


# The nearest code.


@pytest.mark.parametrize("n", [1, 100, 2 * quantize.ROWS + 7])
def test_nearest_code_is_that_of_brute_force(n):
    vectors, codebook = torch.randn(n, 5), torch.randn(11, 5)
    distance = (vectors[:, None].double() - codebook.double()).square().sum(2)
    npt.assert_array_equal(nearest_code(vectors, codebook), distance.argmin(1))


@pytest.mark.parametrize("n", [100, quantize.ROWS + 7])
def test_cheapest_code_is_that_of_brute_force(n):
    vectors, codebook, cost = torch.randn(n, 3), torch.randn(6, 3), torch.rand(n, 6)
    distance = (vectors[:, None].double() - codebook.double()).square().sum(2)
    expected = (distance + cost).argmin(1)
    npt.assert_array_equal(nearest_code(vectors, codebook, cost), expected)
    assert (expected != distance.argmin(1)).any()


@pytest.mark.parametrize("n_codes", [3, 1 << 19])
def test_blocks_hold_at_least_one_row(n_codes, monkeypatch):
    # More codes than scores have room: still exact, one row after the other.
    monkeypatch.setattr(quantize, "SCORES_IN_CACHE", 8)
    rows = quantize.rows_at_a_time(torch.empty(n_codes, 1))
    assert rows == (2 if n_codes == 3 else 1)
    vectors, codebook = torch.randn(9, 2), torch.randn(3, 2)
    npt.assert_array_equal(
        nearest_code(vectors, codebook), distances(vectors, codebook).argmin(1)
    )


@pytest.mark.parametrize("n_columns", [1, 7, 128, 511, 512, 1024, 1030])
def test_the_first_of_the_smallest(n_columns):
    # Few different numbers: nearly every row has ties, within and between groups.
    rng = np.random.default_rng(0)
    scores = rng.integers(9 if n_columns < 500 else 300, size=(400, n_columns))
    scores = scores.astype(np.float32)
    columns = quantize.first_smallest(torch.from_numpy(scores))
    npt.assert_array_equal(columns, scores.argmin(1))


def test_of_equal_codes_the_first():
    codebook = torch.randn(40, 3).repeat(2, 1)
    codes = nearest_code(torch.randn(500, 3), codebook)
    assert codes.max() < 40


def test_nearest_code_of_the_codes_themselves():
    codebook = 100 + torch.randn(64, 3)
    npt.assert_array_equal(nearest_code(codebook, codebook), np.arange(64))
    many = torch.randn(1024, 16)
    npt.assert_array_equal(nearest_code(many, many), np.arange(1024))


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 4)])
def test_rows_and_back(grid):
    x = torch.randn(2, 5, *grid)
    rows = to_rows(x)
    assert rows.shape == (2 * np.prod(grid), 5)
    npt.assert_array_equal(rows[1], x[(0, slice(None), *[0] * (len(grid) - 1), 1)])
    npt.assert_array_equal(from_rows(rows, (2, *grid)), x)


@pytest.mark.parametrize("quantiser", [EMAQuantiser, GradientQuantiser])
def test_gradient_passes_straight_through(quantiser):
    vectors = torch.randn(20, 3, requires_grad=True)
    layer = quantiser(4, 3, commitment=0.0)
    out = layer(vectors)
    npt.assert_allclose(
        out.vectors.detach(), layer.codebook[out.codes].detach(), atol=1e-6
    )
    weight = torch.randn(20, 3)
    (gradient,) = torch.autograd.grad((weight * out.vectors).sum(), vectors)
    npt.assert_array_equal(gradient, weight)


# The codebook of averages.


def slow_averages(codebook, batches, decay):
    """Debiased averages (Kingma and Ba's correction), one code at a time, float64."""
    codebook = codebook.double().numpy().copy()
    n_codes, dim = codebook.shape
    count, total = np.zeros(n_codes), np.zeros((n_codes, dim))
    for step, vectors in enumerate(batches, start=1):
        vectors = vectors.double().numpy()
        distance = ((vectors[:, None] - codebook) ** 2).sum(2)
        codes = distance.argmin(1)
        for k in range(n_codes):
            mine = vectors[codes == k]
            count[k] = decay * count[k] + (1 - decay) * len(mine)
            total[k] = decay * total[k] + (1 - decay) * mine.sum(0)
            correction = 1 - decay**step
            if count[k] > 0:
                codebook[k] = (total[k] / correction) / (count[k] / correction)
    return codebook


def test_averages_are_those_of_a_slow_reference():
    layer = EMAQuantiser(6, 3, decay=0.9, revive_every=10**9)
    start = layer.codebook.clone()
    batches = [torch.randn(50, 3) + 0.1 * i for i in range(8)]
    for vectors in batches:
        layer(vectors, update=True)
    npt.assert_allclose(
        layer.codebook, slow_averages(start, batches, 0.9), rtol=1e-4, atol=1e-5
    )


def test_nothing_is_learnt_unless_told():
    layer = EMAQuantiser(6, 3)
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    layer(torch.randn(50, 3))
    for name, tensor in layer.state_dict().items():
        npt.assert_array_equal(tensor, before[name])


def test_unused_codes_stay_where_they_are():
    # The common implementation divides by a smoothed count and throws them away.
    layer = EMAQuantiser(3, 2, revive_every=10**9)
    layer.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 1.0], [-3.0, 60.0]]))
    unused = layer.codebook[1:].clone()
    for _ in range(300):
        layer(torch.randn(20, 2), update=True)
    npt.assert_array_equal(layer.codebook[1:], unused)
    assert layer.codebook[0].norm() < 1


def test_a_code_that_is_given_up_stays_too():
    layer = EMAQuantiser(2, 2, decay=0.5, revive_every=10**9)
    layer.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    layer(clusters([[0, 0], [10, 10]], 5), update=True)
    place = layer.codebook[1].clone()
    for _ in range(200):
        layer(clusters([[0, 0]], 5), update=True)
    npt.assert_allclose(layer.codebook[1], place, rtol=1e-5)


def test_dead_codes_move_to_vectors_with_both_averages():
    layer = EMAQuantiser(4, 2, revive_every=1)
    layer.codebook.copy_(torch.tensor([[0.0, 0], [5, 5], [90, 90], [-90, 70]]))
    vectors = clusters([[0, 0], [5, 5]], 30)
    layer(vectors, update=True)
    distance = distances(layer.codebook[2:], vectors)
    npt.assert_allclose(distance.min(1).values, 0, atol=1e-6)
    npt.assert_allclose(layer.total / layer.count[:, None], layer.codebook, atol=1e-6)
    assert (layer.count[2:] > 0).all()
    # The old averages would pull them back in the next step.
    layer(vectors, update=True)
    assert layer.codebook.norm(dim=1).max() < 10


def test_codes_in_use_are_not_revived():
    layer = EMAQuantiser(2, 2, revive_every=1)
    layer.codebook.copy_(torch.tensor([[0.0, 0], [5, 5]]))
    layer(clusters([[0, 0], [5, 5]], 30), update=True)
    npt.assert_allclose(layer.codebook, [[0, 0], [5, 5]], atol=0.02)


def test_no_revival_when_told():
    layer = EMAQuantiser(2, 2, revive_every=1)
    layer.codebook.copy_(torch.tensor([[0.0, 0], [90, 90]]))
    layer(clusters([[0, 0]], 30), update=True, revive=False)
    npt.assert_array_equal(layer.codebook[1], [90, 90])


def test_revived_codes_get_vectors_of_their_own():
    layer = EMAQuantiser(9, 2, revive_every=1)
    layer.codebook.fill_(1000.0)
    layer.codebook[0] = 0
    layer(torch.randn(20, 2), update=True)
    assert len(np.unique(layer.codebook[1:], axis=0)) == 8


@pytest.mark.parametrize("quantiser", [EMAQuantiser, GradientQuantiser])
def test_codes_chosen_by_the_caller(quantiser):
    layer, vectors = quantiser(5, 3), torch.randn(10, 3)
    codes = torch.arange(10) % 5
    out = layer(vectors, codes=codes)
    npt.assert_array_equal(out.codes, codes)
    npt.assert_allclose(out.vectors.detach(), layer.codebook[codes].detach(), atol=1e-6)


# Rows outside.


@pytest.mark.parametrize("quantiser", [EMAQuantiser, GradientQuantiser])
def test_rows_outside_get_codes_and_nothing_else(quantiser):
    vectors, inside = torch.randn(40, 3), torch.arange(40) % 3 > 0
    with_others, alone = quantiser(5, 3), quantiser(5, 3)
    alone.load_state_dict(with_others.state_dict())
    out = with_others(vectors, update=True, inside=inside)
    reference = alone(vectors[inside], update=True)
    assert out.codes.shape == (40,)
    npt.assert_array_equal(out.codes[inside], reference.codes)
    npt.assert_allclose(out.loss.detach(), reference.loss.detach(), rtol=1e-6)
    npt.assert_allclose(out.error, reference.error, rtol=1e-6)
    for name, tensor in with_others.state_dict().items():
        npt.assert_array_equal(tensor, alone.state_dict()[name])


def test_an_update_with_no_rows_changes_no_code():
    layer = EMAQuantiser(3, 2, revive_every=1)
    layer(torch.randn(20, 2), update=True)
    before = layer.codebook.clone()
    layer.update(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    npt.assert_allclose(layer.codebook, before, rtol=1e-6)


# The codebook of the original experiment.


def test_gradient_codebook_is_the_formula():
    beta = 0.3
    layer = GradientQuantiser(4, 3, commitment=beta)
    vectors = torch.randn(10, 3, requires_grad=True)
    out = layer(vectors)
    z, codes = vectors.detach().double(), out.codes
    e = layer.codebook.detach().double()
    difference = z - e[codes]
    npt.assert_allclose(
        out.loss.detach(), (1 + beta) * difference.square().mean(), rtol=1e-6
    )
    npt.assert_allclose(out.error, difference.square().sum(1).mean(), rtol=1e-6)
    to_vectors, to_codes = torch.autograd.grad(out.loss, (vectors, layer.codebook))
    npt.assert_allclose(to_vectors, 2 * beta * difference / 30, rtol=1e-5)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    expected.index_add_(0, codes, -2 * difference / 30)
    npt.assert_allclose(to_codes, expected, rtol=1e-5, atol=1e-7)


# The first codebook.


def test_kmeans_finds_separated_clusters():
    truth = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    centres = kmeans(clusters(truth, 50), 4, n_iterations=20)
    distance = distances(centres, truth)
    assert sorted(distance.argmin(1).tolist()) == [0, 1, 2, 3]
    npt.assert_allclose(distance.min(1).values, 0, atol=0.05)


@pytest.mark.parametrize("quantiser", [EMAQuantiser, GradientQuantiser])
def test_first_codes_are_where_the_vectors_are(quantiser):
    layer = quantiser(8, 2)
    vectors = clusters([[100, 0], [0, 100]], 40)
    layer.initialise(vectors)
    assert distances(layer.codebook, vectors).min(1).values.max() < 0.1


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_vectors_than_codes(n):
    layer = EMAQuantiser(10, 2)
    vectors = 10 * torch.arange(n)[:, None] + torch.tensor([1.0, 2.0])
    layer.initialise(vectors)
    assert torch.isfinite(layer.codebook).all()
    # Each vector has a code of its own.
    distance = distances(vectors, layer.codebook)
    npt.assert_allclose(distance.min(1).values, 0, atol=0.1)


def test_kmeans_of_equal_vectors():
    centres = kmeans(torch.full((30, 2), 7.0), 4)
    npt.assert_allclose(centres, 7.0)
