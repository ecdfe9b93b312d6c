"""The settings of a training, and all that is a pure function of the step number.

Order of the items, learning rate and seeds follow from the options and the
number of the step alone. That is what makes an exact resume possible: there
is no generator whose state could be lost.
"""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
import math
import numbers

import numpy as np

_N_SEEDS = 2**64
_STEPS_STREAM, _VALIDATION_STREAM = 0, 1
SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of `dipy_vqvae.training.loop.train`.

    Parameters
    ----------
    n_epochs : float
        Passes over the data, above 0; 0.5 is half a pass.
    batch_size : int or None
        Items per step, over all processes. An epoch is divided into equal
        batches of at most this size. None: as many as the task usually takes,
        see :func:`usual_batch_size`.
    learning_rate : float
        Peak learning rate.
    optimizer : {"adam", "muon"}, optional
        Adam, or Muon for matrices and convolution kernels and Adam for the rest.
    warmup_steps : int, optional
        Steps of linear warm-up, at most a tenth of the training.
    final_lr_fraction : float, optional
        The schedule ends at this fraction of `learning_rate`, unless it is constant.
    schedule : {"cosine", "linear", "constant"}, optional
        Learning rate after the warm-up: falling along half a cosine, falling along a
        straight line, which is a little better for short trainings
        :footcite:p:`Defazio2023`, or staying as it is.
    weight_decay : float, optional
        Decoupled weight decay of parameters with two or more axes (AdamW) or of
        matrices (Muon); biases and scales do not decay.
    betas : tuple of two floats, optional
        Decay of Adam's two averages, in [0, 1).
    gradient_clip : float or None, optional
        Largest global norm of the gradient; None turns clipping off.
    average_decay : float or None, optional
        Decay of a debiased exponential moving average of the trained
        parameters, in (0, 1). It is used for validation and is what the
        module holds in the end. None: no average.
    random_seed : int, optional
        In [0, 2**64).
    max_seconds : float or None, optional
        Limit of wall-clock time. The schedule then follows the larger of the
        fraction of steps and of time, so that the learning rate is at its end
        when the time is. Such a training cannot be reproduced bit for bit.
    checkpoint_minutes : float, optional
        Time between checkpoints within an epoch.
    checkpoint_steps : int or None, optional
        Steps between checkpoints within an epoch, whichever comes first.
    patience : int or None, optional
        Stop after this many epochs without a lower validation loss, and
        return to the best parameters. None: train to the end and keep the
        last parameters.

    Raises
    ------
    ValueError
        A setting of the wrong type or out of its range.

    References
    ----------
    .. footbibliography::
    """

    n_epochs: float
    batch_size: int | None
    learning_rate: float
    optimizer: str = "adam"
    warmup_steps: int = 100
    final_lr_fraction: float = 0.01
    schedule: str = "cosine"
    weight_decay: float = 0.0
    betas: tuple = (0.9, 0.99)
    gradient_clip: float | None = 1.0
    average_decay: float | None = None
    random_seed: int = 0
    max_seconds: float | None = None
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    patience: int | None = None

    def __post_init__(self):
        for names, is_right, needed in _CHECKS:
            for name in names:
                value = getattr(self, name)
                if value is None and name in _MAY_BE_NONE:
                    continue
                if not is_right(value):
                    or_none = " or None" if name in _MAY_BE_NONE else ""
                    raise ValueError(f"{name}={value!r}: {needed}{or_none} is needed")

    def of_consequence(self):
        """Return what a resumed training must have in common, as a dict."""
        options = asdict(self)
        del options["checkpoint_minutes"], options["checkpoint_steps"]
        return options


def _is_real(value):
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are_betas(value):
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(_is_real(beta) and 0 <= beta < 1 for beta in value)
    )


_MAY_BE_NONE = (
    "batch_size",
    "gradient_clip",
    "average_decay",
    "max_seconds",
    "checkpoint_steps",
    "patience",
)
_LARGEST_RATE = 1e38  # of what weights can be, in single precision
_CHECKS = (
    (
        ("n_epochs", "gradient_clip", "max_seconds"),
        lambda x: _is_real(x) and x > 0,
        "a number above 0",
    ),
    (
        ("learning_rate",),
        lambda x: _is_real(x) and 0 < x <= _LARGEST_RATE,
        f"a number above 0 and at most {_LARGEST_RATE:g}",
    ),
    (
        ("weight_decay", "checkpoint_minutes"),
        lambda x: _is_real(x) and x >= 0,
        "a number not below 0",
    ),
    (
        ("final_lr_fraction",),
        lambda x: _is_real(x) and 0 <= x <= 1,
        "a number in [0, 1]",
    ),
    (("average_decay",), lambda x: _is_real(x) and 0 < x < 1, "a number in (0, 1)"),
    (
        ("batch_size", "checkpoint_steps", "patience"),
        lambda x: _is_whole(x) and x >= 1,
        "a whole number above 0",
    ),
    (
        ("warmup_steps",),
        lambda x: _is_whole(x) and x >= 0,
        "a whole number not below 0",
    ),
    (
        ("random_seed",),
        lambda x: _is_whole(x) and 0 <= x < _N_SEEDS,
        "a whole number in [0, 2**64)",
    ),
    (
        ("schedule",),
        lambda x: x in SCHEDULES,
        f"one of {', '.join(map(repr, SCHEDULES))}",
    ),
    (("optimizer",), lambda x: x in ("adam", "muon"), "'adam' or 'muon'"),
    (("betas",), _are_betas, "a pair of numbers in [0, 1)"),
)


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
    decoder_options = replace(
        options,
        n_epochs=n_decoder_epochs,
        max_seconds=None if seconds is None else share * seconds,
        patience=None,
        learning_rate=0.5 * options.learning_rate,
    )
    if seconds is not None:
        options = replace(options, max_seconds=(1 - share) * seconds)
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
