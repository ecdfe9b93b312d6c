"""The training loop of all models of this package.

A model is trained through a *task*, any object with

``module``
    the `torch.nn.Module`; its ``state_dict`` must be all of the state.
``n_items``
    the number of items.
``loss(indices, progress)``
    the losses of some items: a dict of scalar tensors, means over the items.
    "loss" is minimised, the others are recorded. `indices` is an int64 array,
    `progress` the fraction of the training that is done, in [0, 1).
    Of several processes all get the same indices, and what counts is the average of
    their losses: a task may leave them alone, or work on `parallel.share_of` the
    indices and weight its means with `nn.collectives.weight_of_mean`.
``order(random_seed, epoch)``, optional
    a permutation of the items for an epoch, if not any will do (None: any).
``after_step()``, optional
    called after each step.
``validate()``, optional
    a dict of floats, "loss" among them; called without gradients and in evaluation
    mode at the end of each epoch. None or an empty dict: no validation.
``describe()``, needed for checkpoints
    what can be written as JSON about the settings and the data; a training
    is resumed only where it is the same.

Everything random comes from torch's default generator, which is seeded anew before
each step and restored in the end. Several processes have one seed but draw other numbers
from it, the first one those of a single process: what has to agree must be broadcast.
"""

import logging
import math
import signal
import time

import torch
from tqdm import tqdm

from dipy_vqvae.device import kept_random_state
from dipy_vqvae.parallel import processes as parallel
from dipy_vqvae.storage import check_writable, remove_leftovers
from dipy_vqvae.training.agreement import Agreement
from dipy_vqvae.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from dipy_vqvae.training.history import History
from dipy_vqvae.training.optimizer import clip_gradients
from dipy_vqvae.training.schedule import Schedule
from dipy_vqvae.training.state import initial_state
from dipy_vqvae.training.stopping import (
    StopSignals,
    TrainingDiverged,
    TrainingInterrupted,
)

__all__ = [
    "History",
    "TrainingDiverged",
    "TrainingInterrupted",
    "train",
]

logger = logging.getLogger("dipy_vqvae")

# Reading a number back from a GPU makes it wait, so there it is done rarely.
_STEPS_BETWEEN_CHECKS = 20
_NUMBERS_APART = 997
_BEFORE_THE_END = 1.0 - 2.0**-53


def train(task, options, *, checkpoint=None, verbose=False):
    """Train a task's module in place.

    Parameters
    ----------
    task : object
        What to train on what; see the module's documentation.
    options : TrainingOptions
        The settings.
    checkpoint : str or Path, optional
        File to keep the state in: at the end of each epoch, at the intervals of
        the options, and when the training is stopped. If it exists, the training
        continues from it; on the CPU, with the same number of threads, the result
        is then bit for bit that of a training that was never interrupted.
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
        A KeyboardInterrupt: Ctrl-C or SIGTERM came. The step was finished and
        the checkpoint written.
    ValueError
        The checkpoint is damaged or of another training, or the task and the
        options do not fit.
    OSError
        The checkpoint cannot be read or written.

    Notes
    -----
    Where `torch.distributed` is initialised, every process calls this with
    the same task. Each works on its share of every batch, the gradients are
    averaged, the first process writes the checkpoint and all read it.
    """
    if task.n_items < parallel.world_size():
        needed = f"at least {parallel.world_size()} are needed"
        raise ValueError(f"{task.n_items} items to train on, {needed}")
    if options.batch_size is None:
        options = options.replace(batch_size=task.usual_batch_size())
    if Schedule(options, task.n_items).smallest_batch < parallel.world_size():
        raise ValueError(
            f"batch_size={options.batch_size} leaves nothing to do for some of the "
            f"{parallel.world_size()} processes that share it: use a larger one"
        )
    if options.patience is not None and not hasattr(task, "validate"):
        raise ValueError("patience needs validation data")
    state = initial_state(task.module, options)
    device = state.parameters[0].device
    with (
        StopSignals() as signals,
        kept_random_state(device),
        torch.enable_grad(),
        # The precision is the task's affair, and not that of what is around.
        torch.autocast(device.type, enabled=False),
    ):
        run = _Run(task, options, state, checkpoint, signals)
        run.start()
        run.loop(verbose=verbose and parallel.rank() == 0)
    return state.history


class _Run:
    """The loop: what happens to a `TrainingState`, and when."""

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
        self.learning_rate = 0.0
        self.agreement = Agreement(self.device)
        self.last_saved = None

    def start(self):
        """Continue where there is a checkpoint; agree with other processes."""
        self.started = self.saved_at = time.monotonic()
        self.unchecked = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.path is not None:
            options = self.options.of_consequence()
            self.settings = {"options": options, "task": self.task.describe()}
            self._resume()
        self.saved_step = self.state.step
        self.checked_step = self.state.step
        if parallel.is_parallel():
            self._agree_on_start()

    def loop(self, *, verbose):
        """Take the steps that are left."""
        state = self.state
        state.module.train()
        with tqdm(
            total=self.schedule.n_steps,
            initial=state.step,
            unit="step",
            disable=not verbose,
        ) as bar:
            while not self._is_over():
                self._take_step()
                bar.update()
                if verbose and state.step % self.steps_between_checks == 0:
                    bar.set_postfix_str(f"loss {state.mean('loss'):.4g}", refresh=False)
                is_whole_epoch = state.step % self.schedule.steps_per_epoch == 0
                if is_whole_epoch:
                    self._end_epoch()
                if self._is_over():
                    break
                if self._stop_signal() or is_whole_epoch or self._is_checkpoint_due():
                    self._save()
                self._leave_if_asked()
        if not state.is_finished:
            if state.n_summed:
                self._end_epoch()
            state.finish()
            self._save()
        state.module.eval()
        self._leave_if_asked()

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
        done = max(state.step / self.schedule.n_steps, self.agreement.time_fraction)
        progress = min(done, _BEFORE_THE_END)
        self.learning_rate = self.schedule.learning_rate(state.step, progress)
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._seed(self.schedule.step_seed(state.step))
        state.optimizer.zero_grad(set_to_none=True)
        losses = self.task.loss(indices, progress)
        losses["loss"].backward()
        values = state.stack(losses)
        if parallel.is_parallel():
            parallel.average_gradients(state.parameters)
            values = self.agreement.average(
                values,
                time_fraction=self._time_fraction(),
                received=self.signals.received,
                may_wait=self._is_check_step(),
            )
        else:
            self.agreement.time_fraction = self._time_fraction()
        norm = clip_gradients(state.parameters, self.options.gradient_clip)
        self.unchecked += values[state.names.index("loss")] + norm
        if self._is_check_step():
            self._check_finite(state.step + 1)
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.step)
        if hasattr(self.task, "after_step"):
            self.task.after_step()
        state.add(values, len(indices))

    def _is_check_step(self):
        return (self.state.step + 1) % self.steps_between_checks == 0

    def _check_finite(self, n_steps):
        """Stop before a NaN gets anywhere (on a GPU: before it gets far)."""
        value, step = self.unchecked.item(), n_steps - 1
        if not math.isfinite(value):
            raise TrainingDiverged.at(
                (self.checked_step, step),
                value=value,
                epoch=self.schedule.epoch_at(step),
                learning_rate=self.learning_rate,
                checkpoint=self.last_saved,
            )
        self.unchecked.zero_()
        self.checked_step = n_steps

    def _seed(self, seed):
        # Not torch.manual_seed, which seeds the generators of all devices.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            generators = torch.get_device_module(self.device).default_generators
            number = (seed + parallel.rank()) % 2**64
            generators[self.device.index].manual_seed(number)
        # The same seed in all processes, but other numbers from it.
        torch.rand(_NUMBERS_APART * parallel.rank())

    # Ends of epochs

    def _end_epoch(self):
        """Validate, and add an entry to the history."""
        self._check_finite(self.state.step)
        state, history = self.state, self.state.history
        best_before = history.best_epoch
        with state.averaged():
            validation = self._validate()
            history.record(
                self.schedule.epoch_at(state.step),
                train=state.means(),
                validation=validation,
                seconds=self._seconds(),
            )
            if self.options.patience is not None and history.best_epoch != best_before:
                state.keep_as_best()
        history.n_steps = state.step
        state.start_epoch()
        held_out = ""
        if "loss" in validation:
            held_out = f", validation loss {validation['loss']:.5g}"
        epoch, loss = history.epochs[-1], history["loss"][-1]
        logger.info("epoch %.2f: loss %.5g%s", epoch, loss, held_out)

    def _validate(self):
        if not hasattr(self.task, "validate"):
            return {}
        self._seed(self.schedule.validation_seed(self.state.step))
        self.state.module.eval()
        try:
            with torch.no_grad():
                values = self.task.validate() or {}
        finally:
            self.state.module.train()
        if self.options.patience is not None and "loss" not in values:
            raise ValueError("patience needs a validation loss")
        numbers = torch.tensor(
            [float(value) for value in values.values()],
            dtype=torch.float64,
            device=self.device,
        )
        # All processes must come to the same decision about when to stop.
        return dict(zip(values, parallel.broadcast(numbers).tolist(), strict=True))

    # Time and signals

    def _seconds(self):
        return self.state.seconds + time.monotonic() - self.started

    def _time_fraction(self):
        if self.options.max_seconds is None:
            return 0.0
        return self._seconds() / self.options.max_seconds

    def _stop_signal(self):
        if parallel.is_parallel():
            return self.agreement.signum
        return self.signals.received

    def _leave_if_asked(self):
        signum = self._stop_signal()
        if signum is None:
            return
        with self.signals.held():
            # Where one process has ended, the others are sent another signal: not
            # while the first one writes, and not before it can say so.
            parallel.wait_for_all()
        kept = "nothing was kept" if self.path is None else f"{self.path} continues it"
        raise TrainingInterrupted(
            f"stopped by {signal.Signals(signum).name} after step {self.state.step} "
            f"of {self.schedule.n_steps}; {kept}",
            signum=signum,
        )

    # Several processes

    def _agree_on_start(self):
        for tensor in self.state.module.state_dict().values():
            parallel.broadcast(tensor)
        if not parallel.is_same_everywhere(self.state.step, device=self.device):
            raise ValueError(
                f"{self.path} is not the same for all processes: put the checkpoint "
                "where all of them can read it"
            )
        clock = torch.tensor(
            self.agreement.time_fraction, dtype=torch.float64, device=self.device
        )
        self.agreement.time_fraction = parallel.broadcast(clock).item()

    # Checkpoints

    def _is_checkpoint_due(self):
        options, seconds = self.options, time.monotonic() - self.saved_at
        n_steps = self.state.step - self.saved_step
        return seconds >= 60.0 * options.checkpoint_minutes or (
            options.checkpoint_steps is not None and n_steps >= options.checkpoint_steps
        )

    def _save(self):
        if self.path is None or parallel.rank() != 0:
            return
        self._check_finite(self.state.step)
        progress, tensors = self.state.snapshot()
        progress["seconds"] = self._seconds()
        checkpoint = Checkpoint(
            progress=progress,
            tensors=tensors,
            device=self.device.type,
            **self.settings,
        )
        with self.signals.held():
            write_checkpoint(self.path, checkpoint)
        self.last_saved, self.saved_at = self.path, time.monotonic()
        self.saved_step = self.state.step

    def _resume(self):
        parallel.first_decides(lambda: remove_leftovers(self.path))
        parallel.first_decides(lambda: check_writable(self.path))
        saved = read_checkpoint(self.path, device=self.device.type, **self.settings)
        if saved is None:
            return
        self.state.restore(saved.progress, saved.tensors, path=self.path)
        self.agreement.time_fraction = self._time_fraction()
        self.last_saved = self.path
        logger.info("%s: continuing after step %d", self.path, self.state.step)
