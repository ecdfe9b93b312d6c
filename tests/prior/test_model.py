"""PixelCNNModel and PixelCNNFit: likelihoods, files, and what they refuse."""

import random

import numpy as np
import numpy.testing as npt
import pytest
import torch

from dipy_vqvae import PixelCNNFit, PixelCNNModel
from dipy_vqvae.prior.task import PixelCNNTask
from dipy_vqvae.storage.model_file import load_model, save_model

SETTINGS = {"n_codes": 5, "n_channels": 8, "n_layers": 2}
TRAINING = {"n_epochs": 2, "batch_size": 16}
GRIDS = [(6,), (3, 4), (2, 3, 2)]
KINDS = ["gated", "plain"]


def random_codes(n, grid, seed=0):
    return np.random.default_rng(seed).integers(0, 5, (n, *grid))


def fit_to(codes, *, model=None, **training):
    return PixelCNNModel(**{**SETTINGS, **(model or {})}).fit(
        codes, **{**TRAINING, **training}
    )


def assert_same_fit(a, b):
    there = b.net.state_dict()
    for name, tensor in a.net.state_dict().items():
        npt.assert_array_equal(tensor, there[name], err_msg=name)


@pytest.fixture(scope="module")
def codes():
    return random_codes(40, (3, 4))


@pytest.fixture(scope="module")
def fit(codes):
    return fit_to(codes)


# Likelihoods.


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_the_sum_of_the_logs_of_predict(kind, grid):
    codes = random_codes(20, grid)
    fit = fit_to(codes, model={"kind": kind}, n_epochs=1)
    probability = fit.predict(codes)
    assert (probability.shape, probability.dtype) == ((20, *grid, 5), np.float32)
    npt.assert_allclose(probability.sum(-1), 1, rtol=1e-5)
    log_prob = fit.log_prob(codes)
    assert (log_prob.shape, log_prob.dtype) == ((20,), np.float64)
    at_codes = np.take_along_axis(probability, codes[..., None], -1).astype(float)
    npt.assert_allclose(
        log_prob, np.log(at_codes).reshape(20, -1).sum(1), rtol=1e-5, atol=1e-5
    )
    assert (fit.n_codes, fit.grid_shape, fit.n_classes) == (5, grid, 0)
    assert len(fit.history["loss"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_all_grids_sum_to_one(kind):
    grids = np.indices((4, 4, 4, 4)).reshape(4, -1).T.reshape(256, 2, 2)
    fit = fit_to(grids[:50], model={"kind": kind, "n_codes": 4})
    npt.assert_allclose(np.exp(fit.log_prob(grids)).sum(), 1, atol=1e-5)


def test_a_code_depends_on_those_before_it_alone(fit, codes):
    probability = fit.predict(codes)
    changed = codes.copy()
    changed[:, 1, 2] = (changed[:, 1, 2] + 1) % 5
    other = fit.predict(changed)
    flat, other = probability.reshape(40, 12, 5), other.reshape(40, 12, 5)
    npt.assert_allclose(other[:, :7], flat[:, :7], atol=1e-6)
    assert np.abs(other[:, 7:] - flat[:, 7:]).max() > 1e-4


def test_batch_sizes_change_nothing(fit, codes):
    log_prob, probability = fit.log_prob(codes), fit.predict(codes)
    for size in (1, 7, 100):
        npt.assert_allclose(fit.log_prob(codes, batch_size=size), log_prob, rtol=1e-5)
        npt.assert_allclose(fit.predict(codes, batch_size=size), probability, atol=1e-5)


def test_few_grids_make_many_steps(codes):
    few = fit_to(codes, batch_size=None, n_epochs=1)
    assert few.history.n_steps == len(codes)


def test_types_of_codes(fit, codes):
    log_prob = fit.log_prob(codes)
    for dtype in (np.uint8, np.int16, np.uint64, ">i4"):
        npt.assert_array_equal(fit.log_prob(codes.astype(dtype)), log_prob)
        assert_same_fit(fit_to(codes.astype(dtype)), fit)


def test_grids_of_another_shape(fit):
    codes = random_codes(3, (5, 2))
    assert fit.predict(codes).shape == (3, 5, 2, 5)
    npt.assert_allclose(fit.predict(codes).sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_without_chance_costs_nothing(kind, grid):
    # Each code is the one before it and 1; the first one is always 2.
    size = int(np.prod(grid))
    codes = np.tile((2 + np.arange(size)) % 5, (64, 1)).reshape(64, *grid)
    fit = fit_to(
        codes, model={"kind": kind, "n_channels": 16}, n_epochs=25, learning_rate=0.05
    )
    assert -fit.log_prob(codes[:1])[0] / size < 0.02
    npt.assert_array_equal(fit.predict(codes[:1]).argmax(-1), codes[:1])


def test_unrelated_codes_cost_their_entropy():
    codes = random_codes(400, (2, 2))
    fit = fit_to(codes, n_epochs=4, batch_size=50)
    nats = -fit.log_prob(random_codes(400, (2, 2), seed=1)).mean() / 4
    npt.assert_allclose(nats, np.log(5), rtol=0.1)


# Labels.


@pytest.mark.parametrize("kind", KINDS)
def test_labels(kind):
    # The label is the code of the whole grid.
    labels = np.arange(60) % 3
    codes = np.broadcast_to(labels[:, None, None], (60, 2, 2))
    fit = fit_to(
        codes, labels=labels, model={"kind": kind}, n_epochs=25, learning_rate=0.05
    )
    assert fit.n_classes == 3
    right = fit.log_prob(codes, labels=labels)
    wrong = fit.log_prob(codes, labels=(labels + 1) % 3)
    assert right.min() > -0.5
    assert (wrong < right - 1).all()
    first = fit.predict(codes[:3], labels=labels[:3])[:, 0, 0]
    npt.assert_array_equal(first.argmax(1), labels[:3])


def test_labels_that_do_not_fit(fit, codes):
    labels = np.arange(40) % 3
    labelled = fit_to(codes, labels=labels, n_epochs=1)
    for call in (labelled.log_prob, labelled.predict):
        with pytest.raises(ValueError, match="needs labels: it has 3 classes"):
            call(codes)
        with pytest.raises(ValueError, match=r"labels must have shape \(40,\)"):
            call(codes, labels=labels[:39])
        with pytest.raises(ValueError, match=r"labels range from 3 to 3"):
            call(codes, labels=np.full(40, 3))
        with pytest.raises(TypeError, match="labels must be integers"):
            call(codes, labels=labels / 1)
    for call in (fit.log_prob, fit.predict):
        with pytest.raises(ValueError, match="the prior has no classes"):
            call(codes, labels=labels)
    with pytest.raises(ValueError, match="labels range from -1"):
        fit_to(codes, labels=labels - 1)
    with pytest.raises(ValueError, match="needs labels"):
        fit_to(codes, labels=labels, validation_codes=codes)


# Training.


def test_the_model_stays_as_it_was(codes):
    model = PixelCNNModel(**SETTINGS)
    before = dict(vars(model))
    model.fit(codes, **TRAINING)
    assert vars(model) == before


def test_the_same_seed_gives_the_same_fit(fit, codes):
    again = fit_to(codes)
    assert_same_fit(fit, again)
    assert again.history == fit.history
    other = fit_to(codes, model={"random_seed": 1})
    assert (other.log_prob(codes) != fit.log_prob(codes)).all()
    # Dropout draws from the seed too.
    dropout = {"dropout": 0.5}
    assert_same_fit(fit_to(codes, model=dropout), fit_to(codes, model=dropout))


def test_no_public_call_touches_the_global_random_states(codes, tmp_path):
    torch.default_generator.manual_seed(7)
    np.random.seed(7)
    random.seed(7)

    def states():
        return (
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),
            random.getstate(),
        )

    before = states()
    fit = fit_to(codes, n_epochs=1, model={"dropout": 0.2})
    fit.save(tmp_path / "p.safetensors")
    fit = PixelCNNFit.load(tmp_path / "p.safetensors")
    fit.log_prob(codes)
    fit.predict(codes)
    fit.sample(2)
    assert states() == before


def test_validation_and_patience(codes):
    held_out = random_codes(20, (3, 4), seed=1)
    fit = fit_to(codes, validation_codes=held_out)
    npt.assert_allclose(
        fit.history["validation_loss"][-1],
        -fit.log_prob(held_out).mean() / 12,
        rtol=1e-5,
    )
    stopped = fit_to(
        codes, validation_codes=held_out, n_epochs=60, patience=2, learning_rate=0.05
    )
    assert len(stopped.history["loss"]) < 60
    npt.assert_allclose(
        -stopped.log_prob(held_out).mean() / 12,
        min(stopped.history["validation_loss"]),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="patience needs validation_codes"):
        fit_to(codes, patience=1)
    with pytest.raises(ValueError, match="validation_codes must have shape"):
        fit_to(codes, validation_codes=held_out[0])


def test_mixed_precision(codes):
    fit = fit_to(codes, model={"mixed_precision": True})
    assert fit.log_prob(codes).dtype == np.float64
    assert {t.dtype for t in fit.net.state_dict().values()} == {torch.float32}


def test_a_resumed_fit_is_the_same(codes, tmp_path, monkeypatch):
    checkpoint = tmp_path / "prior.checkpoint"
    again = {
        "model": {"dropout": 0.3},
        "n_epochs": 3,
        "average_decay": 0.9,
        "labels": np.arange(40) % 3,
    }
    uninterrupted = fit_to(codes, **again)
    original, calls = PixelCNNTask.loss, []

    def stop_in_the_fifth_step(self, indices, progress, random_seed):
        calls.append(progress)
        if len(calls) == 5:
            raise RuntimeError("the power went off")
        return original(self, indices, progress, random_seed)

    monkeypatch.setattr(PixelCNNTask, "loss", stop_in_the_fifth_step)
    again = {**again, "checkpoint": checkpoint, "checkpoint_minutes": 0}
    with pytest.raises(RuntimeError, match="the power went off"):
        fit_to(codes, **again)
    resumed = fit_to(codes, **again)
    assert len(calls) == 5 + 5  # 9 steps, 4 of them done before
    assert_same_fit(resumed, uninterrupted)
    assert resumed.history == uninterrupted.history
    with pytest.raises(ValueError, match="labels_fingerprint"):
        fit_to(codes, **{**again, "labels": np.arange(40) % 2})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(codes, fit, caplog):
    assert_same_fit(fit_to(codes, model={"use_cuda": True}), fit)
    assert "torch finds no GPU" in caplog.text


# Files.


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load(kind, grid, tmp_path):
    path = tmp_path / "prior.safetensors"
    codes, labels = random_codes(20, grid), np.arange(20) % 3
    model = {"kind": kind, "n_codes": np.int64(5), "dropout": 0.1}
    fit = fit_to(codes, labels=labels, model=model, n_epochs=1)
    fit.save(path)
    loaded = PixelCNNFit.load(path)
    npt.assert_array_equal(
        loaded.log_prob(codes, labels=labels), fit.log_prob(codes, labels=labels)
    )
    npt.assert_array_equal(
        loaded.predict(codes, labels=labels), fit.predict(codes, labels=labels)
    )
    assert loaded.history == fit.history
    assert loaded.config == fit.config
    assert (loaded.grid_shape, loaded.n_classes) == (grid, 3)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a, d: c.pop("n_codes"), "n_codes"),
        (lambda c, a, d: c.update(kind="resnet"), "resnet"),
        (lambda c, a, d: c.update(n_codes=6), "shape"),
        (lambda c, a, d: c.update(n_layers=3), "'layers.2.* is missing"),
        (lambda c, a, d: c.update(surprise=1), "surprise"),
        (lambda c, a, d: a.update(extra=np.zeros(2)), "extra"),
        (lambda c, a, d: d.pop("history"), "history"),
        (lambda c, a, d: d.update(history=[]), "history"),
    ],
)
def test_files_that_do_not_hold_together(fit, tmp_path, change, message):
    path = tmp_path / "changed.safetensors"
    fit.save(path)
    content = load_model(path, kind="pixelcnn")
    config, arrays = dict(content.config), dict(content.arrays)
    description = dict(content.description)
    change(config, arrays, description)
    save_model(
        path, kind="pixelcnn", config=config, arrays=arrays, description=description
    )
    with pytest.raises(ValueError, match=message) as error:
        PixelCNNFit.load(path)
    assert "changed.safetensors" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "vqvae.safetensors"
    save_model(path, kind="vqvae", config={}, arrays={})
    with pytest.raises(ValueError, match="is a vqvae model, a pixelcnn model is"):
        PixelCNNFit.load(path)


# Bad input.


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.full((4, 3, 4), 5), ValueError, r"range from 5 to 5.*\[0, 5\)"),
        (np.full((4, 3, 4), -1), ValueError, "range from -1"),
        (np.zeros((4, 3, 4)), TypeError, "must be integers, got float64"),
        (np.zeros((4, 3, 4), bool), TypeError, "must be integers, got bool"),
        (np.zeros(4, int), ValueError, r"must have shape \(N, \*grid\)"),
        (np.zeros((4, 1, 1, 1, 1), int), ValueError, r"must have shape \(N, \*grid\)"),
        (np.zeros((0, 3, 4), int), ValueError, "codes are empty"),
        (np.zeros((4, 0, 4), int), ValueError, "codes are empty"),
        (None, TypeError, "must be real numbers"),
    ],
)
def test_codes_that_cannot_be_used(fit, bad, error, message):
    for call in (PixelCNNModel(**SETTINGS).fit, fit.log_prob, fit.predict):
        with pytest.raises(error, match=message):
            call(bad)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros(40), TypeError, "labels must be integers, got float64"),
        (np.zeros(40, bool), TypeError, "labels must be integers, got bool"),
        (["a"] * 40, TypeError, "labels must be integers"),
        (np.zeros(39, int), ValueError, r"labels must have shape \(40,\), got \(39,\)"),
        (np.zeros((40, 1), int), ValueError, r"must have shape \(40,\), got \(40, 1\)"),
        (np.full(40, 10**9), ValueError, "labels go up to 1000000000: number the"),
    ],
)
def test_labels_that_cannot_be_trained_on(codes, labels, error, message):
    with pytest.raises(error, match=message):
        fit_to(codes, labels=labels)


def test_codes_of_another_number_of_axes(fit):
    for call in (fit.log_prob, fit.predict):
        with pytest.raises(ValueError, match="with 2 axes of the grid"):
            call(np.zeros((4, 3), int))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n_codes", 1, "n_codes must be an integer of at least 2, got 1"),
        ("n_codes", 5.0, "n_codes must be .*, got 5.0"),
        ("kind", "transformer", "one of gated, plain, got"),
        ("n_channels", 0, "n_channels must be .*, got 0"),
        ("n_layers", 0, "n_layers must be .*, got 0"),
        ("dropout", 1.0, "dropout must be .*, got 1.0"),
        ("dropout", -0.1, "dropout must be .*, got -0.1"),
        ("random_seed", -1, "random_seed must be .*, got -1"),
    ],
)
def test_settings_out_of_range(codes, setting, value, message):
    with pytest.raises(ValueError, match=message):
        PixelCNNModel(**{**SETTINGS, setting: value}).fit(codes)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_epochs", 0),
        ("batch_size", 0),
        ("learning_rate", -1),
        ("schedule", "step"),
        ("weight_decay", -1),
        ("average_decay", 1),
    ],
)
def test_training_options_out_of_range(codes, setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*, got {value!r}"):
        PixelCNNModel(**SETTINGS).fit(codes, **{setting: value})


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_batch_sizes_out_of_range(fit, codes, size):
    for call in (fit.log_prob, fit.predict):
        with pytest.raises(ValueError, match=f"batch_size must be .*, got {size}"):
            call(codes, batch_size=size)
