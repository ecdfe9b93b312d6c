"""Checkpoints: the state of a training in one file with a checksum."""

from dataclasses import dataclass, field
import json
import logging
import os
from types import MappingProxyType

import torch

from dipy_vqvae._version import __version__
from dipy_vqvae.device import to_tensor
from dipy_vqvae.storage import CHECKPOINT, read_tensor_file, to_json, write_tensor_file

logger = logging.getLogger("dipy_vqvae")

_LONGEST_VALUE = 60
_HINTS = {
    "n_epochs": " (the learning rate of every step depends on the number of epochs, "
    "so a training cannot be prolonged)"
}


@dataclass
class Checkpoint:
    """State of a training between two steps."""

    options: dict  # training options; a resumed training must have the same ones
    task: dict  # model and data, as the task describes them; likewise
    progress: dict  # step, history and other numbers, as JSON
    tensors: dict = field(default_factory=dict)  # group to names to tensors
    device: str = "cpu"  # type of the device


def write_checkpoint(path, checkpoint):
    """Write a checkpoint; the previous one stays until this one is complete."""
    arrays = {
        f"{group}/{name}": tensor.detach().cpu().numpy()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    entries = {
        "options": checkpoint.options,
        "task": checkpoint.task,
        "progress": checkpoint.progress,
        "environment": _environment(checkpoint.device),
    }
    write_tensor_file(path, kind=CHECKPOINT, arrays=arrays, entries=entries)


def read_checkpoint(path, *, options, task, device="cpu"):
    """Read a checkpoint, if there is one, and refuse that of another training."""
    if not os.path.lexists(path):
        return None
    content = read_tensor_file(path, kind=CHECKPOINT)
    saved = {
        name: content.entries.get(name) for name in ("options", "task", "progress")
    }
    if not all(isinstance(entry, dict) for entry in saved.values()):
        raise ValueError(f"{path} is a training checkpoint with no readable settings")
    changes = [
        *differences(saved["options"], options, hints=_HINTS),
        *differences(saved["task"], task),
    ]
    if changes:
        raise ValueError(
            f"{path} is the checkpoint of another training: {'; '.join(changes)}. "
            "Use its settings and data to continue it, or another file to start anew"
        )
    _warn_of_rounding(path, content, device)
    tensors = {}
    for name, array in content.arrays.items():
        group, _, name = name.partition("/")
        tensors.setdefault(group, {})[name] = to_tensor(array)
    return Checkpoint(**saved, tensors=tensors, device=device)


def copy_tensors(source, target, *, path):
    """Copy tensors into those of the same names, which keep device and layout."""
    changes = differences(_signatures(source), _signatures(target))
    if changes:
        raise ValueError(f"{path} is of another network: {'; '.join(changes[:3])}")
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _signatures(tensors):
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
    }


def _environment(device):
    """Return what rounding depends on, besides the kind of processor."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _warn_of_rounding(path, content, device):
    """Warn if the training continues in another environment."""
    saved = content.entries.get("environment")
    saved = dict(saved) if isinstance(saved, dict) else {}
    saved["dipy_vqvae"] = content.package_version
    present = {**_environment(device), "dipy_vqvae": __version__}
    changes = [
        f"{name} {saved[name]}, now {value}"
        for name, value in present.items()
        if saved.get(name, value) != value
    ]
    if changes:
        logger.warning(
            "%s was written with %s: the result may differ in rounding from that of a "
            "training that was not interrupted",
            path,
            "; ".join(changes),
        )


def differences(old, new, *, hints=MappingProxyType({})):
    """List the settings that differ."""
    old, new = _flatten(old), _flatten(json.loads(to_json(new, name="the settings")))
    missing = "not there"
    phrases = []
    for name in sorted({*old, *new}):
        was, now = old.get(name, missing), new.get(name, missing)
        # The texts are equal if both are NaN, the values if they are 1 and 1.0.
        if was != now and json.dumps(was) != json.dumps(now):
            hint = hints.get(name, "")
            phrases.append(
                f"{name} was {_shorten(was)}, now it is {_shorten(now)}{hint}"
            )
    return phrases


def _flatten(settings, prefix=""):
    """Return nested dicts as one, with dots in the names."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shorten(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
