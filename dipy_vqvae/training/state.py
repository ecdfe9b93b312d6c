"""State of a training, to and from a checkpoint."""

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

_PROGRESS = ("step", "names", "n_summed", "is_finished", "seconds")


@dataclass
class TrainingState:
    """State of a training between two steps."""

    module: torch.nn.Module
    parameters: list  # of torch.nn.Parameter, those that are trained
    optimizer: torch.optim.Optimizer
    average: ParameterAverage | None = None
    step: int = 0  # steps done
    names: list | None = None  # of the losses, known after the first step
    sums: torch.Tensor | None = None  # losses times items in this epoch, (n_names,)
    n_summed: int = 0  # items in `sums`
    history: History = field(default_factory=History)
    best: dict | None = None  # state of the module at the best epoch, if it is kept
    is_finished: bool = False  # the module holds the result of the training
    seconds: float = 0.0  # time taken by earlier runs of a resumed training

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

    def means(self):
        """Return the means of all losses over the present epoch so far."""
        means = (self.sums / self.n_summed).tolist()
        return dict(zip(self.names, means, strict=True))

    def start_epoch(self):
        """Reset the losses of the present epoch."""
        self.sums, self.n_summed = None, 0

    def averaged(self):
        """Return a context in which the module holds the averaged parameters."""
        return nullcontext() if self.average is None else self.average.applied()

    def keep_as_best(self):
        """Keep a copy of the module for `finish`."""
        self.best = {
            name: tensor.clone() for name, tensor in self.module.state_dict().items()
        }

    def finish(self):
        """Put the best or the averaged parameters into the module."""
        if self.best is not None:
            copy_tensors(self.best, self.module.state_dict(), path="the best epoch")
        elif self.average is not None:
            self.average.apply()
        self.optimizer.zero_grad(set_to_none=True)
        self.is_finished = True

    def snapshot(self):
        """Return the content of a checkpoint: JSON, and groups of named tensors."""
        progress = {name: getattr(self, name) for name in _PROGRESS}
        progress["history"] = self.history.to_dict()
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
        """Continue from the content of a checkpoint; refuse one that does not fit."""
        try:
            self._restore(progress, tensors, path)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is incomplete: {error!r}") from error

    def _restore(self, progress, tensors, path):
        state = self.module.state_dict()
        copy_tensors(tensors["module"], state, path=path)
        for name in _PROGRESS:
            setattr(self, name, progress[name])
        self.history = History.from_dict(progress["history"])
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
    """Return the state before the first step."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the module has no parameters to train")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} in the module's state is no tensor")
    average = None
    if options.average_decay is not None:
        average = ParameterAverage(parameters, options.average_decay)
    optimizer = make_optimizer(module, parameters, options)
    return TrainingState(module, parameters, optimizer, average)
