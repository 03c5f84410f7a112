"""Contracts of the harness for jobs of several ranks: which rank failed, and a curve and a verdict for each."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from harness.memory.verdict import CLEAN, ENDS, LEAK
from harness.process.diagnosis import diagnose
from harness.process.evidence import Evidence
from harness.process.isolate import run
from harness.process.limits import Limits
from harness.process.processes import rank_in
from harness.process.rank_failure import rank_failure
from harness.soaking.tree_meters import TreeMeters
from harness.soaking.tree_ranks import RankMeters
from harness.soaking.tree_verdict import judge_tree

pytestmark = pytest.mark.distributed

OWN_ERROR = [
    "   240    -7.39       242  1m39s  0.0008    3.31    -0.04   331M",
    "rank 1 of 2: ZeroDivisionError: planted",
    "Traceback (most recent call last):",
    '  File "world.py", line 31, in step',
    "    FAULTS[HOW]()",
    "ZeroDivisionError: planted",
]
OWN_MAPUSH_ERROR = [
    "rank 1 of 3: SimulatorError: the memory of the GPU is full",
    "  got       CUDA out of memory. Tried to allocate 20.00 GiB",
    "  cause     too many envs for this GPU",
    "  fix       lower --num-envs",
]
OWN_LOSS = [
    "rank 2 of 3 is lost: its process has ended without an error",
    "  where     process 1 on vm, in the decision after env step 252",
    "  cause     it was killed, by the system if memory was full, or it crashed",
    "rank 2 of 3 was ended by SIGKILL (process 1)",
]
OWN_HANG = ["rank 0 of 2 hangs: in the decision after env step 252 for 20 s", "rank 0 is here:"]
AGENT = [
    "[rank1]: Traceback (most recent call last):",
    '[rank1]:   File "theirs.py", line 3, in <module>',
    "[rank1]: KeyError: 'reward'",
    "[rank0]: Traceback (most recent call last):",
    '[rank0]:   File "theirs.py", line 9, in <module>',
    "[rank0]: RuntimeError: Connection closed by peer",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    "Failures:",
    "[1]:",
    "  rank      : 0 (local_rank: 0)",
    "  exitcode  : 1 (pid: 7)",
    "Root Cause (first observed failure):",
    "[0]:",
    "  time      : 2026-01-01_00:00:00",
    "  rank      : 1 (local_rank: 1)",
    "  exitcode  : 1 (pid: 8)",
    "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
]
LOGGED = ["E1130 12:04:46.334000 1845 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9)"]
KILLED = [line.replace("exitcode  : 1 (pid: 8)", "exitcode  : -9 (pid: 8)  (SIGKILL)") for line in AGENT]


def diagnosed(lines, code=1):
    """Return the report on a job that printed these lines and ended with this exit code."""
    return diagnose(Evidence(("torchrun", "train.py"), status=code << 8, lines=lines))


@pytest.mark.parametrize(
    "lines, kind, details, cause",
    [
        (OWN_ERROR, "exception", "rank 1 of 2: ZeroDivisionError: planted", None),
        (OWN_MAPUSH_ERROR, "exception", "rank 1 of 3: SimulatorError: the memory of the GPU is full", "too many envs"),
        (OWN_LOSS, "a rank was killed", OWN_LOSS[0], "it was killed"),
        (OWN_LOSS + LOGGED + AGENT, "a rank was killed", OWN_LOSS[0], "it was killed"),
        (OWN_HANG, "a rank hangs", OWN_HANG[0], None),
        (AGENT, "exception", "rank 1: KeyError: 'reward'", None),
        (KILLED, "a rank was killed", "rank 1: SIGKILL", ""),
    ],
)
def test_first_failure_of_a_rank_is_what_is_reported(lines, kind, details, cause):
    """Not what the other ranks or the launcher say, which follows from it."""
    ending = diagnosed(lines)
    assert (ending.kind, ending.details) == (kind, details)
    if cause is not None:
        assert (ending.cause or "").startswith(cause)


def test_exit_code_of_the_job_stays():
    """The launcher's code is passed on, also where the shell's words for it would be those of a signal."""
    assert diagnosed(OWN_LOSS, 137).exit_code == 137
    assert diagnosed(OWN_LOSS, 137).kind == "a rank was killed"


def test_job_that_ends_well_has_no_failure():
    """Words about ranks alone are no failure."""
    assert rank_failure(["rank 1 of 2 trains", "done"]) is None
    assert diagnosed(["rank 1 of 2: a warning"], 0).ok


# -- memory ----------------------------------------------------------------------------------------------------------

JOB = """
import os, subprocess, sys, time
rank = os.environ.get("RANK")
if rank is None:
    ranks = []
    for number in range(2):
        variables = dict(os.environ, RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE="2")
        ranks.append(subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1]], env=variables))
    sys.exit(max(one.wait() for one in ranks))
kept, end = [], time.monotonic() + 6.0
while time.monotonic() < end:
    one = bytearray(700_000)
    if rank == "1":
        kept.append(one)
    time.sleep(0.03)
"""


@pytest.mark.slow
def test_each_rank_has_a_curve_and_a_verdict():
    """Rank 1 keeps what it makes: it leaks, rank 0 does not, and the owner names the rank."""
    meters = TreeMeters()
    ending = run([sys.executable, "-c", JOB, JOB], Limits(timeout=120.0), onlooker=meters)
    report = judge_tree(meters, 1.0, ending, stopped=False)
    assert ending.ok, ending
    assert report.finding("rank 1").kind == LEAK, report
    assert report.finding("rank 0").kind in (CLEAN, ENDS), report
    assert {"rank 0", "rank 1"} <= set(report.curves)
    assert "rank 1" in report.owners[0]
    text = str(report)
    assert "curve     rank 0 " in text
    assert "note      rank 0: clean; rank 1: leak" in text or "rank 0: growth that ends; rank 1: leak" in text


def test_job_that_hangs_is_listed_by_rank():
    """Of the processes in the report, it is plain which is which."""
    source = "import time; time.sleep(60)"
    variables = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    ending = run([sys.executable, "-c", source], Limits(timeout=0.5), env=variables)
    assert ending.kind == "hang"
    assert "rank 1, process " in str(ending)


def test_gpu_memory_of_a_rank_is_that_of_its_processes():
    """Where the driver uses other ids for processes, the meter says so instead of 0."""
    me = psutil.Process()
    used = {me.pid: 7.0, 1: 5.0}
    ranks = RankMeters(lambda: used)
    ranks.numbers.of = {me: 1}.get
    ranks.assign([me])
    resident, on_gpu = ranks.meters
    assert resident.read() > 1e6
    assert (on_gpu.name, on_gpu.read()) == ("rank 1 on its GPU", 7.0)
    del used[me.pid]
    assert on_gpu.read() is None
    assert "ids on the host" in on_gpu.blind


@pytest.mark.parametrize(
    "environment, rank",
    [
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "3", "WORLD_SIZE": "4"}, None),
        ({"RANK": "first", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, None),
        ({}, None),
    ],
)
def test_rank_is_what_torchrun_says(environment, rank):
    """One process, or variables that something else has set, are no job."""
    assert rank_in(environment) == rank


def test_process_without_others_has_no_curve_of_its_own():
    """A variable RANK that is set by accident changes nothing."""
    meters = TreeMeters()
    run([sys.executable, "-c", "import time; time.sleep(0.5)"], Limits(), env={"RANK": "0"}, onlooker=meters)
    assert [name for name in meters.series if name.startswith("rank")] == []
    assert "RANK" not in os.environ
