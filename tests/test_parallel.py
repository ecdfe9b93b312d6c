import importlib.util
import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch

from dipy_vqvae import parallel
from dipy_vqvae.training import TrainingOptions, train

_SCRIPT = Path(__file__).with_name("toy_training.py")
_spec = importlib.util.spec_from_file_location("toy_training", _SCRIPT)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def test_alone():
    assert (parallel.rank(), parallel.world_size()) == (0, 1)
    assert not parallel.is_parallel()
    tensor = torch.arange(3.0)
    assert parallel.all_reduce_sum(tensor) is tensor
    assert parallel.broadcast(tensor) is tensor
    assert tensor.tolist() == [0.0, 1.0, 2.0]


def in_parallel(tmp_path, changes, checkpoint, *, stop_at=None):
    """Train in two processes; return the exit code and the lines printed."""
    meeting_point = tmp_path / f"meeting-{len(os.listdir(tmp_path))}"
    arguments = [str(meeting_point), str(checkpoint), changes, 2, stop_at]
    process = subprocess.run(
        [sys.executable, str(_SCRIPT), "parallel", json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode in (0, 143), process.stderr
    return process.returncode, [json.loads(x) for x in process.stdout.splitlines()]


@pytest.mark.skipif(
    not torch.distributed.is_available() or not hasattr(os, "fork"),
    reason="no gloo here",
)
def test_two_processes_equal_one(tmp_path):
    # 43 items: batches of 8 and 9, so that the shares differ in size.
    changes = {"n_epochs": 10, "average_decay": 0.9, "patience": 3}
    options = TrainingOptions(**{**toy.OPTIONS, **changes})
    checkpoint = tmp_path / "run.ckpt"
    _, (there,) = in_parallel(tmp_path, changes, checkpoint)
    task = toy.ToyTask(dropout=0.0)
    here = train(task, options)
    for ours, theirs in zip(task.module.parameters(), there["weights"], strict=True):
        np.testing.assert_allclose(
            theirs, ours.detach().flatten(), rtol=1e-5, atol=1e-6
        )
    for name in ("loss", "absolute", "one"):
        np.testing.assert_allclose(
            there["history"]["train"][name], here[name], rtol=1e-5
        )
    assert there["history"]["epochs"] == here.epochs
    # The first process wrote a checkpoint that a single one can read.
    alone = toy.ToyTask(dropout=0.0)
    history = train(alone, options, checkpoint=checkpoint)
    assert not alone.calls
    assert history.to_dict() == there["history"]

    # A signal to one process stops both after the same step; both resume.
    checkpoint = tmp_path / "stopped.ckpt"
    code, n_steps = in_parallel(tmp_path, changes, checkpoint, stop_at=16)
    assert (code, n_steps) == (143, [17, 17])
    _, (resumed,) = in_parallel(tmp_path, changes, checkpoint)
    for found in (there, resumed):
        del found["history"]["seconds"]
    assert resumed == there
