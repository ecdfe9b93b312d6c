"""Files that are there by name only: dead links, and pointers of git-annex and LFS."""

import os
from pathlib import Path

# How pointer files begin, which stand for content that was not fetched.
_POINTERS = {
    b"/annex/objects/": "git-annex (DataLad): get it with 'datalad get {path}'",
    b"version https://git-lfs": "Git LFS: get it with 'git lfs pull'",
}
_LARGEST_POINTER = 32 * 1024


def check_present(path, *, kind="file"):
    """Raise an OSError if a file is not there, or its content is not.

    Parameters
    ----------
    path : str or Path
        The file.
    kind : str, optional
        What messages call it.

    Raises
    ------
    FileNotFoundError
        There is no such file, or it is a link to none.
    OSError
        It is a pointer file; the message says how to get the content.
    """
    path = Path(path)
    if path.is_file():
        _refuse_pointer(path)
    if path.exists():
        return
    if not path.is_symlink():
        raise FileNotFoundError(f"{path}: no such {kind}")
    target = os.readlink(path)
    if "annex/objects" in Path(os.path.realpath(path)).as_posix():
        what = _POINTERS[b"/annex/objects/"].format(path=path)
        raise FileNotFoundError(f"{path}: its content is not here, but in {what}")
    raise FileNotFoundError(f"{path}: a link to {target}, which is not there")


def _refuse_pointer(path):
    if path.stat().st_size > _LARGEST_POINTER:
        return
    try:
        with open(path, "rb") as stream:
            start = stream.read(256)
    except OSError:
        return  # which the reader of the file explains
    # Where there are no links, git writes their targets into files.
    if b"annex/objects/" in start and start.isascii():
        start = b"/annex/objects/"
    for pointer, where in _POINTERS.items():
        if start.startswith(pointer):
            raise OSError(
                f"{path}: its content is not here, but in {where.format(path=path)}"
            )
