"""Where tensors live, and torch's random state kept as the user left it."""

from contextlib import contextmanager
import logging
import os

import torch

from dipy_vqvae.parallel import gather, is_parallel, rank
from dipy_vqvae.precision import exact_float32

logger = logging.getLogger("dipy_vqvae")


def choose_device(use_cuda):
    """The device for `use_cuda`, with a warning where there is no GPU.

    The processes of a machine take its GPUs in turn.

    Parameters
    ----------
    use_cuda : bool
        Whether to use a GPU.

    Returns
    -------
    device : torch.device
    """
    if use_cuda and not torch.cuda.is_available():
        logger.warning("use_cuda=True, but torch finds no GPU: using the CPU.")
        use_cuda = False
    if not use_cuda:
        return torch.device("cpu")
    if not is_parallel():
        return torch.device("cuda", torch.cuda.current_device())
    # A process that was given a GPU of its own (srun --gpus-per-task) sees no other.
    number = int(os.environ.get("LOCAL_RANK", rank())) % torch.cuda.device_count()
    # What back ends and libraries put on "the" GPU belongs on this one.
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def device_of_training(use_cuda):
    """The device for `use_cuda`, where all processes are of one kind.

    All processes of a training call this.

    Parameters
    ----------
    use_cuda : bool
        Whether to use a GPU.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If some processes have a GPU and others do not, or two have the same one.
    """
    device = choose_device(use_cuda)
    if not use_cuda or not is_parallel():
        return device
    found = gather([(device.type, _identity(device))])
    without = [str(i) for i, (kind, _) in enumerate(found) if kind == "cpu"]
    if without and len(without) < len(found):
        raise ValueError(
            f"use_cuda=True: torch finds no GPU in process {', '.join(without)} of "
            f"{len(found)}, and one in the others: leave out the machines without, or "
            "train on CPUs"
        )
    first_with = {}
    for i, (_, identity) in enumerate(found):
        first = first_with.setdefault(identity, i)
        if identity is not None and first != i:
            raise ValueError(
                f"use_cuda=True: processes {first} and {i} have the same GPU: start one "
                "process for each GPU (torchrun --nproc-per-node)"
            )
    return device


def _identity(device):
    """What tells one GPU from all others."""
    if device.type != "cuda":
        return None
    return str(torch.cuda.get_device_properties(device).uuid)


@contextmanager
def seeded(random_seed):
    """Seed torch for a block of code and restore its state afterwards.

    Parameters
    ----------
    random_seed : int
        Seed, at least 0.
    """
    with kept_random_state(torch.device("cpu")):
        torch.default_generator.manual_seed(random_seed)
        yield


def kept_random_state(device):
    """Restore torch's random states after a block of code: the CPU's and a device's.

    Parameters
    ----------
    device : torch.device
        Where the block works.

    Returns
    -------
    context : context manager
    """
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)


@contextmanager
def inference(device):
    """No gradients, and float32 whatever precision is set around or by default.

    Half of the digits would change about one code in three hundred
    (``benchmarks/bfloat16.py``), and what a file was encoded to must not depend on it.

    Parameters
    ----------
    device : torch.device
        Where the network is.
    """
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        exact_float32(),
    ):
        yield


def autocast(device, enabled):
    """bfloat16 for convolutions and matrix products inside a ``with`` block."""
    # A cache of cast weights would outlive the step inside another block of autocast,
    # and the next steps would go on with old weights.
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False
    )


def has_fast_bfloat16(device):
    """Whether a device is quicker in bfloat16 than in float32.

    Elsewhere bfloat16 is emulated, or has instructions that are no quicker than
    those of float32, as on Intel's processors with AVX-512 but without AMX.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    is_fast : bool
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch cannot say: then the answer is no.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("amx_bf16"):
        return True
    is_intel = str(capabilities.get("cpu_name", "Intel")).startswith("Intel")
    return bool(capabilities.get("avx512_bf16")) and not is_intel
