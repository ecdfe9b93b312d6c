"""Checkpoints: all of the state of a training in one checked safetensors file."""

from dataclasses import dataclass, field
import json
import logging
import os
from types import MappingProxyType

import torch

from dipy_vqvae._version import __version__
from dipy_vqvae.storage import (
    CHECKPOINT,
    read_tensor_file,
    to_json,
    write_tensor_file,
)

logger = logging.getLogger("dipy_vqvae")

_LONGEST_VALUE = 60
_HINTS = {
    "n_epochs": " (the learning rate of every step depends on the number of epochs, "
    "so a training cannot be prolonged)"
}


@dataclass
class Checkpoint:
    """State of a training between two steps.

    Attributes
    ----------
    options, task : dict
        What a resumed training must have in common with this one: the
        training options and what the task says about its model and data.
    progress : dict
        Step, history and other numbers, as JSON.
    tensors : dict of dicts
        Group ("module", "optimizer", ...) to names to tensors.
    device : str
        Type of the device that the training is on.
    """

    options: dict
    task: dict
    progress: dict
    tensors: dict = field(default_factory=dict)
    device: str = "cpu"


def write_checkpoint(path, checkpoint):
    """Write a checkpoint; the previous one stays until this one is complete."""
    arrays = {
        f"{group}/{name}": tensor.detach().cpu().numpy()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    write_tensor_file(
        path,
        kind=CHECKPOINT,
        arrays=arrays,
        entries={
            "options": checkpoint.options,
            "task": checkpoint.task,
            "progress": checkpoint.progress,
            "environment": _environment(checkpoint.device),
        },
    )


def read_checkpoint(path, *, options, task, device="cpu"):
    """Read a checkpoint of the same settings and data.

    Parameters
    ----------
    path : str or Path
    options, task : dict
        The settings of now, to compare with those of the checkpoint.
    device : str, optional
        Type of the device of now.

    Returns
    -------
    checkpoint : Checkpoint or None
        None where there is no file. The tensors are on the CPU.

    Raises
    ------
    ValueError
        The file is damaged, no checkpoint, or one of other settings or data;
        the message says what differs.
    OSError
        The file cannot be read.
    """
    if not os.path.lexists(path):
        return None
    content = read_tensor_file(path, kind=CHECKPOINT)
    entries = content.entries
    if not all(
        isinstance(entries.get(k), dict) for k in ("options", "task", "progress")
    ):
        raise ValueError(f"{path} is a training checkpoint with no readable settings")
    found = [
        *differences(entries["options"], options, hints=_HINTS),
        *differences(entries["task"], task),
    ]
    if found:
        raise ValueError(
            f"{path} is the checkpoint of another training: {'; '.join(found)}. "
            "Use its settings and data to continue it, or another file to start anew"
        )
    _warn_of_changes(path, content, device)
    tensors = {}
    for name, array in content.arrays.items():
        group, _, name = name.partition("/")
        tensors.setdefault(group, {})[name] = torch.from_numpy(array)
    return Checkpoint(
        options=entries["options"],
        task=entries["task"],
        progress=entries["progress"],
        tensors=tensors,
        device=device,
    )


def copy_tensors(source, target, *, path):
    """Copy tensors into those of the same names, which keep device and layout.

    Parameters
    ----------
    source, target : dict of torch.Tensor
    path : str or Path
        Where `source` is from, for the message.

    Raises
    ------
    ValueError
        Names, shapes or types differ.
    """
    here = {name: _signature(tensor) for name, tensor in target.items()}
    there = {name: _signature(tensor) for name, tensor in source.items()}
    found = differences(there, here)
    if found:
        raise ValueError(f"{path} is of another network: {'; '.join(found[:3])}")
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _environment(device):
    """Return what rounding depends on, beside the kind of processor."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _warn_of_changes(path, content, device):
    there = content.entries.get("environment")
    there = dict(there) if isinstance(there, dict) else {}
    there["dipy_vqvae"] = content.package_version
    here = {**_environment(device), "dipy_vqvae": __version__}
    changes = [
        f"{k} {there[k]}, now {here[k]}"
        for k in here
        if k in there and there[k] != here[k]
    ]
    if changes:
        logger.warning(
            "%s was written with %s: the result may differ in rounding from that of a "
            "training that was not interrupted",
            path,
            "; ".join(changes),
        )


def _signature(tensor):
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def differences(old, new, *, hints=MappingProxyType({})):
    """Say which settings are not the same.

    Parameters
    ----------
    old, new : dict
        Settings, in dicts of any depth.
    hints : dict of str, optional
        What to add for a setting.

    Returns
    -------
    phrases : list of str
        One for each.
    """
    old, new = _flat(old), _flat(json.loads(to_json(new, name="the settings")))
    missing = "not there"
    phrases = []
    for name in sorted({*old, *new}):
        was, now = old.get(name, missing), new.get(name, missing)
        # The texts are equal where both are NaN, the values for 1 and 1.0.
        if was != now and json.dumps(was) != json.dumps(now):
            phrases.append(
                f"{name} was {_short(was)}, now it is {_short(now)}"
                + hints.get(name, "")
            )
    return phrases


def _flat(settings, prefix=""):
    """Return nested dicts as one, with dots in the names."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _short(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
