"""Commands in several processes, for the tests: everything is imported once."""

import json
import os
from pathlib import Path
import signal
import sys
import time
from types import SimpleNamespace

import dipy.workflows.flow_runner  # noqa: F401
import torch

import dipy_vqvae.prior.model
from dipy_vqvae.training import loop as training
import dipy_vqvae.vqvae.model  # noqa: F401
from dipy_vqvae.workflows import cli


def slow_down(seconds):
    """Let the writing of a checkpoint take a while."""
    write = training.write_checkpoint

    def write_slowly(path, checkpoint):
        time.sleep(seconds)
        write(path, checkpoint)

    training.write_checkpoint = write_slowly


def let_a_gpu_be_found():
    """Let torch say that there is a GPU, as far as is asked before a training."""
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.set_device = lambda number: None
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(uuid="one")


def start(command, number, n_processes, streams, *, writing_takes, gpu_in):
    """Run a command in a child, one of several processes; its messages in files."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(
            RANK=str(number),
            LOCAL_RANK=str(number),
            WORLD_SIZE=str(n_processes),
            MASTER_ADDR="127.0.0.1",
        )
        for descriptor, name in ((1, "out"), (2, "err")):
            path = streams.with_suffix(f".{number}.{name}")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        slow_down(writing_takes)
        if number in gpu_in:
            let_a_gpu_be_found()
        sys.argv = [str(word) for word in command]
        getattr(cli, command[0].removeprefix("dipy_"))()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(name, command, *, n=2, send=None, when=None, to=None, **how):
    """Run a command in `n` processes; send one a signal once a file is there.

    When the first of them has ended, the others are sent SIGTERM, as by torchrun.
    """
    streams = Path(name)
    how = {"writing_takes": 0, "gpu_in": (), **how}
    children = [start(command, i, n, streams, **how) for i in range(n)]
    if send:
        while not os.path.exists(when):
            state = os.waitid(
                os.P_PID, children[to], os.WEXITED | os.WNOHANG | os.WNOWAIT
            )
            if state is not None:
                break  # it failed before, and the test says so
            time.sleep(0.01)
        began = time.monotonic()
        os.kill(children[to], getattr(signal, send))
    codes = {}
    while len(codes) < n:
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if send:
            for other in set(children) - set(codes):
                os.kill(other, signal.SIGTERM)
    outcome = {"codes": [codes[child] for child in children]}
    if send:
        outcome["seconds"] = time.monotonic() - began
    for stream in ("out", "err"):
        texts = [streams.with_suffix(f".{i}.{stream}").read_text() for i in range(n)]
        outcome[stream] = texts
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    for line in sys.stdin:
        run(**json.loads(line))
