"""Several processes that work on one thing: ``torchrun`` starts them.

All processes of a job run the same program with the same arguments. Each takes its
share of the work; what they have to agree on goes through the functions here and
those of :mod:`dipy_vqvae.parallel.collectives`, which all processes call in the same
order. In a single process they do nothing.
"""

from dataclasses import dataclass

import torch
from torch import distributed

from dipy_vqvae.parallel.collectives import (
    all_reduce_sum,
    broadcast,
    is_parallel,
    lost_processes_as_errors,
    rank,
    world_size,
)
from dipy_vqvae.parallel.meeting import Job, processes

__all__ = [
    "Job",
    "Share",
    "all_reduce_sum",
    "average_gradients",
    "broadcast",
    "can_send_from_cpus",
    "first_decides",
    "gather",
    "is_parallel",
    "is_same_everywhere",
    "map_parts",
    "processes",
    "rank",
    "share_of",
    "wait_for_all",
    "world_size",
]


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


def can_send_from_cpus():
    """Return whether tensors on the CPU can be exchanged, and not those of GPUs only.

    Returns
    -------
    can : bool
        True in a single process.
    """
    return not is_parallel() or "cpu:" in distributed.get_backend_config()


def wait_for_all():
    """Wait until all processes have come here."""
    gather([])


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
    wait_for_all()
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
