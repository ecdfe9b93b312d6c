"""What a command shows: messages, warnings, errors, and streams that may close."""

from collections import Counter
import errno
import logging
import os
import stat
import sys
import warnings

from dipy_vqvae.workflows.command.errors import UsageError

_MOST_WARNINGS = 3  # of one kind
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "NOTSET")


class _ForgivingStream:
    """A text stream that goes silent, rather than fail, when it cannot be written.

    Neither ``dipy_fit_vqvae … | head`` nor a full disk below ``> messages.txt`` must
    end a training, nor show a traceback.

    Attributes
    ----------
    lost : OSError or None
        Why it went silent; None also where its reader just left.
    """

    def __init__(self, stream):
        self._stream = stream
        self.lost = None

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        try:
            return self._stream.write(text)
        except OSError as error:
            self._silence(error)
            return len(text)

    def flush(self):
        try:
            self._stream.flush()
        except OSError as error:
            self._silence(error)

    def _silence(self, error):
        if error.errno not in (errno.EPIPE, errno.EIO):
            error.filename = self._stream.name.strip("<>")
            self.lost = error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)


def guard_streams():
    """Make standard output and error safe to write to, whatever they are."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (>&-)
            stream = open(os.devnull, "w")  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            # A file name that the terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, _ForgivingStream):
            stream = _ForgivingStream(stream)
        setattr(sys, name, stream)


class OfThisProcess(logging.Filter):
    """Lets through what none of the command's other processes says as well.

    Errors stop a process, and only one of them reports its own. Anything else is
    said by the first process, except while they do different things.
    """

    errors_only = True

    def filter(self, record):
        """Whether to show a record."""
        return not self.errors_only or record.levelno >= logging.ERROR


class _ConsoleHandler(logging.Handler):
    """Messages on standard output, everything else on standard error.

    Of warnings of one kind, with another file's name in each, a few are enough.
    """

    def __init__(self, command):
        super().__init__()
        self.command = command
        self._n_warnings = Counter()

    def emit(self, record):
        message = record.getMessage()
        if record.levelno == logging.WARNING:
            self._n_warnings[record.msg] += 1
            n_left = _MOST_WARNINGS - self._n_warnings[record.msg]
            if n_left < 0:
                return
            if not n_left:
                message += " (further warnings of this kind go to the --log_file only)"
        if record.levelno >= logging.WARNING:
            message = f"{self.command}: {record.levelname.lower()}: {message}"
        elif record.levelno < logging.INFO:
            message = f"{self.command}: debug: {message}"
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
        if "tqdm" in sys.modules and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.write(message, file=stream)  # above a progress bar, not into it
        else:
            stream.write(message + "\n")
        stream.flush()


class _MessageFile(logging.FileHandler):
    """A file of messages; a full disk ends it, and not the command.

    Nothing is written before `release`: until a command knows its files, this may be
    one of them.
    """

    def __init__(self, path, **options):
        super().__init__(path, encoding="utf-8", errors="backslashreplace", **options)
        self.lost = None
        self._held = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record):
        if self._held is not None:
            self._held.append(record)
        elif self.lost is None:
            super().emit(record)

    def release(self):
        """Write what has come so far, and from now on what comes."""
        held, self._held = self._held, None
        for record in held or ():
            self.emit(record)

    def forget(self):
        """Write nothing of what has come so far."""
        self._held = []

    def handleError(self, record):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        error.filename = self.baseFilename
        self.lost = error

    def close(self):
        self.release()
        try:
            super().close()
        except OSError as error:
            error.filename = self.baseFilename
            self.lost = error


class Console:
    """The messages of one command.

    Parameters
    ----------
    command : str
        Its name, which errors begin with.
    process : int, optional
        Number of this process, where the command was started as several.
    """

    def __init__(self, command, *, process=0):
        self.command = command
        self._filters = [OfThisProcess()] if process else []
        self._handler = _ConsoleHandler(command)
        self._file = None

    def configure(self, *, level="INFO", file=None):
        """Show messages from a level on, and keep them in a file as well.

        DIPY's own set-up keeps the level at INFO whatever is asked, and its file
        empty; this one replaces it.

        Parameters
        ----------
        level : str, optional
            One of `LEVELS`. Errors are shown in any case.
        file : str, optional
            A file to which messages are appended.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        number = logging.DEBUG if level == "NOTSET" else getattr(logging, level)
        root = logging.getLogger()
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        root.addHandler(self._handler)
        if file:
            _refuse_others_files(file)
            # Processes that say nothing do not open it.
            self._file = _MessageFile(file, delay=bool(self._filters))
            root.addHandler(self._file)
        for handler in filter(None, (self._handler, self._file)):
            handler.filters = list(self._filters)
        # Other libraries' remarks are for those who look for trouble.
        root.setLevel(logging.DEBUG if number <= logging.DEBUG else logging.ERROR)
        logging.getLogger("dipy_vqvae").setLevel(min(number, logging.ERROR))
        for name in ("dipy", "nibabel.global"):
            own = logging.getLogger(name)
            own.handlers.clear()
            own.propagate = True
            own.setLevel(logging.NOTSET)
        for noisy in ("matplotlib", "PIL", "h5py", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.WARNING)

    def error(self, message):
        """Write the line that says why the command ended."""
        sys.stdout.flush()
        logging.getLogger("dipy_vqvae").error(message)

    def traceback(self, error):
        """Write the traceback of an exception, if the level is DEBUG."""
        for item in self._filters:
            item.errors_only = False
        logging.getLogger("dipy_vqvae").debug("traceback:", exc_info=error)

    def close(self):
        """Close the file of messages and flush the streams.

        Returns
        -------
        lost : OSError or None
            Why messages were lost.
        """
        lost = []
        if self._file is not None:
            logging.getLogger().removeHandler(self._file)
            self._file.close()
            lost.append(self._file.lost)
            self._file = None
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            lost.append(getattr(stream, "lost", None))
        return next(filter(None, lost), None)


def check_log_files(paths):
    """Refuse to append messages to what a command reads or writes; else begin to.

    Parameters
    ----------
    paths : list of str or Path
        Its inputs and outputs.

    Raises
    ------
    UsageError
        If one of them is the file of the messages.
    """
    root = logging.getLogger()
    for log in [item for item in root.handlers if isinstance(item, _MessageFile)]:
        where = os.path.realpath(log.baseFilename)
        for path in paths:
            if os.path.realpath(path) == where:
                log.forget()
                root.removeHandler(log)
                raise UsageError(
                    f"--log_file: {path} is an input or output of the command"
                )
        log.release()


def _refuse_others_files(path):
    is_fifo = os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)
    if is_fifo and not str(path).startswith(("/dev/", "/proc/")):
        # To open it may wait for a reader for ever; not so what a shell has opened.
        raise OSError(f"--log_file: {path} is a named pipe, and no file")
    # An image named by mistake would be spoilt by what is appended.
    if os.path.isfile(path):
        with open(path, "rb") as stream:
            if b"\0" in stream.read(4096):
                raise OSError(f"--log_file: {path} is there and is no text file")


def divert_warnings():
    """Have the warnings of libraries among the messages of level DEBUG only."""
    if not sys.warnoptions:
        warnings.simplefilter("default")
        warnings.showwarning = _log_warning


def _log_warning(message, category, filename, lineno, file=None, line=None):
    logging.getLogger("dipy_vqvae").debug(
        "%s: %s (%s:%s)", category.__name__, message, filename, lineno
    )
