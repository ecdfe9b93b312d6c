"""Which device a process takes, and which precision is quick there."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from dipy_vqvae import device
from dipy_vqvae.device import autocast, has_fast_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "is_fast"),
    [
        ({}, False),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),
        ({"avx512_bf16": True}, False),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, True),
    ],
)
def test_instructions_for_bfloat16(monkeypatch, capabilities, is_fast):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )
    assert has_fast_bfloat16(torch.device("cpu")) is is_fast


def test_new_weights_are_seen_inside_another_autocast():
    layer = torch.nn.Linear(3, 2)
    x = torch.ones(1, 3)
    with torch.autocast("cpu", enabled=False):
        for value in (1.0, 2.0):
            torch.nn.init.constant_(layer.weight, value)
            torch.nn.init.zeros_(layer.bias)
            with autocast(torch.device("cpu"), True):
                out = layer(x)
            assert out.dtype == torch.bfloat16
            assert out[0, 0] == 3 * value


class Gpus:
    """What `torch.cuda` says of a machine's GPUs."""

    def __init__(self, names):
        self.names, self.current = names, 0

    def is_available(self):
        return bool(self.names)

    def device_count(self):
        return len(self.names)

    def set_device(self, number):
        self.current = number

    def current_device(self):
        return self.current

    def get_device_properties(self, device):
        return SimpleNamespace(uuid=self.names[device.index])


@pytest.fixture
def job(monkeypatch):
    """Choose a device in each of several processes, as they would."""

    def choose(machines, function, environments):
        found = []
        size = len(machines)
        for i, (names, environment) in enumerate(
            zip(machines, environments, strict=True)
        ):
            with monkeypatch.context() as patch:
                patch.setattr(torch, "cuda", Gpus(names))
                patch.delenv("LOCAL_RANK", raising=False)
                for name, value in environment.items():
                    patch.setenv(name, value)
                patch.setattr(device, "is_parallel", lambda: size > 1)
                patch.setattr(device, "rank", lambda i=i: i)
                found.append(function())
        return found

    return choose


@pytest.mark.parametrize(
    ("machines", "local_ranks", "expected"),
    [
        (["ab", "ab"], [0, 1], [0, 1]),
        (["ab", "ab"], [None, None], [0, 1]),
        (["a", "b"], [0, 1], [0, 0]),  # srun --gpus-per-task=1
        (["ab", "ab", "ab"], [0, 1, 2], [0, 1, 0]),
        (["ab"], [None], [0]),
    ],
)
def test_gpus_are_taken_in_turn(job, machines, local_ranks, expected):
    environments = [
        {} if number is None else {"LOCAL_RANK": str(number)} for number in local_ranks
    ]
    found = job(machines, lambda: device.choose_device(True), environments)
    assert found == [torch.device("cuda", number) for number in expected]


@pytest.mark.parametrize(
    ("machines", "local_ranks", "message"),
    [
        (["ab", "ab", "cd", "cd"], [0, 1, 0, 1], None),
        (["a", "b", "", ""], [0, 1, 2, 3], "no GPU in process 2, 3 of 4, and one in"),
        (["", ""], [0, 1], None),
        (["ab", "ab", "ab"], [0, 1, 2], "processes 0 and 2 have the same GPU"),
        (["a", "a"], [0, 1], "processes 0 and 1 have the same GPU"),
    ],
)
def test_processes_of_a_training_are_of_one_kind(
    job, monkeypatch, machines, local_ranks, message
):
    environments = [{"LOCAL_RANK": str(number)} for number in local_ranks]
    shown = []
    monkeypatch.setattr(device, "gather", lambda items: shown.extend(items) or items)
    job(machines, lambda: device.device_of_training(True), environments)
    monkeypatch.setattr(device, "gather", lambda items: shown)
    for _ in range(2):
        with pytest.raises(ValueError, match=message) if message else nullcontext():
            job(machines, lambda: device.device_of_training(True), environments)
