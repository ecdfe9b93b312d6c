"""Checks of the values of options, before any work."""

import logging
import math
import os
from pathlib import Path

from dipy_vqvae.workflows.command import ranks
from dipy_vqvae.workflows.command.errors import UsageError

logger = logging.getLogger("dipy_vqvae")


def required(**names):
    """Refuse to leave out outputs (file names by option) that are the result."""
    for option, name in names.items():
        if is_none(name):
            raise UsageError(f"--{option} is the result and cannot be None")


def positive(**values):
    """Refuse values (by option) that are not above zero."""
    for option, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{option} must be above 0, got {value}")


def check_least(least, **values):
    """Refuse values (by option) below a limit, None excepted."""
    for option, value in values.items():
        if value is not None and not (value >= least and math.isfinite(value)):
            raise UsageError(f"--{option} must be at least {least}, got {value}")


def check_choice(option, value, choices):
    """Refuse a value that is not one of the choices of an option."""
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices)
        raise UsageError(f"--{option} must be one of {names}, got {value}")


def numbers_of(option, value, n, *, least):
    """Return one number for all, or a tuple of `n` numbers, each at least `least`."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) not in (1, n):
        raise UsageError(f"--{option} takes 1 or {n} numbers, got {len(values)}")
    for number in values:
        check_least(least, **{option: number})
    return values[0] if len(values) == 1 else tuple(values)


def check_batch_size(batch_size):
    """Refuse a batch size below 1; None is the library's default."""
    check_least(1, batch_size=batch_size)


def check_slice_axis(slice_axis):
    """Refuse what is no axis of a volume; None is the axis of the training."""
    if slice_axis not in (None, 0, 1, 2):
        raise UsageError(f"--slice_axis must be 0, 1 or 2, got {slice_axis}")


def check_device(use_cuda):
    """Return whether to use a GPU; warn if one is asked for and there is none."""
    # Several processes decide together, see dipy_vqvae.device.device_of_training.
    if not use_cuda or ranks.are_several():
        return use_cuda
    import torch

    if not torch.cuda.is_available():
        logger.warning("--use_cuda: torch finds no GPU; using the CPU")
        return False
    return True


def as_list(paths):
    """Return a list of paths, from one path, several or None."""
    if paths is None:
        return []
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return [os.fspath(path) for path in paths if os.fspath(path)]


def existing_file(path, *, what):
    """Return the path of an input file, once it is known to exist."""
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {what}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, not a {what}")
    return path


def output_names(names, extensions):
    """Return the file names of outputs (by option), None for those left out."""
    checked = {}
    for option, name in names.items():
        if is_none(name):
            checked[option] = None
            continue
        allowed = extensions.get(option)
        if not Path(name).name or os.fspath(name).endswith(os.sep):
            raise UsageError(f"--{option} needs the name of a file, got {name!r}")
        if allowed and not os.fspath(name).lower().endswith(allowed):
            raise UsageError(
                f"--{option} must end in {' or '.join(allowed)}, got {name}"
            )
        checked[option] = os.fspath(name)
    return checked


def is_none(name):
    """Return whether an output is left out; the shell gives the word None."""
    return name is None or str(name) in ("None", "none")
