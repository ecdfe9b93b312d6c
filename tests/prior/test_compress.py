"""Codes as bytes: as small as the prior says, and the same on every machine."""

import os
import pickle
import subprocess
import sys

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel
from dipy_vqvae.compression import masks_to_bytes, pack, unpack
from dipy_vqvae.prior import coding
from dipy_vqvae.prior.conditions import Conditions
from dipy_vqvae.prior.steps import Steps

K = 7
SETTINGS = {"n_codes": K, "n_channels": 8, "n_layers": 1, "n_attention": 0}
SHAPES = [(9,), (5, 6), (3, 4, 5)]
# Bytes that a file may have beyond what the prior says.
MOST = 64


def codes_of(n, shape, seed=0):
    """Grids in which a code tells much about the next one."""
    rng = np.random.default_rng(seed)
    steps = rng.random((n, *shape)) < 0.3
    return (np.cumsum(steps, axis=-1) + rng.integers(K, size=(n, *shape[:-1], 1))) % K


def fit_to(codes, *, model=None, n_epochs=2, **kwargs):
    model = PixelCNNModel(**{**SETTINGS, **(model or {})})
    return model.fit(codes, n_epochs=n_epochs, batch_size=8, **kwargs)


def bytes_by_prior(fit, codes, **kwargs):
    return -fit.log_prob(codes, **kwargs).sum() / np.log(2) / 8


def assert_small(fit, content, codes, *, more=0, **kwargs):
    expected = bytes_by_prior(fit, codes, **kwargs)
    assert 0.99 * expected - 8 < len(content) <= 1.003 * expected + MOST + more


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"kind": "plain"},
        {"n_attention": 1},
        {"n_components": 3},
        {"both_directions": True},
        {"n_components": 2, "both_directions": True, "n_attention": 1},
    ],
    ids=str,
)
def test_round_trip(model, shape):
    codes = codes_of(30, shape)
    fit = fit_to(codes, model=model)
    content = fit.compress(codes)
    # Of a prior for both directions, each grid has a bit for its own.
    assert_small(fit, content, codes, more=30 / 8 * ("both_directions" in model))
    found = fit.decompress(content)
    assert found.dtype == np.int32
    npt.assert_array_equal(found, codes)
    # Grids as they are seldom: the prior has not learnt them.
    other = np.random.default_rng(0).integers(0, K, (3, *shape))
    npt.assert_array_equal(fit.decompress(fit.compress(other)), other)


SHAPES_OF_SUBJECTS = [(4, 5), (3, 6), (5, 5)]
LARGE = {
    "grids": lambda: (codes_of(3000, (5, 6)), {}),
    "volumes": lambda: (codes_of(300, (4, 5, 6)), {}),
    "labels": lambda: (codes_of(1500, (5, 6)), {"labels": np.arange(1500) % 3}),
    "masks": lambda: (
        codes_of(1500, (5, 6)),
        {"mask": np.random.default_rng(1).random((1500, 5, 6)) < 0.6},
    ),
    "ragged": lambda: (
        [codes_of(500, shape) for shape in SHAPES_OF_SUBJECTS],
        {
            "mask": [
                np.random.default_rng(1).random((500, *shape)) < 0.6
                for shape in SHAPES_OF_SUBJECTS
            ]
        },
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_large_files_are_as_small_as_the_prior_says(case):
    codes, given = LARGE[case]()
    n_axes = {"spatial_dims": 2} if case == "ragged" else {}
    fit = fit_to(codes, n_epochs=1, **n_axes, **given)
    expected = bytes_by_prior(fit, codes, **given)
    # Masks and labels are not what the prior says, and come on top.
    content = fit.compress(codes, keep_mask=False, **given)
    _, sides, words = unpack(content)
    assert 0.999 * expected < len(sides) + len(words) < 1.001 * expected + 8
    n_labels = len(given.get("labels", ()))
    assert len(content) < 1.001 * expected + MOST + n_labels / 4


@pytest.mark.parametrize("n_components", [1, 3])
def test_conditions_are_in_the_bytes(n_components):
    codes = codes_of(30, (4, 5))
    labels = np.arange(30) % 3
    covariates = {"age": np.linspace(20, 80, 30), "x": np.ones(30)}
    given = {"labels": labels, "covariates": covariates}
    fit = fit_to(codes, model={"n_components": n_components}, **given)
    content = fit.compress(codes, **given)
    assert_small(fit, content, codes, more=30 * 10, **given)
    npt.assert_array_equal(fit.decompress(content), codes)
    with pytest.raises(ValueError, match="needs labels"):
        fit.compress(codes, covariates=covariates)


def test_masks_are_in_the_bytes():
    codes = codes_of(30, (4, 5))
    mask = np.random.default_rng(1).random((30, 4, 5)) < 0.7
    fit = fit_to(codes, mask=mask)
    content = fit.compress(codes, mask=mask)
    n_mask = len(masks_to_bytes([mask]))
    assert_small(fit, content, codes, more=n_mask + 2, mask=mask)
    found = fit.decompress(content)
    npt.assert_array_equal(found[mask], codes[mask])
    assert (found[~mask] == fit.outside_code).all()
    # Codes outside have no influence.
    assert fit.compress(np.where(mask, codes, 999), mask=mask) == content


def test_a_mask_that_is_not_in_the_bytes():
    codes = codes_of(30, (4, 5))
    mask = np.random.default_rng(1).random((4, 5)) < 0.7
    fit = fit_to(codes, mask=mask)
    content = fit.compress(codes, mask=mask, keep_mask=False)
    assert_small(fit, content, codes, mask=mask)
    npt.assert_array_equal(fit.decompress(content, mask=mask)[:, mask], codes[:, mask])
    with pytest.raises(ValueError, match="mask: these codes were compressed with one"):
        fit.decompress(content)
    with pytest.raises(ValueError, match="mask must have shape"):
        fit.decompress(content, mask=mask[:3])
    with pytest.raises(TypeError, match="mask must be bool"):
        fit.decompress(content, mask=mask.astype(int))
    other = mask.copy()
    other[0, 0] ^= True
    with pytest.raises(ValueError, match="not those that were compressed"):
        fit.decompress(content, mask=other)
    with pytest.raises(ValueError, match="need none"):
        fit.decompress(fit.compress(codes), mask=mask)


@pytest.mark.parametrize("has_masks", [False, True])
def test_grids_that_differ(has_masks):
    codes = [codes_of(4, (3, 4)), codes_of(1, (5, 3))[0], codes_of(2, (3, 4), seed=5)]
    mask = None
    if has_masks:
        mask = [np.random.default_rng(2).random(entry.shape) < 0.8 for entry in codes]
    fit = fit_to(codes, mask=mask, spatial_dims=2)
    content = fit.compress(codes, mask=mask)
    found = fit.decompress(content, batch_size=2)
    assert [entry.shape for entry in found] == [entry.shape for entry in codes]
    for i, (a, b) in enumerate(zip(found, codes)):
        inside = np.ones(b.shape, bool) if mask is None else mask[i]
        npt.assert_array_equal(a[inside], b[inside])


def test_grids_of_another_shape_than_those_of_the_training():
    fit = fit_to(codes_of(30, (4, 5)))
    codes = [codes_of(3, (6, 7)), codes_of(2, (2, 2))]
    found = fit.decompress(fit.compress(codes))
    for a, b in zip(found, codes):
        npt.assert_array_equal(a, b)


# The same on every machine.


@pytest.fixture(scope="module")
def codes():
    return codes_of(40, (5, 6))


@pytest.fixture(scope="module")
def fit(codes):
    return fit_to(codes, model={"n_attention": 1, "n_components": 2}, n_epochs=8)


@pytest.fixture(scope="module")
def cases(fit, codes):
    """A prior, codes, and what is given with them, of all kinds."""
    volumes = [codes_of(3, (3, 4, 4)), codes_of(2, (2, 5, 3))]
    rng = np.random.default_rng(3)
    masks = [rng.random(entry.shape) < 0.7 for entry in volumes]
    labels = {"labels": np.arange(12) % 3}
    return {
        "grids": (fit, codes, {}),
        "masked volumes": (
            fit_to(volumes, mask=masks, spatial_dims=3, n_epochs=8),
            volumes,
            {"mask": masks},
        ),
        "labels": (
            fit_to(codes[:12], model={"both_directions": True}, n_epochs=8, **labels),
            codes[:12],
            labels,
        ),
    }


def assert_same_codes(found, codes, mask=None):
    if not isinstance(codes, list):
        found, codes, mask = [found], [codes], [mask]
    for i, (a, b) in enumerate(zip(found, codes, strict=True)):
        inside = ... if mask is None or mask[i] is None else mask[i]
        npt.assert_array_equal(a[inside], b[inside])


CASES = ["grids", "masked volumes", "labels"]


@pytest.mark.parametrize("case", CASES)
def test_batches_have_no_influence_on_codes(cases, case):
    fit, codes, given = cases[case]
    content = fit.compress(codes, **given)
    for batch_size in (1, 7, 100):
        found = fit.decompress(content, batch_size=batch_size)
        assert_same_codes(found, codes, given.get("mask"))
        other = fit.compress(codes, batch_size=batch_size, **given)
        assert_same_codes(fit.decompress(other), codes, given.get("mask"))


def test_files_say_how_many_grids_go_together(fit, codes, monkeypatch):
    content = fit.compress(codes)
    monkeypatch.setattr(coding, "MOST_KEPT", 1)
    one_by_one = fit.compress(codes)
    assert one_by_one != content
    monkeypatch.undo()
    npt.assert_array_equal(fit.decompress(one_by_one), codes)


def test_lengths_are_computed_as_well_as_can_be_told(fit, codes):
    """The steps agree with a pass through the whole grid far better than needed."""
    protocol = coding.Protocol(fit, batch_size=16)
    writer = coding.CodeWriter(1e-9)
    ((net, chunk, conditions),) = protocol._chunks(
        [codes], Conditions(), np.zeros(40, bool), 100
    )
    difference = protocol._write(writer, net, chunk, conditions)
    assert 0 < difference < coding.TOLERANCE / coding.SAFETY


@pytest.fixture
def noisy(monkeypatch):
    """Make lengths differ by up to a number, as on another machine."""
    nats, rng = Steps.nats, np.random.default_rng(0)

    def by(most):
        def noisy_nats(self, position, rows):
            found = nats(self, position, rows)
            return found + rng.uniform(-most, most, found.shape)

        monkeypatch.setattr(Steps, "nats", noisy_nats)

    return by


def test_another_machine_reads_the_same(fit, codes, noisy, monkeypatch):
    # So wide that many values are near a step.
    monkeypatch.setattr(coding, "TOLERANCE", 1e-4)
    content = fit.compress(codes)
    assert len(unpack(content)[1]) > 20
    noisy(0.9e-4)
    npt.assert_array_equal(fit.decompress(content), codes)


def test_a_machine_that_computes_too_differently_gives_no_codes(fit, codes, noisy):
    content = fit.compress(codes)
    noisy(1e-2)
    with pytest.raises(ValueError, match="not those that were compressed"):
        fit.decompress(content)


def test_a_prior_that_computes_badly_gets_more_tolerance(fit, codes, noisy):
    noisy(1e-7)
    content = fit.compress(codes)
    assert len(unpack(content)[1]) > 20
    npt.assert_array_equal(fit.decompress(content), codes)


# In the order in which processors have learnt them.
CAPABILITIES = ["default", "avx2", "avx512"]


def has(capability):
    own = torch.backends.cpu.get_cpu_capability().lower()
    known = CAPABILITIES[: 1 + CAPABILITIES.index(own)] if own in CAPABILITIES else []
    return capability in ("default", *known)


_ELSEWHERE = """
import pickle, sys, torch
from pathlib import Path
from dipy_vqvae import PixelCNNFit
folder = Path(sys.argv[1])
codes, given, content = pickle.loads((folder / "case").read_bytes())
fit = PixelCNNFit.load(folder / "prior")
results = []
for n_threads in (1, 2):
    torch.set_num_threads(n_threads)
    results.append((fit.decompress(content), fit.compress(codes, **given)))
(folder / "results").write_bytes(pickle.dumps(results))
"""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("capability", list(filter(has, CAPABILITIES)))
def test_each_instruction_set_reads_what_others_wrote(
    cases, case, capability, tmp_path
):
    """With one thread and with two; and others read what it wrote."""
    fit, codes, given = cases[case]
    fit.save(tmp_path / "prior")
    everything = codes, given, fit.compress(codes, **given)
    (tmp_path / "case").write_bytes(pickle.dumps(everything))
    subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path)],
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
        check=True,
    )
    results = pickle.loads((tmp_path / "results").read_bytes())
    assert len(results) == 2
    for found, content in results:
        assert_same_codes(found, codes, given.get("mask"))
        assert_same_codes(fit.decompress(content), codes, given.get("mask"))


# What is refused.


def test_bytes_are_for_one_prior(fit, codes, tmp_path):
    content = fit.compress(codes)
    fit.save(tmp_path / "prior")
    npt.assert_array_equal(
        PixelCNNFit.load(tmp_path / "prior").decompress(content), codes
    )
    other = PixelCNNFit.load(tmp_path / "prior")
    with torch.no_grad():
        other.net.embedding.weight[0, 0] += 1e-6
    with pytest.raises(ValueError, match="compressed with another prior: its identity"):
        other.decompress(content)


def test_damaged_bytes_give_no_codes(fit, codes):
    content = fit.compress(codes)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        with pytest.raises(ValueError, match="damaged|not compressed codes"):
            fit.decompress(bytes(damaged))
    with pytest.raises(ValueError, match="not compressed codes"):
        fit.decompress(b"")
    with pytest.raises(TypeError, match="must be bytes"):
        fit.decompress("text")


def test_forged_bytes_give_no_codes(fit, codes):
    """With a right checksum: sizes are bounded, and the codes have one of their own."""
    sections = unpack(fit.compress(codes))
    rng = np.random.default_rng(0)
    for place in range(3):
        for _ in range(20 if sections[place] else 0):
            forged = bytearray(sections[place])
            forged[rng.integers(len(forged))] ^= 1 << rng.integers(8)
            content = pack(
                [bytes(forged) if i == place else s for i, s in enumerate(sections)]
            )
            try:
                found = fit.decompress(content)
            except ValueError:
                continue
            # Some bits have no meaning, such as how many grids go together.
            npt.assert_array_equal(np.reshape(found, codes.shape), codes)


def test_a_prior_that_is_not_finite(codes):
    fit = fit_to(codes, n_epochs=1)
    with torch.no_grad():
        fit.net.embedding.weight[:] = np.nan
    with pytest.raises(ValueError, match="weights that are not finite"):
        fit.compress(codes)
