"""Reading files again and again without holding all of them."""

from collections import OrderedDict

import numpy as np

from dipy_vqvae.data.formats.content import require_file


class FileChangedError(ValueError):
    """A file that is not any more what it was when it was opened."""


def file_signature(path):
    """Return size and time of a file, which change when it is rewritten."""
    status = require_file(path).stat()
    return status.st_size, status.st_mtime_ns


def check_unchanged(path, signature):
    """Refuse a file that has been written since it was opened."""
    if file_signature(path) != signature:
        raise FileChangedError(f"{path}: has changed since it was opened")


class FileCache:
    """The arrays used last, up to a number of bytes; one is always kept.

    Parameters
    ----------
    n_bytes : int
        The limit.
    """

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes
        self.held = 0
        self._arrays = OrderedDict()

    def get(self, key, read):
        """Return the array of a key; read it if it is not cached."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = np.asarray(read())
        array.flags.writeable = False
        self._arrays[key] = array
        self.held += array.nbytes
        while self.held > self.n_bytes and len(self._arrays) > 1:
            self.held -= self._arrays.popitem(last=False)[1].nbytes
        return array
