"""Processes meet, or say why not, and none waits for ever."""

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest
import torch

from dipy_vqvae import parallel

HERE = Path(__file__).parents[1] / "support"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not hasattr(os, "fork"),
        reason="no gloo here",
    ),
]


@pytest.fixture(scope="module")
def cases(free_port):
    """How the processes of each case ended: message and seconds."""
    done = subprocess.run(
        [sys.executable, str(HERE / "meeting_runs.py"), str(free_port())],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


def messages(case):
    assert max(seconds for _, seconds in case.values()) < 30
    return {int(number): message for number, (message, _) in case.items()}


@pytest.mark.parametrize("name", ["all come", "one is slow"])
def test_who_has_come_is_waited_for(cases, name):
    """For longer than a meeting may take."""
    assert messages(cases[name]) == {0: "done", 1: "done", 2: "done"}


def test_not_for_ever(cases):
    found = messages(cases["one is too slow"])
    assert "ConnectionError: another process of this job has ended" in found[0]


def test_who_does_not_come_is_named(cases):
    found = messages(cases["the first does not come"])
    for number in (1, 2):
        assert "could not meet process 0 at 127.0.0.1:" in found[number]
    found = messages(cases["the second does not come"])
    for number in (0, 2):
        assert "ConnectionError: process 1 of 3 did not come" in found[number]


def test_a_network_that_is_not_there(cases):
    found = messages(cases["one has another network"])
    assert "cannot reach each other" in found[0]
    # The first may have ended before the others came.
    reasons = ("cannot reach each other", "could not meet process 0")
    for number in (1, 2):
        assert any(reason in found[number] for reason in reasons)
    assert "GLOO_SOCKET_IFNAME names the network to use, it is nonsense" in found[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MASTER_PORT", None, "MASTER_PORT is not set: start several"),
        ("RANK", "first", "whole numbers are needed .* RANK=first"),
    ],
)
def test_an_environment_that_torchrun_did_not_make(monkeypatch, name, value, message):
    for key in ("RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.setenv(key, "2")
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), parallel.processes():
        pass
