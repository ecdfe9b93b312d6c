"""Let tests import the toys beside them, and run commands in this process."""

import logging
from pathlib import Path
import signal
import sys
import warnings

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def command(monkeypatch, capfd, tmp_path):
    """Run a command in this process: (exit code, stdout, stderr)."""
    from dipy_vqvae.workflows import cli

    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(n) for n in ("dipy_vqvae", "dipy"))]
    states = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    streams = sys.stdout, sys.stderr

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *(str(a) for a in arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            getattr(cli, name.removeprefix("dipy_"))()
        out, err = capfd.readouterr()
        return end.value.code, out, err

    monkeypatch.chdir(tmp_path)
    yield run
    sys.stdout, sys.stderr = streams
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    for log, kept, level, propagate in states:
        log.handlers[:], log.propagate = kept, propagate
        log.setLevel(level)
