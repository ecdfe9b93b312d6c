"""File names of checkpoints: beside the model, one for each stage of a training."""

import os
from pathlib import Path


def checkpoint_of(model_path):
    """Return the path of the checkpoint of a model's training."""
    return _with_suffix(model_path, ".checkpoint")


def second_stage(checkpoint):
    """Return the path of the checkpoint of the decoder's own training."""
    return _with_suffix(checkpoint, ".decoder")


def checkpoints_of(model_path):
    """Return the paths of the checkpoints of both stages of a model's training."""
    first = checkpoint_of(model_path)
    return [first, second_stage(first)]


def is_trained(model_path):
    """Return whether a training has ended: its model exists, its checkpoint does not."""
    has_checkpoint = os.path.lexists(checkpoint_of(model_path))
    return Path(model_path).is_file() and not has_checkpoint


def check_second_stage(checkpoint):
    """Refuse to train if there is a checkpoint of the second stage only."""
    second = second_stage(checkpoint)
    if os.path.lexists(second) and not os.path.lexists(checkpoint):
        raise FileExistsError(
            f"{second} exists without {checkpoint}: it belongs to another training. "
            "Remove it, or use another checkpoint"
        )


def _with_suffix(path, suffix):
    path = Path(path)
    return path.with_name(path.name + suffix)
