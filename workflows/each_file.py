"""Work on many files, one at a time: one that fails is no reason to lose the others."""

from dataclasses import dataclass
import logging
from pathlib import Path

from tqdm import tqdm

from dipy_vqvae.workflows.command import SomeFilesFailed, explain, ranks

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True)
class FileTask:
    """One file to work on.

    Attributes
    ----------
    path : Path
        The file.
    outputs : dict of Path or None
        Where its results go, by option.
    mask_file : Path or None
        Its mask.
    """

    path: Path
    outputs: dict
    mask_file: Path | None = None


def each_file(tasks, compute, save, *, verbose=False):
    """Compute and save the results of files.

    Parameters
    ----------
    tasks : list of FileTask
        The files.
    compute : callable
        Gives the results for a task. What it raises is reported, with the file's
        name, and the next file is taken.
    save : callable
        Called with a task and its results; gives what is to be kept of them. What
        it raises is raised: a full disk is full for all of them.
    verbose : bool, optional
        Show progress, where there are several files.

    Returns
    -------
    kept : list
        What `save` gave for each file; None for those that failed.
    """
    hidden = not (verbose and len(tasks) > 1)
    with tqdm(total=len(tasks), desc="files", unit="file", disable=hidden) as progress:

        def work(task):
            try:
                results = compute(task)
            except Exception as error:  # noqa: BLE001
                _report(error, task.path)
                return None
            finally:
                progress.update()
            return save(task, results)

        return ranks.share_out(work, tasks)


def raise_for_failed(tasks, kept):
    """Say at the end which files failed.

    Parameters
    ----------
    tasks : list of FileTask
        The files.
    kept : list
        From :func:`each_file`.

    Raises
    ------
    SomeFilesFailed
        If there are any.
    """
    failed = [str(task.path) for task, result in zip(tasks, kept) if result is None]
    if failed:
        raise SomeFilesFailed(
            f"{len(failed)} of {len(tasks)} files failed: {', '.join(failed)}"
        )


def _report(error, path):
    line = explain(error)
    logger.error(line if str(path) in line else f"{path}: {line}")
    logger.debug("traceback:", exc_info=error)
