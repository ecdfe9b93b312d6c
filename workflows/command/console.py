"""Messages of a command: levels, log file, and streams that may close."""

from collections import Counter
from contextlib import contextmanager
import errno
import logging
import os
import re
import sys
import warnings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "NOTSET")
_MAX_WARNINGS = 3  # of one kind
_PLACEHOLDER = re.compile(r"%[-\d.]*[a-z]")
_FORMAT = "%(asctime)s %(levelname)s %(message)s"

logger = logging.getLogger("dipy_vqvae")


class _ForgivingStream:
    """A text stream that falls silent instead of failing.

    Neither a closed pipe (``dipy_fit_vqvae ... | head``) nor a full disk below
    ``> messages.txt`` may end a training or show a traceback.
    """

    def __init__(self, stream):
        self._stream = stream
        self.lost = None  # the error that lost messages, but for a closed pipe

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
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def guard_streams():
    """Make standard output and error safe to write to."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (>&-)
            stream = open(os.devnull, "w")  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            # A file name may have characters that the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, _ForgivingStream):
            stream = _ForgivingStream(stream)
        setattr(sys, name, stream)


class _ProcessFilter(logging.Filter):
    """Of several processes, let only the first one show messages below ERROR."""

    errors_only = False

    def filter(self, record):
        return not self.errors_only or record.levelno >= logging.ERROR


_process_filter = _ProcessFilter()


@contextmanager
def messages_of_all_processes():
    """Show the messages of every process while each does work of its own."""
    errors_only = _process_filter.errors_only
    _process_filter.errors_only = False
    try:
        yield
    finally:
        _process_filter.errors_only = errors_only


class _ConsoleHandler(logging.Handler):
    """Write INFO to standard output and all other levels to standard error.

    Of warnings that differ in the file's name only, the first few are shown.
    """

    def __init__(self, command):
        super().__init__()
        self.command = command
        self._n_warnings = Counter()

    def emit(self, record):
        message = record.getMessage()
        if record.levelno == logging.WARNING:
            # A format without words says nothing of the kind: "%s: %s".
            has_words = re.search(r"[a-z]{3}", _PLACEHOLDER.sub("", str(record.msg)))
            kind = record.msg if has_words else message
            self._n_warnings[kind] += 1
            n_left = _MAX_WARNINGS - self._n_warnings[kind]
            if n_left < 0:
                return
            if not n_left:
                message += " (further warnings of this kind go to the --log_file only)"
        if record.levelno != logging.INFO:
            message = f"{self.command}: {record.levelname.lower()}: {message}"
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
        if "tqdm" in sys.modules and sys.stderr.isatty():
            from tqdm.auto import tqdm

            tqdm.write(message, file=stream)  # above a progress bar, not into it
        else:
            stream.write(message + "\n")
        stream.flush()


class _LogFile(logging.FileHandler):
    """A log file; if its disk is full, the command goes on without it."""

    lost = None

    def emit(self, record):
        if self.lost is None:
            super().emit(record)

    def handleError(self, record):
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._note(error)
        else:
            super().handleError(record)

    def close(self):
        try:
            super().close()
        except OSError as error:
            self._note(error)

    def _note(self, error):
        error.filename = self.baseFilename
        self.lost = error


class Console:
    """The messages of one command; errors begin with its name."""

    def __init__(self, command, *, is_first=True):
        _process_filter.errors_only = not is_first
        self._handler = _ConsoleHandler(command)
        self._log_file = None

    def configure(self, *, level="INFO", file=None):
        """Show messages of a level and above, and append them to a file as well.

        This replaces DIPY's own set-up, which ignores the level and leaves the file
        empty.
        """
        number = logging.DEBUG if level == "NOTSET" else getattr(logging, level)
        root = logging.getLogger()
        root.handlers = [self._handler]
        if file:
            _check_log_file(file)
            self._log_file = _LogFile(
                file,
                encoding="utf-8",
                errors="backslashreplace",
                # Processes without messages do not open it.
                delay=_process_filter.errors_only,
            )
            self._log_file.setFormatter(logging.Formatter(_FORMAT))
            root.addHandler(self._log_file)
        for handler in root.handlers:
            handler.filters = [_process_filter]
        # Messages of other libraries are shown at DEBUG only, errors always.
        root.setLevel(logging.DEBUG if number <= logging.DEBUG else logging.ERROR)
        logger.setLevel(min(number, logging.ERROR))
        for name in ("dipy", "nibabel.global"):
            library = logging.getLogger(name)
            library.handlers.clear()
            library.propagate = True
            library.setLevel(logging.NOTSET)
        for name in ("matplotlib", "PIL", "h5py", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def error(self, message):
        """Write the line that says why the command ended."""
        sys.stdout.flush()
        logger.error(message)

    def traceback(self, error):
        """Write the traceback of an exception, if the level is DEBUG."""
        with messages_of_all_processes():
            logger.debug("traceback:", exc_info=error)

    def close(self):
        """Flush everything; return the error that lost messages, or None."""
        outputs = [sys.stdout, sys.stderr]
        for stream in outputs:
            stream.flush()
        if self._log_file is not None:
            logging.getLogger().removeHandler(self._log_file)
            self._log_file.close()
            outputs.append(self._log_file)
            self._log_file = None
        return next(filter(None, (getattr(o, "lost", None) for o in outputs)), None)


def _check_log_file(path):
    """Refuse to append messages to an image or a model that was named by mistake."""
    if os.path.isfile(path):
        with open(path, "rb") as stream:
            if b"\0" in stream.read(4096):
                raise OSError(f"--log_file: {path} exists and is not a text file")


def divert_warnings():
    """Turn warnings of libraries into messages of level DEBUG."""
    if not sys.warnoptions:
        warnings.simplefilter("default")
        warnings.showwarning = _log_warning


def _log_warning(message, category, filename, lineno, file=None, line=None):
    logger.debug("%s: %s (%s:%s)", category.__name__, message, filename, lineno)
