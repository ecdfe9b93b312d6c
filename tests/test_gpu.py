"""A GPU makes of everything what the CPU does, or a device that pretends to be one.

Where there is no GPU, this shows that nothing is on the wrong device, in the wrong
generator or in the wrong precision; see :mod:`pretend_gpu`.
"""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import numpy.testing as npt
import pytest
import torch

HERE = Path(__file__).parent / "support"
HAS_GPU = torch.cuda.is_available()
NAMES = (
    "two_processes",
    "ema",
    "gradient",
    "adam",
    "volumes",
    "patches",
    "mixed",
    "priors",
    "masked_prior",
    "dropout",
    "files",
    "packed",
    "resumed",
    "diverged",
    "commands",
    "experiment",
)
# Two processes want two GPUs, and the experiment's numbers are those of a lottery.
ONLY_PRETENDED = ("experiment", "two_processes")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes"),
]
needs_pretence = pytest.mark.skipif(
    HAS_GPU
    or not hasattr(torch.utils.backend_registration, "_DummyBackendModule")
    or not torch.distributed.is_available(),
    reason="there is a GPU, or this torch cannot pretend to have one",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, free_port):
    """What all the runs have made, on the CPU and on the GPU."""
    folder = tmp_path_factory.mktemp("gpu")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "gpu_runs.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PORT": str(free_port())},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=needs_pretence)
        if not HAS_GPU or n in ONLY_PRETENDED
        else n
        for n in NAMES
    ],
)
def test_a_gpu_makes_what_the_cpu_makes(folder, name):
    error = folder / f"{name}.error"
    assert not error.exists(), error.read_text()
    cpu, gpu = (np.load(folder / f"{name}-{kind}.npz") for kind in ("cpu", "gpu"))
    assert set(cpu) == set(gpu) and len(cpu.files)
    for key in cpu:
        if not HAS_GPU:
            npt.assert_array_equal(gpu[key], cpu[key], err_msg=key)
        elif "loss" in key:
            npt.assert_allclose(gpu[key], cpu[key], rtol=0.05, err_msg=key)
        else:
            assert gpu[key].shape == cpu[key].shape


@needs_pretence
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("there + torch.ones(2)", "expected all tensors on one device"),
        ("torch.ones(2) * there", "expected all tensors on one device"),
        ("torch.cat([there, torch.ones(2)])", "expected all tensors on one device"),
        ("torch.stack([there[0], torch.ones(())])", "expected all tensors on one"),
        ("torch.ones(2)[there.long()]", "expected all tensors on one device"),
        ("torch.nn.Linear(2, 2)(there)", "expected all tensors on one device"),
        ("there.numpy()", "cannot convert a tensor of pretend:0 to NumPy"),
        ("np.asarray(there)", "cannot convert a tensor of pretend:0 to NumPy"),
        (
            "torch.rand(2, device=DEVICE, generator=torch.Generator())",
            "expected a generator of the device",
        ),
        ("print(there + torch.ones(()), there[torch.tensor([0])], 2 * there)", None),
        ("print((there + 1).cpu().numpy(), there.tolist(), there[0].item())", None),
    ],
)
def test_the_pretended_device_is_as_strict_as_a_gpu(code, error):
    lines = [
        "import numpy as np, torch, pretend_gpu",
        "pretend_gpu.install()",
        "DEVICE = pretend_gpu.DEVICE",
        "there = torch.ones(2).to(DEVICE)",
        "assert there.device.type == 'pretend' and not there.is_cpu",
        code,
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=HERE,
        check=False,
    )
    assert (done.returncode == 0) == (error is None), done.stderr
    assert (error or "") in done.stderr


def test_all_runs_are_tested():
    command = "import gpu_runs, json; print(json.dumps(list(gpu_runs.RUNS)))"
    out = subprocess.check_output([sys.executable, "-c", command], cwd=HERE)
    assert tuple(json.loads(out)) == NAMES
