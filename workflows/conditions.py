"""Conditions of a prior that come with the files: slice positions, a table of subjects.

The columns of numbers of a table are covariates. One column of words, such as ``sex``,
gives the classes.
"""

import csv
from dataclasses import dataclass, replace
import math
from pathlib import Path
import re

import numpy as np

from dipy_vqvae.workflows.command import UsageError, as_list

SLICE_POSITION = "slice_position"
# Entry in the description of a prior: the column of classes and their names.
CLASSES_ENTRY = "classes"
_ID = "participant_id"
_MISSING = ("", "n/a", "nan")


@dataclass(frozen=True)
class FileConditions:
    """Conditions of the images of each of several files.

    Parameters
    ----------
    covariates : list of dict
        Numbers of each file, by name.
    labels : list of int, or None
        Class of each file.
    has_position : bool
        Whether the position of a slice is a covariate as well.
    """

    covariates: list
    labels: list | None
    has_position: bool

    def of_images(self, index, n, positions):
        """Return the covariates of the n images of a file, a dict of arrays (n,)."""
        columns = {
            name: np.full(n, value) for name, value in self.covariates[index].items()
        }
        if self.has_position:
            columns[SLICE_POSITION] = positions
        return columns


@dataclass(frozen=True)
class Table:
    """Columns of a table of participants.

    Parameters
    ----------
    path : Path
        The file.
    rows : dict of dict
        Text of each column, by participant and name.
    numeric : list of str
        Columns of numbers.
    of_words : str or None
        The column of words, if any.
    words : list of str
        Its values, in the order of their classes.
    """

    path: Path
    rows: dict
    numeric: list
    of_words: str | None
    words: list


def read_table(path, names):
    """Read columns of a tab-separated table, such as BIDS' ``participants.tsv``."""
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t")
            rows = list(reader)
            columns = reader.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a table of tab-separated text") from error
    for name in (_ID, *names):
        if name not in columns:
            raise ValueError(
                f"{path}: has no column {name!r}, only {', '.join(columns) or 'none'}"
            )
    rows = {
        row[_ID]: {name: (row[name] or "").strip() for name in names} for row in rows
    }
    numeric = [name for name in names if _is_numeric(rows, name)]
    of_words = [name for name in names if name not in numeric]
    if len(of_words) > 1:
        raise UsageError(
            f"--condition: {' and '.join(of_words)} of {path} are words; one such "
            "column can be used, the others must be numbers"
        )
    words = sorted({row[name] for row in rows.values() for name in of_words} - {""})
    return Table(path, rows, numeric, of_words[0] if of_words else None, words)


def _is_numeric(rows, name):
    return all(
        row[name].lower() in _MISSING or _number(row[name]) is not None
        for row in rows.values()
    )


def _number(text):
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def match_files(table, paths):
    """Return the row of the table for each file, by the participant in its path.

    All files without a row, or without a value in it, are named in one error.
    """
    patterns = {
        # "sub-1" is not found in "sub-10", nor in "mysub-1".
        name: re.compile(rf"(?<![0-9A-Za-z]){re.escape(name)}(?![0-9A-Za-z])")
        for name in table.rows
        if name
    }
    found, missing = [], []
    for path in paths:
        names = [
            name for name, p in patterns.items() if p.search(Path(path).as_posix())
        ]
        row = table.rows[max(names, key=len)] if names else None
        if row is None:
            missing.append(str(path))
        elif gaps := [name for name, text in row.items() if text.lower() in _MISSING]:
            missing.append(f"{path} ({', '.join(gaps)} of {max(names, key=len)})")
        found.append(row)
    if missing:
        shown = ", ".join(missing[:20])
        more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        raise ValueError(f"{table.path}: has no values for {shown}{more}")
    return found


def conditions_of_files(paths, names, participants):
    """Return the conditions that a user names, for the images of some files.

    Parameters
    ----------
    paths : list of Path
        The files.
    names : list of str
        ``slice_position`` and columns of the table.
    participants : Table or None
        The table.

    Returns
    -------
    conditions : FileConditions
    """
    has_position = SLICE_POSITION in names
    if participants is None:
        return FileConditions([{} for _ in paths], None, has_position)
    rows = match_files(participants, paths)
    covariates = [{n: _number(row[n]) for n in participants.numeric} for row in rows]
    labels = None
    if participants.of_words is not None:
        labels = [participants.words.index(row[participants.of_words]) for row in rows]
    return FileConditions(covariates, labels, has_position)


def conditions_of_prior(prior, paths, table_file):
    """Return the conditions that a prior needs, for the images of some files.

    Covariates and names of classes are known from its training.
    """
    names = [covariate.name for covariate in prior.config.covariates]
    classes = prior.description.get(CLASSES_ENTRY)
    columns = [name for name in names if name != SLICE_POSITION]
    columns += [classes["name"]] if classes else []
    if columns and table_file is None:
        raise UsageError(
            f"the prior was fitted with {', '.join(columns)}: it requires "
            "--participants, the table with these columns"
        )
    if table_file is not None and not columns:
        raise UsageError("--participants: the prior was fitted without such a table")
    table = None
    if columns:
        table = read_table(table_file, columns)
        if classes and table.of_words == classes["name"]:
            _check_words(table, classes)
            table = replace(table, words=classes["values"])
    return conditions_of_files(paths, names, table)


def _check_words(table, classes):
    """Refuse words that are no classes of a prior."""
    unknown = sorted(set(table.words) - set(classes["values"]))
    if unknown:
        raise ValueError(
            f"{table.path}: {classes['name']} is {unknown[0]!r}, the prior was fitted "
            f"for {', '.join(classes['values'])}"
        )


@dataclass(frozen=True)
class TrainingConditions:
    """Conditions of a training and of its held-out files; None without any.

    Parameters
    ----------
    training, held_out : FileConditions or None
        Those of the files.
    classes : dict or None
        Name of the column of classes, and their names.
    """

    training: FileConditions | None = None
    held_out: FileConditions | None = None
    classes: dict | None = None


def read_conditions(options, files, table_file):
    """Return the conditions that the options of a training name.

    Nothing is encoded yet: what is missing is named before any work.
    """
    names = as_list(options.condition)
    if not names:
        return TrainingConditions()
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"--condition: {', '.join(repeated)} is named twice")
    columns = [name for name in names if name != SLICE_POSITION]
    if columns and table_file is None:
        raise UsageError(
            f"--condition {' '.join(columns)}: requires --participants, the table with "
            "these columns"
        )
    table = read_table(table_file, columns) if columns else None
    classes = None
    if table is not None and table.of_words is not None:
        if options.label_file:
            raise UsageError(
                f"--label_file and --condition {table.of_words} both give classes"
            )
        classes = {"name": table.of_words, "values": table.words}
    held_out = None
    if files.held_out:
        held_out = conditions_of_files(files.held_out, names, table)
    training = conditions_of_files(files.images, names, table)
    return TrainingConditions(training, held_out, classes)
