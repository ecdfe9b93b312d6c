import copy
import importlib
import importlib.util
import inspect
from pathlib import Path
import pickle
import pkgutil
import signal
import threading

import pytest

import dipy_vqvae
from dipy_vqvae.storage.model_file import CHECKPOINT, read_tensor_file
from dipy_vqvae.training import (
    TrainingDiverged,
    TrainingInterrupted,
    TrainingOptions,
    train,
)
from dipy_vqvae.training import loop as training

_spec = importlib.util.spec_from_file_location(
    "toy_training", Path(__file__).parents[1] / "support" / "toy_training.py"
)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)
ToyTask = toy.ToyTask


def options(**changes):
    return TrainingOptions(**{**toy.OPTIONS, **changes})


def test_signal_handlers_come_back():
    previous = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    task = ToyTask()
    task.in_step = lambda step: step == 3 and signal.raise_signal(signal.SIGTERM)
    with pytest.raises(
        TrainingInterrupted, match="SIGTERM after step 4 of 15"
    ) as caught:
        train(task, options())
    assert caught.value.signum == signal.SIGTERM
    assert isinstance(caught.value, KeyboardInterrupt)
    assert previous == (
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
    )


def test_second_signal_does_not_wait():
    def twice(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("still here")

    with pytest.raises(TrainingInterrupted, match="SIGINT within a step") as caught:
        train(ToyTask(in_step=twice), options())
    assert caught.value.signum == signal.SIGINT


def test_ignored_signals_stay_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = ToyTask(in_step=lambda step: signal.raise_signal(signal.SIGINT))
        assert train(task, options()).n_steps == 15
    finally:
        signal.signal(signal.SIGINT, previous)


def test_trains_in_other_threads():
    histories = []
    thread = threading.Thread(
        target=lambda: histories.append(train(ToyTask(), options(n_epochs=1)))
    )
    thread.start()
    thread.join()
    assert histories[0].n_steps == 5


def test_a_second_signal_waits_for_what_is_written(tmp_path, monkeypatch):
    write = training.write_checkpoint

    def write_and_be_told(path, checkpoint):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        write(path, checkpoint)

    monkeypatch.setattr(training, "write_checkpoint", write_and_be_told)
    path = tmp_path / "run.ckpt"
    with pytest.raises(TrainingInterrupted, match="after step 5 of 15; .* continues"):
        train(ToyTask(), options(), checkpoint=path)
    progress = read_tensor_file(path, kind=CHECKPOINT).entries["progress"]
    assert progress["step"] == 5


def test_all_processes_wait_before_they_leave(tmp_path, monkeypatch):
    path, waited = tmp_path / "run.ckpt", []
    monkeypatch.setattr(training, "wait_for_all", lambda: waited.append(path.exists()))
    task = ToyTask(in_step=lambda step: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match="after step 1 of 15"):
        train(task, options(), checkpoint=path)
    assert waited == [True]


@pytest.mark.parametrize("again", [copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_exceptions_come_back_from_other_processes(again):
    """One that cannot be unpickled lets multiprocessing.Pool wait for ever."""
    interrupted = TrainingInterrupted("stopped", signum=signal.SIGTERM)
    diverged = TrainingDiverged.at(
        (3, 5), value=float("inf"), epoch=1.5, learning_rate=0.1, checkpoint="x.ckpt"
    )
    for error in (interrupted, diverged):
        other = again(error)
        assert type(other) is type(error) and str(other) == str(error)
        assert vars(other) == vars(error)


def test_all_exceptions_of_the_package_can_be_pickled():
    classes = set()
    for module in pkgutil.walk_packages(dipy_vqvae.__path__, "dipy_vqvae."):
        for _, member in inspect.getmembers(
            importlib.import_module(module.name), inspect.isclass
        ):
            is_ours = member.__module__.startswith("dipy_vqvae")
            if is_ours and issubclass(member, BaseException):
                classes.add(member)
    assert {TrainingDiverged, TrainingInterrupted} < classes
    for cls in classes:
        error = pickle.loads(pickle.dumps(cls("message")))
        assert type(error) is cls and str(error) == "message"
