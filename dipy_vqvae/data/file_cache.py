"""Cache the arrays of files."""

from collections import OrderedDict
import threading

import numpy as np

from dipy_vqvae.data.formats.content import require_file


class FileChangedError(ValueError):
    """Raised for a file that was written since it was opened."""


def file_signature(path):
    """Return size and modification time (ns) of a file."""
    status = require_file(path).stat()
    return status.st_size, status.st_mtime_ns


def check_unchanged(path, signature):
    """Refuse a file that was written since it was opened."""
    if file_signature(path) != signature:
        raise FileChangedError(f"{path}: has changed since it was opened")


class FileCache:
    """Cache the arrays used last, up to a number of bytes; one is always kept."""

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes
        self.held = 0
        self._arrays = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self):
        # For other processes: neither the lock nor what it guards.
        return {"n_bytes": self.n_bytes}

    def __setstate__(self, state):
        self.__init__(**state)

    def get(self, key, read):
        """Return the read-only array of a key, reading it unless it is cached."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        # Threads do not wait for one another's reading, and may do it twice.
        array = np.asarray(read())
        array.flags.writeable = False
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = array
                self.held += array.nbytes
            while self.held > self.n_bytes and len(self._arrays) > 1:
                self.held -= self._arrays.popitem(last=False)[1].nbytes
        return array
