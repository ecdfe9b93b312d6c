"""A network from what a file says about it, and from the arrays in the file."""

import torch

from dipy_vqvae.device import seeded


def load_network(build, arrays, *, n_layers, path):
    """Build a network and put stored arrays into it, all of them and nothing else.

    What the settings of a file from somebody else ask for is believed only as far as
    the arrays in the file bear it out: first the network is built without memory for
    its weights, and compared with them.

    Parameters
    ----------
    build : callable
        Builds the network with any weights.
    arrays : dict
        Names to arrays.
    n_layers : int
        How many layers of the same kind `build` makes; each has arrays of its own.
    path : str or Path
        The file they came from, for the message.

    Returns
    -------
    net : torch.nn.Module
        The network, on the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If names or shapes are not those of the network, or the settings impossible.
    """
    if not (isinstance(n_layers, int) and n_layers <= len(arrays)):
        raise ValueError(
            f"{path} does not hold the network it describes: it has {len(arrays)} "
            f"arrays, its settings need {n_layers} layers"
        )
    try:
        with torch.device("meta"):
            skeleton = build()
    except (ArithmeticError, LookupError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} holds no network: its settings make none ({reason})"
        ) from error
    _check_arrays(skeleton.state_dict(), arrays, path)
    # Where the caller is in the inference mode: refinement needs gradients later.
    with torch.inference_mode(False):
        with seeded(0):
            net = build()
        state = net.state_dict()
        for name, array in arrays.items():
            state[name].detach().copy_(torch.from_numpy(array.copy()))
    return net.eval()


def _check_arrays(state, arrays, path):
    missing = [name for name in state if name not in arrays]
    unknown = [name for name in arrays if name not in state]
    if missing or unknown:
        what = (
            f"no {missing[0]!r}" if missing else f"{unknown[0]!r}, which has no place"
        )
        raise ValueError(
            f"{path} does not hold the network it describes: it has {what}"
        )
    for name, array in arrays.items():
        if tuple(array.shape) != tuple(state[name].shape):
            raise ValueError(
                f"{path}: {name} has shape {tuple(array.shape)}, its settings need "
                f"{tuple(state[name].shape)}"
            )
