"""Device, random state and precision of computations in torch."""

from contextlib import ExitStack, contextmanager
import logging
import os
import threading

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from dipy_vqvae.parallel import gather, is_parallel, rank

logger = logging.getLogger("dipy_vqvae")

# By number of spatial axes: convolutions are quickest with channels last.
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}

_ROUNDING = ("tf32", "bf16")


def choose_device(use_cuda):
    """Return the device to compute on; warn if a GPU is wanted and there is none.

    Several processes of one machine take its GPUs in turn.

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
    # A process with a GPU of its own (srun --gpus-per-task) sees no other.
    number = int(os.environ.get("LOCAL_RANK", rank())) % torch.cuda.device_count()
    # Back ends and libraries allocate on the current GPU.
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def device_of_training(use_cuda):
    """Return the device to train on; all processes of a training call this.

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
        Some processes have a GPU and others have none, or two have the same one.
    """
    device = choose_device(use_cuda)
    if not use_cuda or not is_parallel():
        return device
    identities = gather([_identity(device)])
    without = [str(i) for i, identity in enumerate(identities) if identity is None]
    if without and len(without) < len(identities):
        raise ValueError(
            f"use_cuda=True: torch finds no GPU in process {', '.join(without)} of "
            f"{len(identities)}, and one in the others: leave out the machines without, "
            "or train on CPUs"
        )
    for i, identity in enumerate(identities):
        first = identities.index(identity)
        if identity is not None and first != i:
            raise ValueError(
                f"use_cuda=True: processes {first} and {i} have the same GPU: start one "
                "process for each GPU (torchrun --nproc-per-node)"
            )
    return device


def _identity(device):
    """Return the unique identifier of a GPU, None for the CPU."""
    if device.type != "cuda":
        return None
    return str(torch.cuda.get_device_properties(device).uuid)


def to_tensor(array, device="cpu", dtype=None):
    """Return an array as a tensor, whatever its layout in memory is.

    Parameters
    ----------
    array : array
        Also a view with negative strides, or one that cannot be written to.
    device : torch.device or str, optional
        Device of the tensor.
    dtype : torch.dtype, optional
        Type of the tensor; by default that of the array.

    Returns
    -------
    tensor : torch.Tensor
        It may share the memory of the array.
    """
    array = np.asarray(array, order="C")
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array).to(device, dtype)


_NUMBERS_APART = 997
_new_generator = torch.Generator
_of_thread = threading.local()


class RandomNumbers:
    """Generators of torch for a block of code, which nobody else uses.

    Torch's default generators belong to the process: other threads draw from them and
    seed them. What draws in this block, and in its thread, asks `generator_of`.

    Parameters
    ----------
    device : torch.device
        Device that is drawn for as well as for the CPU.
    random_seed : int, optional
        Seed of both.
    """

    def __init__(self, device, random_seed=0):
        self.generators = {
            torch.device(place).type: _new_generator(place) for place in ("cpu", device)
        }
        self.seed(random_seed)

    def seed(self, random_seed, *, process=0):
        """Start anew; processes of one seed draw different numbers."""
        for generator in self.generators.values():
            generator.manual_seed((random_seed + process) % 2**64)
        cpu = self.generators["cpu"].manual_seed(random_seed)
        torch.rand(_NUMBERS_APART * process, generator=cpu)

    def __enter__(self):
        self._outer = getattr(_of_thread, "numbers", None)
        _of_thread.numbers = self

    def __exit__(self, *exception):
        _of_thread.numbers = self._outer


def generator_of(device="cpu"):
    """Return the generator to draw with on a device; None for torch's default one."""
    numbers = getattr(_of_thread, "numbers", None)
    return None if numbers is None else numbers.generators[torch.device(device).type]


def dropout(x, p, training):
    """Drop entries as `torch.nn.functional.dropout`, which takes no generator."""
    if not training or not p:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - p, generator=generator_of(x.device))
    return x * kept.div_(1 - p)


# Functions that make tensors of the default type.
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
_DRAWING = {
    *(torch.rand, torch.randn, torch.Tensor.uniform_, torch.Tensor.normal_),
    *(torch.nn.init.uniform_, torch.nn.init.normal_, torch.nn.init.kaiming_uniform_),
}


class _Building(TorchFunctionMode):
    """Make modules of float32, whatever the default, with numbers of `generator_of`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in _MAKERS and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        if function in _DRAWING and kwargs.get("generator") is None:
            kwargs["generator"] = generator_of()
        return function(*args, **kwargs)


@contextmanager
def seeded(random_seed):
    """Build networks on the CPU, with random numbers of a seed.

    Parameters
    ----------
    random_seed : int
        The seed.
    """
    # Training needs gradients, also of what was built in inference mode.
    with (
        torch.inference_mode(False),
        cpu_by_default(),
        RandomNumbers("cpu", random_seed),
        _Building(),
    ):
        yield


@contextmanager
def inference(device):
    """Compute without gradients and in float32, ignoring ambient autocast.

    bfloat16 would change about one code in 300 (``benchmarks/bfloat16.py``).

    Parameters
    ----------
    device : torch.device
        Device of the network.
    """
    with (
        torch.inference_mode(),
        cpu_by_default(),
        torch.autocast(device.type, enabled=False),
        exact_float32(),
    ):
        yield


@contextmanager
def cpu_by_default():
    """Make new tensors on the CPU where no device is named, whatever is set."""
    # Not get_default_device, which fails in torch 2.6 after set_default_device(None).
    if torch.empty(0).device.type == "cpu":
        yield
    else:
        with torch.device("cpu"):
            yield


def autocast(device, enabled):
    """Use bfloat16 for convolutions and matrix products in a block, or float32."""
    # A cache of cast weights would outlive the step inside another block of autocast,
    # and the next steps would go on with old weights.
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False
    )


def has_fast_bfloat16(device):
    """Return whether a device is faster in bfloat16 than in float32.

    Elsewhere bfloat16 is emulated, or no faster (Intel with AVX-512 but without AMX).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch cannot say: then the answer is no.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("amx_bf16"):
        return True
    is_intel = str(capabilities.get("cpu_name", "Intel")).startswith("Intel")
    return bool(capabilities.get("avx512_bf16")) and not is_intel


class _Exactness:
    """Reference-counted: set by the first user, restored by the last.

    Torch's settings of precision belong to the process, and not to a thread.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_users = 0
        self._changes = ExitStack()

    def __enter__(self):
        with self._lock:
            if not self._n_users:
                with ExitStack() as changes:
                    _set_exact(changes)
                    self._changes = changes.pop_all()
            self._n_users += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_users -= 1
            if not self._n_users:
                self._changes.close()


_exactness = _Exactness()


def exact_float32():
    """Compute products and convolutions in full float32, and deterministically.

    By default torch lets cuDNN round to TF32 (10 bits) on GPUs that can, and a program
    may allow more (``torch.set_float32_matmul_precision``).
    """
    return _exactness


def _set_exact(changes):
    """Set torch's precision, and register how to restore it."""
    newer = [(owner, owner.fp32_precision) for owner in _precision_settings()]
    changes.callback(_restore_precision, newer)
    cudnn = torch.backends.cudnn
    _change(changes, cudnn, "deterministic", True)
    _change(changes, cudnn, "benchmark", False)
    # Torch has two ways to set this. Products raise an error if only the newer one
    # was changed, and the older one raises it if only the newer one was used.
    try:
        allowed = torch.get_float32_matmul_precision()
        if allowed != "highest":
            changes.callback(torch.set_float32_matmul_precision, allowed)
            torch.set_float32_matmul_precision("highest")
        _change(changes, cudnn, "allow_tf32", False)
    except RuntimeError:
        pass  # the newer way sets the rest
    for owner, _ in newer:
        if owner.fp32_precision in _ROUNDING:
            owner.fp32_precision = "ieee"


def _change(changes, owner, name, value):
    before = getattr(owner, name)
    if before != value:
        changes.callback(setattr, owner, name, before)
        setattr(owner, name, value)


def _precision_settings():
    """Return the owners of ``fp32_precision`` by operation, since torch 2.9."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    owners = [
        getattr(library, operation, None)
        for library in (cudnn, mkldnn)
        for operation in ("conv", "matmul")
    ]
    owners.append(torch.backends.cuda.matmul)
    return [owner for owner in owners if hasattr(owner, "fp32_precision")]


def _restore_precision(settings):
    for owner, before in settings:
        if owner.fp32_precision != before:
            # Without a setting of its own, an operation has the general one.
            owner.fp32_precision = "none"
        if owner.fp32_precision != before:
            owner.fp32_precision = before
