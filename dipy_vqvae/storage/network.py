"""Networks from the arrays of a model file."""

import torch
from torch.overrides import TorchFunctionMode

from dipy_vqvae.device import seeded, to_tensor

_BUILDING_ERRORS = (ArithmeticError, LookupError, TypeError, RuntimeError)


def load_network(build, arrays, *, depth, path):
    """Build a network and copy stored arrays into it.

    Settings in an untrusted file are used only if they match its arrays: the network
    is first built on the meta device, without memory for its weights.
    """
    if not (isinstance(depth, int) and depth <= len(arrays)):
        raise ValueError(
            f"{path} does not hold the network it describes: it has {len(arrays)} "
            f"arrays, its settings need {depth} layers"
        )
    try:
        with torch.device("meta"), _Uninitialised():
            skeleton = build()
    except _BUILDING_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: no network can be built from its settings ({reason})"
        ) from error
    _check_arrays(skeleton.state_dict(), arrays, path)
    # Refinement needs gradients later, also if loaded in inference mode.
    with torch.inference_mode(False):
        with seeded(0):
            net = build()
        state = net.state_dict()
        for name, array in arrays.items():
            state[name].detach().copy_(to_tensor(array))
    return net.eval()


class _Uninitialised(TorchFunctionMode):
    """Leave weights as they are: to draw some on the meta device, torch would import
    its compiler, which takes a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_arrays(state, arrays, path):
    """Refuse arrays of other names or shapes than those of a ``state_dict``."""
    missing = [f"{name!r} is missing" for name in state if name not in arrays]
    unknown = [f"{name!r} is not part of it" for name in arrays if name not in state]
    if missing or unknown:
        raise ValueError(
            f"{path} does not hold the network it describes: {(missing + unknown)[0]}"
        )
    for name, array in arrays.items():
        if tuple(array.shape) != tuple(state[name].shape):
            raise ValueError(
                f"{path}: {name} has shape {tuple(array.shape)}, its settings need "
                f"{tuple(state[name].shape)}"
            )
