"""Expand files, globs and folders to a list of image files."""

from collections import Counter
import glob
import itertools
import logging
import os
from pathlib import Path
import re

from dipy_vqvae.data.formats.reading import image_kind, known_names
from dipy_vqvae.data.names import bids_name

logger = logging.getLogger("dipy_vqvae")

# Files of a BIDS dataset that are looked at for a message.
_MOST_LISTED = 10_000


def expand_paths(paths, *, unique=True, extension=None):
    """List the image files that files, globs and folders stand for.

    Parameters
    ----------
    paths : str, Path or sequence of them
        Files, glob patterns (``**`` matches nested folders) and folders, of which
        the image files are taken, but not those of subfolders. The name of an
        existing file is that file, even if it has brackets or stars.
    unique : bool, optional
        Return a file that is named twice once only. Files that come in pairs, such as
        masks and their images, are not unique.
    extension : str, optional
        Files to take of globs and folders instead of images, such as ``".vqz"``.

    Returns
    -------
    files : list of Path
        In the order given; the files of a glob or a folder are sorted.

    Raises
    ------
    OSError
        If a file is missing, a glob matches nothing, or a folder or glob has no
        image file.
    ValueError
        If `paths` is empty, or if a folder has images of several kinds, as the suffixes
        of their BIDS names tell.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    paths = list(paths)
    if not paths:
        raise ValueError("no image files given")
    files = [file for path in paths for file in _expand_one(path, extension)]
    if not unique:
        return files
    # Not resolved: two links to one file may well be meant as two.
    by_path = {}
    for file in files:
        by_path.setdefault(os.path.abspath(file), file)
    return list(by_path.values())


def natural_order(path):
    """Sort key: by the numbers in a name, 2 before 10, with what follows behind.

    In the order of characters, ``s1.nii`` comes before ``s10.nii``, but
    ``s10_mask.nii`` before ``s1_mask.nii``: images and masks would not go together.
    """
    words = re.split(r"(\d+)", os.fspath(path))
    words[1::2] = map(int, words[1::2])
    return words, os.fspath(path)


def _expand_one(path, extension):
    text = os.path.expanduser(os.fspath(path))
    if not text:
        raise FileNotFoundError("'': the name of an image file is empty")
    path = Path(text)
    if path.is_dir():
        candidates = sorted(path.iterdir(), key=natural_order)
        return _only_wanted(candidates, path, extension)
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(text):
        raise FileNotFoundError(f"{path}: no such file")
    pattern = _with_folders_as_they_are(path)
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)), key=natural_order)
    if not matches:
        raise FileNotFoundError(f"{path}: no file matches this pattern")
    return _only_wanted(matches, path, extension)


def _with_folders_as_they_are(path):
    """Escape a folder named like ``d[1]`` in a pattern, if it exists."""
    known, parts = Path(path.anchor), list(path.relative_to(path.anchor).parts)
    while parts and (known / parts[0]).is_dir():
        known /= parts.pop(0)
    return os.path.join(glob.escape(str(known)), *parts)


def _only_wanted(candidates, where, extension):
    """Leave out files that are not images, or without the extension, and log them."""
    wanted, others = [], []
    for candidate in candidates:
        hidden = candidate.name.startswith(".")
        if extension is None:
            is_wanted = image_kind(candidate) is not None
        else:
            is_wanted = candidate.name.lower().endswith(extension)
        is_wanted = is_wanted and not (hidden or candidate.is_dir())
        (wanted if is_wanted else others).append(candidate)
    kind = "images" if extension is None else f"{extension} files"
    if not wanted:
        if extension is None:
            kind = f"image files ({known_names()}){_hint_at_bids(where)}"
        raise FileNotFoundError(f"{where}: contains no {kind}")
    if extension is None:
        _check_kinds(wanted, where)
    if others:
        names = ", ".join(other.name for other in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        logger.info("%s: skipped files that are not %s: %s%s", where, kind, names, more)
    return wanted


def _hint_at_bids(folder):
    """Say how the images of a BIDS dataset are named, if the folder is one."""
    # Derivatives lie in a folder of their own: they are not of the same kind.
    paths = itertools.islice(folder.glob("sub-*/**/sub-*_*.nii*"), _MOST_LISTED)
    names = filter(None, map(bids_name, paths))
    kinds = [kind for kind, _ in Counter(name.kind for name in names).most_common()]
    if not kinds:
        return ""
    return (
        f"; its subjects' folders do: name the images of one kind, such as "
        f'"{folder}/sub-*/**/*_{kinds[0]}.nii.gz" (there are {", ".join(kinds)})'
    )


def _check_kinds(images, folder):
    """Refuse a folder with images of several kinds, such as T1w, FLAIR and masks."""
    kinds = Counter(name.kind for name in map(bids_name, images) if name)
    if folder.is_dir() and len(kinds) > 1:
        found = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        raise ValueError(
            f"{folder}: contains images of several kinds ({found}): name those of one, "
            f'such as "{folder}/*_{kinds.most_common(1)[0][0]}.nii.gz"'
        )
