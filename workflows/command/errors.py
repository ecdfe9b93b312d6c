"""Exceptions that end a command, their one-line messages and exit codes."""

import errno

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
TERMINATED = 143  # 128 + SIGTERM

# A ValueError or TypeError that these packages raise is written for the user. Raised
# by another package, it shows a fault of this one.
_PACKAGES_FOR_USERS = ("dipy_vqvae", "nibabel")


class UsageError(ValueError):
    """Options are invalid or contradict each other."""


class SomeFilesFailed(ValueError):
    """Some input files failed; each was reported, and the others were processed."""


class Terminated(BaseException):
    """SIGTERM was received; handled like Ctrl-C."""


def one_line(error):
    """Return the message of an exception in one line, without the errno.

    >>> one_line(ValueError("two\\n  lines"))
    'two lines'
    >>> one_line(FileNotFoundError(2, "No such file or directory", "x.nii"))
    'x.nii: No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        names = [str(n) for n in (error.filename, error.filename2) if n is not None]
        return " ".join(": ".join([*names[:1], error.strerror]).split())
    if isinstance(error, KeyError) and error.args:
        return f"no entry {error.args[0]!r}"
    return " ".join(str(error).split())


def explain(error):
    """Describe an exception to the user of a command, in one line."""
    line = one_line(error)
    kind = type(error).__name__
    if _is_out_of_memory(error):
        return f"out of memory ({line or kind}): lower --batch_size"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{line} (existing files are untouched)"
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return "this command needs PyTorch, which is not installed: pip install torch"
    if is_expected(error):
        return line or kind
    message = f"unexpected {kind}: {line}" if line else f"unexpected {kind}"
    return f"{message}; run with --log_level DEBUG for the traceback"


def is_expected(error):
    """Return whether an error comes from data, files or options, not from a bug."""
    if isinstance(error, OSError) or _is_out_of_memory(error):
        return True
    # nibabel's ImageFileError is neither a ValueError nor an OSError.
    if type(error).__name__ == "ImageFileError":
        return True
    return isinstance(error, (ValueError, TypeError)) and _is_for_users(error)


def exit_code(error):
    """Return the exit code of a command that an exception ended."""
    signum = getattr(error, "signum", None)
    if signum is not None:
        return 128 + int(signum)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return TERMINATED
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _is_for_users(error):
    """Return whether an exception was raised by a package that speaks to users."""
    trace = error.__traceback__
    if trace is None:
        return True
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    return module.split(".")[0] in _PACKAGES_FOR_USERS


def _is_out_of_memory(error):
    """Recognise torch's error without importing torch; on a CPU it has no class."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )
