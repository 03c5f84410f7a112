"""Contracts of checkpoints by time: due by an injected clock, in addition to those by env steps."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from runs import ROLLOUT, assert_same_end, last_checkpoint, tiny

from mapush.config import RunConfig
from mapush.errors import ConfigError
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint_schedule import CheckpointSchedule
from mapush.train import train

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute on one thread: the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Clock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def schedule_of(clock, **changes):
    """Return the schedule of a run that saves every 100 env steps, and after 10 minutes."""
    return CheckpointSchedule(dataclasses.replace(RunConfig(checkpoint_every=100), **changes), clock)


def test_clock_is_counted_from_the_last_checkpoint():
    """Due after ten minutes, and again ten minutes after whatever was saved last."""
    clock = Clock()
    schedule = schedule_of(clock)
    clock.now += 599.0
    assert not schedule.due_by_clock()
    clock.now += 1.0
    assert schedule.due_by_clock()
    schedule.saved(None)
    assert not schedule.due_by_clock()
    clock.now += 600.0
    assert schedule.due_by_clock()


def test_zero_minutes_never_save_by_clock():
    """0 turns checkpoints by time off."""
    clock = Clock()
    schedule = schedule_of(clock, checkpoint_minutes=0.0)
    clock.now += 1e9
    assert not schedule.due_by_clock()


def test_negative_minutes_are_refused():
    """A time cannot be negative."""
    with pytest.raises(ConfigError, match="checkpoint_minutes is out of range"):
        RunConfig(checkpoint_minutes=-1.0)


def test_due_by_steps_when_a_multiple_is_passed():
    """A rollout that passes a multiple of checkpoint_every counts, one that only reaches below it does not."""
    schedule = schedule_of(Clock())
    assert schedule.due_by_steps(70, 105)
    assert schedule.due_by_steps(65, 100)
    assert not schedule.due_by_steps(100, 199)


def test_checkpoint_by_clock_is_removed_when_a_newer_one_is_complete(tmp_path):
    """Those by steps stay; of those by the clock only the newest, and only as long as it is the newest of all."""
    schedule = schedule_of(Clock())
    left = []
    for name, by_clock in (("a", False), ("b", True), ("c", True), ("d", False), ("e", True), ("e", False)):
        (tmp_path / name).touch()
        schedule.saved(tmp_path / name, by_clock)
        left.append("".join(sorted(path.name for path in tmp_path.iterdir())))
    assert left == ["a", "ab", "ac", "ad", "ade", "ade"]


def test_run_saves_by_the_clock_and_by_steps(tmp_path):
    """With a clock that jumps six minutes at each look, every second rollout is saved, and the run is the same run."""
    ticks = itertools.count(0.0, 360.0)
    seen = []

    def clock():
        seen.append(sorted(path.name for path in (tmp_path / "timed" / "checkpoints").glob("*.pt")))
        return next(ticks)

    config = dataclasses.replace(tiny(9), checkpoint_every=5 * ROLLOUT)
    timed = train(config, tmp_path / "timed", clock=clock)
    assert [checkpoints.load(path).step for path in checkpoints.all_of(timed)] == [5 * ROLLOUT, 9 * ROLLOUT]
    before_the_first_by_steps = {names[0] for names in seen if len(names) == 1}
    assert "step_000000000070.pt" in before_the_first_by_steps
    plain = train(dataclasses.replace(config, checkpoint_minutes=0.0), tmp_path / "plain")
    assert_same_end(timed, plain)


def test_run_killed_between_two_checkpoints_by_steps_continues_from_the_one_by_the_clock(tmp_path):
    """A run that fails early in a long interval has lost minutes only; it ends like one that was never interrupted."""

    class PowerCut(Exception):
        """What ends the run."""

    calls = itertools.count()

    def clock():
        if next(calls) > 9:
            raise PowerCut
        return 700.0 * next(calls)

    config = dataclasses.replace(tiny(9), checkpoint_every=10**6)
    with pytest.raises(PowerCut):
        train(config, tmp_path / "cut", clock=clock)
    assert last_checkpoint(tmp_path / "cut").step > 0
    cut = train(config, tmp_path / "cut", resume=True)
    assert_same_end(cut, train(config, tmp_path / "plain"))
