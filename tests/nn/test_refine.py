"""Codes that are improved for each image: what is promised of them."""

from itertools import pairwise
from math import log

import numpy as np
import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F
from toy_vqvae import blobs, fit_to, weights

from dipy_vqvae import VQVAEFit, VQVAEModel
from dipy_vqvae.nn import refine
from dipy_vqvae.nn.quantiser import to_rows
from dipy_vqvae.nn.refine import Encoded, _Axis, refine_codes
import dipy_vqvae.nn.vqvae as vqvae_module
from dipy_vqvae.nn.vqvae import VQVAENet
import dipy_vqvae.vqvae.model as model_module


def make_net(grid, *, rate_weight=0.02, n_blocks=0, **settings):
    """A network with weights that make something of its codes."""
    torch.manual_seed(1)
    net = VQVAENet(
        1,
        12,
        4,
        **{
            "factors": (2,) * len(grid),
            "architecture": "subpixel",
            "n_channels": 6,
            "n_blocks": (n_blocks, n_blocks),
            "codebook": "ema",
            "commitment": 0.05,
            "rate_weight": rate_weight,
            "grid_shape": grid,
            **settings,
        },
    ).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.quantiser.codebook.normal_()
    return net


def encoded_images(net, grid, n=3, *, masked=False):
    x = torch.randn(n, 1, *(2 * size for size in grid))
    weight = inside = None
    if masked:
        inside = torch.rand(n, *grid) < 0.7
        weight = inside.float()
        for axis in range(len(grid)):
            weight = weight.repeat_interleave(2, dim=1 + axis)
        weight = weight.unsqueeze(1)
        x = x * weight
    with torch.no_grad():
        latents = net.latents(x)
        codes = net.codes(x)
    return Encoded(x, weight, inside, latents, codes)


def slow_terms(net, encoded, codes):
    """Squared error of each image, and the length of its codes in nats."""
    with torch.no_grad():
        squares = (net.decode(codes) - encoded.x).square()
        if encoded.weight is not None:
            squares = squares * encoded.weight
        error = squares.flatten(1).sum(1).double()
        if not net.rate_weight:
            return error, torch.zeros_like(error)
        vectors = net.quantiser.codebook[codes].movedim(-1, 1)
        nats = F.cross_entropy(
            net.rate.forward_embedded(vectors), codes, reduction="none"
        )
        nats = nats.clamp(max=log(len(net.quantiser.codebook)))
        if encoded.inside is not None:
            nats = nats * encoded.inside
        return error, nats.flatten(1).sum(1).double()


def slow_price(net, encoded):
    """What a nat costs in squared error, for each image."""
    vectors = net.quantiser.codebook[encoded.codes].movedim(-1, 1)
    distance = (encoded.latents - vectors).square().sum(1)
    if encoded.inside is not None:
        distance = distance * encoded.inside
    error, _ = slow_terms(net, encoded, encoded.codes)
    rate = error / distance.flatten(1).sum(1)
    return refine.EXCHANGE * rate * net.rate_weight * net.quantiser.codebook.shape[1]


def copy_of(encoded):
    return Encoded(*(None if t is None else t.clone() for t in vars(encoded).values()))


CASES = {
    "one block": ((7, 5), {}),
    "no price": ((7, 5), {"rate_weight": 0.0}),
    "several blocks": ((37, 9), {}),
    "blocks along both axes": ((26, 30), {"rate_weight": 0.0}),
    "deeper": ((30, 28), {"n_blocks": 2}),
    "another grid": ((20, 22), {"grid_shape": (9, 11)}),
    "of several grids": ((12, 22), {"grid_shape": (15, 20), "mixed_grids": True}),
    "clamped": ((18, 9), {"output_range": (-1.0, 0.5)}),
    "strided": ((26, 5), {"architecture": "strided"}),
    "volumes": ((18, 4, 20), {"rate_weight": 0.01}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_small_never_rises(case, masked):
    grid, settings = CASES[case]
    net = make_net(grid, **settings)
    encoded = encoded_images(net, grid, masked=masked)
    price = slow_price(net, encoded)
    codes = [
        refine_codes(net, copy_of(encoded), n_rounds=n_rounds) for n_rounds in (0, 1, 3)
    ]
    npt.assert_array_equal(codes[0], encoded.codes)
    sums = []
    for some in codes:
        error, nats = slow_terms(net, encoded, some)
        sums.append(error + price * nats)
    for worse, better in pairwise(sums):
        assert (better <= worse * (1 + 1e-6)).all()
    assert sums[-1].sum() < 0.999 * sums[0].sum()
    if masked:
        for some in codes[1:]:
            outside = ~encoded.inside
            npt.assert_array_equal(some[outside], encoded.codes[outside])


@pytest.mark.parametrize("case", CASES)
def test_windows_change_nothing(case, monkeypatch):
    grid, settings = CASES[case]
    net = make_net(grid, **settings)
    encoded = encoded_images(net, grid, masked=True)
    whole = refine_codes(net, copy_of(encoded), n_rounds=2)
    monkeypatch.setattr(refine, "_LARGEST_WITH_GRADIENTS", 1)
    assert (whole != encoded.codes).any()
    in_windows = refine_codes(net, copy_of(encoded), n_rounds=2)
    assert (in_windows == whole).float().mean() > 0.999


def test_images_have_no_influence_on_each_other():
    net = make_net((7, 5))
    encoded = encoded_images(net, (7, 5), n=6, masked=True)
    together = refine_codes(net, copy_of(encoded), n_rounds=2)
    for i in range(6):
        one = Encoded(*(t[i : i + 1].clone() for t in vars(encoded).values()))
        npt.assert_array_equal(refine_codes(net, one, n_rounds=2)[0], together[i])


@pytest.mark.parametrize("rate_weight", [0.0, 0.02])
def test_a_round_written_out(rate_weight):
    """One block: an image's changes are kept if its sum falls."""
    net = make_net((6, 6), rate_weight=rate_weight)
    encoded = encoded_images(net, (6, 6), n=8)
    codebook = net.quantiser.codebook
    vectors = codebook[encoded.codes].movedim(-1, 1).requires_grad_()
    error = (net.decoder(vectors) - encoded.x).square()
    (gradient,) = torch.autograd.grad(error.sum(), vectors)
    error = error.detach().flatten(1).sum(1)
    distance = (encoded.latents - vectors.detach()).square().flatten(1).sum(1)
    step = refine.STEP * distance / (2 * error)
    moved = encoded.latents - step[:, None, None, None] * gradient
    cost = torch.cdist(to_rows(moved), codebook).square()
    if rate_weight:
        with torch.no_grad():
            logits = net.rate.forward_embedded(vectors)
        nats = -to_rows(F.log_softmax(logits, dim=1)).clamp(min=-log(12))
        cost = cost + rate_weight * 4 * nats
    proposed = cost.argmin(1).reshape(encoded.codes.shape)
    price = slow_price(net, encoded)
    sums = [
        error + price * nats
        for error, nats in (
            slow_terms(net, encoded, codes) for codes in (encoded.codes, proposed)
        )
    ]
    keep = (sums[1] < sums[0])[:, None, None]
    expected = torch.where(keep, proposed, encoded.codes)
    assert keep.any() and (expected != encoded.codes).any()
    npt.assert_array_equal(refine_codes(net, encoded, n_rounds=1), expected)


@pytest.mark.parametrize("length", [1, 5, 8, 9, 16, 17, 40, 100])
@pytest.mark.parametrize("size", [8, 11, 14])
def test_blocks_in_turn_do_not_share_their_influence(length, size):
    axis = _Axis(length, size)
    n_turns = np.zeros(length, int)
    for colour in range(axis.n_colours):
        groups, in_turn = axis.groups(colour).numpy(), axis.is_in_turn(colour).numpy()
        n_turns += in_turn
        assert (np.diff(groups) >= 0).all() and groups[0] == 0
        assert set(groups) == set(range(groups[-1] + 1))
        for place in np.flatnonzero(in_turn):
            near = slice(max(0, place - size // 2), place + size // 2 + 1)
            assert set(groups[near]) == {groups[place]}
        for group, window in enumerate(axis.windows(colour, size // 2)):
            (members,) = np.nonzero(groups == group)
            assert window.start == max(0, members[0] - size // 2)
            assert window.stop == min(length, members[-1] + size // 2 + 1)
    npt.assert_array_equal(n_turns, 1)


@pytest.mark.parametrize("rate_weight", [0.0, 0.02])
def test_a_model_that_refines(rate_weight, tmp_path):
    images = blobs(40, (14, 12))
    mask = np.ones((14, 12), bool)
    mask[:, 8:] = False
    settings = {"rate_weight": rate_weight, "n_codes": 16}
    plain = fit_to(images, model=settings, n_epochs=8)
    fit = fit_to(images, model={**settings, "n_refinements": 30}, n_epochs=8)
    for name, array in weights(plain).items():
        npt.assert_array_equal(weights(fit)[name], array, err_msg="training differs")
    codes = fit.encode(images)
    assert (codes != plain.encode(images)).any()
    npt.assert_array_equal(codes[:3], fit.encode(images[:3]))
    npt.assert_array_equal(fit.decode(codes), fit.predict(images))
    if not rate_weight:
        found, before = (
            np.square(f.predict(images).astype(float) - images).mean()
            for f in (fit, plain)
        )
        assert found < before
    inside = fit.encode(images, mask=mask)
    changed = images.copy()
    changed[:, :, 8:] = 255 - changed[:, :, 8:]
    npt.assert_array_equal(fit.encode(changed, mask=mask), inside)
    path = tmp_path / "vqvae.safetensors"
    fit.save(path)
    npt.assert_array_equal(VQVAEFit.load(path).encode(images), codes)


def test_the_joint_training_does_not_know_of_it():
    """Not even where it stops by the errors of held-out images."""
    images = blobs(48, (8, 8))
    histories = []
    for n in (0, 3):
        model = VQVAEModel(n_codes=6, code_dim=3, n_channels=6, n_refinements=n)
        fit = model.fit(
            images[:40],
            n_epochs=30,
            learning_rate=0.1,
            batch_size=8,
            validation_images=images[40:],
            patience=2,
        )
        history = fit.history.to_dict()
        histories.append((history["epochs"], history["validation"], weights(fit)))
    npt.assert_equal(histories[1], histories[0])
    assert histories[0][0][-1] < 30


def test_the_decoder_learns_from_refined_codes(monkeypatch):
    images = blobs(24, (8, 8))
    joint = fit_to(images, model={"n_codes": 6})
    seen = []

    class Spy(model_module.DecoderTask):
        def __init__(self, net, codes, joint):
            seen.append(codes)
            super().__init__(net, codes, joint)

    def refine(net, encoded, *, n_rounds):
        return (encoded.codes + n_rounds) % 6

    monkeypatch.setattr(model_module, "DecoderTask", Spy)
    monkeypatch.setattr(vqvae_module, "refine_codes", refine)
    fit_to(images, model={"n_codes": 6, "n_refinements": 2}, n_decoder_epochs=1)
    npt.assert_array_equal(seen[0], (joint.encode(images) + 2) % 6)


def test_a_model_that_is_loaded_in_inference_mode(tmp_path):
    images = blobs(16, (8, 8))
    fit = fit_to(images, model={"n_refinements": 2, "rate_weight": 0.02})
    fit.save(tmp_path / "model.safetensors")
    with torch.inference_mode():
        loaded = VQVAEFit.load(tmp_path / "model.safetensors")
        codes = loaded.encode(images)
    npt.assert_array_equal(codes, fit.encode(images))


DEEP = {"n_blocks": 2, "n_channels": 8}
STRIDED = {"architecture": "strided", "n_blocks": 1}


@pytest.mark.parametrize(
    ("grid", "factors", "settings"),
    [
        ((30, 27), (4, 4), DEEP),
        ((30, 27), (8, 2), DEEP),
        ((27, 30), (4, 3), STRIDED),
        ((26, 1, 30), (2, 1, 4), DEEP),
    ],
)
def test_the_influence_of_a_code_ends_in_its_group(grid, factors, settings):
    net = make_net(grid, factors=factors, **settings)
    reach = refine._reach(net)
    axes = [_Axis(n, max(8, 2 * r)) for n, r in zip(grid, reach)]
    x = torch.zeros(1, 1, *(n * f for n, f in zip(grid, factors)))
    codes = torch.randint(12, (1, *grid))
    encoded = Encoded(x, None, None, torch.zeros(1, 4, *grid), codes)
    bias = net.rate.position_bias(grid)
    farthest = np.zeros(len(grid), int)
    for place in np.random.default_rng(0).integers(grid, size=(30, len(grid))):
        other = codes.clone()
        other[(0, *place)] = (codes[(0, *place)] + 5) % 12
        with torch.no_grad():
            changed = refine._errors(net, encoded, other) != refine._errors(
                net, encoded, codes
            )
            changed |= refine._lengths_of(net, other, bias) != refine._lengths_of(
                net, codes, bias
            )
        places = changed[0].nonzero().numpy()
        farthest = np.maximum(farthest, np.abs(places - place).max(0))
        for i, (axis, p) in enumerate(zip(axes, place)):
            (colour,) = [c for c in range(axis.n_colours) if axis.is_in_turn(c)[p]]
            assert set(axis.groups(colour)[places[:, i]].tolist()) == {
                int(axis.groups(colour)[p])
            }
    # The bound is reached: one less would be too little.
    assert all(far == min(r, n - 1) for far, r, n in zip(farthest, reach, grid)), (
        farthest,
        reach,
    )
