"""Contracts of real jobs whose ranks fail: the first line of the errors is the cause, and nothing is left running."""

from __future__ import annotations

import pytest
from rank_jobs import TRAIN, fault, running, training
from runs import last_checkpoint

pytestmark = pytest.mark.distributed

SAVED = 4 * 60  # env steps of the newest checkpoint before the failure
MOST_S = 30.0  # from the failure to the end of the job


def failed(folder, size, env, *more):
    """Train with --gpus until a rank fails; return how the job ended."""
    with running(folder, [*TRAIN, *training(folder), "--gpus", str(size), *more], env) as job:
        job.wait_for_rows(4)
        return job.end(MOST_S)


def test_rank_that_raises_ends_the_job_with_its_error(tmp_path):
    """The other rank, which waits in a collective, says nothing; the newest checkpoint is complete."""
    ended = failed(tmp_path, 2, fault("raises", 1))
    assert ended.err[0] == "rank 1 of 2: ZeroDivisionError: planted"
    assert ended.err[-1] == "ZeroDivisionError: planted"
    assert ended.code == 1
    assert last_checkpoint(tmp_path / "run").step == SAVED


@pytest.mark.slow
@pytest.mark.parametrize(
    "how, size, rank, first, code",
    [
        ("raises", 3, 0, "rank 0 of 3: ZeroDivisionError: planted", 1),
        ("oom", 3, 1, "rank 1 of 3: SimulatorError: the memory of the GPU is full", 2),
        ("leave", 2, 1, "rank 1 of 2: ended with exit code 7", 7),
        ("kill", 3, 2, "rank 2 of 3 is lost: its process has ended without an error", 137),
        ("kill", 2, 0, "rank 0 of 2 is lost: its process has ended without an error", 137),
        ("hang", 3, 1, "rank 1 of 3 hangs: in the decision after env step 252 for 20 s", 124),
        ("hang", 2, 0, "rank 0 of 2 hangs: in the decision after env step 252 for 20 s", 124),
        ("freeze", 2, 1, "rank 1 of 2 is lost: no sign of life for 15 s", 124),
        ("hang_with_the_gil", 2, 0, "rank 0 of 2 is lost: no sign of life for 15 s", 124),
    ],
)
def test_rank_that_fails_is_named_with_the_cause(tmp_path, how, size, rank, first, code):
    """Whichever rank it is, and whichever way it fails: within 30 s everything has ended, with its exit code."""
    ended = failed(tmp_path, size, fault(how, rank))
    assert ended.err[0] == first
    assert ended.code == code
    assert last_checkpoint(tmp_path / "run").step == SAVED


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_rank_that_is_killed_in_its_first_step_ends_the_job(tmp_path, rank):
    """Also before there is a checkpoint, and while the other rank may still be compiling."""
    with running(tmp_path, [*TRAIN, *training(tmp_path), "--gpus", "2"], fault("kill", rank, 1)) as job:
        ended = job.end()
    assert ended.err[0].startswith(f"rank {rank} of 2 ")
    assert ended.code == 137


@pytest.mark.slow
def test_rank_that_is_killed_while_it_starts_ends_the_job(tmp_path):
    """Its process is gone before it has said anything to the others; the launcher names it."""
    with running(tmp_path, [*TRAIN, *training(tmp_path), "--gpus", "2"]) as job:
        job.wait_until(lambda: 1 in job.ranks())
        job.ranks()[1].kill()
        ended = job.end(60.0)
    assert ended.err[0].startswith("rank 1 of 2 ")
    assert "SIGKILL" in "\n".join(ended.err)
    assert ended.code == 137


@pytest.mark.slow
def test_launcher_that_is_killed_leaves_no_rank(tmp_path):
    """The ranks run in sessions of their own, so nothing but their watch ends them."""
    with running(tmp_path, [*TRAIN, *training(tmp_path), "--gpus", "2"]) as job:
        job.wait_for_rows(4)
        job.process.kill()
        job.process.wait()
        job.wait_until_gone(MOST_S)
        first = job.err.read_text().splitlines()[0]
    assert "has lost its launcher" in first
    assert last_checkpoint(tmp_path / "run").step > 0
