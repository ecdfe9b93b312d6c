"""Commands in several processes, as ``torchrun`` starts them.

All of them run the same command. The first one plans, writes and says what is done;
where the work is shared, each does its part and says so. In a command that was
started in the usual way all of this does nothing, and imports nothing.
"""

from contextlib import contextmanager
import logging
import os
import sys

from dipy_vqvae.workflows.command.console import OfThisProcess
from dipy_vqvae.workflows.command.errors import UsageError


def process_number():
    """Tell which of the processes of the command this one is.

    Returns
    -------
    number : int
        From 0; as the environment says, for it is needed before they meet.
    """
    return int(os.environ.get("RANK", "0")) if _were_several_started() else 0


@contextmanager
def joined():
    """Join the other processes, if there are any.

    Yields
    ------
    job : dipy_vqvae.parallel.processes.Job or Alone

    Raises
    ------
    ValueError
        If the environment is not that of ``torchrun``.
    ConnectionError
        If they do not come.
    """
    if not _were_several_started():
        yield Alone()
        return
    from dipy_vqvae.parallel import processes as parallel

    with parallel.processes() as job:
        yield job


class Alone:
    """A command that is one process: what it says about failing."""

    has_failed = False

    def is_first_to_fail(self):
        """Whether this is the process to say what happened: it is."""
        return True


def is_first():
    """Tell whether this process is the one that writes what is common to all.

    Returns
    -------
    is_first : bool
    """
    return not are_several() or _parallel().rank() == 0


def first_decides(function):
    """Call a function in the first process; all get its result, or its exception.

    No process goes on before all have come here.

    Parameters
    ----------
    function : callable
        Takes nothing.

    Returns
    -------
    result : object
        What it returned in the first process.
    """
    return _parallel().first_decides(function) if are_several() else function()


def only_one(what):
    """Refuse to do something in several processes.

    Parameters
    ----------
    what : str
        What it is.

    Raises
    ------
    UsageError
        If there are several.
    """
    if are_several():
        raise UsageError(f"{what} runs in one process: start it without torchrun")


def share_out(work, items):
    """Do some work on items, each process on its share of them.

    Parameters
    ----------
    work : callable
        Called with an item; its messages are shown whichever process it runs in.
    items : list
        The same in all processes.

    Returns
    -------
    results : list
        What `work` returned for all items, in their order, in all processes.
    """
    if not are_several():
        return [work(item) for item in items]
    parallel = _parallel()
    with _everybody_speaks():
        results = [work(item) for item in parallel.share_of(items).items]
    return parallel.gather(results)


def share_range(work, n):
    """Have each process make its share of the rows of an array.

    Parameters
    ----------
    work : callable
        ``work(start, stop)`` gives the rows `start` to `stop`, which must not depend
        on where the shares begin.
    n : int
        Number of rows, at least 1.

    Returns
    -------
    rows : array of n rows
        All of them, in all processes.
    """
    if not are_several():
        return work(0, n)
    import numpy as np

    parallel = _parallel()
    share = parallel.share_of(range(n)).items
    mine = [work(share.start, share.stop)] if share else []
    return np.concatenate(parallel.gather(mine))


@contextmanager
def _everybody_speaks():
    filters = [
        item
        for handler in logging.getLogger().handlers
        for item in handler.filters
        if isinstance(item, OfThisProcess)
    ]
    for item in filters:
        item.errors_only = False
    try:
        yield
    finally:
        for item in filters:
            item.errors_only = True


def _were_several_started():
    try:
        return int(os.environ.get("WORLD_SIZE", "1")) > 1
    except ValueError:
        return False


def are_several():
    """Tell whether the command runs in several processes.

    Returns
    -------
    are_several : bool
    """
    # Whoever uses the workflows from Python may have joined the processes as well.
    return "torch" in sys.modules and _parallel().is_parallel()


def _parallel():
    from dipy_vqvae.parallel import processes as parallel

    return parallel
