"""What ends a command: the exceptions of the workflows, their lines and exit codes."""

import errno

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
TERMINATED = 143  # 128 + SIGTERM

# Whose complaints about values are meant for the user. The same exceptions from
# elsewhere are faults of the program, and said to be that.
_SPEAK_TO_USERS = ("dipy_vqvae", "nibabel")


class UsageError(ValueError):
    """The options given contradict each other or make no sense."""


class SomeFilesFailed(ValueError):
    """Some of the input files failed, each reported already; the others are done."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); unwinds as Ctrl-C does."""


def one_line(error):
    """Say in one line what an exception says.

    Parameters
    ----------
    error : Exception
        What was raised.

    Returns
    -------
    line : str
        Its message, without line breaks; for an error of the operating system the
        file and the reason, without the number.

    Examples
    --------
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
    """Say what an exception means to the user of a command.

    Parameters
    ----------
    error : Exception
        What ended the command, or one of its files.

    Returns
    -------
    line : str
        One line, never empty.
    """
    line = one_line(error)
    if _is_out_of_memory(error):
        return f"out of memory ({line or type(error).__name__}): lower --batch_size"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{line} (what was there before is untouched)"
    if is_expected(error):
        return line or type(error).__name__
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {line}" if line else f"unexpected {kind}"
    ) + "; run with --log_level DEBUG for the traceback"


def is_expected(error):
    """Tell an error of data, files or settings from a fault of the program.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    expected : bool
    """
    if isinstance(error, OSError) or _is_out_of_memory(error):
        return True
    # nibabel's own is neither a ValueError nor an OSError.
    if type(error).__name__ == "ImageFileError":
        return True
    return isinstance(error, (ValueError, TypeError)) and _speaks_to_users(error)


def exit_code(error):
    """Give the exit code for an exception that ended a command.

    Parameters
    ----------
    error : BaseException
        What was raised.

    Returns
    -------
    code : int
    """
    signum = getattr(error, "signum", None)
    if signum is not None:
        return 128 + int(signum)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return TERMINATED
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _speaks_to_users(error):
    trace = error.__traceback__
    if trace is None:
        return True
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    return module.split(".")[0] in _SPEAK_TO_USERS


def _is_out_of_memory(error):
    # torch's own class is named without importing torch; on a CPU it has none.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )
