"""Torch's settings of precision: exact inside, and afterwards as they were."""

import json
import os
import subprocess
import sys
import threading

import pytest
import torch

from dipy_vqvae.device import exact_float32, inference

# Each in a process of its own: there is no way back to torch's first state.
SCRIPT = """
import json, os, sys, torch
from dipy_vqvae.device import exact_float32

def get(owner, name):
    try:
        return getattr(owner, name)
    except RuntimeError:
        return "mixed"

def settings():
    b, found = torch.backends, {}
    for name in ("deterministic", "benchmark", "allow_tf32"):
        found[name] = get(b.cudnn, name)
    found["matmul.allow_tf32"] = get(b.cuda.matmul, "allow_tf32")
    try:
        found["matmul"] = torch.get_float32_matmul_precision()
    except RuntimeError:
        found["matmul"] = "mixed"
    owners = {"all": b, "cuda.matmul": b.cuda.matmul}
    for library in ("cudnn", "mkldnn"):
        owners[library] = getattr(b, library)
        for operation in ("conv", "matmul", "rnn"):
            owner = getattr(owners[library], operation, None)
            owners[f"{library}.{operation}"] = owner
    for name, owner in owners.items():
        if hasattr(owner, "fp32_precision"):
            found[f"{name}.fp32_precision"] = get(owner, "fp32_precision")
    return found

def look(code):
    exec(code)
    before = settings()
    x = torch.ones(1, 1, 4, 4)
    with exact_float32():
        inside = settings()
        with exact_float32():
            assert settings() == inside
        assert settings() == inside
        torch.nn.functional.conv2d(x, x), x[0, 0] @ x[0, 0]
    print(json.dumps([code, before, inside, settings()]), flush=True)

for code in sys.argv[1:]:
    child = os.fork()
    if not child:
        look(code)
        os._exit(0)
    os.waitpid(child, 0)
"""
CODES = [
    "",
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.benchmark = True",
    "torch.backends.cudnn.deterministic = True",
]
if hasattr(torch.backends.cudnn, "conv"):  # since torch 2.9
    CODES += [
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cudnn.fp32_precision = 'tf32'",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.mkldnn.fp32_precision = 'bf16'",
        "torch.backends.mkldnn.conv.fp32_precision = 'tf32'",
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    ]


@pytest.fixture(scope="module")
def found():
    """Settings before, inside and after, for each of the codes."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *CODES]
    out = subprocess.check_output(command, text=True)
    return {code: rest for code, *rest in map(json.loads, out.splitlines())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
@pytest.mark.parametrize("code", CODES)
def test_exact_inside_and_as_before_outside(found, code):
    before, inside, after = found[code]
    assert after == before
    assert inside["deterministic"] and not inside["benchmark"]
    assert inside["allow_tf32"] in (False, "mixed")
    assert inside["matmul"] in ("highest", "mixed")
    for name, value in inside.items():
        if name.endswith(("conv.fp32_precision", "matmul.fp32_precision")):
            assert value not in ("tf32", "bf16"), name


def test_threads_that_overlap_leave_things_as_they_were():
    cudnn = torch.backends.cudnn
    before, come, go = cudnn.allow_tf32, threading.Event(), threading.Event()

    def stay():
        with exact_float32():
            come.set()
            go.wait()

    thread = threading.Thread(target=stay)
    with exact_float32():
        thread.start()
        come.wait()
    assert not cudnn.allow_tf32  # the thread still needs it
    go.set()
    thread.join()
    assert cudnn.allow_tf32 == before


def test_inference_is_exact():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), inference(torch.device("cpu")):
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before


def test_an_interrupted_entry_changes_nothing(monkeypatch):
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "get_float32_matmul_precision", interrupt)
        with exact_float32():
            pytest.fail("it was interrupted")
    assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == before
    with exact_float32():
        assert cudnn.deterministic and not cudnn.allow_tf32
    assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == before


def interrupt():
    raise KeyboardInterrupt
