"""Contracts of jobs on several nodes, with two agents of torchrun on one machine."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys

import pytest
from interrupts import interruptible
from rank_jobs import TRAIN, running, training
from runs import last_checkpoint

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
MOST_S = 45.0  # until torchrun itself has ended, too


def free_port():
    """Return a port that nothing uses."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def two_nodes(folder, words, more=()):
    """Start a job of two nodes with one rank each; the first hosts the rendezvous, the second gets `more` words."""
    port = free_port()
    agent = [*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "job"]
    agent += ["--local-addr", "127.0.0.1", "--rdzv-endpoint", f"127.0.0.1:{port}"]
    with running(folder, [*agent, "-m", "mapush.train", *words], name="first") as first:
        first.wait_until(lambda: listens(port))
        with running(folder, [*agent, "-m", "mapush.train", *words, *more], name="second") as second:
            yield first, second


def listens(port):
    """Return whether something listens on a port."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def by_rank(jobs):
    """Return the jobs ordered by the rank that each has, once both have one."""
    found = {}
    for job in jobs:
        job.wait_until(job.ranks)
        found[next(iter(job.ranks()))] = job
    return [found[rank] for rank in sorted(found)]


def kill(job):
    """Kill a node: its agent and its rank."""
    for process in job.processes():
        process.kill()
    job.process.wait()


def rank_lines(job):
    """Return what the ranks of a job have said about a failure; torchrun's own lines are not ours."""
    return [line for line in job.err.read_text().splitlines() if line.startswith("rank ")]


@pytest.mark.parametrize("killed", [0, 1])
def test_killed_node_is_reported_and_the_run_goes_on_with_the_other(tmp_path, killed):
    """The other node says what is lost, and ends; --resume continues there, alone."""
    with two_nodes(tmp_path, training(tmp_path)) as jobs:
        nodes = by_rank(jobs)
        nodes[0].wait_for_rows(4)
        kill(nodes[killed])
        other = nodes[1 - killed]
        other.process.wait(MOST_S)
        other.wait_until_gone(5.0)
        assert other.process.returncode != 0
        assert rank_lines(other)[0].startswith(("rank 1 of 2 ", "rank 0 of 2 "))
        assert "lost" in rank_lines(other)[0]
    step = last_checkpoint(tmp_path / "run").step
    assert step > 0
    words = [*TRAIN, "--resume", "run", "--total-steps", str(step + 120)]
    with running(tmp_path, words, name="alone") as job:
        ended = job.end()
    assert ended.code == 0, ended.err
    assert "saved by 2 ranks, continued by 1" in ended.out
    assert last_checkpoint(tmp_path / "run").step == step + 120


def test_two_nodes_train_to_the_end(tmp_path):
    """Only the node of rank 0 prints, and both end well."""
    with two_nodes(tmp_path, training(tmp_path, iterations=6)) as jobs:
        nodes = by_rank(jobs)
        for job in jobs:
            assert job.process.wait(120.0) == 0, job.said()
        assert "done; evaluate with" in nodes[0].out.read_text()
        assert nodes[1].out.read_text() == ""
    assert last_checkpoint(tmp_path / "run").step == 6 * 60


def test_ranks_with_different_settings_are_refused_by_name(tmp_path):
    """The setting and both values are in the message, and no folder is made."""
    with two_nodes(tmp_path, training(tmp_path), ["--seed", "7"]) as jobs:
        for job in jobs:
            job.process.wait(120.0)
            job.wait_until_gone(5.0)
        said = rank_lines(jobs[0]) + rank_lines(jobs[1])
        assert said[0] == "rank 1 of 2: DistributedError: the ranks are not to do the same"
        assert "--seed is " in jobs[0].err.read_text() + jobs[1].err.read_text()
    assert not (tmp_path / "run").exists()


def test_ctrl_c_to_torchrun_saves_once(tmp_path):
    """The other node stops before the same decision, although its launcher got no signal."""
    with interruptible(), two_nodes(tmp_path, training(tmp_path)) as jobs:
        nodes = by_rank(jobs)
        nodes[0].wait_for_rows(4)
        nodes[1].process.send_signal(signal.SIGINT)
        for job in jobs:
            job.process.wait(MOST_S)
            job.wait_until_gone(5.0)
        assert nodes[0].out.read_text().count("stopped by SIGINT and saved") == 1
    assert last_checkpoint(tmp_path / "run").run["other_ranks"]
