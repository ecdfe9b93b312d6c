"""Paths of a command's outputs: one name per input, checked before any work.

DIPY writes the outputs of all inputs straight into ``out_dir``, where those of the
second input overwrite those of the first. Here each input has names of its own.
"""

from collections import Counter
import os
from pathlib import Path

from dipy_vqvae.data import file_stem
from dipy_vqvae.storage import checkpoints_of, is_trained
from dipy_vqvae.workflows.command.errors import UsageError


def subject_names(paths):
    """Return a distinct name for every input file.

    Names are the files' stems, with the folders in which they differ in front where
    stems are equal, and the extension or a number where that is not enough. They
    differ in more than upper and lower case.

    >>> subject_names(["s1/anat/t1.nii", "s2/anat/t1.nii", "s2/anat/t2.nii"])
    ['s1_t1', 's2_t1', 't2']
    >>> subject_names(["t1.nii", "t1.nii.gz"])
    ['t1.nii', 't1.nii.gz']
    """
    stems = [file_stem(path) for path in paths]
    folders = _differing_folders(paths, stems)
    names = ["_".join([*f, s]) for f, s in zip(folders, stems)]
    for i in _repeated(names):
        names[i] = "_".join([*folders[i], Path(paths[i]).name])
    for i in _repeated(names):
        names[i] = f"{names[i]}_{i + 1}"
    return names


def place_outputs(
    names, *, out_dir="", inputs=None, strategy="absolute", mix_names=False
):
    """Return the paths of outputs by option: a dict for each input, or a single one.

    `strategy` and `mix_names` are DIPY's ``--out_strat`` (``"absolute"`` into
    `out_dir`, ``"append"`` into `out_dir` below each input's folder, ``"prepend"``
    into a copy of the inputs' folders below `out_dir`) and ``--mix_names`` (the
    input's name in front even if nothing collides).
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
        [os.path.realpath(path) for row in rows for path in row.values()]
    ):
        rows = [
            {k: path.with_name(f"{name}_{path.name}") for k, path in row.items()}
            for row, name in zip(rows, subject_names(inputs))
        ]
    return rows


def check_distinct(outputs):
    """Refuse outputs, pairs of option and path, that would overwrite each other."""
    owners = {}
    for option, path in outputs:
        key = os.path.realpath(path).casefold()
        if key in owners:
            options = dict.fromkeys([f"--{owners[key]}", f"--{option}"])
            raise UsageError(f"{' and '.join(options)} would both write {path}")
        owners[key] = option
    for option, path in outputs:
        for folder in Path(os.path.realpath(path).casefold()).parents:
            if str(folder) in owners:
                raise UsageError(
                    f"--{option} {path} is inside the file of --{owners[str(folder)]}"
                )


def check_inputs_stay(outputs, inputs):
    """Refuse to overwrite or remove an input, even with ``--force``."""
    inputs = {os.path.realpath(path) for path in inputs}
    for option, path in outputs:
        if os.path.realpath(path) in inputs:
            raise UsageError(f"--{option} would overwrite the input {path}")


def check_existing(outputs, *, force=False, resumed=()):
    """Refuse to overwrite existing files without ``--force``.

    `resumed` names the options of the model and the history of a training that is
    continued. It may overwrite what it wrote itself before it was killed. Where its
    model is complete nothing is refused here, see `fitting.trained_already`.
    """
    model = dict(outputs)[resumed[0]] if resumed else None
    existing = []
    for option, path in outputs:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise OSError(f"--{option}: {path} is {kind}")
        if path.is_file() and not os.access(path, os.W_OK):
            raise PermissionError(f"--{option}: {path} is write-protected")
        is_own = option in resumed and _is_of_finished_training(path, model)
        if os.path.lexists(path) and not is_own:
            existing.append(path)
    if not existing or force or (model is not None and is_trained(model)):
        return
    n_more = len(existing) - 1
    more = f" and {n_more} more output{'s' * (n_more > 1)}" if n_more else ""
    exist = "exist" if n_more else "exists"
    raise FileExistsError(
        f"{existing[0]}{more} {exist} already: add --force to overwrite"
    )


def make_folders(outputs):
    """Make the folders of outputs, and check that files can be written there."""
    for folder in dict.fromkeys(path.parent for _, path in outputs):
        for ancestor in (folder, *folder.parents):
            if ancestor.exists() and not ancestor.is_dir():
                raise NotADirectoryError(
                    f"cannot make the folder {folder}: {ancestor} is a file"
                )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot make the folder {folder}: {reason}") from error
    for option, path in outputs:
        folder = path.parent
        if path.is_symlink():
            folder = Path(os.path.realpath(path)).parent
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"--{option}: {path} is a link to {os.readlink(path)}, whose "
                    "folder does not exist"
                )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"--{option}: the folder {folder} is not writable")


def _is_of_finished_training(path, model_path):
    """Return whether a training wrote a file at its end and was killed right after.

    The model is written first, then the history; the checkpoints are removed last.
    """
    from dipy_vqvae.storage import CHECKPOINT, read_tensor_file

    first, second = checkpoints_of(model_path)
    stages = [first, second] if os.path.lexists(second) else [first]
    try:
        times = [file.stat().st_mtime_ns for file in (first, model_path, path)]
        return times == sorted(times) and all(
            read_tensor_file(stage, kind=CHECKPOINT).entries["progress"]["is_finished"]
            for stage in stages
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # there is no checkpoint, or it is damaged


def _folder_for(path, out_dir, strategy):
    folder = Path(path).parent
    if strategy == "append":
        return folder / out_dir
    if strategy == "prepend":
        if folder.is_absolute() or ".." in folder.parts:
            folder = Path(os.path.abspath(folder))
        return Path(out_dir) / folder.relative_to(folder.anchor)
    return Path(out_dir)


def _differing_folders(paths, stems):
    """Return, for files of equal stems, the parts of their folders that differ."""
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
    """Return the indices of names that occur more than once, ignoring case."""
    keys = [name.casefold() for name in names]
    count = Counter(keys)
    return [i for i, key in enumerate(keys) if count[key] > 1]
