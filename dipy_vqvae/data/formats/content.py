"""Open a file for reading, gzip or plain, with errors that name it."""

from contextlib import contextmanager
import gzip
from pathlib import Path
import zlib

from dipy_vqvae.display import one_line
from dipy_vqvae.storage import check_present

_GZIP_MAGIC = b"\x1f\x8b"
# zlib's stated limit of deflate: no byte on disk becomes more than 1032.
_LARGEST_INFLATION = 1032


class DamagedFileError(ValueError):
    """A file whose content is cut short or whose gzip data are broken."""


def require_file(path):
    """Return the path, if it is a regular file."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not an image file")
    check_present(path)
    if not path.is_file():
        raise OSError(f"{path}: is not a regular file")
    return path


@contextmanager
def named_errors(path):
    """Turn errors of reading inside the block into one line naming the file."""
    try:
        yield
    # BadGzipFile is an OSError, but speaks of the content, not of the system.
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFileError(
            f"{path}: the gzip data are damaged or cut short ({one_line(error)})"
        ) from error
    except OSError as error:
        if str(path) in str(error) and error.errno is None:
            raise
        reason = error.strerror or one_line(error)
        raise type(error)(f"{path}: cannot be read ({reason})") from error


@contextmanager
def open_content(path):
    """Open a file for reading its content, decompressed if it is gzip.

    Whether it is gzip is told by its first two bytes, not by its name.
    """
    path = require_file(path)
    with named_errors(path), open(path, "rb") as raw:
        is_gzip = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not is_gzip:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield stream


def content_limit(path, stream):
    """Return the largest number of bytes that a file can decompress to.

    A header may declare any amount of data; this bound lets a reader refuse
    before it allocates.
    """
    n_bytes = Path(path).stat().st_size
    if isinstance(stream, gzip.GzipFile):
        n_bytes *= _LARGEST_INFLATION
    return n_bytes


def read_rest(stream, chunk=1 << 20):
    """Read a stream to its end and return the number of bytes that were left.

    gzip checks its checksum only there.
    """
    n_bytes = 0
    while block := stream.read(chunk):
        n_bytes += len(block)
    return n_bytes
