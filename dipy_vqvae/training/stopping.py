"""Reasons to stop a training early: signals, and a loss that is NaN or infinite."""

from contextlib import contextmanager
import signal
import threading

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)
)


class TrainingInterrupted(KeyboardInterrupt):
    """A training was stopped by Ctrl-C or SIGTERM, after a whole step.

    It is a KeyboardInterrupt so that no ``except Exception`` swallows it.

    Attributes
    ----------
    signum : int
        The signal; ``128 + signum`` is the exit status that shells expect
        (130 for Ctrl-C, 143 for SIGTERM).
    """

    # Unpickling calls an exception with its message only, and then sets the rest.
    def __init__(self, message, *, signum=signal.SIGINT):
        super().__init__(message)
        self.signum = int(signum)


class TrainingDiverged(ValueError):
    """The loss or its gradient became NaN or infinite.

    Attributes
    ----------
    step : int
        Steps done before the one that failed. On a GPU, where not every step is
        checked: before the first of those that may have failed.
    learning_rate : float
        Learning rate of the last step.
    checkpoint : str or Path or None
        The last good checkpoint, if one was written.
    """

    def __init__(self, message, *, step=None, learning_rate=None, checkpoint=None):
        super().__init__(message)
        self.step = step
        self.learning_rate = learning_rate
        self.checkpoint = checkpoint

    @classmethod
    def at(cls, steps, *, value, epoch, learning_rate, checkpoint, advice=None):
        """Return the error for a step between the first and the last of `steps`."""
        first, last = steps
        where = (
            f"one of the steps {first} to {last}" if first < last else f"step {last}"
        )
        kept = f"the last good checkpoint is {checkpoint}"
        if checkpoint is None:
            kept = "no checkpoint was written"
        return cls(
            f"the loss or its gradient became {value} at {where} (epoch {epoch:.2f}, "
            f"learning rate {learning_rate:.3g}); {kept}. "
            f"{advice or 'Try a lower learning rate'}",
            step=first,
            learning_rate=learning_rate,
            checkpoint=checkpoint,
        )


class StopSignals:
    """Record SIGINT and SIGTERM within a block instead of ending at once.

    The second signal raises TrainingInterrupted at once, unless something is being
    written. Signals that are ignored or handled outside of Python keep their handlers,
    and so do all signals outside the main thread, where Python allows no others.

    Attributes
    ----------
    received : int or None
        The first signal that came.
    """

    def __init__(self):
        self.received = None
        self._is_held = False
        self._previous = {}

    @contextmanager
    def held(self):
        """Let no signal interrupt a block of code; the first one is recorded."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                previous = signal.getsignal(signum)
                if previous not in (None, signal.SIG_IGN):
                    self._previous[signum] = previous
                    signal.signal(signum, self._receive)
        return self

    def __exit__(self, *exception):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _receive(self, signum, frame):
        if self.received is None:
            self.received = signum
        elif not self._is_held:
            raise TrainingInterrupted(
                f"stopped by {signal.Signals(signum).name} within a step",
                signum=signum,
            )
