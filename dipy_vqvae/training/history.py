"""What happened in a training, epoch by epoch."""

from dataclasses import asdict, dataclass, field
import math


@dataclass
class History:
    """Losses and times of a training.

    Attributes
    ----------
    epochs : list of float
        Position at the end of each entry: 1.0, 2.0, ...; the last may be
        fractional, such as 2.5.
    train : dict of lists of float
        Names to means over the items of each epoch, while the parameters
        moved; "loss" is what was minimised.
    validation : dict of lists of float
        Names to values at the end of each epoch; empty without validation.
    seconds : list of float
        Wall-clock time since the start of the training, of all its runs
        where it was resumed. No part of comparisons with ``==``.
    n_steps : int
        Number of optimiser steps.
    best_epoch : float or None
        The epoch of the lowest validation loss.

    Examples
    --------
    >>> history = History()
    >>> history.record(1.0, train={"loss": 0.5}, validation={"loss": 0.6}, seconds=3)
    >>> history["loss"], history["validation_loss"], history.best_epoch
    ([0.5], [0.6], 1.0)
    """

    epochs: list = field(default_factory=list)
    train: dict = field(default_factory=dict)
    validation: dict = field(default_factory=dict)
    seconds: list = field(default_factory=list, compare=False)
    n_steps: int = 0
    best_epoch: float | None = None

    def __getitem__(self, name):
        """Return a curve: ``"loss"`` of training, ``"validation_loss"``, ..."""
        if name in self.train:
            return self.train[name]
        kind, _, rest = name.partition("_")
        if kind == "validation" and rest in self.validation:
            return self.validation[rest]
        raise KeyError(f"{name!r}: there are {', '.join(self.keys()) or 'no curves'}")

    def __contains__(self, name):
        """Return whether ``history[name]`` is known."""
        return name in self.keys()

    def __iter__(self):
        """Go through the names, as a dict does."""
        return iter(self.keys())

    def keys(self):
        """Return the names that ``history[name]`` knows."""
        return [*self.train, *(f"validation_{name}" for name in self.validation)]

    @property
    def best_validation_loss(self):
        """Lowest validation loss so far, infinity without one."""
        losses = self.validation.get("loss", [])
        return min((loss for loss in losses if not math.isnan(loss)), default=math.inf)

    @property
    def entries_since_best(self):
        """Number of entries after the best one (of all, where none is best)."""
        if self.best_epoch is None:
            return len(self.epochs)
        return len(self.epochs) - 1 - self.epochs.index(self.best_epoch)

    def record(self, epoch, *, train, validation, seconds):
        """Append one entry; the names must be those of the entries before."""
        for curves, values, what in (
            (self.train, train, "training"),
            (self.validation, validation, "validation"),
        ):
            if self.epochs and set(curves) != set(values):
                raise ValueError(
                    f"the {what} values were {sorted(curves)}, now {sorted(values)}"
                )
        if validation.get("loss", math.inf) < self.best_validation_loss:
            self.best_epoch = float(epoch)
        self.epochs.append(float(epoch))
        self.seconds.append(float(seconds))
        for curves, values in ((self.train, train), (self.validation, validation)):
            for name, value in values.items():
                curves.setdefault(name, []).append(float(value))

    def to_dict(self):
        """Return the content as dicts, lists and numbers that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content):
        """Return the history that `to_dict` described.

        Raises
        ------
        ValueError
            The content is not that of a history.
        """
        try:
            history = cls(**content)
            curves = [*history.train.values(), *history.validation.values()]
            lengths = {len(curve) for curve in [*curves, history.seconds]}
            fits = lengths == {len(history.epochs)}
        except (TypeError, AttributeError) as error:
            raise ValueError(f"this is no training history: {error}") from error
        if not fits:
            raise ValueError("this is no training history: its curves differ in length")
        return history
