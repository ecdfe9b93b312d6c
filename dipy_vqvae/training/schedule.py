"""Order of the items, learning rate and seeds of each step.

They follow from the options and the number of the step alone. So a training can be
resumed exactly: there is no generator whose state could be lost.
"""

from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np

from dipy_vqvae.training.options import TrainingOptions

_STEPS_STREAM, _VALIDATION_STREAM = 0, 1


def usual_batch_size(n_items, most, n_processes=1):
    """Choose the default number of items per step, for 50 steps or more in an epoch.

    Examples
    --------
    >>> [usual_batch_size(n, most=200) for n in (20, 1000, 60000)]
    [1, 20, 128]
    >>> usual_batch_size(21, most=200, n_processes=2)  # 7 batches of 3
    3
    """
    size = max(n_processes, min(128, most, n_items // 50))
    # No batch of an epoch may have fewer items than there are processes.
    while size < n_items and n_items // -(-n_items // size) < n_processes:
        size += 1
    return size


def share_time(options, n_decoder_epochs):
    """Divide the time limit between a joint training and the decoder's own one."""
    if not n_decoder_epochs:
        return options, None
    share = n_decoder_epochs / (options.n_epochs + n_decoder_epochs)
    decoder = options.replace(
        n_epochs=n_decoder_epochs,
        patience=None,
        learning_rate=0.5 * options.learning_rate,
    )
    if options.max_seconds is None:
        return options, decoder
    seconds = options.max_seconds
    joint = options.replace(max_seconds=(1 - share) * seconds)
    return joint, decoder.replace(max_seconds=share * seconds)


@dataclass(frozen=True)
class Schedule:
    """Order, learning rate and seeds of the steps of a training."""

    options: TrainingOptions
    n_items: int
    order: object = None  # callable (random_seed, epoch), by default `order_of_epoch`

    @property
    def steps_per_epoch(self):
        """Number of batches in an epoch."""
        return -(-self.n_items // self.options.batch_size)

    @property
    def n_steps(self):
        """Number of steps of the whole training."""
        return max(1, round(self.options.n_epochs * self.steps_per_epoch))

    @property
    def smallest_batch(self):
        """Number of items of the smallest batch."""
        return self.n_items // self.steps_per_epoch

    def epoch_at(self, step):
        """Return the position after so many steps, in epochs."""
        return step / self.steps_per_epoch

    def batch(self, step):
        """Return the sorted items of a step, int64 of shape (size,).

        The batches of an epoch differ in size by at most one: a small last batch would
        be a noisier step, and could have fewer items than there are processes. As items
        are sorted, processes that share a batch read different files.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.n_items // self.steps_per_epoch
        stop = (position + 1) * self.n_items // self.steps_per_epoch
        if self.order is None:
            order = order_of_epoch(self.options.random_seed, epoch, self.n_items)
        else:
            order = self.order(self.options.random_seed, epoch)
        return np.sort(order[start:stop])

    def learning_rate(self, step, progress):
        """Return the learning rate after `step` steps, at a progress in [0, 1)."""
        options = self.options
        warmup_steps = min(options.warmup_steps, self.n_steps // 10)
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        if options.schedule == "constant":
            return options.learning_rate * warmup
        left = 1.0 - progress
        if options.schedule == "cosine":
            # Annealing without restarts (Loshchilov & Hutter 2017, eq. 5).
            left = 0.5 * (1.0 + math.cos(math.pi * progress))
        final = options.final_lr_fraction
        return options.learning_rate * warmup * (final + (1.0 - final) * left)

    def step_seed(self, step):
        """Return the seed of a step."""
        return _seed(self.options.random_seed, _STEPS_STREAM, step)

    def validation_seed(self, step):
        """Return the seed of the validation after a step."""
        return _seed(self.options.random_seed, _VALIDATION_STREAM, step)


@lru_cache(maxsize=1)
def order_of_epoch(random_seed, epoch, n_items):
    """Return the random order of the items in an epoch, cached for its steps."""
    key = np.array([random_seed, epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(n_items)
    order = order.astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


def _seed(random_seed, stream, step):
    """Return a well-mixed 64-bit seed: the CPU generator uses its lower 32 bits."""
    sequence = np.random.SeedSequence([random_seed, stream, step])
    return int(sequence.generate_state(1, np.uint64)[0])
