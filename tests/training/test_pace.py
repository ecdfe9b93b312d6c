"""What a training says before it starts, and after its first steps."""

import logging
from types import SimpleNamespace

import pytest

from dipy_vqvae.training import TrainingOptions, pace
from dipy_vqvae.training.pace import Pace, describe_plan
from dipy_vqvae.training.schedule import Schedule


def plan(**options):
    return describe_plan(Schedule(TrainingOptions(**options), n_items=5))


def test_the_plan():
    text = plan(n_epochs=10, batch_size=1)
    assert text.startswith(
        "50 steps: 10 epochs of 5 items in batches of 1. That is few"
    )
    text = plan(n_epochs=1000, batch_size=2, max_seconds=600)
    assert (
        text
        == "3,000 steps: 1,000 epochs of 5 items in batches of 2, at most 10 minutes"
    )
    assert plan(n_epochs=0.41, batch_size=5).startswith("1 step: 0.41 epochs")


@pytest.mark.parametrize(
    ("left", "told"), [(None, "about 15 minutes"), (71, "about 61 seconds")]
)
def test_the_pace_is_told_once(monkeypatch, caplog, left, told):
    now = iter(range(1000))
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr(pace, "time", clock)
    caplog.set_level(logging.INFO)
    rest = Pace(910, left)
    for step in range(1, 30):
        rest.update(step)
        assert bool(caplog.records) == (step >= 11)
    assert len(caplog.records) == 1
    assert f"1 seconds per step: {told}" in caplog.text


def test_a_short_rest_is_not_worth_a_line(caplog):
    caplog.set_level(logging.INFO)
    clock = Pace(30)
    for step in range(1, 31):
        clock.update(step)
    assert not caplog.records
