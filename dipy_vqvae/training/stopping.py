"""Reasons to stop a training early: signals, and a loss that is no number."""

from contextlib import contextmanager
import signal
import threading

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)
)


class TrainingInterrupted(KeyboardInterrupt):
    """A training was stopped by Ctrl-C or by SIGTERM, after a whole step.

    It is a KeyboardInterrupt so that no ``except Exception`` swallows it.

    Attributes
    ----------
    signum : int
        The signal; ``128 + signum`` is the exit status that shells expect
        (130 for Ctrl-C, 143 for SIGTERM).
    """

    def __init__(self, message, *, signum):
        super().__init__(message)
        self.signum = int(signum)


class TrainingDiverged(ValueError):
    """The loss or its gradient became NaN or infinite.

    Attributes
    ----------
    step : int
        Steps done before the one that failed; on a GPU, before the first of
        those that may have failed, for there not every step is looked at.
    learning_rate : float
        The learning rate.
    checkpoint : str or Path or None
        The last good checkpoint, if one was written.
    """

    def __init__(self, message, *, step, learning_rate, checkpoint):
        super().__init__(message)
        self.step = step
        self.learning_rate = learning_rate
        self.checkpoint = checkpoint

    @classmethod
    def at(cls, steps, *, value, epoch, learning_rate, checkpoint):
        """The error for one of the steps from the first to the last of `steps`."""
        first, last = steps
        where = f"step {last}"
        if first < last:
            where = f"one of the steps {first} to {last}"
        kept = f"the last good checkpoint is {checkpoint}"
        if checkpoint is None:
            kept = "no checkpoint was written"
        return cls(
            f"the loss or its gradient became {value} at {where} (epoch {epoch:.2f}, "
            f"learning rate {learning_rate:.3g}); {kept}. Try a lower learning rate",
            step=first,
            learning_rate=learning_rate,
            checkpoint=checkpoint,
        )


class StopSignals:
    """Context that notes SIGINT and SIGTERM instead of dying of them.

    The second signal raises TrainingInterrupted at once, for whoever cannot
    wait for the step to end; but what is being written is written first. Signals that are ignored, and those of a program
    that handles them outside of Python, stay as they are; so do all of them
    outside the main thread, where Python allows no handlers.

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
        """Let no signal interrupt a block of code; the first one is noted."""
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
                    signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, signum, frame):
        if self.received is None:
            self.received = signum
        elif not self._is_held:
            raise TrainingInterrupted(
                f"stopped by {signal.Signals(signum).name} within a step",
                signum=signum,
            )
