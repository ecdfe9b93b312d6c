import importlib.util
from pathlib import Path
import signal
import threading

import pytest

from dipy_vqvae.training import TrainingInterrupted, TrainingOptions, train

_spec = importlib.util.spec_from_file_location(
    "toy_training", Path(__file__).with_name("toy_training.py")
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
