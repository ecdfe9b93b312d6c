"""Where the two stages of a training keep their state."""

import os
from pathlib import Path


def second_stage(path):
    """Return where the decoder's own passes keep their state.

    Parameters
    ----------
    path : str or Path
        The checkpoint of the training before them.

    Returns
    -------
    path : Path
    """
    path = Path(path)
    return path.with_name(path.name + ".decoder")


def check_second_stage(path):
    """Refuse a second stage without a first, before and not after the first.

    Parameters
    ----------
    path : str or Path
        The checkpoint of the first stage.

    Raises
    ------
    FileExistsError
        There is a checkpoint of the second stage only.
    """
    second = second_stage(path)
    if os.path.lexists(second) and not os.path.lexists(path):
        raise FileExistsError(
            f"{second} is there and {path} is not: it is of another training; remove "
            "it, or use another checkpoint"
        )
