"""All of a training that is a pure function of the step number.

Order of the items, learning rate and seeds follow from the options and the
number of the step alone. That is what makes an exact resume possible: there
is no generator whose state could be lost.
"""

from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np

from dipy_vqvae.training.options import TrainingOptions

_STEPS_STREAM, _VALIDATION_STREAM = 0, 1


def usual_batch_size(n_items, most, n_processes=1):
    """Items per step where a user asks for no number.

    Few enough for 50 steps in an epoch: with 20 volumes in one step, ten epochs are
    ten steps, in which nothing is learnt.

    Parameters
    ----------
    n_items : int
        Number of all items.
    most : int
        Items that a step has room for.
    n_processes : int, optional
        Every batch of an epoch has an item for each.

    Returns
    -------
    size : int
        From 1 to 128.

    Examples
    --------
    >>> [usual_batch_size(n, most=200) for n in (20, 1000, 60000)]
    [1, 20, 128]
    >>> usual_batch_size(60000, most=4)
    4
    >>> usual_batch_size(21, most=200, n_processes=2)  # 7 batches of 3
    3
    """
    size = max(n_processes, min(128, most, n_items // 50))
    # The smallest of the batches that n_items are divided into.
    while size < n_items and n_items // -(-n_items // size) < n_processes:
        size += 1
    return size


def share_time(options, n_decoder_epochs):
    """Settings of a joint training and of one of the decoder after it.

    Parameters
    ----------
    options : TrainingOptions
        Those of the joint training, with the time for both.
    n_decoder_epochs : float
        Passes of the decoder's training.

    Returns
    -------
    joint : TrainingOptions
    decoder : TrainingOptions or None
        Half the learning rate, no patience; None for no passes.
    """
    if not n_decoder_epochs:
        return options, None
    share = n_decoder_epochs / (options.n_epochs + n_decoder_epochs)
    seconds = options.max_seconds
    decoder_options = options.replace(
        n_epochs=n_decoder_epochs,
        max_seconds=None if seconds is None else share * seconds,
        patience=None,
        learning_rate=0.5 * options.learning_rate,
    )
    if seconds is not None:
        options = options.replace(max_seconds=(1 - share) * seconds)
    return options, decoder_options


@dataclass(frozen=True)
class Schedule:
    """What each step does, for one number of items.

    Parameters
    ----------
    options : TrainingOptions
    n_items : int
    order : callable, optional
        ``order(random_seed, epoch)`` gives the order of the items in an epoch, where
        not every order is as good as any other; by default :func:`order_of_epoch`.
    """

    options: TrainingOptions
    n_items: int
    order: object = None

    @property
    def steps_per_epoch(self):
        """Number of batches that the items are divided into."""
        return -(-self.n_items // self.options.batch_size)

    @property
    def n_steps(self):
        """Steps of the whole training."""
        return max(1, round(self.options.n_epochs * self.steps_per_epoch))

    @property
    def smallest_batch(self):
        """Number of items of the smallest batch."""
        return self.n_items // self.steps_per_epoch

    def epoch_at(self, step):
        """Return the position after so many steps, in epochs."""
        return step / self.steps_per_epoch

    def batch(self, step):
        """Return the items of a step, int64 of shape (size,).

        The batches of an epoch differ in size by at most one: a small rest
        at its end would be a noisier step than all others, and could have
        fewer items than there are processes. Within a batch the items are in their
        own order: processes that share a batch then have files of their own to read.
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
        """Return the learning rate of a step.

        Parameters
        ----------
        step : int
            Steps done before.
        progress : float
            Fraction of the training done before, in [0, 1).
        """
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
        """Return the seed of all that a step draws."""
        return _seed(self.options.random_seed, _STEPS_STREAM, step)

    def validation_seed(self, step):
        """Return the seed of all that the validation after a step draws."""
        return _seed(self.options.random_seed, _VALIDATION_STREAM, step)


@lru_cache(maxsize=1)
def order_of_epoch(random_seed, epoch, n_items):
    """Return the order of an epoch; kept until the next one is asked for.

    Parameters
    ----------
    random_seed, epoch, n_items : int

    Returns
    -------
    order : array, shape (n_items,), int64
        A permutation, read-only.
    """
    key = np.array([random_seed, epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(n_items)
    order = order.astype(np.int64, copy=False)
    order.flags.writeable = False
    return order


def _seed(random_seed, stream, step):
    """Return a well-mixed 64-bit seed.

    torch's CPU generator looks at the lower 32 bits only, in which
    consecutive numbers would differ by little.
    """
    sequence = np.random.SeedSequence([random_seed, stream, step])
    return int(sequence.generate_state(1, np.uint64)[0])
