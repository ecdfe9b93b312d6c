"""The collective operations of a training; no-ops in a single process.

Whoever starts several processes initialises `torch.distributed`, see
:func:`dipy_vqvae.parallel.processes.processes`; nothing here does. Each operation must be
called by all processes, in the same order.
"""

from contextlib import contextmanager

import torch
from torch import distributed


def is_parallel():
    """Return whether several processes share the work."""
    return world_size() > 1


def rank():
    """Return the number of this process, 0 where there is only one."""
    return distributed.get_rank() if _is_initialized() else 0


def world_size():
    """Return the number of processes."""
    return distributed.get_world_size() if _is_initialized() else 1


def all_reduce_sum(tensor):
    """Add up a tensor over all processes, in place.

    Parameters
    ----------
    tensor : torch.Tensor
        Any shape, the same in all processes.

    Returns
    -------
    tensor : torch.Tensor
        The same tensor.
    """
    return _in_place(tensor, distributed.all_reduce) if is_parallel() else tensor


def broadcast(tensor, *, source=0):
    """Copy the tensor of one process to all others, in place.

    Parameters
    ----------
    tensor : torch.Tensor
        Any shape and type, the same in all processes.
    source : int, optional
        The process whose values are taken.

    Returns
    -------
    tensor : torch.Tensor
        The same tensor.
    """
    if not is_parallel():
        return tensor
    return _in_place(tensor, lambda flat: distributed.broadcast(flat, src=source))


def numbers_of_all(number, *, device):
    """Return a whole number of each process, as a list in their order.

    Parameters
    ----------
    number : int
    device : torch.device
        Where the back end communicates.
    """
    if not is_parallel():
        return [number]
    numbers = torch.zeros(world_size(), dtype=torch.int64, device=device)
    numbers[rank()] = number
    return all_reduce_sum(numbers).tolist()


def rows_of_all(rows, choose):
    """Return some rows of all processes, the same in each of them.

    Parameters
    ----------
    rows : torch.Tensor, shape (N, D)
        This process's rows, which follow those of the processes before it.
    choose : callable
        Called with the number of all rows; gives the numbers of those that are
        wanted, int64 of shape (n,). What it gives in the first process counts.

    Returns
    -------
    chosen : torch.Tensor, shape (n, D), or None
        None where there are no rows at all.
    """
    sizes = numbers_of_all(len(rows), device=rows.device)
    if not sum(sizes):
        return None
    chosen = broadcast(choose(sum(sizes)).to(rows.device))
    first = sum(sizes[: rank()])
    mine = (chosen >= first) & (chosen < first + len(rows))
    found = rows.new_zeros(len(chosen), rows.shape[1])
    found[mine] = rows[chosen[mine] - first]
    return all_reduce_sum(found)


def weight_of_mean(count, *, device):
    r"""Return what a mean over this process's items counts for.

    With :math:`n_r` items in process r of R, the mean over all of them is the plain
    average over the processes of :math:`m_r \, n_r R / \sum n`.

    Parameters
    ----------
    count : int or torch.Tensor, scalar
        Number of this process's items, :math:`n_r`.
    device : torch.device
        Where the back end communicates.

    Returns
    -------
    weight : torch.Tensor, scalar float32, or 1.0
        :math:`n_r R / \sum n`; 1.0 where there is one process.
    """
    if not is_parallel():
        return 1.0
    count = torch.as_tensor(count, dtype=torch.float64, device=device)
    total = all_reduce_sum(count.clone())
    return (count * (world_size() / total)).float()


@contextmanager
def lost_processes_as_errors():
    """Raise ConnectionError where a collective operation fails.

    What back ends raise is a RuntimeError that speaks of sockets.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_initialized():
            raise
        raise ConnectionError(
            "another process of this job has ended, or cannot be reached any more"
        ) from error


def _is_initialized():
    return distributed.is_available() and distributed.is_initialized()


def _in_place(tensor, operation):
    """Run a collective; back ends take dense tensors only, and no booleans."""
    flat = tensor.detach().reshape(-1)
    with lost_processes_as_errors():
        operation(flat.view(torch.uint8) if flat.dtype == torch.bool else flat)
    if not tensor.is_contiguous():
        # Then `flat` was a copy.
        with torch.no_grad():
            tensor.copy_(flat.view(tensor.shape))
    return tensor
