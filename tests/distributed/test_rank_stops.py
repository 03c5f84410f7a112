"""Contracts of stopping real jobs: all ranks stop before the same decision, and rank 0 saves once."""

from __future__ import annotations

import os
import signal

import pytest
from interrupts import interruptible
from rank_jobs import NUM_ENVS, TRAIN, fault, running, training
from runs import last_checkpoint

pytestmark = pytest.mark.distributed

TO_GROUP = "the process group of the launcher"
TO_LAUNCHER = "the launcher"
MOST_S = 30.0


def stopped(folder, number, to, size=2):
    """Train with --gpus, send a signal, and return how the job ended."""
    words = [*TRAIN, *training(folder), "--gpus", str(size)]
    with interruptible(), running(folder, words) as job:
        job.wait_for_rows(4)
        if to == TO_GROUP:
            os.killpg(job.process.pid, number)
        else:
            os.kill(job.process.pid, number)
        return job.end(MOST_S)


def assert_saved(folder, ended, name):
    """Assert that the run was saved once, where it stopped, and that it says so."""
    farewells = [line for line in ended.out.splitlines() if line.startswith("stopped by")]
    assert farewells == [f"stopped by {name} and saved; continue with: python -m mapush.train --resume run"]
    assert ended.err == []
    saved = last_checkpoint(folder / "run")
    assert saved.step % NUM_ENVS == 0
    return saved


@pytest.mark.slow
def test_ctrl_c_saves_once_and_exits_with_130(tmp_path):
    """A terminal sends SIGINT to the launcher's process group; the ranks get it from the launcher, once."""
    ended = stopped(tmp_path, signal.SIGINT, TO_GROUP)
    assert ended.code == 130
    assert_saved(tmp_path, ended, "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_the_launcher_saves_once(tmp_path, number, code):
    """Schedulers send SIGTERM to the process that they have started."""
    ended = stopped(tmp_path, number, TO_LAUNCHER, size=3)
    assert ended.code == code
    assert_saved(tmp_path, ended, signal.Signals(number).name)


@pytest.mark.slow
def test_signal_to_one_rank_stops_all(tmp_path):
    """The others stop before the same decision, and wait until rank 0 has saved."""
    with running(tmp_path, [*TRAIN, *training(tmp_path), "--gpus", "2"]) as job:
        job.wait_for_rows(4)
        job.ranks()[1].send_signal(signal.SIGTERM)
        ended = job.end(MOST_S)
    assert ended.code == 143
    saved = assert_saved(tmp_path, ended, "SIGTERM")
    assert saved.run["other_ranks"]


@pytest.mark.slow
def test_second_ctrl_c_leaves_at_once(tmp_path):
    """A rank hangs, so that nothing can be saved; the user need not wait until that is noticed."""
    words = [*TRAIN, *training(tmp_path), "--gpus", "2"]
    with interruptible(), running(tmp_path, words, fault("hang", 1)) as job:
        job.wait_until((tmp_path / "hangs").exists)
        job.process.send_signal(signal.SIGINT)
        job.pause(2.0)
        job.process.send_signal(signal.SIGINT)
        ended = job.end(10.0)
    assert ended.code in (130, -signal.SIGINT)  # a shell shows 130 for both
    assert last_checkpoint(tmp_path / "run").step > 0


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path):
    """Before there is anything to save, the job ends with the code of the signal."""
    words = [*TRAIN, *training(tmp_path), "--gpus", "2"]
    with interruptible(), running(tmp_path, words) as job:
        job.wait_until(lambda: len(job.ranks()) == 2)
        job.process.send_signal(signal.SIGINT)
        ended = job.end(60.0)
    assert ended.code == 130
    assert not (tmp_path / "run" / "checkpoints").exists()
