"""All that moves in a training, and its way into a checkpoint and back."""

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from dipy_vqvae.training.checkpoint import copy_tensors
from dipy_vqvae.training.history import History
from dipy_vqvae.training.optimizer import (
    ParameterAverage,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)


@dataclass
class TrainingState:
    """State of a training between two steps.

    Attributes
    ----------
    module : torch.nn.Module
    parameters : list of torch.nn.Parameter
        Those that are trained.
    optimizer : torch.optim.Optimizer
    average : ParameterAverage or None
    step : int
        Steps done.
    names : list of str or None
        Names of the losses, once they are known.
    sums : torch.Tensor or None
        Losses times items in the present epoch, float64 of shape (n_names,).
    n_summed : int
        Items in `sums`.
    history : History
    best : dict of torch.Tensor or None
        State of the module at the best epoch, where that is wanted.
    is_finished : bool
        The module holds what the training results in.
    seconds : float
        Time taken by earlier runs of a resumed training.
    """

    module: torch.nn.Module
    parameters: list
    optimizer: torch.optim.Optimizer
    average: ParameterAverage | None = None
    step: int = 0
    names: list | None = None
    sums: torch.Tensor | None = None
    n_summed: int = 0
    history: History = field(default_factory=History)
    best: dict | None = None
    is_finished: bool = False
    seconds: float = 0.0

    def stack(self, losses):
        """Return a dict of scalars as one tensor, (n_names,) float64."""
        if self.names is None:
            self.names = list(losses)
        if set(losses) != set(self.names):
            raise ValueError(f"the losses were {self.names}, now {list(losses)}")
        device = self.parameters[0].device
        values = [
            torch.as_tensor(losses[name], device=device).detach().double()
            for name in self.names
        ]
        return torch.stack(values)

    def add(self, losses, n_items):
        """Add the losses of one step, (n_names,) float64, to those of the epoch."""
        if self.sums is None:
            self.sums = torch.zeros_like(losses)
        self.sums += losses * n_items
        self.n_summed += n_items

    def mean(self, name):
        """Return the mean of a loss over the present epoch so far."""
        return (self.sums[self.names.index(name)] / self.n_summed).item()

    def means(self):
        """Return the means of all losses over the present epoch so far."""
        means = (self.sums / self.n_summed).tolist()
        return dict(zip(self.names, means, strict=True))

    def start_epoch(self):
        """Forget the losses of the present epoch."""
        self.sums, self.n_summed = None, 0

    def averaged(self):
        """Return a context in which the module holds the averaged parameters."""
        return nullcontext() if self.average is None else self.average.applied()

    def keep_as_best(self):
        """Keep the module as it is now for `finish`."""
        self.best = {
            name: tensor.clone() for name, tensor in self.module.state_dict().items()
        }

    def finish(self):
        """Put the best or the averaged parameters into the module, for good."""
        if self.best is not None:
            copy_tensors(self.best, self.module.state_dict(), path="the best epoch")
        elif self.average is not None:
            self.average.apply()
        self.optimizer.zero_grad(set_to_none=True)
        self.is_finished = True

    def snapshot(self):
        """Return what a checkpoint holds: JSON, and groups of named tensors."""
        progress = {
            "step": self.step,
            "names": self.names,
            "n_summed": self.n_summed,
            "history": self.history.to_dict(),
            "is_finished": self.is_finished,
            "seconds": self.seconds,
        }
        tensors = {"module": self.module.state_dict()}
        if not self.is_finished:
            tensors["optimizer"] = optimizer_tensors(self.optimizer, self.parameters)
            if self.sums is not None:
                tensors["epoch"] = {"sums": self.sums}
            if self.average is not None:
                tensors["average"] = self.average.tensors()
            if self.best is not None:
                tensors["best"] = self.best
        return progress, tensors

    def restore(self, progress, tensors, *, path):
        """Take over what `snapshot` returned.

        Raises
        ------
        ValueError
            It does not fit the module, or something is missing.
        """
        try:
            self._restore(progress, tensors, path)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is incomplete: {error!r}") from error

    def _restore(self, progress, tensors, path):
        state = self.module.state_dict()
        copy_tensors(tensors["module"], state, path=path)
        self.step = progress["step"]
        self.names = progress["names"]
        self.n_summed = progress["n_summed"]
        self.history = History.from_dict(progress["history"])
        self.is_finished = progress["is_finished"]
        self.seconds = progress["seconds"]
        if self.is_finished:
            return
        restore_optimizer(self.optimizer, self.parameters, tensors.get("optimizer", {}))
        if self.n_summed:
            self.sums = tensors["epoch"]["sums"].to(self.parameters[0].device)
        if self.average is not None:
            copy_tensors(tensors["average"], self.average.tensors(), path=path)
        if "best" in tensors:
            self.best = {name: torch.empty_like(state[name]) for name in state}
            copy_tensors(tensors["best"], self.best, path=path)


def initial_state(module, options):
    """Return the state before the first step.

    Parameters
    ----------
    module : torch.nn.Module
    options : TrainingOptions

    Returns
    -------
    state : TrainingState

    Raises
    ------
    ValueError
        There is nothing to train.
    TypeError
        The module has state other than tensors.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the module has no parameters to train")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} in the module's state is no tensor")
    average = None
    if options.average_decay is not None:
        average = ParameterAverage(parameters, options.average_decay)
    return TrainingState(
        module=module,
        parameters=parameters,
        optimizer=make_optimizer(module, parameters, options),
        average=average,
    )
