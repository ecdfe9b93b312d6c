"""Which precision is quick, and that it does not keep old weights."""

import pytest
import torch

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
    device = torch.device("cpu")
    with torch.autocast("cpu", enabled=False):
        for value in (1.0, 2.0):
            torch.nn.init.constant_(layer.weight, value)
            torch.nn.init.zeros_(layer.bias)
            with autocast(device, True):
                out = layer(x)
            assert out.dtype == torch.bfloat16
            assert out[0, 0] == 3 * value
