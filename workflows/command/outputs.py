"""Where a command writes: a name for every input, checked before any work.

DIPY's own rule (every input's outputs straight into ``out_dir``) lets the second of
several inputs overwrite the first one's results without a word. Here outputs keep
subjects apart, and whatever would be lost is found before anything is computed.
"""

from collections import Counter
import os
from pathlib import Path

from dipy_vqvae.storage import second_stage
from dipy_vqvae.workflows.command.errors import UsageError

_EXTENSIONS = (".gz", ".nii", ".npy")


def file_stem(path):
    """Name of a file without its folder and image extension.

    Parameters
    ----------
    path : str or Path
        An image file.

    Returns
    -------
    stem : str

    Examples
    --------
    >>> file_stem("data/sub-01.T1w.nii.gz")
    'sub-01.T1w'
    >>> file_stem("t10k-images-idx3-ubyte.gz")
    't10k-images-idx3-ubyte'
    """
    name = Path(path).name
    for extension in _EXTENSIONS:
        if name.lower().endswith(extension) and len(name) > len(extension):
            name = name[: -len(extension)]
    return name


def subject_names(paths):
    """Give every input file a name of its own.

    Parameters
    ----------
    paths : list of str or Path
        Input files, all different.

    Returns
    -------
    names : list of str
        The files' stems; where stems are equal, with the folders that differ in
        front; where even that is equal (``a.nii`` beside ``a.nii.gz``), with the
        extension. Distinct also where upper and lower case are not told apart.

    Examples
    --------
    >>> subject_names(["s1/anat/t1.nii", "s2/anat/t1.nii", "s2/anat/t2.nii"])
    ['s1_t1', 's2_t1', 't2']
    >>> subject_names(["t1.nii", "t1.nii.gz"])
    ['t1.nii', 't1.nii.gz']
    """
    stems = [file_stem(path) for path in paths]
    folders = _differing_folders(paths, stems)
    names = ["_".join([*f, s]) for f, s in zip(folders, stems)]
    for again in _repeated(names):
        names[again] = "_".join([*folders[again], Path(paths[again]).name])
    for again in _repeated(names):
        names[again] = f"{names[again]}_{again + 1}"
    return names


def place_outputs(
    names, *, out_dir="", inputs=None, strategy="absolute", mix_names=False
):
    """Say where each input's outputs go.

    Parameters
    ----------
    names : dict of str
        File name of each output, by option.
    out_dir : str or Path, optional
        The folder that the user named.
    inputs : list of str or Path, optional
        Input files that each have outputs of their own. By default the outputs
        belong to the whole command.
    strategy : str, optional
        DIPY's ``--out_strat``: ``"absolute"`` puts all outputs into `out_dir`,
        ``"append"`` into `out_dir` below each input's folder, ``"prepend"`` into a
        copy of the inputs' folders below `out_dir`.
    mix_names : bool, optional
        DIPY's ``--mix_names``: names in front even where nothing collides.

    Returns
    -------
    rows : list of dict of Path
        The outputs' paths by option, one dict for each input (or a single one).
    """
    # A shell leaves the ~ of --out_dir=~/models alone.
    out_dir = os.path.expanduser(out_dir)
    names = {key: os.path.expanduser(name) for key, name in names.items()}
    if inputs is None:
        return [{key: Path(out_dir) / name for key, name in names.items()}]
    folders = [_folder_for(path, out_dir, strategy) for path in inputs]
    rows = [{k: folder / name for k, name in names.items()} for folder in folders]
    if mix_names or _repeated(
        # Folders may be links to one another.
        [os.path.realpath(p) for row in rows for p in row.values()]
    ):
        subjects = subject_names(inputs)
        rows = [
            {key: _with_prefix(path, subject) for key, path in row.items()}
            for row, subject in zip(rows, subjects)
        ]
    return rows


def check_distinct(outputs):
    """Refuse outputs that would overwrite each other.

    Parameters
    ----------
    outputs : list of (str, Path)
        Option and path of every file that a command is going to write.

    Raises
    ------
    UsageError
        If two outputs have one path, or one lies below another.
    """
    owners = {}
    for option, path in outputs:
        key = _same_file_key(path)
        if key in owners:
            both = dict.fromkeys([f"--{owners[key]}", f"--{option}"])
            raise UsageError(f"{' and '.join(both)} would both write {path}")
        owners[key] = option
    for option, path in outputs:
        above = Path(_same_file_key(path)).parents
        for other in (owners[str(p)] for p in above if str(p) in owners):
            raise UsageError(f"--{option} {path} lies below the file of --{other}")


def check_inputs_stay(outputs, inputs):
    """Refuse to write to what the command reads, whatever is asked.

    Parameters
    ----------
    outputs : list of (str, Path)
        Option and path of every file that a command is going to write or remove.
    inputs : list of str or Path
        Files that the command reads.

    Raises
    ------
    UsageError
        If an output is one of the inputs.
    """
    read = {os.path.realpath(path) for path in inputs}
    for option, path in outputs:
        if os.path.realpath(path) in read:
            raise UsageError(f"--{option} would overwrite the input {path}")


def check_existing(outputs, *, force=False, resumed=()):
    """Refuse to overwrite what is there.

    Parameters
    ----------
    outputs : list of (str, Path)
        Option and path of every file that a command is going to write.
    force : bool, optional
        Whether existing files may be overwritten.
    resumed : tuple of str, optional
        Options of the model and of the history of a training that is to be continued.
        If they were written after its last checkpoint, they may be overwritten: the
        training was killed before it had removed that. Where there is the model and
        no checkpoint, nothing is refused here: see `training.trained_already`.

    Raises
    ------
    OSError
        If an output exists, or is something else than a file.
    """
    model = dict(outputs)[resumed[0]] if resumed else None
    is_done = model is not None and is_trained(model)
    existing = []
    for option, path in outputs:
        if path.is_dir():
            raise IsADirectoryError(f"--{option}: {path} is a folder")
        if path.exists() and not path.is_file():
            raise OSError(f"--{option}: {path} is not a regular file")
        if path.is_file() and not os.access(path, os.W_OK):
            raise PermissionError(f"--{option}: {path} is write-protected")
        if os.path.lexists(path) and not (
            option in resumed and _was_written_at_the_end(path, model)
        ):
            existing.append(path)
    if existing and not force and not is_done:
        n_more = len(existing) - 1
        more = f" and {n_more} more output{'s' * (n_more > 1)}" if n_more else ""
        exist = "exist" if n_more else "exists"
        raise FileExistsError(
            f"{existing[0]}{more} {exist} already: add --force to overwrite"
        )


def checkpoints_of(model_path):
    """Say which files the training of a model may write, and removes in the end.

    Parameters
    ----------
    model_path : Path
        The model to come.

    Returns
    -------
    checkpoints : list of Path
        Of the training, and of the decoder's own passes after it.
    """
    first = checkpoint_of(model_path)
    return [first, second_stage(first)]


def checkpoint_of(model_path):
    """Say where the training of a model keeps its state.

    Parameters
    ----------
    model_path : Path
        The model to come.

    Returns
    -------
    checkpoint : Path
    """
    return model_path.with_name(model_path.name + ".checkpoint")


def is_trained(model_path):
    """Whether a training is over: its model is there, and no checkpoint.

    Parameters
    ----------
    model_path : Path
        The model.

    Returns
    -------
    is_trained : bool
    """
    return model_path.is_file() and not os.path.lexists(checkpoint_of(model_path))


def make_folders(outputs):
    """Make the folders of the outputs, and see that files can be written there.

    Parameters
    ----------
    outputs : list of (str, Path)
        Option and path of every file that a command is going to write.

    Raises
    ------
    OSError
        If a folder cannot be made or written to.
    """
    for folder in dict.fromkeys(path.parent for _, path in outputs):
        in_the_way = next(
            (p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()),
            None,
        )
        if in_the_way is not None:
            raise NotADirectoryError(
                f"cannot make the folder {folder}: {in_the_way} is a file"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot make the folder {folder}: {reason}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"the folder {folder} is not writable")
    for option, path in outputs:
        if path.is_symlink():
            folder = Path(os.path.realpath(path)).parent
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"--{option}: {path} is a link to {os.readlink(path)}, and there "
                    "is no such folder"
                )
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(
                    f"--{option}: {path} is a link into {folder}, which is not writable"
                )


def _was_written_at_the_end(path, model_path):
    """Whether a training wrote a file at its end, and was killed right after it.

    The model is written first, before the history, and the checkpoints are removed last.
    """
    from dipy_vqvae.storage import CHECKPOINT, read_tensor_file

    first, second = checkpoints_of(model_path)
    try:
        if not _time_of(first) <= _time_of(model_path) <= _time_of(path):
            return False
        return all(
            read_tensor_file(stage, kind=CHECKPOINT).entries["progress"]["is_finished"]
            for stage in (first, second)
            if stage == first or os.path.lexists(stage)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # a checkpoint that cannot be read says nothing


def _time_of(path):
    return path.stat().st_mtime_ns


def _folder_for(path, out_dir, strategy):
    folder = Path(path).parent
    if strategy == "append":
        return folder / out_dir
    if strategy == "prepend":
        if folder.is_absolute() or ".." in folder.parts:
            folder = Path(os.path.abspath(folder))
        return Path(out_dir) / folder.relative_to(folder.anchor)
    return Path(out_dir)


def _with_prefix(path, subject):
    return path.with_name(f"{subject}_{path.name}")


def _differing_folders(paths, stems):
    # For files of one stem, the parts of their folders that tell them apart.
    groups = {}
    for i, stem in enumerate(stems):
        groups.setdefault(stem.casefold(), []).append(i)
    folders = [()] * len(paths)
    for group in groups.values():
        if len(group) == 1:
            continue
        parts = [Path(os.path.abspath(paths[i])).parent.parts for i in group]
        parts = _without_common_start(parts)
        parts = [p[::-1] for p in _without_common_start([p[::-1] for p in parts])]
        for i, part in zip(group, parts):
            folders[i] = part
    return folders


def _without_common_start(sequences):
    n_common = 0
    for level in zip(*sequences):
        if len(set(level)) > 1:
            break
        n_common += 1
    return [sequence[n_common:] for sequence in sequences]


def _repeated(names):
    # Indices of the names that occur more than once.
    keys = [name.casefold() for name in names]
    count = Counter(keys)
    return [i for i, key in enumerate(keys) if count[key] > 1]


def _same_file_key(path):
    return os.path.realpath(path).casefold()
