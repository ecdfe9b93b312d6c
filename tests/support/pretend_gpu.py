"""A device that no CPU can read, for tests of what runs on a GPU where there is none.

Its tensors hold their numbers in memory, but say that they are elsewhere. As with
CUDA, operations refuse to mix them with the CPU's, except for those that copy from
one to the other, indices and single numbers; generators of the CPU cannot be used;
and what is random comes from a generator of the device. Numbers are computed by the
CPU, so that results are those of the CPU bit for bit. Nothing is said about speed,
rounding or memory of a GPU.
"""

from contextlib import contextmanager

import torch
from torch.utils import _python_dispatch
from torch.utils._pytree import tree_flatten, tree_map

from dipy_vqvae import device

NAME = "pretend"
DEVICE = torch.device("cpu")  # until `install` has made it
_aten, _c10d = torch.ops.aten, torch.ops.c10d
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_TAKE_INDICES = {
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
}
_TAKE_LISTS = {_aten.cat.default, _aten.stack.default}
_FACTORIES = (
    "empty.memory_format",
    "empty_strided",
    "arange",
    "arange.start",
    "arange.start_step",
    "eye",
    "full",
    "linspace",
    "normal_",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "scalar_tensor",
    "zeros",
    "_to_copy",
)
_IN_BFLOAT16 = ("conv1d", "conv2d", "conv3d", "convolution", "linear", "mm", "matmul")


class Elsewhere(torch.Tensor):
    """A tensor of the device: `held` has its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"Elsewhere({self.held!r})"

    def tolist(self):
        return self.held.tolist()

    def numpy(self, **options):
        raise TypeError(f"cannot convert a tensor of {DEVICE} to NumPy: copy it first")

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def data_ptr(self):
        return 0

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Module:
    """What `torch.cuda` is to CUDA."""

    def __init__(self):
        self.default_generators = (torch.Generator(),)

    def is_available(self):
        return True

    def is_initialized(self):
        return True

    def _is_in_bad_fork(self):
        return False

    def device_count(self):
        return 1

    def current_device(self):
        return 0

    def manual_seed_all(self, seed):
        self.default_generators[0].manual_seed(seed)

    def get_rng_state(self, device=0):
        return self.default_generators[0].get_state()

    def set_rng_state(self, state, device=0):
        self.default_generators[0].set_state(state)

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


# Views of wrapped tensors do not go with the inference mode.
@torch.inference_mode(False)
def _run(function, args, kwargs):
    tensors = [
        item
        for item in tree_flatten((args, kwargs))[0]
        if isinstance(item, torch.Tensor)
    ]
    is_elsewhere = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    wanted = kwargs.get("device")
    goes_there = is_elsewhere if wanted is None else _is_ours(wanted)
    if not is_elsewhere and not goes_there:
        return function(*args, **kwargs)
    _refuse_mixtures(function, args, tensors, goes_there)
    generator = kwargs.get("generator")
    # The same generator comes as another object.
    is_ours = generator is not None and generator._cdata in _GENERATORS
    if generator is not None and goes_there != is_ours:
        raise RuntimeError(f"{function}: expected a generator of the device {DEVICE}")
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with _randomness(function, goes_there and generator is None):
        found = function(*tree_map(_held, args), **tree_map(_held, kwargs))
    if function is _aten.copy_.default:
        return args[0]
    if not goes_there:
        return found
    found = tree_map(_elsewhere, found)
    if function.namespace == "c10d":
        return found
    return _python_dispatch.return_and_correct_aliasing(function, args, kwargs, found)


def _is_ours(device):
    return torch.device(device).type == NAME


def _held(item):
    return item.held if isinstance(item, Elsewhere) else item


def _elsewhere(item):
    if isinstance(item, torch.Tensor) and not isinstance(item, Elsewhere):
        return Elsewhere(item)
    return item


def _refuse_mixtures(function, args, tensors, goes_there):
    if function in _COPIES or not goes_there:
        return
    if function in _TAKE_INDICES and isinstance(args[0], Elsewhere):
        values = [t for t in args[2:3] if isinstance(t, torch.Tensor)]
        tensors = [args[0], *values]
    allowed = -1 if function in _TAKE_LISTS else 0
    for tensor in tensors:
        if not isinstance(tensor, Elsewhere) and tensor.ndim > allowed:
            raise RuntimeError(
                f"{function}: expected all tensors on one device, found {DEVICE} and "
                f"{tensor.device}, the latter of shape {tuple(tensor.shape)}"
            )


@contextmanager
def _randomness(function, goes_there):
    """Let what is random come from the device's generator."""
    if not goes_there or torch.Tag.nondeterministic_seeded not in function.tags:
        yield
        return
    generator, ours = torch.default_generator, torch.pretend.default_generators[0]
    kept = generator.get_state()
    generator.set_state(ours.get_state())
    yield
    ours.set_state(generator.get_state())
    generator.set_state(kept)


def _register_factories(libraries):
    """What makes tensors of the device without having one."""
    aten = torch.library.Library("aten", "IMPL", "PrivateUse1")
    libraries.append(aten)
    for name in _FACTORIES:
        packet, _, overload = name.partition(".")
        function = getattr(getattr(_aten, packet), overload or "default")

        def kernel(*args, function=function, **kwargs):
            return _run(function, args, kwargs)

        aten.impl(name, kernel)


def _register_autocast(libraries):
    """Convolutions and products in bfloat16, everything else as it is."""
    key = torch._C.DispatchKey.AutocastPrivateUse1
    keys = torch._C.DispatchKeySet(key)
    everything = torch.library.Library("_", "IMPL", key.name)
    everything.fallback(torch.library.fallthrough_kernel)
    aten = torch.library.Library("aten", "IMPL", key.name)
    libraries += [everything, aten]

    def cast(item):
        is_float = isinstance(item, torch.Tensor) and item.dtype == torch.float32
        return item.to(torch.bfloat16) if is_float else item

    for name in _IN_BFLOAT16:
        packet = getattr(_aten, name)

        def kernel(*args, packet=packet, **kwargs):
            with torch._C._ExcludeDispatchKeyGuard(keys):
                return packet(*tree_map(cast, args), **tree_map(cast, kwargs))

        aten.impl(name, kernel)


_LIBRARIES = []
_GENERATORS = {}


def _new_generator(device):
    """Make a generator of the CPU, and note those that are to be of the device."""
    generator = torch.Generator()
    if _is_ours(device):
        _GENERATORS[generator._cdata] = generator
    return generator


def install():
    """Make the device, once in a process."""
    # Parameters of another type take their numbers with them.
    torch.__future__.set_swap_module_params_on_conversion(True)
    global DEVICE
    from torch.utils import backend_registration

    if not _LIBRARIES:
        _register_factories(_LIBRARIES)
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
        DEVICE = torch.device(NAME, 0)
        _register_autocast(_LIBRARIES)
        # Torch lets no back end in Python make generators.
        device._new_generator = _new_generator
