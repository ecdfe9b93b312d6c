"""Two processes with half the batch each learn what one with the whole batch does."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import numpy.testing as npt
import pytest
import torch

RUNS = {
    "ema": {"codebook": "ema", "n_decoder_epochs": 2},
    "ema_rate": {"codebook": "ema", "rate_weight": 0.5, "loss": "mae"},
    "ema_rate_masked": {"codebook": "ema", "rate_weight": 0.5, "masked": True},
    "gradient": {"codebook": "gradient"},
    "gradient_rate_masked": {
        "codebook": "gradient",
        "rate_weight": 0.5,
        "masked": True,
    },
    "subjects": {"subjects": True, "scaling": "percentile"},
    # With the seed 0 a value lies so near the edge of a ReLU that rounding decides:
    # weights then differ by 2e-5.
    "patches": {
        "subjects": True,
        "scaling": "volume",
        "patch_shape": [8, 4],
        "random_seed": 1,
    },
    "gated": {"kind": "gated"},
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not hasattr(os, "fork"),
        reason="no gloo here",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, free_port):
    """What all the runs in one and in two processes have written."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).parents[1] / "support" / "rank_runs.py"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps([str(folder), RUNS])],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PORT": str(free_port())},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_does(folder, name):
    one = np.load(folder / f"{name}-0-of-1.npz")
    first, second = (np.load(folder / f"{name}-{i}-of-2.npz") for i in range(2))
    assert set(first) == set(one)
    n_epochs = 10 + RUNS[name].get("n_decoder_epochs", 0)
    assert len(one["history.train.loss"]) == n_epochs
    assert one["history.train.loss"][-1] < one["history.train.loss"][0]
    for key in one:
        # What the processes hold is the same, not only similar.
        npt.assert_array_equal(first[key], second[key], err_msg=key)
        # float32 sums in another order: 50 steps of it.
        # NaN is what the decoder's own epochs do not measure.
        values, expected = (np.nan_to_num(a[key].astype(float)) for a in (first, one))
        difference = np.linalg.norm(values - expected)
        assert difference <= 1e-5 * np.linalg.norm(expected), key
    if "kind" not in RUNS[name]:
        npt.assert_array_equal(first["codes"], one["codes"])
        # Revived codes are the same vectors: there are some.
        assert (one["n_revived"] > 0) == (RUNS[name].get("codebook") != "gradient")


def test_runs_differ_from_each_other(folder):
    names = ("ema_rate", "ema_rate_masked")
    plain, masked = (np.load(folder / f"{name}-0-of-1.npz") for name in names)
    assert np.abs(plain["net.encoder.1.weight"] - masked["net.encoder.1.weight"]).max()
