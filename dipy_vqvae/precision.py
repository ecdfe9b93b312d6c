"""float32 that is float32, whatever torch is allowed to round to."""

from contextlib import contextmanager
import threading

import torch

_EXACT = "ieee"
_ROUNDS = ("tf32", "bf16")


class _Exactness:
    """Torch's settings of precision, while somebody needs them to be exact.

    They are the process's, and not a thread's: the first who comes changes them, and
    the last who goes changes them back.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_users = 0
        self._undo = []

    def enter(self):
        with self._lock:
            if not self._n_users:
                try:
                    _be_exact(self._undo)
                except BaseException:
                    self._restore()
                    raise
            self._n_users += 1

    def leave(self):
        with self._lock:
            self._n_users -= 1
            if not self._n_users:
                self._restore()

    def _restore(self):
        while self._undo:
            self._undo.pop()()


_exactness = _Exactness()


@contextmanager
def exact_float32():
    """Let no product nor convolution round its float32 numbers to fewer digits.

    By default torch lets cuDNN round to TF32 (10 bits), on GPUs that can; a program may
    have allowed it elsewhere (``torch.set_float32_matmul_precision``). cuDNN is asked for
    algorithms that give the same result each time, as well.

    Examples
    --------
    >>> with exact_float32():
    ...     torch.get_float32_matmul_precision()
    'highest'
    """
    _exactness.enter()
    try:
        yield
    finally:
        _exactness.leave()


def _be_exact(undo):
    """Change what is not exact, and note how to undo it: the last change first."""
    newer = [(owner, owner.fp32_precision) for owner in _newer_settings()]
    undo.append(lambda: _restore(newer))

    def change(owner, name, value):
        before = getattr(owner, name)
        if before != value:
            undo.append(lambda: setattr(owner, name, before))
            setattr(owner, name, value)

    cudnn = torch.backends.cudnn
    change(cudnn, "deterministic", True)
    change(cudnn, "benchmark", False)
    # Torch has two ways to say this. Products raise an error where only the newer one
    # was changed, and the older one raises it where only the newer one was used.
    try:
        allowed = torch.get_float32_matmul_precision()
        if allowed != "highest":
            undo.append(lambda: torch.set_float32_matmul_precision(allowed))
            torch.set_float32_matmul_precision("highest")
        change(cudnn, "allow_tf32", False)
    except RuntimeError:
        pass  # what is left is told by the newer one
    for owner, _ in newer:
        if owner.fp32_precision in _ROUNDS:
            owner.fp32_precision = _EXACT


def _newer_settings():
    """Precision by library and operation, since torch 2.9."""
    backends = torch.backends
    owners = [
        getattr(library, operation, None)
        for library in (backends.cudnn, backends.mkldnn)
        for operation in ("conv", "matmul")
    ]
    owners.append(backends.cuda.matmul)
    return [owner for owner in owners if hasattr(owner, "fp32_precision")]


def _restore(settings):
    for owner, before in settings:
        if owner.fp32_precision != before:
            # Where nothing was said for it, what is said for all operations holds.
            owner.fp32_precision = "none"
        if owner.fp32_precision != before:
            owner.fp32_precision = before
