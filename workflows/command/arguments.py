"""Arguments of the commands that name files or devices."""

import logging
import os
from pathlib import Path

from dipy_vqvae.data import image_kind
from dipy_vqvae.display import count
from dipy_vqvae.storage import check_present
from dipy_vqvae.workflows.command import ranks
from dipy_vqvae.workflows.command.errors import UsageError

logger = logging.getLogger("dipy_vqvae")


def as_list(paths):
    """Return a list of paths, from one path, several or None."""
    if paths is None:
        return []
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return [os.fspath(path) for path in paths if os.fspath(path)]


def existing_file(path, *, kind):
    """Return the path of an input file, or raise if it does not exist."""
    path = Path(os.path.expanduser(path))
    check_present(path, kind=kind)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, not a {kind}")
    return path


def detector_file(path):
    """Return the path of the file of an anomaly detector."""
    _check_order(path)
    return existing_file(path, kind="model file")


def _check_order(path):
    """Refuse images where a model is needed: most likely the two were swapped."""
    path = os.path.expanduser(path)
    message = "not a model file: model files come first, then images"
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: a folder, {message}")
    if os.path.exists(path) and image_kind(path):
        raise ValueError(f"{path}: an image, {message}")


def model_file(name_or_path, *, kind):
    """Return the path of a model file, given by its path or the name of its model."""
    from dipy_vqvae.storage import fetch_model, named_models

    models = named_models()
    if name_or_path not in models:
        _check_order(name_or_path)
        try:
            return existing_file(name_or_path, kind="model file")
        except FileNotFoundError as error:
            if os.path.lexists(name_or_path):
                raise
            names = ", ".join(sorted(models))
            raise FileNotFoundError(
                f"{error}, nor the name of a model ({names})"
            ) from None
    paths = ranks.first_decides(
        lambda: fetch_model(name_or_path, verbose=logger.isEnabledFor(logging.INFO))
    )
    if kind not in paths:
        raise UsageError(f"{name_or_path} names a model without a {kind} file")
    return paths[kind]


def announce(doing, paths, *models):
    """Say what a command is going to do, and with which models."""
    what = count(len(paths), "file") if paths else ""
    names = " and ".join(map(str, models))
    logger.info("%s", " ".join(filter(None, [doing, what, "with", names])))


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
