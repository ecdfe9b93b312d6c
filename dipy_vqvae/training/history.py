"""Losses and times of a training, epoch by epoch."""

from dataclasses import asdict, dataclass, field
import math

from dipy_vqvae.display import html_table


@dataclass(repr=False)
class History:
    """Losses and times of a training.

    Attributes
    ----------
    epochs : list of float
        Position at the end of each entry: 1.0, 2.0, ...; the last may be
        fractional, such as 2.5.
    train : dict of lists of float
        Means over the items of each epoch, by name; "loss" is minimised. Of a VQ-VAE
        also "n_used" and "perplexity" of the codes of the epoch. None where a stage of
        the training does not measure it.
    validation : dict of lists of float
        Values at the end of each epoch, by name; empty without validation.
    seconds : list of float
        Wall-clock time since the start of the training, over all its runs
        if it was resumed. ``==`` ignores it.
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

    def __repr__(self):
        values = [f"{name}={value}" for name, value in self._last()]
        return f"<History: {', '.join(values)}>"

    def _repr_html_(self):
        return html_table("History", self._last())

    def _last(self):
        """List the length of the training, and the last values of its curves."""
        last = [("epochs", f"{e:g}") for e in self.epochs[-1:]]
        curves = self._curves().items()
        values = [(name, curve[-1]) for name, curve in curves if curve]
        shown = [(name, f"{v:.4g}") for name, v in values if v is not None]
        return [*last, ("n_steps", self.n_steps), *shown]

    def __getitem__(self, name):
        """Return a curve: ``"loss"`` of training, ``"validation_loss"``, ..."""
        curves = self._curves()
        if name not in curves:
            raise KeyError(f"{name!r}: there are {', '.join(curves) or 'no curves'}")
        return curves[name]

    def __contains__(self, name):
        """Return whether there is a curve of this name."""
        return name in self._curves()

    def __iter__(self):
        """Iterate over the names of the curves, as a dict does."""
        return iter(self._curves())

    def keys(self):
        """Return the names of the curves."""
        return list(self._curves())

    def _curves(self):
        held_out = {f"validation_{k}": curve for k, curve in self.validation.items()}
        return {**self.train, **held_out}

    @property
    def entries_since_best(self):
        """Number of entries after the best one; of all, if there is no best one."""
        if self.best_epoch is None:
            return len(self.epochs)
        return len(self.epochs) - 1 - self.epochs.index(self.best_epoch)

    def record(self, epoch, *, train, validation, seconds):
        """Append one entry; `train` and `validation` are dicts of the same names."""
        losses = [
            loss
            for loss in self.validation.get("loss", [])
            if loss is not None and not math.isnan(loss)
        ]
        if validation.get("loss", math.inf) < min(losses, default=math.inf):
            self.best_epoch = float(epoch)
        n_before = len(self.epochs)
        self.epochs.append(float(epoch))
        self.seconds.append(float(seconds))
        for curves, values in ((self.train, train), (self.validation, validation)):
            for name in dict.fromkeys([*curves, *values]):
                value = values.get(name)
                curve = curves.setdefault(name, [None] * n_before)
                curve.append(None if value is None else float(value))

    def followed_by(self, other):
        """Return the history of this training and of one that went on from it.

        Parameters
        ----------
        other : History
            That of the second training, which counts from zero.

        Returns
        -------
        history : History

        Examples
        --------
        >>> first, second = History(n_steps=4), History(n_steps=2)
        >>> first.record(1.0, train={"loss": 3, "codes": 2}, validation={}, seconds=9)
        >>> second.record(0.5, train={"loss": 1}, validation={}, seconds=4)
        >>> both = first.followed_by(second)
        >>> both.epochs, both.seconds, both["loss"], both["codes"], both.n_steps
        ([1.0, 1.5], [9.0, 13.0], [3.0, 1.0], [2.0, None], 6)
        """
        both = History(n_steps=self.n_steps + other.n_steps)
        first = (0.0, 0.0)
        for history in (self, other):
            for i, epoch in enumerate(history.epochs):
                both.record(
                    first[0] + epoch,
                    train={name: curve[i] for name, curve in history.train.items()},
                    validation={
                        name: curve[i]
                        for name, curve in history.validation.items()
                        if curve[i] is not None
                    },
                    seconds=first[1] + history.seconds[i],
                )
            first = (both.epochs[-1], both.seconds[-1])
        return both

    def to_dict(self):
        """Return the content as dicts, lists and numbers that JSON can hold.

        Curves are in the order of their names, whatever measured them first: a history
        that was read from a model file is written as the one that was trained.
        """
        content = asdict(self)
        for kind in ("train", "validation"):
            content[kind] = dict(sorted(content[kind].items()))
        return content

    @classmethod
    def from_dict(cls, content):
        """Return the history of `to_dict`; raise ValueError for anything else."""
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
