"""Say what a training will do before it does, and how long it will take."""

import logging
import time

from dipy_vqvae.display import count

logger = logging.getLogger("dipy_vqvae")

# With fewer steps hardly any model is good.
FEW_STEPS = 500
# Seconds and steps after which the pace is known, and a rest worth telling.
_SECONDS, _STEPS, _SHORT = 5.0, 10, 30.0


def describe_plan(schedule):
    """Describe the steps of a `Schedule` in words."""
    options, n_steps = schedule.options, schedule.n_steps
    text = (
        f"{count(n_steps, 'step')}: {count(options.n_epochs, 'epoch')} of "
        f"{schedule.n_items:,} items in batches of {options.batch_size}"
    )
    if options.max_seconds is not None:
        text += f", at most {describe_time(options.max_seconds)}"
    if n_steps < FEW_STEPS:
        text += (
            ". That is few: most models need some thousands, use more epochs (n_epochs)"
        )
    return text


def describe_time(seconds):
    """Describe a time in words.

    >>> describe_time(44), describe_time(400), describe_time(8000)
    ('44 seconds', '7 minutes', '2.2 hours')
    """
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.2g} hours"


class Pace:
    """Log once how long a training will take, after its first steps.

    Parameters
    ----------
    n_steps : int
        Number of all steps.
    seconds_left : float or None
        Limit of the time.
    """

    def __init__(self, n_steps, seconds_left=None):
        self.n_steps = n_steps
        self.seconds_left = seconds_left
        self.is_told = False
        self.counted = None  # step and time from which the pace is measured

    def update(self, step):
        """Take note of the end of a step."""
        if self.is_told:
            return
        if self.counted is None:  # the first step is slow: it does not count
            self.counted = step, time.monotonic()
            return
        n, seconds = step - self.counted[0], time.monotonic() - self.counted[1]
        if n < _STEPS or seconds < _SECONDS:
            return
        self.is_told = True
        left = (self.n_steps - step) * seconds / n
        if self.seconds_left is not None:
            left = min(left, self.seconds_left - seconds)
        if left > _SHORT:
            logger.info(
                "%.2g seconds per step: about %s", seconds / n, describe_time(left)
            )
