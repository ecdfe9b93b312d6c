"""Processes agree on time and signals: in each step, if no GPU has to wait for it."""

import signal

import pytest
import torch

from dipy_vqvae.training import agreement


@pytest.fixture
def two(monkeypatch):
    """This process is the first of two; the other was sent SIGTERM."""
    sent = []

    def add_the_other(tensor):
        sent.append(len(tensor))
        # The values 1 and 2; the clock counts in the first process only.
        other = torch.tensor([1.0, 2.0, 0.0, 0.0, 1.0], dtype=tensor.dtype)
        return tensor + (other if len(tensor) == 5 else _part(other, tensor))

    def _part(other, tensor):
        return other[:2] if len(tensor) == 2 else other[2:]

    monkeypatch.setattr(agreement, "all_reduce_sum", add_the_other)
    monkeypatch.setattr(agreement, "world_size", lambda: 2)
    monkeypatch.setattr(agreement, "rank", lambda: 0)
    monkeypatch.setattr(agreement, "is_parallel", lambda: True)
    return sent


@pytest.mark.parametrize(
    ("kind", "on_cpus", "may_wait", "is_known", "messages"),
    [
        ("cpu", True, True, True, [5]),
        ("cuda", True, False, True, [2, 3]),
        ("cuda", True, True, True, [2, 3]),
        ("cuda", False, False, False, [5]),
        ("cuda", False, True, True, [5]),
    ],
)
def test_what_is_known_after_a_step(
    two, monkeypatch, kind, on_cpus, may_wait, is_known, messages
):
    monkeypatch.setattr(agreement, "can_send_from_cpus", lambda: on_cpus)
    both = agreement.Agreement(torch.device(kind))
    values = torch.tensor([3.0, 4.0])
    means = both.average(values, time_fraction=0.25, received=None, may_wait=may_wait)
    assert means.tolist() == [2.0, 3.0]
    assert both.time_fraction == (0.25 if is_known else 0.0)
    assert both.signum == (signal.SIGTERM if is_known else None)
    assert two == messages


def test_alone_anything_can_be_sent():
    assert agreement.can_send_from_cpus()
