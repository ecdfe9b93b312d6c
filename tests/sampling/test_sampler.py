"""Drawing codes: exact, the same in any number and order, from the right law."""

from functools import partial
import itertools

import numpy as np
import numpy.testing as npt
import pytest
from scipy.stats import chi2
import torch

from dipy_vqvae import PixelCNNFit
from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.plain_pixelcnn import PlainPixelCNN
from dipy_vqvae.prior.config import PixelCNNConfig
from dipy_vqvae.sampling import parts as incremental_parts
from dipy_vqvae.sampling import sampler as sampling
from dipy_vqvae.sampling.draws import draw, uniforms
from dipy_vqvae.sampling.incremental import kept_numbers, prepare
from dipy_vqvae.sampling.sampler import FullPasses, sample_codes

KINDS = {
    "gated": GatedPixelCNN,
    "attention": partial(GatedPixelCNN, n_attention=2),
    "plain": PlainPixelCNN,
}
GRIDS = [(5, 3), (1, 4), (2, 3, 2), (7,), (1, 1)]
K = 6


def lively(net, seed=0, scale=0.3):
    """Random weights that make the logits differ as those of a trained prior do."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=rng), alpha=scale)
    return net.eval()


def make_net(kind, grid, *, n_classes=0, n_codes=K, seed=0, scale=0.3, **settings):
    settings = {"n_channels": 8, "n_layers": 2, **settings}
    torch.manual_seed(seed)
    return lively(
        KINDS[kind](n_codes, grid, n_classes=n_classes, **settings), seed, scale
    )


def make_fit(kind, grid, *, n_classes=0, n_codes=K, **others):
    net = make_net(kind, grid, n_classes=n_classes, n_codes=n_codes, **others)
    config = PixelCNNConfig(
        kind="plain" if kind == "plain" else "gated",
        n_attention=2 if kind == "attention" else 0,
        n_codes=n_codes,
        grid_shape=grid,
        n_classes=n_classes,
        n_channels=8,
        n_layers=2,
    )
    return PixelCNNFit(net, config, history=None, description={})


def random_labels(n_classes, n):
    return np.arange(n) % n_classes if n_classes else None


@torch.inference_mode()
def assert_logits_equal(
    net, grid, *, n_classes, batch, n_codes=K, rtol=1e-6, atol=1e-5
):
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(n_codes, size=(batch, *grid)))
    labels = torch.arange(batch) % n_classes if n_classes else None
    expected = net(codes, labels)
    steps = prepare(net)(codes, labels)
    for position in itertools.product(*map(range, grid)):
        npt.assert_allclose(
            steps.logits(position),
            expected[(slice(None), slice(None), *position)],
            rtol=rtol,
            atol=atol,
        )


# The incremental pass.


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_incremental_logits_are_those_of_a_full_pass(kind, grid, n_classes, batch):
    net = make_net(kind, grid, n_classes=n_classes, scale=0.1)
    assert_logits_equal(net, grid, n_classes=n_classes, batch=batch)


@pytest.mark.parametrize(
    ("trained", "grid"), [((3, 3), (5, 4)), ((4, 4), (2, 7)), ((2, 2, 2), (3, 4, 3))]
)
@pytest.mark.parametrize("kind", KINDS)
def test_incremental_logits_on_another_grid(kind, trained, grid):
    net = make_net(kind, trained, scale=0.1)
    assert_logits_equal(net, grid, n_classes=0, batch=2)


@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5), (9,)])
def test_incremental_logits_of_other_kernels(grid):
    settings = {"first_radius": 2, "radius": 2, "depth": 3, "n_embedding": 5}
    net = make_net("gated", grid, scale=0.1, **settings)
    assert_logits_equal(net, grid, n_classes=0, batch=2)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_incremental_logits_without_tables(kind, grid, monkeypatch):
    monkeypatch.setattr(incremental_parts, "LARGEST_TABLE", 0)
    assert_logits_equal(make_net(kind, grid, scale=0.1), grid, n_classes=0, batch=2)


@pytest.mark.parametrize("kind", KINDS)
def test_incremental_logits_of_a_net_of_default_size(kind):
    torch.manual_seed(0)
    net = KINDS[kind](128, (7, 7)).eval()
    assert_logits_equal(net, (7, 7), n_classes=0, batch=3, n_codes=128)


@torch.inference_mode()
def test_positions_can_be_left_out():
    net = make_net("gated", (4, 3))
    codes = torch.from_numpy(np.random.default_rng(0).integers(K, size=(2, 4, 3)))
    steps = prepare(net)(codes, None)
    for position in [(0, 2), (3, 1)]:
        expected = net(codes)[(slice(None), slice(None), *position)]
        npt.assert_allclose(steps.logits(position), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(2, 0\) is not ahead"):
        steps.logits((2, 0))


def test_a_net_without_an_incremental_pass():
    with pytest.raises(TypeError, match="no incremental pass is known for a Linear"):
        prepare(torch.nn.Linear(1, 1))


# The same codes, however they are computed.


@pytest.mark.parametrize("temperature", [0, 0.5, 1])
@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_full_passes(kind, grid, n_classes, temperature):
    net = make_net(kind, grid, n_classes=n_classes)
    settings = {"grid_shape": grid, "temperature": temperature, "random_seed": 3}
    labels = random_labels(n_classes, 7)
    expected = sample_codes(net, 7, labels=labels, stepper=FullPasses, **settings)
    for size in (1, 7):
        codes = sample_codes(net, 7, labels=labels, batch_size=size, **settings)
        npt.assert_array_equal(codes, expected)
    assert (codes.shape, codes.dtype) == ((7, *grid), np.int32)
    if temperature == 1:
        assert len(np.unique(codes.reshape(7, -1), axis=0)) > 1


def test_codes_of_a_net_of_default_size_are_those_of_full_passes():
    net = lively(GatedPixelCNN(128, (4, 5)), scale=0.05)
    fast = sample_codes(net, 256, grid_shape=(4, 5))
    npt.assert_array_equal(
        sample_codes(net, 256, grid_shape=(4, 5), stepper=FullPasses), fast
    )
    assert len(np.unique(fast)) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_image_i_is_the_same_whatever_the_batches(kind):
    fit = make_fit(kind, (3, 4), n_classes=2)
    labels = np.arange(11) % 2
    codes = fit.sample(11, labels=labels, random_seed=5)
    for size in (1, 2, 4, 10, 11, 256):
        again = fit.sample(11, labels=labels, random_seed=5, batch_size=size)
        npt.assert_array_equal(again, codes)
    npt.assert_array_equal(fit.sample(4, labels=labels[:4], random_seed=5), codes[:4])
    rest = fit.sample(7, first=4, labels=labels[4:], random_seed=5)
    npt.assert_array_equal(rest, codes[4:])
    assert (fit.sample(11, labels=labels, random_seed=6) != codes).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_nothing(kind):
    net = make_net(kind, (3, 3), n_channels=16)
    n_threads = torch.get_num_threads()
    try:
        codes = []
        for n in (1, 2):
            torch.set_num_threads(n)
            codes.append(sample_codes(net, 300, grid_shape=(3, 3)))
    finally:
        torch.set_num_threads(n_threads)
    npt.assert_array_equal(*codes)


class Noisy(FullPasses):
    """Logits with errors of the size of rounding, other ones at each call."""

    rng = np.random.default_rng(0)

    def logits(self, position):
        logits = super().logits(position)
        noise = self.rng.uniform(-1e-13, 1e-13, logits.shape)
        return logits + torch.from_numpy(noise)


@pytest.mark.parametrize("temperature", [0, 0.3, 1])
@pytest.mark.parametrize("scale", [0, 0.1])
def test_rounding_of_logits_changes_no_code(scale, temperature):
    net = make_net("gated", (3, 4), n_codes=50, scale=scale)
    settings = {"grid_shape": (3, 4), "temperature": temperature}
    npt.assert_array_equal(
        sample_codes(net, 200, stepper=Noisy, **settings),
        sample_codes(net, 200, **settings),
    )


@pytest.mark.parametrize("scale", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_logits_are_exact_in_double_precision(kind, scale):
    # Logits of up to 1, 10 and 100: rounding grows with them.
    net = lively(KINDS[kind](64, (6, 6), n_layers=4), scale=scale).double()
    assert_logits_equal(
        net, (6, 6), n_classes=0, batch=5, n_codes=64, rtol=1e-12, atol=1e-12
    )


def test_weights_that_are_not_finite():
    net = make_net("gated", (2, 2))
    with torch.no_grad():
        net.embedding.weight[:] = np.nan
    with pytest.raises(ValueError, match="weights that are not finite"):
        sample_codes(net, 1, grid_shape=(2, 2))


def test_batches_are_limited_by_memory(monkeypatch):
    net = make_net("gated", (3, 3))
    codes = sample_codes(net, 7, grid_shape=(3, 3))
    monkeypatch.setattr(sampling, "_MOST_KEPT", 2 * kept_numbers(net, (3, 3)) + 1)
    sizes = []

    def stepper(net, codes, labels, covariates):
        sizes.append(len(codes))
        return FullPasses(net, codes, labels, covariates)

    npt.assert_array_equal(
        sample_codes(net, 7, grid_shape=(3, 3), stepper=stepper), codes
    )
    assert sizes == [2, 2, 2, 1]


# Single draws.


def test_uniform_numbers_depend_on_seed_image_and_position_alone():
    u = uniforms(3, 0, 20, 7)
    assert (u.shape, u.dtype) == ((20, 7), np.float64)
    assert 0 <= u.min() < u.max() < 1
    npt.assert_array_equal(uniforms(3, 5, 9, 7), u[5:9])
    assert (uniforms(4, 0, 20, 7) != u).all()
    npt.assert_allclose(
        np.sort(uniforms(0, 0, 2000, 3).ravel())[::600], 0.1 * np.arange(10), atol=0.02
    )


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_a_code_is_the_first_whose_cumulative_probability_exceeds_u(temperature):
    rng = np.random.default_rng(0)
    logits, u = rng.normal(scale=3, size=(10_000, 8)), rng.random(10_000)
    codes = draw(torch.from_numpy(logits), torch.from_numpy(u), temperature).numpy()
    p = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    cumulative = np.cumsum(p / p.sum(1, keepdims=True), axis=1)
    npt.assert_array_equal(codes, (cumulative > u[:, None]).argmax(1))


def test_draws_follow_the_distribution():
    p = np.array([0.1, 0.0, 0.6, 0.3])
    logits = torch.from_numpy(np.log(np.maximum(p, 1e-300))).expand(10_001, -1)
    u = torch.linspace(0, 1 - 1e-12, 10_001, dtype=torch.float64)
    codes = draw(logits, u, 1.0)
    npt.assert_allclose(np.bincount(codes, minlength=4) / 10_001, p, atol=2e-4)
    assert (codes.diff() >= 0).all()
    cold = draw(logits, u, 0.5)
    npt.assert_allclose(
        np.bincount(cold, minlength=4) / 10_001, p**2 / (p**2).sum(), atol=2e-4
    )


def test_extreme_temperatures():
    logits = torch.tensor([[0.0, 30.0, 29.0, -1e30]], dtype=torch.float64)
    u = torch.tensor([0.999], dtype=torch.float64)
    for temperature in (0, 5e-324, 1e-300, 1e-10, 0.01):
        assert draw(logits, u, temperature).tolist() == [1]
    assert draw(logits, u, 1e300).tolist() == [3]


def test_the_first_of_the_largest_logits():
    logits = [[0.0, 2.0, 1.0], [3.0, 0.0, 3.0], [0.0, 1 - 1e-14, 1.0]]
    logits = torch.tensor(logits, dtype=torch.float64)
    assert draw(logits, torch.zeros(3).double(), 0).tolist() == [1, 0, 1]


# The right law.


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_are_the_probabilities(kind):
    fit = make_fit(kind, (2, 2), n_codes=4, scale=0.2)
    grids = np.indices((4, 4, 4, 4)).reshape(4, -1).T.reshape(256, 2, 2)
    probability = np.exp(fit.log_prob(grids))
    npt.assert_allclose(probability.sum(), 1, atol=1e-5)
    n = 60_000
    codes = fit.sample(n, batch_size=20_000)
    counts = np.bincount(codes.reshape(n, 4) @ [64, 16, 4, 1], minlength=256)
    assert_chi_square(counts, n * probability)
    # And not those of another prior.
    other = make_fit(kind, (2, 2), n_codes=4, scale=0.2, seed=1)
    with pytest.raises(AssertionError):
        assert_chi_square(counts, n * np.exp(other.log_prob(grids)))


def test_frequencies_of_completed_grids():
    fit = make_fit("gated", (2, 2), n_codes=4, scale=0.2)
    grids = np.indices((4, 4, 4, 4)).reshape(4, -1).T.reshape(256, 2, 2)
    # Given what comes first, the rest follows the conditional distribution.
    codes, keep = np.array([[2, 0], [0, 0]]), np.array([[True, False], [False, False]])
    rest = np.exp(fit.log_prob(grids)) * (grids[:, 0, 0] == 2)
    n = 30_000
    drawn = fit.sample(n, codes=codes, keep=keep, batch_size=n)
    counts = np.bincount(drawn.reshape(n, 4) @ [64, 16, 4, 1], minlength=256)
    assert_chi_square(counts, n * rest / rest.sum())


def assert_chi_square(counts, expected):
    """Counts that could be expected, up to an accident of one in a thousand."""
    assert counts[expected == 0].sum() == 0
    # Rare grids together, so that at least five are expected.
    order = np.argsort(expected)
    group = np.minimum(expected[order].cumsum(), 5) >= 5
    first = group.argmax()
    observed = np.r_[counts[order][: first + 1].sum(), counts[order][first + 1 :]]
    wanted = np.r_[expected[order][: first + 1].sum(), expected[order][first + 1 :]]
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    assert chi2.sf(statistic, len(wanted) - 1) > 1e-3


# Completion.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 2), (6,)])
def test_completing_the_own_beginning_gives_the_same_grid(kind, grid):
    fit = make_fit(kind, grid)
    codes = fit.sample(5, random_seed=2)
    place = np.arange(codes[0].size).reshape(grid)
    for n_kept in range(0, codes[0].size + 1, 2):
        keep = place < n_kept
        begun = np.where(keep, codes, 999)
        for size in (2, 5):
            completed = fit.sample(
                5, random_seed=2, codes=begun, keep=keep, batch_size=size
            )
            npt.assert_array_equal(completed, codes)


def test_kept_codes_stay_and_condition_what_comes_later():
    fit = make_fit("gated", (4, 4))
    drawn = fit.sample(20)
    rng = np.random.default_rng(0)
    codes = rng.integers(K, size=(20, 4, 4)).astype(np.uint8)
    keep = rng.random((20, 4, 4)) < 0.4
    completed = fit.sample(20, codes=codes, keep=keep)
    npt.assert_array_equal(completed[keep], codes[keep])
    assert (completed.dtype, completed.shape) == (np.int32, (20, 4, 4))
    reference = sample_codes(
        fit.net, 20, grid_shape=(4, 4), codes=codes, keep=keep, stepper=FullPasses
    )
    npt.assert_array_equal(completed, reference)
    # Up to the first kept code nothing differs from a grid drawn freely.
    first = keep.reshape(20, -1).argmax(1)
    for i in range(20):
        npt.assert_array_equal(
            completed[i].ravel()[: first[i]], drawn[i].ravel()[: first[i]]
        )
    # After it something does.
    assert (completed != drawn)[~keep].any()


def test_one_grid_and_one_mask_for_all():
    fit = make_fit("gated", (3, 3))
    codes, keep = np.full((3, 3), 4), np.eye(3, dtype=bool)
    completed = fit.sample(6, codes=codes, keep=keep)
    assert (completed[:, keep] == 4).all()
    many = np.repeat(codes[None], 6, axis=0), np.repeat(keep[None], 6, axis=0)
    npt.assert_array_equal(fit.sample(6, codes=many[0], keep=many[1]), completed)
    npt.assert_array_equal(fit.sample(6, codes=many[0], keep=keep), completed)
    assert (fit.sample(2, codes=codes, keep=np.ones((3, 3), bool)) == 4).all()


def test_a_completed_grid_may_have_another_shape():
    fit = make_fit("gated", (3, 3))
    keep = np.zeros((2, 5, 2), bool)
    codes = fit.sample(2, codes=np.zeros((2, 5, 2), int), keep=keep)
    npt.assert_array_equal(codes, fit.sample(2, grid_shape=(5, 2)))


# Bad input and limits.


def test_one_label_for_all():
    fit = make_fit("gated", (3, 4), n_classes=2)
    npt.assert_array_equal(
        fit.sample(4, labels=1), fit.sample(4, labels=np.ones(4, np.uint8))
    )
    assert (fit.sample(4, labels=1) != fit.sample(4, labels=0)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_grid_than_that_of_the_training(kind):
    fit = make_fit(kind, (2, 3))
    assert fit.sample(3, grid_shape=(6, 5)).shape == (3, 6, 5)
    assert fit.sample(3, grid_shape=np.array([1, 9])).shape == (3, 1, 9)


def test_a_gated_prior_interpolates_its_position_bias():
    net = make_net("gated", (2, 3))
    bias = net.position_bias((4, 3))
    assert bias.shape == (2, 8, 4, 3)
    # Halfway between two rows of the grid lies their mean, at a quarter each.
    npt.assert_allclose(
        bias[:, :, 1].detach(),
        (0.75 * net.position[:, :, 0] + 0.25 * net.position[:, :, 1]).detach(),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be an integer of at least 1, got 0"),
        ({"n": -1}, ValueError, "n must be an integer of at least 1, got -1"),
        ({"n": 1.5}, ValueError, "n must be .*, got 1.5"),
        (
            {"temperature": -0.1},
            ValueError,
            "temperature must be a number of at least 0, got -0.1",
        ),
        ({"temperature": np.nan}, ValueError, "temperature must be .*, got nan"),
        ({"temperature": np.inf}, ValueError, "temperature must be .*, got inf"),
        ({"random_seed": -1}, ValueError, "random_seed must be .*, got -1"),
        ({"batch_size": 0}, ValueError, "batch_size must be .*, got 0"),
        ({"labels": 0}, ValueError, "the prior has no classes"),
        (
            {"grid_shape": (3,)},
            ValueError,
            "grid_shape must be an integer .*, or 2 of them.*, got",
        ),
        (
            {"grid_shape": (3, 0)},
            ValueError,
            "grid_shape must be an integer of at least 1, or 2 of them.*, got",
        ),
        ({"codes": np.zeros((3, 4), int)}, ValueError, "codes and keep belong"),
        ({"keep": np.zeros((3, 4), bool)}, ValueError, "codes and keep belong"),
    ],
)
def test_options_that_cannot_be_used(options, error, message):
    fit = make_fit("gated", (3, 4))
    with pytest.raises(error, match=message) as raised:
        fit.sample(**{"n": 2, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "the prior needs labels: it has 2 classes"),
        ([0, 1], ValueError, r"labels must have shape \(3,\), got \(2,\)"),
        ([0, 1, 2], ValueError, r"labels range from 0 to 2.*\[0, 2\)"),
        (2, ValueError, r"labels range from 2 to 2.*\[0, 2\)"),
        (-1, ValueError, "labels range from -1"),
        ([0.0, 1.0, 1.0], TypeError, "labels must be integers, got float64"),
    ],
)
def test_labels_that_cannot_be_used(labels, error, message):
    fit = make_fit("gated", (2, 2), n_classes=2)
    with pytest.raises(error, match=message):
        fit.sample(3, labels=labels)


@pytest.mark.parametrize(
    ("codes", "keep", "error", "message"),
    [
        (
            np.zeros((2, 3, 4)),
            np.ones((3, 4), bool),
            TypeError,
            "codes must be integer",
        ),
        (np.zeros((3, 4), int), np.ones((3, 4)), TypeError, "keep must be bool"),
        (np.zeros((3, 4), int), np.ones((3, 4), int), TypeError, "keep must be bool"),
        (
            np.zeros((5, 3, 4), int),
            np.ones((3, 4), bool),
            ValueError,
            r"codes must have shape \(3, 4\) or \(2, 3, 4\), got \(5, 3, 4\)",
        ),
        (
            np.zeros((3, 4), int),
            np.ones((4, 3), bool),
            ValueError,
            r"keep must have shape \(3, 4\) or \(2, 3, 4\), got \(4, 3\)",
        ),
        (np.zeros(4, int), np.ones(4, bool), ValueError, "with 2 axes of the grid"),
        (np.zeros((0, 4), int), np.ones((0, 4), bool), ValueError, "codes are empty"),
        (
            np.full((3, 4), K),
            np.ones((3, 4), bool),
            ValueError,
            r"keep range .*\[0, 6\)",
        ),
        (np.full((3, 4), -1), np.ones((3, 4), bool), ValueError, "keep range from -1"),
    ],
)
def test_grids_that_cannot_be_completed(codes, keep, error, message):
    fit = make_fit("gated", (3, 4))
    with pytest.raises(error, match=message):
        fit.sample(2, codes=codes, keep=keep)


def test_codes_and_grid_shape_that_disagree():
    fit = make_fit("gated", (3, 4))
    with pytest.raises(ValueError, match=r"grid of \(2, 2\), grid_shape is \(3, 4\)"):
        fit.sample(
            1,
            codes=np.zeros((2, 2), int),
            keep=np.ones((2, 2), bool),
            grid_shape=(3, 4),
        )


def test_progress_can_be_shown(capsys):
    make_fit("gated", (3, 4)).sample(3, verbose=True)
    assert "Sampling" in capsys.readouterr().err
