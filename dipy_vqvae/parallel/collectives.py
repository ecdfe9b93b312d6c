"""Collective operations of a training; each does nothing in a single process.

Each of them must be called by all processes, in the same order. `torch.distributed`
is initialised by :func:`dipy_vqvae.parallel.processes`, and by nothing here.
"""

from contextlib import contextmanager

import torch
from torch import distributed


def is_parallel():
    """Return whether several processes share the work."""
    return world_size() > 1


def rank():
    """Return the number of this process, 0 if it is the only one."""
    return distributed.get_rank() if _is_initialized() else 0


def world_size():
    """Return the number of processes."""
    return distributed.get_world_size() if _is_initialized() else 1


def all_reduce_sum(tensor):
    """Add up a tensor of any shape over all processes, in place; return it."""
    return _in_place(tensor, distributed.all_reduce) if is_parallel() else tensor


def broadcast(tensor):
    """Copy a tensor of the first process to all others, in place; return it."""
    if not is_parallel():
        return tensor
    return _in_place(tensor, lambda flat: distributed.broadcast(flat, src=0))


def gather(items):
    """Join the lists of all processes, in the order of the processes."""
    if not is_parallel():
        return items
    lists = [None] * world_size()
    with lost_processes_as_errors():
        distributed.all_gather_object(lists, items)
    return [item for items_of_process in lists for item in items_of_process]


def wait_for_all():
    """Wait until all processes have called this."""
    gather([])


def first_decides(function):
    """Call a function in the first process; all get its result, or its exception.

    It takes no arguments, and is called after all processes have arrived here.
    """
    if not is_parallel():
        return function()
    wait_for_all()
    result = error = None
    if rank() == 0:
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001 - raised again below
            error = raised
    result, error = gather([(result, error)])[0]
    if error is not None:
        raise error
    return result


def rows_of_all(rows, choose):
    """Collect chosen rows of all processes."""
    sizes = gather([len(rows)])
    if not sum(sizes):
        return None
    numbers = broadcast(choose(sum(sizes)).to(rows.device))
    first = sum(sizes[: rank()])
    is_here = (numbers >= first) & (numbers < first + len(rows))
    chosen = rows.new_zeros(len(numbers), rows.shape[1])
    chosen[is_here] = rows[numbers[is_here] - first]
    return all_reduce_sum(chosen)


def weight_of_mean(count, *, device):
    r"""Weight a mean so that the average over processes is the mean over all items.

    With :math:`n_r` items in process r of R, the mean over all of them is the plain
    average over the processes of :math:`m_r \, n_r R / \sum n`.
    """
    if not is_parallel():
        return 1.0
    count = torch.as_tensor(count, dtype=torch.float64, device=device)
    total = all_reduce_sum(count.clone())
    return (count * (world_size() / total)).float()


def average_gradients(parameters):
    """Replace the gradients of parameters by their means over all processes."""
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


def can_send_from_cpus():
    """Return whether tensors on the CPU can be exchanged, and not only those on GPUs."""
    return not is_parallel() or "cpu:" in distributed.get_backend_config()


@contextmanager
def lost_processes_as_errors():
    """Raise ConnectionError for the RuntimeError of a failed collective operation."""
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
