import importlib.util
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from dipy_vqvae.storage.model_file import load_model, save_model
from dipy_vqvae.training import TrainingInterrupted, TrainingOptions, train

_SCRIPT = Path(__file__).parents[1] / "support" / "toy_training.py"
_spec = importlib.util.spec_from_file_location("toy_training", _SCRIPT)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)
ToyTask = toy.ToyTask

VARIANTS = [
    {},
    {"n_epochs": 2.6},
    {"average_decay": 0.7, "checkpoint_minutes": 0.0},
    {"patience": 1, "weight_decay": 0.1, "n_epochs": 4},
    {"patience": 2, "average_decay": 0.9, "checkpoint_minutes": 0.0},
]


class Killed(BaseException):
    """What no training expects."""


def options(**changes):
    return TrainingOptions(**{**toy.OPTIONS, **changes})


def uninterrupted(**changes):
    task = ToyTask()
    return toy.result(task, train(task, options(**changes)))


def worker(command, *arguments):
    return subprocess.Popen(
        [sys.executable, str(_SCRIPT), command, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.parametrize("changes", VARIANTS)
def test_resume_is_exact(tmp_path, changes):
    expected = uninterrupted(**changes)
    path = tmp_path / "run.ckpt"
    for stop_at in (0, 1, 2, 5, 1, 3):

        def in_step(step, stop_at=stop_at):
            if step == stop_at:
                raise Killed

        try:
            train(ToyTask(in_step=in_step), options(**changes), checkpoint=path)
        except Killed:
            continue
        break
    task = ToyTask()
    history = train(task, options(**changes), checkpoint=path)
    assert toy.result(task, history) == expected
    assert os.listdir(tmp_path) == ["run.ckpt"]


def test_checkpoints_within_an_epoch_save_work(tmp_path):
    path = tmp_path / "run.ckpt"
    n_steps = 0
    while True:

        def in_step(step):
            nonlocal n_steps
            n_steps += 1
            if step == 3:
                raise Killed

        task = ToyTask(in_step=in_step)
        try:
            train(task, options(checkpoint_minutes=0), checkpoint=path)
        except Killed:
            continue
        break
    assert n_steps == 15 + 4  # three whole steps a run, and the one that dies


def test_an_interval_in_steps(tmp_path):
    path = tmp_path / "run.ckpt"
    settings = options(checkpoint_steps=4, batch_size=5)  # 9 steps an epoch
    with pytest.raises(Killed):
        train(ToyTask(in_step=kill_at(7)), settings, checkpoint=path)
    task = ToyTask()
    history = train(task, settings, checkpoint=path)
    assert len(task.calls) == 3 * 9 - 4
    assert toy.result(task, history) == uninterrupted(batch_size=5)


def test_a_change_of_what_rounding_depends_on_is_said(tmp_path, caplog, monkeypatch):
    path = tmp_path / "run.ckpt"
    train(ToyTask(), options(), checkpoint=path)
    caplog.clear()
    train(ToyTask(), options(), checkpoint=path)
    assert not caplog.messages
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    train(ToyTask(), options(), checkpoint=path)
    (message,) = caplog.messages
    assert ", now 77: the result may differ in rounding" in message


def test_finished_checkpoint_returns_at_once(tmp_path):
    path = tmp_path / "run.ckpt"
    task = ToyTask()
    settings = options(average_decay=0.9, patience=2)
    expected = toy.result(task, train(task, settings, checkpoint=path))
    content = path.read_bytes()
    again = ToyTask()
    history = train(again, settings, checkpoint=path)
    assert toy.result(again, history) == expected
    assert not again.calls and not again.module.training
    assert path.read_bytes() == content


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_finish_the_step_and_save(tmp_path, signum):
    path = tmp_path / "run.ckpt"
    task = ToyTask(in_step=lambda step: step == 6 and signal.raise_signal(signum))
    with pytest.raises(TrainingInterrupted, match="after step 7.*run.ckpt") as caught:
        train(task, options(), checkpoint=path)
    assert caught.value.signum == signum
    rest = ToyTask()
    history = train(rest, options(), checkpoint=path)
    assert len(rest.calls) == 8
    assert toy.result(rest, history) == uninterrupted()


def test_signal_in_the_last_step(tmp_path):
    path = tmp_path / "run.ckpt"
    task = ToyTask(
        in_step=lambda step: step == 14 and signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(TrainingInterrupted):
        train(task, options(), checkpoint=path)
    rest = ToyTask()
    history = train(rest, options(), checkpoint=path)
    assert not rest.calls
    assert toy.result(rest, history) == uninterrupted()


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.02, now it is 0.5"),
        ({"n_epochs": 4}, "n_epochs was 3, now it is 4 .*cannot be prolonged"),
        ({"betas": (0.5, 0.99)}, r"betas was \[0.9, 0.99\], now it is \[0.5"),
        ({"patience": 2}, "patience was null, now it is 2"),
        ({"random_seed": 6, "batch_size": 9}, "batch_size was 10.*random_seed was 5"),
    ],
)
def test_other_settings_are_refused(tmp_path, changes, match):
    path = tmp_path / "run.ckpt"
    train(ToyTask(), options(), checkpoint=path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"run.ckpt is the checkpoint of .*{match}"):
        train(ToyTask(), options(**changes), checkpoint=path)
    assert path.read_bytes() == content


def test_other_data_and_networks_are_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    train(ToyTask(), options(), checkpoint=path)
    with pytest.raises(ValueError, match=r"data\.sha256 was \w+"):
        train(ToyTask(data_seed=1), options(), checkpoint=path)
    other = ToyTask()
    other.describe = lambda: {**ToyTask().describe(), "n_codes": 8}
    with pytest.raises(ValueError, match="n_codes was not there, now it is 8"):
        train(other, options(), checkpoint=path)
    wider = ToyTask()
    wider.module.layers[4] = torch.nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"layers.4.bias was float32 \(1,\), now"):
        train(wider, options(), checkpoint=path)


def test_what_may_differ(tmp_path):
    path = tmp_path / "run.ckpt"
    train(ToyTask(), options(), checkpoint=path)
    train(
        ToyTask(),
        options(checkpoint_minutes=3, checkpoint_steps=9, n_epochs=3.0),
        checkpoint=path,
    )


def test_model_files_and_checkpoints_are_not_mixed_up(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, kind="vqvae", config={}, arrays={})
    with pytest.raises(ValueError, match="is a vqvae model, a training checkpoint is"):
        train(ToyTask(), options(), checkpoint=path)
    path.unlink()
    train(ToyTask(), options(), checkpoint=path)
    with pytest.raises(ValueError, match="is a training checkpoint, a vqvae model is"):
        load_model(path, kind="vqvae")


def test_bad_places(tmp_path):
    task = ToyTask()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(task, options(), checkpoint=tmp_path / "nowhere" / "run.ckpt")
    with pytest.raises(IsADirectoryError):
        train(task, options(), checkpoint=tmp_path)
    assert not task.calls, "found out before any work was done"


def test_failed_writing_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    with pytest.raises(Killed):
        train(ToyTask(in_step=kill_at(7)), options(), checkpoint=path)
    content = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dipy_vqvae.storage.atomic._flush", full)
        with pytest.raises(OSError, match="No space left on device: .*run.ckpt"):
            train(ToyTask(), options(), checkpoint=path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["run.ckpt"]
    task = ToyTask()
    history = train(task, options(), checkpoint=path)
    assert toy.result(task, history) == uninterrupted()


def kill_at(step):
    def in_step(current):
        if current == step:
            raise Killed

    return in_step


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    with pytest.raises(Killed):
        train(ToyTask(in_step=kill_at(7)), options(), checkpoint=path)
    content = path.read_bytes()
    generator = random.Random(0)
    task = ToyTask()
    header_end = 8 + int.from_bytes(content[:8], "little")
    for trial in range(1000):
        damaged = bytearray(content)
        position = generator.randrange(len(content) if trial % 2 else header_end)
        if trial % 5 == 0:
            del damaged[position:]
        elif trial % 5 == 1:
            damaged[position:position] = generator.randbytes(8)
        else:
            damaged[position] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)) as caught:
            train(task, options(), checkpoint=path)
        assert "run.ckpt" in str(caught.value) and "\n" not in str(caught.value)
    assert not task.calls


def test_killed_again_and_again(tmp_path, one_thread):
    path = tmp_path / "run.ckpt"
    changes = {"n_epochs": 16, "checkpoint_minutes": 0.0, "average_decay": 0.9}
    generator = np.random.default_rng(0)
    kills = [
        (int(generator.integers(0, 6)), generator.uniform(0, 0.005)) for _ in range(8)
    ]
    process = worker("kill", str(path), changes, kills)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    task = ToyTask()
    expected = toy.result(task, train(task, options(**changes)))
    assert json.loads(out.splitlines()[-1]) == json.loads(json.dumps(expected))
    assert os.listdir(tmp_path) == ["run.ckpt"]


def test_sigterm_to_a_process(tmp_path, one_thread):
    path = tmp_path / "run.ckpt"
    process = worker("until told", str(path), {}, 6)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate("go on\n", timeout=600)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "SIGTERM after step 7 of 15" in err and "run.ckpt continues it" in err
    assert not out
    task = ToyTask()
    history = train(task, options(), checkpoint=path)
    assert len(task.calls) == 8
    assert toy.result(task, history) == uninterrupted()
