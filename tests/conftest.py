"""Let tests import the toys beside them; commands, disks and mirrors for tests."""

import errno
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import logging
import os
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest

# Two processes of tests share the machine: torch reads this when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SUPPORT = Path(__file__).parent / "support"
sys.path.append(str(SUPPORT))


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Let Ctrl-C be heard, which is ignored in what a shell starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Let the tests' own process reach this machine only."""
    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise OSError(errno.ENETUNREACH, f"tests need no network, not {host}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


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
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        out, err = capfd.readouterr()
        return end.value.code, out, err

    monkeypatch.chdir(tmp_path)
    yield run
    sys.stdout, sys.stderr = streams
    for log, kept, level, propagate in states:
        log.handlers[:], log.propagate = kept, propagate
        log.setLevel(level)


@pytest.fixture(scope="module")
def fork_server():
    """Run commands in children of a process that has torch loaded already."""
    script = SUPPORT / "forked_commands.py"
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )

    def run(name, arguments, folder, environment=None):
        request = [name, [str(a) for a in arguments], str(folder), environment or {}]
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait()


@pytest.fixture
def run_command(fork_server, tmp_path):
    """Run a command in the test's folder: (exit code, stdout, stderr)."""

    def run(name, *arguments, environment=None):
        code, out, err = fork_server(name, arguments, tmp_path, environment)
        assert "Traceback" not in err and "unexpected" not in err, err
        return code, out, err

    return run


@pytest.fixture(scope="session")
def free_port():
    """Find a port of this machine that nobody listens on."""

    def find():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return listener.getsockname()[1]

    return find


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 KiB of its own, where that can be had."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def serve(monkeypatch):
    """Start mirrors: serve({path: content or status}) -> (url, list of requests)."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(answers):
        requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                answer = answers.get(self.path.lstrip("/"), 404)
                if isinstance(answer, int):
                    self.send_error(answer)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
