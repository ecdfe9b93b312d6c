"""Commands in several processes, as ``torchrun`` starts them.

All processes run the same command. The first one checks outputs, writes what is common
to all, and shows the messages; the others share the work. In a command that was started
without ``torchrun`` nothing here imports torch.
"""

from contextlib import contextmanager
import os
import sys

from dipy_vqvae import parallel
from dipy_vqvae.workflows.command.console import messages_of_all_processes
from dipy_vqvae.workflows.command.errors import UsageError


def process_number():
    """Return this process's number, from 0, as ``torchrun`` has set it."""
    return int(os.environ.get("RANK", "0")) if _is_started_by_torchrun() else 0


@contextmanager
def joined():
    """Join the other processes of the command, if there are any."""
    if not _is_started_by_torchrun():
        yield SingleProcess()
        return
    with parallel.processes() as job:
        yield job


class SingleProcess:
    """The job of a command that is one process."""

    has_failed = False

    def is_first_to_fail(self):
        """Return True: no other process reports the error."""
        return True


def are_several():
    """Return whether the command runs in several processes."""
    # They may also have been joined by a caller of the workflow in Python.
    return sys.modules.get("torch") is not None and parallel.is_parallel()


def is_first():
    """Return whether this process writes what is common to all."""
    return not are_several() or parallel.rank() == 0


def first_decides(function):
    """Call a function in the first process; all get its result or its exception.

    This is also a barrier: no process goes on before all have come here.
    """
    return parallel.first_decides(function) if are_several() else function()


def refuse_several(task):
    """Refuse to run a task in several processes."""
    if are_several():
        raise UsageError(f"{task} runs in one process: start it without torchrun")


def share_items(work, items):
    """Return ``[work(item) for item in items]``, computed by all processes together."""
    if not are_several():
        return [work(item) for item in items]
    with messages_of_all_processes():
        results = [work(item) for item in parallel.share_of(items).items]
    return parallel.gather(results)


def share_rows(work, n):
    """Return the n rows of an array, ``work(0, n)``, computed by all processes.

    ``work(start, stop)`` must give the same rows wherever the shares begin.
    """
    if not are_several():
        return work(0, n)
    import numpy as np

    share = parallel.share_of(range(n)).items
    own = [work(share.start, share.stop)] if share else []
    return np.concatenate(parallel.gather(own))


def _is_started_by_torchrun():
    try:
        return int(os.environ.get("WORLD_SIZE", "1")) > 1
    except ValueError:
        return False
