"""File names of checkpoints: beside the model, one for each stage of a training."""

import os
from pathlib import Path


def checkpoint_of(model_path):
    """Return the checkpoint of the training of a model.

    Parameters
    ----------
    model_path : str or Path
        File that the trained model is saved to.

    Returns
    -------
    checkpoint : Path
    """
    return _with_suffix(model_path, ".checkpoint")


def second_stage(checkpoint):
    """Return the checkpoint of the decoder's own training, after the joint one.

    Parameters
    ----------
    checkpoint : str or Path
        Checkpoint of the joint training.

    Returns
    -------
    checkpoint : Path
    """
    return _with_suffix(checkpoint, ".decoder")


def checkpoints_of(model_path):
    """Return the checkpoints of both stages of the training of a model.

    Parameters
    ----------
    model_path : str or Path
        File that the trained model is saved to.

    Returns
    -------
    checkpoints : list of Path
        They are removed once the model is saved.
    """
    first = checkpoint_of(model_path)
    return [first, second_stage(first)]


def is_trained(model_path):
    """Tell whether the training of a model is complete.

    Parameters
    ----------
    model_path : str or Path
        File that the trained model is saved to.

    Returns
    -------
    is_trained : bool
        True if the model exists and its checkpoint does not.
    """
    has_checkpoint = os.path.lexists(checkpoint_of(model_path))
    return Path(model_path).is_file() and not has_checkpoint


def check_second_stage(checkpoint):
    """Refuse to train where only a second stage has a checkpoint.

    Parameters
    ----------
    checkpoint : str or Path
        Checkpoint of the joint training.

    Raises
    ------
    FileExistsError
        The second stage has a checkpoint, the first has none.
    """
    second = second_stage(checkpoint)
    if os.path.lexists(second) and not os.path.lexists(checkpoint):
        raise FileExistsError(
            f"{second} exists without {checkpoint}: it belongs to another training. "
            "Remove it, or use another checkpoint"
        )


def _with_suffix(path, suffix):
    path = Path(path)
    return path.with_name(path.name + suffix)
