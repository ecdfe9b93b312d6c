"""Files that are either whole or not there: write beside the target, then rename."""

from contextlib import contextmanager, suppress
import errno
import glob
import os
from pathlib import Path
import secrets
import stat


class _OnlyTrying(Exception):
    """Leaves `atomic_write` before it replaces anything."""


_PREFIX = ".tmp-"
_LONGEST_NAME = 255


@contextmanager
def atomic_write(path):
    """Write a file so that nobody ever sees half of it.

    The body writes to a temporary file in the same folder; leaving the block
    flushes it to the disk and renames it onto `path`. If anything is raised
    (Ctrl-C and a full disk included) the temporary file is removed and what
    was at `path` before is untouched.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist. A symbolic link is followed.

    Yields
    ------
    temporary : Path
        Empty file to write to. Its name ends as `path`'s does, for writers
        that choose a format by the suffix.

    Raises
    ------
    OSError
        The folder is missing or not writable, `path` is a folder, a device or
        a write-protected file, the disk is full. The error names `path`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder) / "notes.txt"
    ...     with atomic_write(target) as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     target.read_text()
    'all of it'
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    mode = _mode_of_target(target, path)
    # With the ending that was asked for: a link may lead to another, or to none, and
    # writers go by it.
    temporary = target.with_name(_temporary_name(path.name))
    try:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(temporary, flags, 0o666))
            if mode is not None:
                os.chmod(temporary, mode)
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
        except OSError as error:
            # The temporary name means nothing to the reader of the message.
            if error.errno and error.filename in (None, str(temporary), temporary):
                error.filename = str(path)
                del error.filename2
            raise
    finally:
        # After the rename there is nothing left to remove.
        with suppress(OSError):
            os.unlink(temporary)
    with suppress(OSError):
        # The rename itself must survive a power cut; not every system can
        # flush a folder, and the file is complete either way.
        _flush(target.parent)


def check_writable(path):
    """Raise now the OSError that `atomic_write` would raise hours later."""
    with suppress(_OnlyTrying), atomic_write(path):
        raise _OnlyTrying


def remove_leftovers(path):
    """Remove temporary files that killed writers of `path` left behind."""
    target = Path(os.path.realpath(path))
    pattern = f"{_PREFIX}{'[0-9a-f]' * 8}-{glob.escape(Path(path).name)}"
    for leftover in target.parent.glob(pattern):
        with suppress(OSError):
            leftover.unlink()


def _temporary_name(name):
    """Return a fresh hidden name that ends as `name` does."""
    prefix = f"{_PREFIX}{secrets.token_hex(4)}-"
    while len(os.fsencode(prefix + name)) > _LONGEST_NAME:
        name = name[1:]
    return prefix + name


def _mode_of_target(target, path):
    """Return the permissions to keep, None for a new file; refuse the rest."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return stat.S_IMODE(mode)


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
