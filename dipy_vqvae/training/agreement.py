"""What the processes of a training agree on in each step: time and signals."""

import torch

from dipy_vqvae.parallel import processes as parallel
from dipy_vqvae.training.stopping import STOP_SIGNALS


class Agreement:
    """Brings together what the processes have found in a step.

    A single process only keeps its time here.

    Parameters
    ----------
    device : torch.device
        Where the training is.

    Attributes
    ----------
    time_fraction : float
        Part of the time there is that is over, by the first process: clocks
        differ, and the learning rates that follow from them may not.
    signum : int or None
        A signal that any of the processes was sent.
    """

    def __init__(self, device):
        self.time_fraction = 0.0
        self.signum = None
        # To read a number back from a GPU makes it wait, so that this is done rarely;
        # what is sent from one CPU to the other does not.
        self._is_apart = device.type != "cpu" and parallel.can_send_from_cpus()

    def average(self, values, *, time_fraction, received, may_wait):
        """Average some values over all processes; agree on time and signals.

        Parameters
        ----------
        values : torch.Tensor, shape (n,)
        time_fraction : float
            By this process's clock.
        received : int or None
            The signal that this process was sent.
        may_wait : bool
            Whether this is a step in which a GPU may be waited for. In others,
            where there is no other way, time and signals stay as they were.

        Returns
        -------
        means : torch.Tensor, shape (n,)
        """
        clock = time_fraction if parallel.rank() == 0 else 0.0
        control = torch.tensor(
            [clock, *(received == signum for signum in STOP_SIGNALS)],
            dtype=values.dtype,
        )
        if self._is_apart:
            sums = parallel.all_reduce_sum(values)
            self._note(parallel.all_reduce_sum(control))
        else:
            together = torch.cat([values, control.to(values.device)])
            sums, control = parallel.all_reduce_sum(together).split(
                [len(values), len(control)]
            )
            if may_wait:
                self._note(control)
        return sums / parallel.world_size()

    def _note(self, control):
        self.time_fraction, *received = control.tolist()
        for signum, n_received in zip(STOP_SIGNALS, received, strict=True):
            if n_received:
                self.signum = signum
