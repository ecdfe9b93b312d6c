"""Encoders and decoders: blocks of voxels, shapes, sizes."""

import itertools
import math

import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F

from dipy_vqvae.nn.autoencoder import (
    DECODERS,
    ENCODERS,
    Clamp,
    ResidualBlock,
    depth_to_space,
    space_to_depth,
    split_factors,
    unit_channels,
)
from dipy_vqvae.nn.quantiser import to_rows
from dipy_vqvae.nn.vqvae import RATED, VQVAENet


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def build(**settings):
    defaults = {
        "n_channels_in": 1,
        "n_codes": 8,
        "code_dim": 4,
        "factors": (4, 4),
        "architecture": "subpixel",
        "n_channels": 8,
        "n_blocks": (1, 1),
        "codebook": "ema",
        "commitment": 0.25,
        "rate_weight": 0.0,
        "grid_shape": (2, 2),
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return VQVAENet(**{**defaults, **settings})


@pytest.mark.parametrize("factors", [(2,), (2, 2), (4, 1), (3, 2), (2, 3, 4)])
def test_depth_to_space_inverts_space_to_depth(factors):
    shape = (2, 3, *[f * (i + 2) for i, f in enumerate(factors)])
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    deep = space_to_depth(x, factors)
    assert deep.shape == (
        2,
        3 * torch.Size(factors).numel(),
        *[i + 2 for i in range(len(factors))],
    )
    npt.assert_array_equal(depth_to_space(deep, factors), x)


def test_space_to_depth_in_2d_is_torchs():
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    deep = F.pixel_unshuffle(x, 4)
    npt.assert_array_equal(space_to_depth(x, (4, 4)), deep)
    npt.assert_array_equal(depth_to_space(deep, (4, 4)), F.pixel_shuffle(deep, 4))


@pytest.mark.parametrize(
    ("factors", "largest", "stages"),
    [
        ((4, 4), 4, [(4, 4)]),
        ((4, 4), 2, [(2, 2), (2, 2)]),
        ((8, 4, 1), 4, [(4, 4, 1), (2, 1, 1)]),
        ((6, 5), 4, [(3, 5), (2, 1)]),
        ((25,), 4, [(5,), (5,)]),
        ((9, 2), 2, [(3, 2), (3, 1)]),
        ((1, 1), 4, [(1, 1)]),
    ],
)
def test_split_factors(factors, largest, stages):
    assert split_factors(factors, largest) == stages


CASES = [
    *itertools.product(ENCODERS, [(4, 4), (1, 1), (3, 5), (8, 2), (4, 4, 2)]),
    ("subpixel", (8, 8, 8)),
    ("strided", (2, 2, 2)),
]


@pytest.mark.parametrize(("architecture", "factors"), CASES)
def test_shapes(architecture, factors):
    net = build(architecture=architecture, factors=factors, n_channels_in=2)
    grid = (3, 2, 2)[: len(factors)]
    x = torch.randn(2, 2, *[n * f for n, f in zip(grid, factors)])
    codes = net.codes(x)
    assert codes.shape == (2, *grid)
    assert codes.dtype == torch.int64
    assert net.decode(codes).shape == x.shape
    out = net(x)
    assert out.reconstruction.shape == x.shape
    assert out.quantised.vectors.shape == (codes.numel(), 4)
    npt.assert_array_equal(out.quantised.codes.reshape(codes.shape), codes)


@pytest.mark.parametrize(("architecture", "factors"), CASES)
def test_every_voxel_matters(architecture, factors):
    """No position is skipped: its gradient through the encoder is not zero."""
    encoder = ENCODERS[architecture](1, 4, factors=factors, n_channels=8, n_blocks=0)
    x = torch.randn(1, 1, *[2 * f for f in factors], requires_grad=True)
    # Linear, so that no unit is switched off by chance.
    linear = torch.nn.Sequential(
        *[m for m in encoder if not isinstance(m, torch.nn.ReLU)]
    )
    out = linear(x)
    (out * torch.randn_like(out)).sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("architecture", ENCODERS)
@pytest.mark.parametrize("n_blocks", [0, 3])
def test_number_of_blocks(architecture, n_blocks):
    settings = {"factors": (4, 4), "n_channels": 8, "n_blocks": n_blocks}
    for build_part in (ENCODERS[architecture], DECODERS[architecture]):
        part = build_part(2, 3, **settings)
        assert sum(isinstance(m, ResidualBlock) for m in part) == n_blocks


@pytest.mark.parametrize("n_hidden", [None, 3])
def test_residual_blocks_start_as_the_identity(n_hidden):
    x = torch.randn(1, 4, 5, 5)
    block = ResidualBlock(4, n_hidden, spatial_dims=2)
    npt.assert_array_equal(block(x).detach(), x)


@pytest.mark.parametrize("architecture", ENCODERS)
def test_width_inside_the_blocks(architecture):
    settings = {"factors": (4, 4), "n_channels": 8, "n_blocks": 2}
    for build_part in (ENCODERS[architecture], DECODERS[architecture]):
        part = build_part(2, 3, n_hidden=5, **settings)
        blocks = [m for m in part if isinstance(m, ResidualBlock)]
        shapes = {(b.conv1.weight.shape, b.conv2.weight.shape) for b in blocks}
        assert shapes == {((5, 8, 3, 3), (8, 5, 1, 1))}


def test_clamp_lets_the_gradient_through():
    x = torch.tensor([-1.0, 0.25, 3.0], requires_grad=True)
    y = Clamp(0.0, 1.0)(x)
    npt.assert_array_equal(y.detach(), [0, 0.25, 1])
    y.square().sum().backward()
    # That of the clamped values, as if they were the values.
    npt.assert_array_equal(x.grad, [0, 0.5, 2])


def test_unit_channels():
    x = 100 * torch.randn(2, 5, 3, 4)
    unit = unit_channels(x)
    npt.assert_allclose(unit.square().mean(1), 1, rtol=1e-4)
    npt.assert_allclose(F.cosine_similarity(unit, x), 1, rtol=1e-5)
    assert torch.isfinite(unit_channels(torch.zeros(1, 5, 2))).all()


def test_codes_are_cheapest_in_distance_and_length():
    net = build(rate_weight=0.3)
    x = torch.randn(3, 1, 8, 8)

    def nats(codes):
        vectors = F.embedding(codes, net.quantiser.codebook).movedim(-1, 1)
        return -to_rows(net.rate.forward_embedded(vectors).log_softmax(1))

    with torch.no_grad():
        vectors = to_rows(net.latents(x)).double()
        squares = (vectors[:, None] - net.quantiser.codebook.double()).square().sum(2)
        nearest = squares.argmin(1).reshape(3, 2, 2)
        cost = 0.3 * 4 * nats(nearest).double().clamp(max=math.log(8))
        codes = net.codes(x)
        npt.assert_array_equal(codes.flatten(), (squares + cost).argmin(1))
        out = net(x)
        npt.assert_array_equal(out.quantised.codes, codes.flatten())
        # The rate network learns from some of the images.
        some = codes[::RATED]
        length = nats(some)[torch.arange(some.numel()), some.flatten()]
        npt.assert_allclose(out.nats, length.mean(), rtol=1e-5)
        # Without a price, the nearest ones.
        out = net(x, price=0.0)
        npt.assert_array_equal(out.quantised.codes, nearest.flatten())


def test_decoding_is_what_the_forward_pass_does():
    net = build()
    x = torch.randn(3, 1, 8, 8)
    npt.assert_allclose(
        net.decode(net.codes(x)).detach(), net(x).reconstruction.detach(), atol=1e-5
    )


def test_parameters_of_the_original_experiment():
    net = build(
        n_codes=128,
        code_dim=16,
        architecture="strided",
        n_channels=64,
        n_blocks=(0, 0),
        codebook="gradient",
    )
    assert sum(p.numel() for p in net.parameters()) == 49_937
    convs = [tuple(m.weight.shape) for m in net.encoder if hasattr(m, "weight")]
    assert convs == [(32, 1, 3, 3), (64, 32, 3, 3), (16, 64, 1, 1)]
    convs = [tuple(m.weight.shape) for m in net.decoder if hasattr(m, "weight")]
    # Transposed: (in, out, kernel).
    assert convs == [(16, 64, 3, 3), (64, 32, 3, 3), (32, 1, 3, 3)]
    assert net.codes(torch.zeros(1, 1, 28, 28)).shape == (1, 7, 7)
