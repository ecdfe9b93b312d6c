"""The few collective operations of a training; no-ops in a single process.

Whoever starts several processes (``torchrun``) initialises
`torch.distributed`; nothing here does.
"""

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


def average_gradients(parameters, share):
    """Replace the gradients by their means over all processes, in place.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        Those without a gradient must be the same in all processes.
    share : float
        This process's share of the batch; the shares add up to 1.
    """
    by_type = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        # One message per type: many small ones would wait for each other.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        all_reduce_sum(flat.mul_(share))
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))


def _is_initialized():
    return distributed.is_available() and distributed.is_initialized()


def _in_place(tensor, operation):
    """Run a collective; back ends take dense tensors only, and no booleans."""
    flat = tensor.detach().reshape(-1)
    operation(flat.view(torch.uint8) if flat.dtype == torch.bool else flat)
    if not tensor.is_contiguous():
        # Then `flat` was a copy.
        with torch.no_grad():
            tensor.copy_(flat.view(tensor.shape))
    return tensor
