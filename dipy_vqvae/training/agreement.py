"""Agreement of the processes of a training on weights, time and signals."""

import torch

from dipy_vqvae.parallel import (
    all_reduce_sum,
    broadcast,
    can_send_from_cpus,
    gather,
    is_parallel,
    rank,
    world_size,
)
from dipy_vqvae.training.stopping import STOP_SIGNALS


class Agreement:
    """State that all processes of a training share after each step.

    Attributes
    ----------
    time_fraction : float
        Elapsed fraction of the time limit, by the clock of the first process: clocks
        differ, and the learning rates that follow from them must not.
    signum : int or None
        A signal that any of several processes has received.
    """

    def __init__(self, device):
        self.time_fraction = 0.0
        self.signum = None
        # Reading a number back makes a GPU wait. Messages between CPUs do not.
        self._uses_cpu_messages = device.type != "cpu" and can_send_from_cpus()

    def start(self, state, *, time_fraction, path):
        """Give all processes the weights and the clock of the first one."""
        for tensor in state.module.state_dict().values():
            broadcast(tensor)
        if len(set(gather([state.step]))) > 1:
            raise ValueError(
                f"{path} is not the same for all processes: put the checkpoint where "
                "all of them can read it"
            )
        self.time_fraction = gather([time_fraction])[0]

    def average(self, losses, *, time_fraction, received, may_wait):
        """Average losses (n,) over all processes; agree on time and signals.

        Where only GPUs can communicate, the agreement is updated only if the GPU
        `may_wait` in this step.
        """
        if not is_parallel():
            self.time_fraction = time_fraction
            return losses
        # The clock of the first process, and a flag for each signal. (1 + n_signals,)
        clock = time_fraction if rank() == 0 else 0.0
        flags = [received == signum for signum in STOP_SIGNALS]
        control = torch.tensor([clock, *flags], dtype=losses.dtype)
        if self._uses_cpu_messages:
            sums = all_reduce_sum(losses)
            self._update(all_reduce_sum(control))
        else:
            message = torch.cat([losses, control.to(losses.device)])
            sums, control = all_reduce_sum(message).split([len(losses), len(control)])
            if may_wait:
                self._update(control)
        return sums / world_size()

    def _update(self, control):
        self.time_fraction, *counts = control.tolist()
        for signum, count in zip(STOP_SIGNALS, counts, strict=True):
            if count:
                self.signum = signum
