"""Files that are complete or absent: written beside their target, then renamed."""

from contextlib import contextmanager, suppress
import errno
import glob
import os
from pathlib import Path
import secrets
import stat

_PREFIX = ".tmp-"
_LONGEST_NAME = 255


class _DryRun(Exception):
    """Leave `atomic_write` before it replaces anything."""


@contextmanager
def atomic_write(path):
    """Write a file completely or not at all.

    The block writes to a temporary file in the same folder. Afterwards that file is
    flushed to the disk and renamed to `path`. If anything is raised (Ctrl-C and a full
    disk included), it is removed and an existing `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist. A symbolic link is followed.

    Yields
    ------
    temporary : Path
        Empty file to write to. Its name ends as that of `path`, for writers that
        choose a format by the extension.

    Raises
    ------
    OSError
        The folder is missing or not writable, `path` is a folder, a device or
        a write-protected file, or the disk is full. The error names `path`.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    mode = _mode_of_target(target, path)
    # The extension is that of `path`: a link may lead to a name with another one.
    temporary = target.with_name(_temporary_name(path.name))
    try:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(temporary, flags, 0o666))
            if mode is not None:
                os.chmod(temporary, mode)
            yield temporary
            # Windows flushes only what is open for writing.
            _flush(temporary, os.O_WRONLY)
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
        # The rename itself must survive a power cut. Windows cannot open a folder,
        # and the file is complete either way.
        _flush(target.parent, os.O_RDONLY)


def check_writable(path):
    """Raise now the OSError that `atomic_write` of a file would raise later."""
    with suppress(_DryRun), atomic_write(path):
        raise _DryRun


def remove_leftovers(path):
    """Remove temporary files that killed writers of a file left behind."""
    target = Path(os.path.realpath(path))
    pattern = f"{_PREFIX}{'[0-9a-f]' * 8}-{glob.escape(Path(path).name)}"
    for leftover in target.parent.glob(pattern):
        with suppress(OSError):
            leftover.unlink()


def _temporary_name(name):
    """Return a new hidden name that ends as `name` does."""
    prefix = f"{_PREFIX}{secrets.token_hex(4)}-"
    while len(os.fsencode(prefix + name)) > _LONGEST_NAME:
        name = name[1:]
    return prefix + name


def _mode_of_target(target, path):
    """Return the permissions of an existing file, None for a new one."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    check_regular(mode, path)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return stat.S_IMODE(mode)


def check_regular(mode, path):
    """Refuse folders, devices and pipes, given the file's ``st_mode``."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def _flush(path, flags):
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
