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

_SCRIPT = Path(__file__).parents[1] / "support" / "toy_training.py"
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


def in_parallel(folder, changes, runs):
    """Train in two processes, some times; return what they print."""
    arguments = json.dumps([str(folder), changes, 2, runs])
    process = subprocess.run(
        [sys.executable, str(_SCRIPT), "parallel", arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


@pytest.mark.skipif(
    not torch.distributed.is_available() or not hasattr(os, "fork"),
    reason="no gloo here",
)
def test_two_processes_equal_one(tmp_path):
    # 43 items: batches of 8 and 9, so that the shares differ in size.
    changes = {"n_epochs": 10, "average_decay": 0.9, "patience": 3}
    options = TrainingOptions(**{**toy.OPTIONS, **changes})
    checkpoint, stopped = str(tmp_path / "run.ckpt"), str(tmp_path / "stopped.ckpt")
    runs = [(checkpoint, None), (stopped, 16), (stopped, None)]
    there, code, *middle, resumed, last_code = in_parallel(tmp_path, changes, runs)
    assert code == last_code == {"code": 0}
    # A signal to one process stops both after the same step; both resume.
    by_rank = sorted(middle[:2], key=lambda line: line["stopped"])
    assert by_rank == [{"stopped": rank, "n_steps": 17} for rank in (0, 1)]
    assert middle[2:] == [{"code": 143}]
    assert resumed["weights"] == there["weights"]
    for name in ("train", "validation", "epochs", "n_steps"):
        assert resumed["history"][name] == there["history"][name]

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
