"""Tiles: the same as without them, up to rounding."""

import numpy as np
import pytest
import torch

from dipy_vqvae.nn import tiles, vqvae
from dipy_vqvae.nn.autoencoder import DECODERS, ENCODERS
from dipy_vqvae.nn.tiles import (
    input_range,
    numbers_per_voxel,
    tiled_decoder,
    tiled_encoder,
)
from dipy_vqvae.nn.vqvae import VQVAENet

DESIGNS = [
    ("subpixel", (4, 4), (31, 26)),
    ("subpixel", (8, 2), (12, 40)),
    ("subpixel", (2, 2, 1), (14, 3, 15)),
    ("strided", (4, 4), (29, 33)),
    ("strided", (3, 1), (14, 40)),
    ("strided", (2, 4, 1), (14, 3, 15)),
]


def network(architecture, factors):
    torch.manual_seed(0)
    build = {"factors": factors, "n_channels": 8, "n_blocks": 2}
    if len(factors) == 3:
        build["n_hidden"] = 5
    encoder = ENCODERS[architecture](2, 3, **build)
    decoder = DECODERS[architecture](3, 2, **build)
    for module in (encoder, decoder):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return encoder, decoder


def changed(module, x, axis, at):
    """Positions of the output along an axis that a position of the input changes."""
    other = x.clone()
    other[(..., *[slice(None)] * axis, at, *[slice(None)] * (x.ndim - 3 - axis))] += 1
    with torch.no_grad():
        difference = (module(other) - module(x)).abs()
    axes = [i for i in range(x.ndim) if i != axis + 2]
    return np.flatnonzero(difference.amax(axes) > 0)


@pytest.mark.parametrize(("architecture", "factors", "grid"), DESIGNS)
def test_the_range_is_what_the_output_depends_on(architecture, factors, grid):
    encoder, decoder = network(architecture, factors)
    image = torch.randn(1, 2, *[n * f for n, f in zip(grid, factors)])
    latents = torch.randn(1, 3, *grid)
    for axis in range(len(grid)):
        for module, x in ((encoder, image), (decoder, latents)):
            at = x.shape[2 + axis] // 2
            outputs = changed(module, x, axis, at)
            # Changes come out where the range says so, and (nearly) everywhere there.
            predicted = [
                o
                for o in range(module(x).shape[2 + axis])
                if input_range(module, axis, o, o)[0]
                <= at
                <= input_range(module, axis, o, o)[1]
            ]
            assert set(outputs) <= set(predicted)
            assert len(predicted) <= len(outputs) + 2 * factors[axis]


def numbers_in(encoder, x):
    """Numbers that enter and leave the largest layer."""
    return numbers_per_voxel(encoder, 1.0) * x[:, 0].numel()


@pytest.mark.parametrize(("architecture", "factors", "grid"), DESIGNS)
def test_tiles_change_nothing(architecture, factors, grid, monkeypatch):
    encoder, decoder = network(architecture, factors)
    x = torch.randn(2, 2, *[n * f for n, f in zip(grid, factors)])
    with torch.inference_mode():
        latents = encoder(x)
        images = decoder(latents)
        sizes = []
        for module in (encoder, decoder):
            module.register_forward_hook(
                lambda module, inputs, output: sizes.append(inputs[0].shape)
            )
        # A third of the image or less, with all that it depends on.
        monkeypatch.setattr(tiles, "LARGEST_PASS", 0.3 * numbers_in(encoder, x))
        tiled_latents = tiled_encoder(encoder, x, factors)
        n_encoded = len(sizes)
        tiled_images = tiled_decoder(decoder, latents, factors)
    assert n_encoded > 1 and len(sizes) > n_encoded + 1
    for tiled, whole in ((tiled_latents, latents), (tiled_images, images)):
        assert tiled.shape == whole.shape
        scale = whole.abs().max()
        assert (tiled - whole).abs().max() <= 2e-6 * scale


@pytest.mark.parametrize("rate_weight", [0.0, 0.1])
def test_codes_of_large_images(rate_weight, monkeypatch):
    torch.manual_seed(1)
    net = VQVAENet(
        1,
        16,
        4,
        factors=(4, 4),
        architecture="subpixel",
        n_channels=8,
        n_blocks=(2, 2),
        codebook="ema",
        commitment=0.05,
        rate_weight=rate_weight,
        grid_shape=(24, 20),
        output_range=(-9.0, 9.0),
    ).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.quantiser.codebook.normal_()
    # Codes of 60 rows: more than a slab of the rate network has.
    x = torch.randn(3, 1, 240, 80)
    assert rate_weight == 0 or net.rate.reach == 4
    with torch.inference_mode():
        codes = net.codes(x)
        images = net.decode(codes)
        monkeypatch.setattr(tiles, "LARGEST_PASS", 20_000)
        monkeypatch.setattr(vqvae, "LARGEST_LOGITS", 1000)
        assert (net.codes(x) == codes).float().mean() >= 0.999
        difference = (net.decode(codes) - images).abs().max()
    assert len(codes.unique()) > 8
    assert difference <= 2e-6 * images.abs().max()


def test_an_unknown_module():
    with pytest.raises(TypeError, match="not known what a Tanh depends on"):
        input_range(torch.nn.Tanh(), 0, 1, 2)
