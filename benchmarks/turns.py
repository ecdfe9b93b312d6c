"""Trainings that take turns, each with a clock of its own.

One after the other, two trainings would meet the machine in different moods; at the
same time, they would take the cores from each other. Here each trains for some
seconds while the others wait, so that a slow moment of the machine meets them all.
A clock stands still while others have their turn, and while a training is measured
on test images.

What is raced are the public ``fit`` methods, all that they do included. Only the
training loop that they call is replaced by itself around a :class:`TimedTask`.
"""

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
import threading
import time
from unittest.mock import patch

from common import synchronise
import torch
from torch.utils.flop_counter import FlopCounterMode

from dipy_vqvae.experiment import n_parameters
import dipy_vqvae.prior.model
from dipy_vqvae.training import train
import dipy_vqvae.vqvae.model


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes
    ----------
    seconds : float
        On the clock of the training.
    items : int
        Items trained on up to then.
    value : float
    """

    seconds: float
    items: int
    value: float


class _Stopped(Exception):
    """The training has been going on for long enough."""


class Contender(threading.Thread):
    """A training that takes turns.

    Parameters
    ----------
    name : str
        What tables call it.
    work : callable
        Trains by ``fit`` or by :func:`timed_train`; what it returns is `result`.
    metric : callable
        The number to measure, from the dict that a task's ``validate`` returns.
    target : float, optional
        Value of it that is to be reached.
    every : float, optional
        Seconds between two measurements within an epoch; by default there is one at
        the end of each.
    stop_when : callable, optional
        Asked with this contender before each step.
    start_at : float, optional
        Seconds on the clock in the beginning.

    Attributes
    ----------
    seconds : float
        The clock.
    items : int
        Items trained on.
    speeds : list of float
        Items per second of each whole turn.
    points : list of Point
        What was measured, in order.
    n_items : int
        Items of an epoch.
    n_parameters : int
        Trained numbers of the module.
    flops_per_item : float
        Operations of the forward pass times three, as one counts for a training
        step; 0 on a CPU.
    is_over, was_stopped : bool
        Whether it has ended, and before its time.
    """

    def __init__(
        self, name, work, *, metric, target=None, every=None, stop_when=None, start_at=0
    ):
        super().__init__(name=name, daemon=True)
        self.work = work
        self.metric = metric
        self.target = target
        self.every = every
        self.stop_when = stop_when
        self.seconds = float(start_at)
        self.device = None
        self.items = 0
        self.speeds = []
        self.points = []
        self.n_items = self.n_parameters = 0
        self.flops_per_item = 0.0
        self.is_over = self.was_stopped = False
        self.result = self.error = None
        self._turns = None
        self._running_since = None  # when the clock was started, None: it stands
        self._turn = (self.seconds, 0)  # clock and items when the turn began
        self._measured_at = self.seconds

    @property
    def reached(self):
        """The first point at the target, None without one."""
        if self.target is None:
            return None
        good = (point for point in self.points if point.value <= self.target)
        return next(good, None)

    def record(self, value):
        """Add a measurement, such as that of the finished fit."""
        self.points.append(Point(self.seconds, self.items, float(value)))

    # Called in the thread of the training.

    def run(self):
        torch.set_num_threads(self._turns.n_threads)
        try:
            self._turns.wait(self)
            self._start_clock()
            self.result = self.work()
        except _Stopped:
            self.was_stopped = True
        except Exception as error:  # noqa: BLE001 - raised again by race
            self.error = error
        finally:
            self._stop_clock()
            self.is_over = True
            self._turns.leave(self)

    def before_step(self):
        self._read_clock()
        begun_at, items_then = self._turn
        if self.seconds - begun_at >= self._turns.turn_seconds:
            if items_then:  # the first turn is that of preparations too
                speed = (self.items - items_then) / (self.seconds - begun_at)
                self.speeds.append(speed)
            self._stop_clock()
            self._turns.pass_on(self)
            self._turn = (self.seconds, self.items)
            self._start_clock()
        if self._turns.is_broken or (self.stop_when and self.stop_when(self)):
            raise _Stopped

    def after_step(self, n_items, task):
        self.items += n_items
        if self.every is None or not hasattr(task, "validate"):
            return
        self._read_clock()
        if self.seconds - self._measured_at >= self.every:
            task.module.eval()
            with torch.no_grad():
                self.measure(task.validate)
            task.module.train()

    def measure(self, validate):
        """Call a task's ``validate`` with the clock standing."""
        self._stop_clock()
        values = validate()
        if values:
            self.record(self.metric(values))
        self._measured_at = self.seconds
        self._start_clock()
        return values

    def _start_clock(self):
        self._running_since = time.perf_counter()

    def _read_clock(self):
        now = time.perf_counter()
        self.seconds += now - self._running_since
        self._running_since = now

    def _stop_clock(self):
        if self._running_since is not None:
            synchronise(self.device)
            self._read_clock()
            self._running_since = None


class TimedTask:
    """A task of a training, which tells a contender about its steps."""

    def __init__(self, task, contender):
        self.task = task
        self.contender = contender

    def __getattr__(self, name):
        if name == "validate":
            validate = self.task.validate
            return lambda: self.contender.measure(validate)
        return getattr(self.task, name)

    def loss(self, indices, progress, random_seed):
        contender = self.contender
        contender.before_step()
        self._n_indices = len(indices)
        if contender.device.type == "cpu" or contender.flops_per_item:
            return self.task.loss(indices, progress, random_seed)
        with FlopCounterMode(display=False) as counter:
            losses = self.task.loss(indices, progress, random_seed)
        contender.flops_per_item = 3 * counter.get_total_flops() / len(indices)
        return losses

    def after_step(self):
        if hasattr(self.task, "after_step"):
            self.task.after_step()
        self.contender.after_step(self._n_indices, self.task)


def timed_train(task, *args, **kwargs):
    """:func:`dipy_vqvae.training.loop.train`, in turns where a contender calls it."""
    contender = threading.current_thread()
    if isinstance(contender, Contender):
        count = n_parameters(task.module)
        contender.n_parameters = max(contender.n_parameters, count)
        contender.n_items = task.n_items
        contender.device = next(task.module.parameters()).device
        task = TimedTask(task, contender)
    return train(task, *args, **kwargs)


class _Turns:
    def __init__(self, contenders, turn_seconds):
        self.turn_seconds = turn_seconds
        self.n_threads = torch.get_num_threads()
        self.is_broken = False
        self._queue = deque(contenders)
        self._changed = threading.Condition()

    def wait(self, contender):
        with self._changed:
            self._changed.wait_for(lambda: self._queue[0] is contender)

    def pass_on(self, contender):
        with self._changed:
            self._queue.rotate(-1)
            self._changed.notify_all()
        self.wait(contender)

    def leave(self, contender):
        with self._changed:
            self.is_broken |= contender.error is not None
            self._queue.remove(contender)
            self._changed.notify_all()


def race(contenders, *, turn_seconds):
    """Let trainings take turns until all of them have ended.

    Parameters
    ----------
    contenders : list of Contender
    turn_seconds : float
        Length of a turn, on the contender's clock.

    Raises
    ------
    Exception
        What the first one of them raised that failed.
    """
    turns = _Turns(contenders, turn_seconds)
    with _fits_take_turns():
        for contender in contenders:
            contender._turns = turns
            contender.start()
        for contender in contenders:
            while contender.is_alive():  # in short, or Ctrl-C would have to wait
                contender.join(0.2)
    for contender in contenders:
        if contender.error is not None:
            raise contender.error


@contextmanager
def _fits_take_turns():
    with (
        patch.object(dipy_vqvae.vqvae.model, "train", timed_train),
        patch.object(dipy_vqvae.prior.model, "train", timed_train),
    ):
        yield
