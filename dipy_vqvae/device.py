"""Where tensors live, and torch's random state kept as the user left it."""

from contextlib import contextmanager
import logging
import os

import torch

from dipy_vqvae.nn.collectives import is_parallel

logger = logging.getLogger("dipy_vqvae")


def choose_device(use_cuda):
    """The device for `use_cuda`, with a warning where there is no GPU.

    Each of several processes on a machine gets a GPU of its own.

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
        If there are fewer GPUs than processes.
    """
    if use_cuda and not torch.cuda.is_available():
        logger.warning("use_cuda=True, but torch finds no GPU: using the CPU.")
        use_cuda = False
    if not use_cuda:
        return torch.device("cpu")
    if not is_parallel():
        return torch.device("cuda", torch.cuda.current_device())
    number, n_devices = (
        int(os.environ.get("LOCAL_RANK", "0")),
        torch.cuda.device_count(),
    )
    if number >= n_devices:
        raise ValueError(
            f"use_cuda=True: process {number} of this machine has no GPU of its own, "
            f"there are {n_devices}: start that many (torchrun --nproc-per-node)"
        )
    # What back ends and libraries put on "the" GPU belongs on this one.
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


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
    """No gradients, and float32 whatever precision is set around.

    Half of the digits would change about one code in three hundred
    (``benchmarks/bfloat16.py``), and what a file was encoded to must not depend on it.

    Parameters
    ----------
    device : torch.device
        Where the network is.
    """
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
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
