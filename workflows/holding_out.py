"""Subjects that a training does not see."""

import logging
import math

import numpy as np

from dipy_vqvae.workflows.command import UsageError, as_list, check_least

logger = logging.getLogger("dipy_vqvae")


def check_holding_out(
    validation_files, validation_fraction, *, patience=None, of_files=None
):
    """Refuse options that contradict each other.

    Parameters
    ----------
    validation_files : list of str or None
        Files that are held out.
    validation_fraction : float
        Part of the training files to hold out; 0 for none.
    patience : int, optional
        Epochs to wait for a lower validation loss.
    of_files : dict, optional
        Options, by name, that belong to the validation files.

    Raises
    ------
    UsageError
        If they do.
    """
    has_files = bool(as_list(validation_files))
    if not 0 <= validation_fraction < 1 or math.isnan(validation_fraction):
        raise UsageError(
            "--validation_fraction must be at least 0 and below 1, got "
            f"{validation_fraction}"
        )
    if has_files and validation_fraction:
        raise UsageError(
            "--validation_files and --validation_fraction exclude each other"
        )
    if patience is not None:
        check_least(1, patience=patience)
        if not has_files and not validation_fraction:
            raise UsageError(
                "--patience needs --validation_files or --validation_fraction to look "
                "at"
            )
    for option, value in (of_files or {}).items():
        if as_list(value) and not has_files:
            raise UsageError(f"--{option} needs --validation_files")


def check_enough_files(paths, validation_fraction):
    """Refuse to hold out a part of the only file.

    Parameters
    ----------
    paths : list of Path
        The files.
    validation_fraction : float
        Part of them to hold out.

    Raises
    ------
    UsageError
        If there is one file only.
    """
    if validation_fraction and len(paths) < 2:
        raise UsageError(
            f"--validation_fraction holds out whole files, and {paths[0]} is the only "
            "one: give several, or --validation_files"
        )


def choose_held_out(paths, fraction, *, random_seed):
    """Draw the files to hold out, and say which.

    Parameters
    ----------
    paths : list of Path
        All files.
    fraction : float
        Part of them to hold out.
    random_seed : int
        Seed of the draw.

    Returns
    -------
    held_out : list of Path
        In order; for the same files, fraction and seed the same.
    """
    n_held = min(max(1, round(fraction * len(paths))), len(paths) - 1)
    order = np.random.default_rng(random_seed).permutation(len(paths))
    held_out = [paths[i] for i in sorted(order[:n_held])]
    names = ", ".join(str(path) for path in held_out[:5])
    more = f" and {n_held - 5} more" if n_held > 5 else ""
    logger.info("Held out: %s%s", names, more)
    return held_out
