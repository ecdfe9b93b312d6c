"""What the workflows have in common: outputs, devices, progress."""

from dataclasses import dataclass
import logging
import math
import os
from pathlib import Path

from dipy.workflows.workflow import Workflow

from dipy_vqvae.workflows.command import ranks
from dipy_vqvae.workflows.command.console import check_log_files
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.command.outputs import (
    check_distinct,
    check_existing,
    check_inputs_stay,
    checkpoints_of,
    make_folders,
    place_outputs,
)

logger = logging.getLogger("dipy_vqvae")

NIFTI = (".nii", ".nii.gz")
HTML = (".html", ".htm")


@dataclass(frozen=True)
class OutputPlan:
    """Paths of all the files that a workflow is going to write.

    Attributes
    ----------
    single : dict of Path or None
        The outputs of the whole command, by option; None where not wanted.
    rows : list of dict of Path or None
        The outputs of each input.
    """

    single: dict
    rows: list


class VQVAEWorkflow(Workflow):
    """A DIPY workflow that never overwrites by accident.

    Subclasses call :meth:`plan_outputs` first thing in ``run``: names, collisions,
    existing files and folders are then settled before any long work. Errors are
    raised (``ValueError``, ``OSError``); only the commands turn them into exit codes.
    """

    #: Whether every input file has outputs of its own.
    outputs_per_input = False

    @property
    def verbose(self):
        """Whether to show progress: yes where messages of level INFO are shown."""
        return ranks.is_first() and logger.isEnabledFor(logging.INFO)

    def plan_outputs(
        self,
        outputs,
        *,
        out_dir="",
        inputs=(),
        per_input=None,
        extensions=None,
        trained=None,
        resumed=(),
    ):
        """Settle where everything goes, and refuse what would lose something.

        Where there are several processes, the first one decides for all of them.

        Parameters
        ----------
        outputs : dict of str or None
            File name of every output of the whole command, by option; None for an
            output that is not to be written.
        out_dir : str or Path, optional
            Folder of the outputs.
        inputs : list of str or Path, optional
            All the files that the command reads.
        per_input : tuple of (list of Path, dict of str), optional
            The inputs that have outputs of their own, and those outputs' file names
            by option.
        extensions : dict of tuple of str, optional
            The extensions that an output's name may have, by option.
        trained : str, optional
            Option of a model that is trained; its checkpoints lie beside it.
        resumed : tuple of str, optional
            Options of the model and of the history of a training that is to be
            continued. What it wrote before it was killed may be overwritten.

        Returns
        -------
        plan : OutputPlan

        Raises
        ------
        UsageError
            If names collide, have a wrong extension or hit an input.
        OSError
            If outputs exist and may not be overwritten, or cannot be written.
        """
        if self._output_strategy not in ("absolute", "append", "prepend"):
            raise UsageError(
                "--out_strat must be absolute, append or prepend, "
                f"not {self._output_strategy!r}"
            )
        sources, names = per_input or ((), {})
        if not per_input and (self._output_strategy != "absolute" or self._mix_names):
            raise UsageError(
                "--out_strat and --mix_names are for commands that write outputs for "
                "each input; this one writes one set: name it with --out_dir"
            )
        out_dir = "" if out_dir is None else out_dir
        single = _checked_names(outputs, extensions or {})
        rows = []
        names = _checked_names(names, extensions or {})
        if per_input:
            rows = place_outputs(
                _written(names),
                out_dir=out_dir,
                inputs=sources,
                strategy=self._output_strategy,
                mix_names=self._mix_names,
            )
        (shared,) = place_outputs(_written(single), out_dir=out_dir)
        files = [item for row in [shared, *rows] for item in row.items()]
        checkpoints = checkpoints_of(shared[trained]) if trained else []
        touched = [*files, *((trained, path) for path in checkpoints)]
        check_distinct(touched)
        check_inputs_stay(touched, inputs)
        check_log_files([*inputs, *(path for _, path in files)])

        def claim():
            check_existing(
                files,
                force=self._force_overwrite,
                resumed=resumed,
            )
            make_folders(files)

        ranks.first_decides(claim)
        self.flat_outputs = [path for _, path in files]
        self.last_generated_outputs = {**shared, **(rows[0] if rows else {})}
        return OutputPlan(
            single={key: shared.get(key) for key in single},
            rows=[{key: row.get(key) for key in names} for row in rows],
        )


def required(**names):
    """Refuse outputs that a command cannot do without.

    Parameters
    ----------
    names : str or None
        File names by option.

    Raises
    ------
    UsageError
        If one of them is None.
    """
    for option, name in names.items():
        if _is_none(name):
            raise UsageError(f"--{option} cannot be left out: it is the result")


def positive(**values):
    """Refuse settings that must be above zero.

    Parameters
    ----------
    values : number
        Settings by option.

    Raises
    ------
    UsageError
        If one of them is not.
    """
    for option, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{option} must be above 0, got {value}")


def check_device(use_cuda):
    """Say so where a GPU is asked for and there is none.

    Of several processes some may have one: what becomes of that they decide together
    (:func:`dipy_vqvae.device.device_of_training`).

    Parameters
    ----------
    use_cuda : bool
        Whether a GPU was asked for.

    Returns
    -------
    use_cuda : bool
        Whether to use one.
    """
    if not use_cuda or ranks.are_several():
        return use_cuda
    import torch

    if not torch.cuda.is_available():
        logger.warning("--use_cuda: there is no GPU that torch can use; using the CPU")
        return False
    return True


def check_choice(option, value, choices):
    """Refuse what is none of the choices of an option.

    Parameters
    ----------
    option : str
        Name of the option.
    value : object
        What was given.
    choices : tuple
        What can be given.

    Raises
    ------
    UsageError
        If it is something else.
    """
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices)
        raise UsageError(f"--{option} must be one of {names}, got {value}")


def check_least(least, **values):
    """Refuse settings below a limit.

    Parameters
    ----------
    least : number
        The smallest possible value.
    values : number
        Settings by option.

    Raises
    ------
    UsageError
        If one of them is below it, or not finite.
    """
    for option, value in values.items():
        if not (value >= least and math.isfinite(value)):
            raise UsageError(f"--{option} must be at least {least}, got {value}")


def numbers_of(option, value, n, *, least):
    """Give one number for all, or as many as are wanted.

    Parameters
    ----------
    option : str
        Name of the option.
    value : number, or list or tuple of them
        What was given.
    n : int
        How many there may be, if it is not one.
    least : number
        The smallest possible value.

    Returns
    -------
    numbers : number, or tuple of n of them

    Raises
    ------
    UsageError
        If there are more or fewer, or one is too small.
    """
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) not in (1, n):
        raise UsageError(f"--{option} takes 1 or {n} numbers, got {len(values)}")
    for number in values:
        check_least(least, **{option: number})
    return values[0] if len(values) == 1 else tuple(values)


def as_list(paths):
    """Give a list of paths, from one path or several (or none).

    Parameters
    ----------
    paths : str, Path or sequence of them, or None
        What a workflow was given.

    Returns
    -------
    paths : list of str
    """
    if paths is None:
        return []
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return [os.fspath(path) for path in paths if os.fspath(path)]


def existing_file(path, *, what):
    """Check that a file is there before anything long begins.

    Parameters
    ----------
    path : str or Path
        The file.
    what : str
        What it is, for the error.

    Returns
    -------
    path : Path

    Raises
    ------
    OSError
        If it is not there, or is no file.
    """
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such {what}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, not a {what}")
    return path


def _checked_names(names, extensions):
    checked = {}
    for option, name in names.items():
        if _is_none(name):
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


def _written(names):
    return {option: name for option, name in names.items() if name is not None}


def _is_none(name):
    # The command line gives the word for outputs, where DIPY converts it only for
    # other options; a file of that name is nobody's wish.
    return name is None or str(name) in ("None", "none")
