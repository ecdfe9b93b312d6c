import copy
import importlib.util
import itertools
import json
import math
from pathlib import Path
import random

import numpy as np
import pytest
import torch

from dipy_vqvae.training import (
    History,
    TrainingDiverged,
    TrainingOptions,
    train,
)
from dipy_vqvae.training.schedule import Schedule

_spec = importlib.util.spec_from_file_location(
    "toy_training", Path(__file__).parents[1] / "support" / "toy_training.py"
)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)
ToyTask = toy.ToyTask


def options(**changes):
    return TrainingOptions(**{**toy.OPTIONS, **changes})


def fail_at(step, error):
    def in_step(current):
        if current == step:
            raise error

    return in_step


def parameters(task):
    return [p.detach().clone() for p in task.module.parameters()]


def test_learns():
    task = ToyTask(dropout=0.0)
    history = train(task, options(n_epochs=40))
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert history["validation_loss"][-1] < 0.2 * history["validation_loss"][0]
    assert history.n_steps == 200
    assert not task.module.training
    assert all(p.grad is None for p in task.module.parameters())


def test_batches_cover_every_item_once_per_epoch():
    task = ToyTask(n_items=43)
    train(task, options(n_epochs=2))
    sizes = [len(indices) for indices, _ in task.calls]
    assert len(sizes) == 10 and set(sizes) == {8, 9}
    first = np.concatenate([indices for indices, _ in task.calls[:5]])
    second = np.concatenate([indices for indices, _ in task.calls[5:]])
    assert first.dtype == np.int64
    np.testing.assert_array_equal(np.sort(first), np.arange(43))
    np.testing.assert_array_equal(np.sort(second), np.arange(43))
    assert not np.array_equal(first, second)
    progress = [progress for _, progress in task.calls]
    np.testing.assert_allclose(progress, np.arange(10) / 10)
    small = ToyTask(n_items=3)
    train(small, options(n_epochs=1))
    assert [len(indices) for indices, _ in small.calls] == [3]


def test_processes_have_files_of_their_own():
    # 40 files of 20 slices: two processes that share the batches.
    schedule = Schedule(options(batch_size=200), n_items=800)
    read = [set(), set()]
    for step in range(schedule.steps_per_epoch):
        files = schedule.batch(step) // 20
        read[0].update(files[:100])
        read[1].update(files[100:])
    assert len(read[0] | read[1]) == 40
    # One file in ten or so is at the border.
    assert len(read[0] & read[1]) <= 6


@pytest.mark.parametrize(
    "n_epochs, n_steps, epochs",
    [
        (2, 10, [1.0, 2.0]),
        (0.5, 2, [0.4]),
        (2.6, 13, [1.0, 2.0, 2.6]),
        (1e-9, 1, [0.2]),
    ],
)
def test_parts_of_epochs(n_epochs, n_steps, epochs):
    history = train(ToyTask(), options(n_epochs=n_epochs))
    assert history.n_steps == n_steps
    np.testing.assert_allclose(history.epochs, epochs)
    assert len(history["loss"]) == len(history.seconds) == len(epochs)
    assert history.seconds == sorted(history.seconds)


def test_history_holds_means_over_items():
    task = ToyTask(dropout=0.0, validation=False)
    history = train(task, options(n_epochs=1, learning_rate=1e-12))
    with torch.no_grad():
        error = task.module(task.x) - task.y
    assert history["loss"][0] == pytest.approx((error**2).mean().item(), rel=1e-5)
    assert history["absolute"][0] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert history["one"] == [1.0]
    assert history.validation == {} and history.best_epoch is None


def test_same_seed_same_result_other_seed_other_result():
    results = []
    for seed in (1, 1, 2):
        task = ToyTask()
        results.append(toy.result(task, train(task, options(random_seed=seed))))
    assert results[0] == results[1]
    assert results[0]["weights"] != results[2]["weights"]


def test_global_random_states_stay():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    train(ToyTask(), options())
    with pytest.raises(RuntimeError, match="stop"):
        train(ToyTask(in_step=fail_at(2, RuntimeError("stop"))), options())
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_works_without_gradients_around_it():
    with torch.no_grad():
        train(ToyTask(), options(n_epochs=1))
        assert not torch.is_grad_enabled()


def slow_adam(task, settings):
    """Train with torch's plain pieces and the textbook formulas."""
    optimizer = torch.optim.Adam(
        task.module.parameters(), betas=settings.betas, fused=False, foreach=False
    )
    sequence, trail = [], []
    for step, (indices, progress) in enumerate(task.calls):
        warmup = min(1.0, (step + 1) / (min(settings.warmup_steps, 1) + 1))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        rate = settings.learning_rate * warmup * (0.01 + 0.99 * cosine)
        optimizer.param_groups[0]["lr"] = rate
        sequence.append(rate)
        optimizer.zero_grad()
        chosen = torch.from_numpy(indices)
        ((task.module(task.x[chosen]) - task.y[chosen]) ** 2).mean().backward()
        if settings.gradient_clip is not None:
            norm = math.sqrt(sum((p.grad**2).sum() for p in task.module.parameters()))
            for p in task.module.parameters():
                p.grad *= min(1.0, settings.gradient_clip / (norm + 1e-6))
        optimizer.step()
        trail.append(parameters(task))
    return trail


def test_learning_rates_of_the_schedules():
    """After the warm-up: down along half a cosine or a line, to a fraction, or flat."""
    progress = np.linspace(0, 1, 5)
    expected = {
        "constant": np.ones(5),
        "linear": [1, 0.775, 0.55, 0.325, 0.1],
        "cosine": 0.1 + 0.9 * np.cos(np.pi / 2 * progress) ** 2,
    }
    for name, fractions in expected.items():
        settings = options(schedule=name, learning_rate=2.0, final_lr_fraction=0.1)
        schedule = Schedule(settings, n_items=10_000)
        rates = [schedule.learning_rate(1000, p) for p in progress]
        np.testing.assert_allclose(rates, 2 * np.asarray(fractions), rtol=1e-12)


@pytest.mark.parametrize("gradient_clip", [0.5, None])
def test_steps_are_those_of_adam(gradient_clip):
    task = ToyTask(dropout=0.0)
    reference = ToyTask(dropout=0.0)
    settings = options(gradient_clip=gradient_clip)
    train(task, settings)
    reference.calls = task.calls
    trail = slow_adam(reference, settings)
    for ours, theirs in zip(parameters(task), trail[-1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_average_is_the_debiased_one():
    decay = 0.8
    task, reference = ToyTask(dropout=0.0), ToyTask(dropout=0.0)
    settings = options(average_decay=decay)
    history = train(task, settings)
    reference.calls = task.calls
    trail = slow_adam(reference, settings)
    average = [torch.zeros_like(p) for p in trail[0]]
    for now in trail:
        average = [decay * a + (1 - decay) * p for a, p in zip(average, now)]
    average = [a / (1 - decay ** len(trail)) for a in average]
    for ours, theirs in zip(parameters(task), average, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    # The validation saw the averages, the training went on from the parameters.
    task.module.eval()
    assert task.validate()["loss"] == pytest.approx(history["validation_loss"][-1])


def test_weight_decay_spares_vectors():
    task = ToyTask(dropout=0.0)
    before = parameters(task)
    task.loss = lambda indices, progress, random_seed: {
        "loss": 0.0 * sum(p.sum() for p in task.module.parameters())
    }
    train(task, options(weight_decay=0.5, schedule="constant", warmup_steps=0))
    for old, new in zip(before, parameters(task), strict=True):
        factor = (1 - 0.02 * 0.5) ** 15 if old.ndim > 1 else 1.0
        torch.testing.assert_close(new, old * factor)


def test_after_step_is_called_after_the_step():
    task = ToyTask()
    before = parameters(task)
    changed = []

    def after_step():
        now = parameters(task)
        changed.append(not torch.equal(before[0], now[0]))
        before[:] = now

    task.after_step = after_step
    train(task, options(n_epochs=1))
    assert changed == [True] * 5


@pytest.mark.parametrize("average_decay", [None, 0.5])
def test_early_stopping_returns_to_the_best(average_decay):
    task = ToyTask()
    seen = []
    losses = iter([5.0, 4.0, 4.5, math.nan, 3.0, 3.0, 6.0, 7.0, 0.0])

    def validate():
        assert not task.module.training and not torch.is_grad_enabled()
        seen.append(copy.deepcopy(task.module.state_dict()))
        return {"loss": next(losses)}

    task.validate = validate
    history = train(task, options(n_epochs=9, patience=3, average_decay=average_decay))
    assert history.epochs == [float(epoch) for epoch in range(1, 9)]
    assert history.best_epoch == 5.0
    for name, tensor in task.module.state_dict().items():
        assert torch.equal(tensor, seen[4][name])
    assert not torch.equal(seen[7]["seen"], seen[4]["seen"])


def test_patience_needs_a_validation_loss():
    task = ToyTask(validation=False)
    with pytest.raises(ValueError, match="validation"):
        train(task, options(patience=2))


def test_max_seconds(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(
        "dipy_vqvae.training.loop.time.monotonic", lambda: float(next(ticks))
    )
    task = ToyTask()
    history = train(task, options(n_epochs=1000, max_seconds=60))
    progress = [progress for _, progress in task.calls]
    assert 5 < history.n_steps < 60
    assert progress == sorted(progress) and progress[-1] > 0.9
    assert history.epochs[-1] == history.n_steps / 5


def test_nan_stops_before_the_weights_are_touched(tmp_path):
    path = tmp_path / "run.ckpt"
    task = ToyTask()

    def spoil(step):
        if step == 7:
            spoil.before = parameters(task)
            task.x[:] = math.nan

    task.in_step = spoil
    with pytest.raises(TrainingDiverged) as caught:
        train(task, options(), checkpoint=path)
    assert isinstance(caught.value, ValueError)
    assert caught.value.step == 7 and caught.value.checkpoint == path
    for word in ("nan", "step 7", "learning rate", "run.ckpt"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    for before, now in zip(spoil.before, parameters(task), strict=True):
        assert torch.equal(before, now)


def test_infinite_gradient_stops_too():
    task = ToyTask()
    real_loss = task.loss

    def loss(indices, progress, random_seed):
        weight = task.module.layers[4].weight
        return {
            "loss": real_loss(indices, progress, random_seed)["loss"]
            + (weight * 0).sum().sqrt()
        }

    task.loss = loss
    before = parameters(task)
    with pytest.raises(TrainingDiverged, match="no checkpoint was written"):
        train(task, options(gradient_clip=None))
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(task)))


def test_losses_keep_their_names():
    task = ToyTask()
    names = iter(["loss", "loss", "other"])
    task.loss = lambda indices, progress, random_seed: {
        name: task.module(task.x).mean() for name in {"loss", next(names)}
    }
    with pytest.raises(ValueError, match="the losses were"):
        train(task, options())


def test_progress_bar(capsys):
    train(ToyTask(), options(n_epochs=1), verbose=True)
    assert "loss" in capsys.readouterr().err
    train(ToyTask(), options(n_epochs=1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"n_epochs": 0},
        {"n_epochs": math.nan},
        {"n_epochs": "3"},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"learning_rate": -1e-3},
        {"learning_rate": math.inf},
        {"warmup_steps": -1},
        {"final_lr_fraction": 1.5},
        {"schedule": "quadratic"},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"betas": 0.9},
        {"gradient_clip": 0},
        {"average_decay": 1.0},
        {"random_seed": -1},
        {"random_seed": 2**64},
        {"max_seconds": 0},
        {"checkpoint_minutes": None},
        {"patience": 0},
    ],
)
def test_wrong_options(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        options(**changes)


def test_largest_seed_and_numpy_numbers():
    task = ToyTask()
    train(
        task,
        options(
            random_seed=2**64 - 1, batch_size=np.int64(10), n_epochs=np.float32(0.4)
        ),
    )
    assert len(task.calls) == 2


def test_modules_that_cannot_be_trained():
    task = ToyTask()
    task.module.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters"):
        train(task, options())


def test_history_as_json():
    history = train(ToyTask(), options())
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again == history and again.seconds == history.seconds
    again.seconds[0] = -1.0
    assert again == history, "times are no part of the comparison"
    assert "validation_loss" in history and "accuracy" not in history
    assert dict(history)["loss"] == history["loss"]
    with pytest.raises(KeyError, match="there are loss, absolute"):
        history["accuracy"]
    for wrong in ([], {"epochs": 3}, {"epochs": [1.0]}, {"colour": []}):
        with pytest.raises(ValueError, match="no training history"):
            History.from_dict(wrong)
