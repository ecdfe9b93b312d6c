"""The training loop of all models of this package.

A model is trained through a *task*, an object with

``module``
    The `torch.nn.Module`; its ``state_dict`` must be all of its state.
``n_items``
    Number of training items.
``loss(indices, progress, random_seed)``
    Dict of scalar tensors, means over the items `indices` (int64 array). "loss" is
    minimised. `progress` is the fraction of the training that is done, in [0, 1), and
    `random_seed` the seed of this step. All processes get the same, and their losses
    are averaged: see `parallel.share_of` and `parallel.weight_of_mean`.
``describe()``, needed for checkpoints
    Model and data, as JSON. A training is resumed only if they are equal.
``usual_batch_size()``, needed if the options have no batch size
    Number of items per step.
``validate()``, optional
    Dict of floats, "loss" among them. Called without gradients and in evaluation mode
    at the end of each epoch. None or an empty dict: no validation.
``measure()``, ``start_epoch()``, optional
    Dict of floats of the present epoch so far that are no means over steps, and how to
    begin the next one. What they are made of must be in the module's state.
``order(random_seed, epoch)``, optional
    Permutation of the items for an epoch.
``advice``, optional
    What to do where the loss becomes NaN, other than to lower the learning rate.
``after_step()``, optional
    Called after each step.

Random numbers of torch come from generators of the training, which are seeded before
each step: no other thread has a part in them. All processes have the same seed but draw
different numbers: what must be equal must be broadcast. The first process writes the
checkpoint, all read it.
"""

import logging
import math
import signal
import time

import torch
from tqdm.auto import tqdm

from dipy_vqvae.device import RandomNumbers, cpu_by_default
from dipy_vqvae.parallel import (
    average_gradients,
    first_decides,
    gather,
    is_parallel,
    rank,
    wait_for_all,
    world_size,
)
from dipy_vqvae.storage import check_writable, remove_leftovers
from dipy_vqvae.training.agreement import Agreement
from dipy_vqvae.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from dipy_vqvae.training.optimizer import clip_gradients
from dipy_vqvae.training.pace import Pace, describe_plan
from dipy_vqvae.training.schedule import Schedule
from dipy_vqvae.training.state import initial_state
from dipy_vqvae.training.stopping import (
    StopSignals,
    TrainingDiverged,
    TrainingInterrupted,
)

logger = logging.getLogger("dipy_vqvae")

# Reading a number back makes a GPU wait, so it is done rarely there.
_STEPS_BETWEEN_CHECKS = 20
_LARGEST_PROGRESS = 1.0 - 2.0**-53


def train(task, options, *, checkpoint=None, verbose=False):
    """Train a task's module in place.

    Parameters
    ----------
    task : object
        Model, data and loss; see the documentation of this module.
    options : TrainingOptions
        The settings.
    checkpoint : str or Path, optional
        File to keep the state in: at the end of each epoch, at the intervals of
        the options, and when the training is stopped. If it exists, the training
        continues from it, on the CPU with the same result, bit for bit.
    verbose : bool, optional
        Show a progress bar.

    Returns
    -------
    history : History
        Losses per epoch. The module is left in evaluation mode.

    Raises
    ------
    TrainingDiverged
        A ValueError: the loss became NaN or infinite. On the CPU the
        parameters are those before the step that failed.
    TrainingInterrupted
        A KeyboardInterrupt: Ctrl-C or SIGTERM came. The checkpoint is written.
    ValueError
        The checkpoint is damaged or of another training, or the options do not fit.
    OSError
        The checkpoint cannot be read or written.
    """
    options = _check(options, task)
    device = next(task.module.parameters()).device
    with (
        StopSignals() as signals,
        torch.inference_mode(False),
        torch.enable_grad(),
        cpu_by_default(),
        # Ignore ambient autocast: the task sets its own precision.
        torch.autocast(device.type, enabled=False),
    ):
        state = initial_state(task.module, options)
        run = _Run(task, options, state, checkpoint, signals)
        run.start()
        run.loop(verbose=verbose and rank() == 0)
        run.finish()
    return state.history


def _check(options, task):
    """Return the options with a batch size; refuse those that do not fit the task."""
    if task.n_items < world_size():
        raise ValueError(
            f"{task.n_items} training items for {world_size()} processes: start fewer "
            "processes, or add training data"
        )
    if options.batch_size is None:
        options = options.replace(batch_size=task.usual_batch_size())
    if Schedule(options, task.n_items).smallest_batch < world_size():
        raise ValueError(
            f"batch_size={options.batch_size} is too small for {world_size()} "
            "processes: every batch must have an item for each of them"
        )
    if options.patience is not None and not hasattr(task, "validate"):
        raise ValueError("patience needs validation data")
    return options


class _Run:
    """The steps of a training: each of them changes a `TrainingState`."""

    def __init__(self, task, options, state, path, signals):
        self.task = task
        self.options = options
        self.state = state
        self.path = path
        self.signals = signals
        self.schedule = Schedule(options, task.n_items, getattr(task, "order", None))
        self.device = state.parameters[0].device
        is_cpu = self.device.type == "cpu"
        self.steps_between_checks = 1 if is_cpu else _STEPS_BETWEEN_CHECKS
        self.agreement = Agreement(self.device)
        self.random = RandomNumbers(self.device)
        self.learning_rate = 0.0
        self.last_saved = None

    def start(self):
        """Continue from the checkpoint, if there is one."""
        self.started = self.saved_at = time.monotonic()
        # Sum of losses and gradient norms since the last check: a NaN stays in it.
        self.unchecked = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.path is not None:
            options = self.options.of_consequence()
            self.settings = {"options": options, "task": self.task.describe()}
            self._resume()
        self.saved_step = self.checked_step = self.state.step
        # A new training takes one step at least, whatever the time limit.
        time_fraction = self._time_fraction() if self.state.step else 0.0
        logger.info(describe_plan(self.schedule))
        self.agreement.start(self.state, time_fraction=time_fraction, path=self.path)

    def loop(self, *, verbose):
        """Take the steps that are left."""
        state, limit = self.state, self.options.max_seconds
        state.module.train()
        left = None if limit is None else limit - self._elapsed_seconds()
        pace = Pace(self.schedule.n_steps, left)
        with tqdm(
            total=self.schedule.n_steps,
            initial=state.step,
            unit="step",
            disable=not verbose,
        ) as bar:
            while not self._is_over():
                self._take_step()
                bar.update()
                pace.update(state.step)
                if verbose and state.step % self.steps_between_checks == 0:
                    bar.set_postfix_str(self._shown(), refresh=False)
                ends_epoch = state.step % self.schedule.steps_per_epoch == 0
                if ends_epoch:
                    self._end_epoch()
                if self._is_over():
                    break
                if ends_epoch or self._stop_signal() or self._is_checkpoint_due():
                    self._save()
                self._raise_if_stopped()

    def _shown(self):
        """Write the loss of the epoch so far, and what the task measures."""
        values = {"loss": self.state.means()["loss"], **self._measure()}
        return ", ".join(f"{_words(name)} {v:.4g}" for name, v in values.items())

    def _measure(self):
        return self.task.measure() if hasattr(self.task, "measure") else {}

    def finish(self):
        """Record a last part of an epoch, and keep the result."""
        state = self.state
        if not state.is_finished:
            if state.n_summed:
                self._end_epoch()
            state.finish()
            self._save()
        state.module.eval()
        self._raise_if_stopped()

    def _is_over(self):
        history, patience = self.state.history, self.options.patience
        return (
            self.state.is_finished
            or self.state.step >= self.schedule.n_steps
            or self.agreement.time_fraction >= 1.0
            or (patience is not None and history.entries_since_best >= patience)
        )

    # One step

    def _take_step(self):
        state = self.state
        indices = self.schedule.batch(state.step)
        progress = self._progress()
        self._set_learning_rate(progress)
        losses = self._compute_gradients(indices, progress)
        norm = clip_gradients(state.parameters, self.options.gradient_clip)
        self.unchecked += losses[state.names.index("loss")] + norm
        if self._is_check_step():
            self._check_finite(state.step + 1)
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.step)
        if hasattr(self.task, "after_step"):
            self.task.after_step()
        state.add(losses, len(indices))

    def _progress(self):
        """Return the fraction of steps or of time that is over, in [0, 1)."""
        steps = self.state.step / self.schedule.n_steps
        return min(max(steps, self.agreement.time_fraction), _LARGEST_PROGRESS)

    def _set_learning_rate(self, progress):
        self.learning_rate = self.schedule.learning_rate(self.state.step, progress)
        for group in self.state.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def _compute_gradients(self, indices, progress):
        """Return the losses of a batch, (n_names,) float64; average over processes."""
        self.state.optimizer.zero_grad(set_to_none=True)
        seed = self.schedule.step_seed(self.state.step)
        self.random.seed(seed, process=rank())
        with self.random:
            losses = self.task.loss(indices, progress, seed)
        losses["loss"].backward()
        if is_parallel():
            average_gradients(self.state.parameters)
        return self.agreement.average(
            self.state.stack(losses),
            time_fraction=self._time_fraction(),
            received=self.signals.received,
            may_wait=self._is_check_step(),
        )

    def _is_check_step(self):
        return (self.state.step + 1) % self.steps_between_checks == 0

    def _check_finite(self, n_steps):
        """Stop at a NaN before it reaches the weights (on a GPU: soon after)."""
        value, step = self.unchecked.item(), n_steps - 1
        if not math.isfinite(value):
            raise TrainingDiverged.at(
                (self.checked_step, step),
                value=value,
                epoch=self.schedule.epoch_at(step),
                learning_rate=self.learning_rate,
                checkpoint=self.last_saved,
                advice=getattr(self.task, "advice", None),
            )
        self.unchecked.zero_()
        self.checked_step = n_steps

    # Ends of epochs

    def _end_epoch(self):
        """Validate, and add an entry to the history."""
        self._check_finite(self.state.step)
        state, history = self.state, self.state.history
        best_before = history.best_epoch
        measured = self._measure()
        if measured:
            self.task.start_epoch()
        with state.averaged():
            validation = self._validate()
            history.record(
                self.schedule.epoch_at(state.step),
                train={**state.means(), **measured},
                validation=validation,
                seconds=self._elapsed_seconds(),
            )
            if self.options.patience is not None and history.best_epoch != best_before:
                state.keep_as_best()
        history.n_steps = state.step
        state.start_epoch()
        message = (
            f"epoch {round(history.epochs[-1], 2):g}: loss {history['loss'][-1]:.5g}"
        )
        if "loss" in validation:
            message += f", validation loss {validation['loss']:.5g}"
        for name, value in measured.items():
            message += f", {_words(name)} {value:.4g}"
        logger.info(message)

    def _validate(self):
        if not hasattr(self.task, "validate"):
            return {}
        self.random.seed(self.schedule.validation_seed(self.state.step), process=rank())
        self.state.module.eval()
        try:
            with torch.no_grad(), self.random:
                values = self.task.validate() or {}
        finally:
            self.state.module.train()
        if self.options.patience is not None and "loss" not in values:
            raise ValueError("patience needs a validation loss")
        # All processes must take the same decision about when to stop.
        return gather([{name: float(value) for name, value in values.items()}])[0]

    # Time and signals

    def _elapsed_seconds(self):
        return self.state.seconds + time.monotonic() - self.started

    def _time_fraction(self):
        if self.options.max_seconds is None:
            return 0.0
        return self._elapsed_seconds() / self.options.max_seconds

    def _stop_signal(self):
        return self.agreement.signum if is_parallel() else self.signals.received

    def _raise_if_stopped(self):
        signum = self._stop_signal()
        if signum is None:
            return
        with self.signals.held():
            # When one process has ended, torchrun sends the others another signal. That
            # must not come before the first process has written the checkpoint.
            wait_for_all()
        kept = "nothing was kept" if self.path is None else f"{self.path} continues it"
        raise TrainingInterrupted(
            f"stopped by {signal.Signals(signum).name} after step {self.state.step} "
            f"of {self.schedule.n_steps}; {kept}",
            signum=signum,
        )

    # Checkpoints

    def _is_checkpoint_due(self):
        minutes = (time.monotonic() - self.saved_at) / 60.0
        n_steps = self.state.step - self.saved_step
        interval = self.options.checkpoint_steps
        is_step_due = interval is not None and n_steps >= interval
        return is_step_due or minutes >= self.options.checkpoint_minutes

    def _save(self):
        if self.path is None or rank() != 0:
            return
        self._check_finite(self.state.step)
        progress, tensors = self.state.snapshot()
        progress["seconds"] = self._elapsed_seconds()
        checkpoint = Checkpoint(
            **self.settings,
            progress=progress,
            tensors=tensors,
            device=self.device.type,
        )
        with self.signals.held():
            write_checkpoint(self.path, checkpoint)
        self.last_saved, self.saved_at = self.path, time.monotonic()
        self.saved_step = self.state.step

    def _resume(self):
        first_decides(lambda: remove_leftovers(self.path))
        first_decides(lambda: check_writable(self.path))
        saved = read_checkpoint(self.path, device=self.device.type, **self.settings)
        if saved is None:
            return
        self.state.restore(saved.progress, saved.tensors, path=self.path)
        self.last_saved = self.path
        logger.info("%s: continuing after step %d", self.path, self.state.step)


def _words(name):
    """Write the name of a measure: ``"codes used"`` for ``"n_used"``."""
    return {"n_used": "codes used"}.get(name, name)
