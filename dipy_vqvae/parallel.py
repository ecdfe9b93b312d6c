"""Several processes that work on one thing: ``torchrun`` starts them.

All processes of a job run the same program with the same arguments. Each takes its
share of the work; what they have to agree on goes through the functions here and
those of :mod:`dipy_vqvae.nn.collectives`, which all processes call in the same
order. In a single process they do nothing.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
import os
import time

import torch
from torch import distributed

from dipy_vqvae.nn.collectives import (
    all_reduce_sum,
    broadcast,
    is_parallel,
    lost_processes_as_errors,
    rank,
    world_size,
)

__all__ = [
    "Job",
    "Share",
    "all_reduce_sum",
    "average_gradients",
    "broadcast",
    "first_decides",
    "gather",
    "is_parallel",
    "is_same_everywhere",
    "map_parts",
    "processes",
    "rank",
    "share_of",
    "world_size",
]

# How long a process waits for another one that has gone without closing its
# connections (its machine lost power): one that was killed is noticed at once.
TIMEOUT = timedelta(minutes=30)
_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"  # "True" or "False"
_FIRST_FAILURE, _LEFT = "first_failure", "left"
_SECONDS_TO_LEAVE = 15.0


class Job:
    """The processes that this one belongs to.

    Parameters
    ----------
    store : torch.distributed.Store or None
        What they have in common beside collective operations; None for a process
        that is alone.
    """

    def __init__(self, store=None):
        self._store = store
        self.has_failed = False

    def is_first_to_fail(self):
        """Note that this process has failed; return whether no other did before.

        The first one says what happened. The others fail because of it, or of the
        same thing.
        """
        self.has_failed = True
        if self._store is None:
            return True
        try:
            return self._store.add(_FIRST_FAILURE, 1) == 1
        except RuntimeError:
            # It was kept by another process, which has ended.
            return True

    def leave(self, n_processes):
        """Say that this process ends.

        Parameters
        ----------
        n_processes : int
            Wait a while for so many to say so: for the process that keeps the store,
            which the others may want to ask who failed first.
        """
        patience = time.monotonic() + _SECONDS_TO_LEAVE
        try:
            n_left = self._store.add(_LEFT, 1)
            while n_left < n_processes and time.monotonic() < patience:
                time.sleep(0.02)
                n_left = self._store.add(_LEFT, 0)
        except RuntimeError:
            pass  # the store is gone, and nobody waits


@contextmanager
def processes(*, timeout=TIMEOUT):
    """Join the processes that ``torchrun`` started, for a block of code.

    Nothing happens in a program that was started in the usual way, or where
    `torch.distributed` is initialised already. Tensors on the CPU are exchanged by
    gloo, those on GPUs by nccl.

    Parameters
    ----------
    timeout : datetime.timedelta, optional
        How long to wait for another process in one operation.

    Yields
    ------
    job : Job
        The processes.

    Raises
    ------
    ValueError
        If the environment does not say where the processes meet.
    ConnectionError
        If they do not come.

    Examples
    --------
    >>> with processes():
    ...     print(f"process {rank()} of {world_size()}")
    process 0 of 1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield Job()
        return
    if not distributed.is_available():
        raise ValueError("this torch was built without torch.distributed")
    job = Job(_meet(timeout))
    try:
        yield job
        if not job.has_failed:
            # The first process may keep what the others still need.
            all_reduce_sum(torch.zeros(1))
    except BaseException:
        job.has_failed = True
        raise
    finally:
        is_host = rank() == 0 and os.environ.get(_AGENT_STORE) != "True"
        n_processes = world_size()
        # A communicator of nccl is not given up by one process alone.
        if not (job.has_failed and torch.cuda.is_available()):
            distributed.destroy_process_group()
        job.leave(n_processes if is_host else 0)


def _meet(timeout):
    missing = [
        name
        for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")
        if name not in os.environ
    ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} "
            "is not set: start several processes with torchrun"
        )
    backend = "gloo"
    if torch.cuda.is_available() and distributed.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, number, n = next(distributed.rendezvous("env://", timeout=timeout))
        distributed.init_process_group(
            backend, store=store, rank=number, world_size=n, timeout=timeout
        )
    except RuntimeError as error:
        raise ConnectionError(
            f"could not meet the other {os.environ['WORLD_SIZE']} processes at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {error}"
        ) from error
    return store


@dataclass(frozen=True)
class Share:
    """What one process has of some items.

    Attributes
    ----------
    items : array or sequence
        Neighbours among all items.
    first : int
        How many items come before them.
    """

    items: object
    first: int


def share_of(items):
    """Return this process's share of some items.

    Shares are neighbours, in the order of the processes: put one after the other
    they are all items again. Their sizes differ by one at most.

    Parameters
    ----------
    items : array or sequence
        The same in all processes.

    Returns
    -------
    share : Share

    Examples
    --------
    >>> share_of([5, 6, 7])
    Share(items=[5, 6, 7], first=0)
    """
    first = rank() * len(items) // world_size()
    last = (rank() + 1) * len(items) // world_size()
    return Share(items=items[first:last], first=first)


def gather(items):
    """Return the lists of all processes as one, in the order of the processes.

    Parameters
    ----------
    items : list
        This process's; anything that can be pickled.

    Returns
    -------
    items : list
        The same in all processes.
    """
    if not is_parallel():
        return items
    lists = [None] * world_size()
    with lost_processes_as_errors():
        distributed.all_gather_object(lists, items)
    return [item for one in lists for item in one]


def map_parts(work, n, *, size):
    """Have the processes share the work on `n` items, some at a time.

    The parts are the same whatever the number of processes is, and so are the
    results.

    Parameters
    ----------
    work : callable
        ``work(part)`` is called with the slice of the items to work on; what it
        returns is pickled.
    n : int
        Number of items.
    size : int
        Items of each part; the last one may have fewer.

    Returns
    -------
    results : list
        What `work` returned for all parts, in their order; the same in all
        processes.

    Examples
    --------
    >>> map_parts(lambda part: list(range(5))[part], 5, size=2)
    [[0, 1], [2, 3], [4]]
    """
    starts = share_of(range(0, n, size)).items
    return gather([work(slice(start, min(n, start + size))) for start in starts])


def first_decides(function):
    """Call a function in the first process; all get its result, or its exception.

    For what only one may do (write a file) or what all have to see alike (whether
    a file exists). It is called when all processes have come here.

    Parameters
    ----------
    function : callable
        Takes nothing; what it returns is pickled.

    Returns
    -------
    result : object
        What it returned in the first process.

    Raises
    ------
    Exception
        What it raised there.
    """
    if not is_parallel():
        return function()
    gather([])
    outcome = [None, None]
    if rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:  # noqa: BLE001 - raised again below
            outcome[1] = error
    with lost_processes_as_errors():
        distributed.broadcast_object_list(outcome)
    result, raised = outcome
    if raised is not None:
        raise raised
    return result


def is_same_everywhere(number, *, device):
    """Return whether all processes have the same whole number.

    Parameters
    ----------
    number : int
    device : torch.device
        Where the back end communicates.

    Returns
    -------
    is_same : bool
        The same answer in all processes.
    """
    mine = torch.tensor(number, device=device)
    differs = mine != broadcast(mine.clone())
    return not all_reduce_sum(differs.long()).item()


def average_gradients(parameters):
    """Replace the gradients by their means over all processes, in place.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        Those without a gradient must be the same in all processes.
    """
    by_type = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        # One message per type: many small ones would wait for each other.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        all_reduce_sum(flat).div_(world_size())
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))
