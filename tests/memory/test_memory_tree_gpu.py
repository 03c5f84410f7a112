"""Tests of the meter of GPU memory of a command: NVML is a fake, the processes are numbers."""

from __future__ import annotations

import psutil
import pytest
from nvml import Nvml

from harness.memory.driver import MIG_INSTANCE, WHOLE_GPU
from harness.memory.verdict import CLEAN, LEAK, NOT_JUDGED
from harness.process.ending import Ending
from harness.process.evidence import Evidence
from harness.soaking.tree_gpu import THESE_PROCESSES, TreeDriver
from harness.soaking.tree_meters import TreeMeters
from harness.soaking.tree_verdict import judge_tree
from harness.units import MIB

pytestmark = pytest.mark.memory

ENDED = Ending("ended well", "", Evidence(("python", "train.py"), status=0), 0)
OURS, THEIRS = 71, 82


class Machine:
    """A machine with two GPUs, a command, and a clock that a test moves.

    Attributes:
      here: ids of the processes that are known on this side of a container's wall.
    """

    def __init__(self):
        self.nvml = Nvml(count=2)
        self.here = set()
        self.now = 0.0

    def meters(self):
        """Return meters of a command that has just started."""
        meters = TreeMeters(
            clock=lambda: self.now, processes=lambda pid: [psutil.Process()], gpu=lambda pids: self.driver()
        )
        return meters

    def driver(self):
        """Return the meter of the GPUs."""
        return TreeDriver(lambda: [OURS], load=lambda: self.nvml, is_here=self.here.__contains__)


@pytest.fixture
def machine():
    """A machine with two GPUs that nobody uses."""
    return Machine()


def watch(machine, used, seconds=120):
    """Return the report on a command under whose meters `used(seconds)` sets what NVML says."""
    meters = machine.meters()
    while machine.now < seconds:
        machine.now = max(meters.due, machine.now + 0.5)
        used(machine.now)
        meters.look(0)
    return judge_tree(meters, 20.0, ENDED, stopped=False)


def test_memory_of_the_command_is_summed_over_gpus_and_others_are_left_out(machine):
    """Only its processes count, on every GPU."""
    driver = machine.driver()
    machine.nvml.processes[0] = {OURS: 300 * MIB, THEIRS: 5000 * MIB}
    machine.nvml.processes[1] = {OURS: 70 * MIB}
    assert driver.read() == 370 * MIB
    assert driver.scope == THESE_PROCESSES
    assert driver.was_used


def test_leak_on_the_gpu_is_found(machine):
    """A fifth of a MiB a second, as in a run of hours that died at 7,700 MB, is a leak within two minutes."""
    report = watch(machine, lambda now: machine.nvml.processes[0].update({OURS: int((6000 + 0.2 * now) * MIB)}))
    assert report.kind == LEAK, report
    assert report.finding("driver").kind == LEAK
    low, high = report.finding("driver").interval
    assert low <= 0.2 * MIB <= high
    assert "GPU memory" in report.owners[0]


def test_memory_of_others_that_grows_is_no_alarm(machine):
    """Someone else's leak is not the command's."""

    def used(now):
        machine.nvml.processes[0] = {OURS: 600 * MIB, THEIRS: int((900 + 5 * now) * MIB)}
        machine.nvml.used[0] = int((1500 + 5 * now) * MIB)

    report = watch(machine, used)
    assert report.finding("driver").kind == CLEAN, report
    assert report.kind == CLEAN


def test_ids_that_a_container_hides_are_those_that_appeared(machine):
    """The process that came after the start is taken to be the command's; the one before it is not."""
    machine.nvml.processes[0] = {THEIRS: 900 * MIB}
    driver = machine.driver()
    machine.nvml.processes[0][4711] = 50 * MIB
    assert driver.read() == 50 * MIB
    assert driver.by_process == {4711: 50 * MIB}


def test_process_of_somebody_else_that_appears_is_no_alarm(machine):
    """A command without a GPU, beside a training that begins later and grows: it is known here, so it is not hidden."""
    machine.here = {OURS, THEIRS}

    def used(now):
        machine.nvml.processes[0] = {THEIRS: int((900 + 5 * now) * MIB)}
        machine.nvml.used[0] = int((900 + 5 * now) * MIB)

    meters = machine.meters()
    while machine.now < 120:
        machine.now = max(meters.due, machine.now + 0.5)
        meters.look(0)
        used(machine.now)
    report = judge_tree(meters, 20.0, ENDED, stopped=False)
    assert report.kind == CLEAN, report


def test_gpu_that_says_nothing_of_processes_is_read_as_a_whole(machine):
    """Without numbers of single processes the whole GPU is read, less what was used before."""
    machine.nvml.used[0] = 400 * MIB
    driver = machine.driver()
    machine.nvml.processes[0] = {OURS: None}
    machine.nvml.used[0] = 930 * MIB
    assert driver.read() == 530 * MIB
    assert driver.scope == WHOLE_GPU
    assert not driver.others
    machine.nvml.divided = True
    driver.read()
    assert driver.scope == MIG_INSTANCE


def test_growth_of_a_shared_gpu_as_a_whole_is_not_judged(machine):
    """If others use a GPU that says nothing of single processes, its growth is nobody's leak for sure."""

    def used(now):
        machine.nvml.processes[0] = {OURS: None, THEIRS: None}
        machine.nvml.used[0] = int((600 + 3 * now) * MIB)

    report = watch(machine, used)
    assert report.kind == NOT_JUDGED, report
    assert "measure on an idle GPU" in report.why


def test_command_that_uses_no_gpu_reads_zero(machine):
    """A machine with a GPU does not turn every command into one that must be judged by it."""
    driver = machine.driver()
    machine.nvml.processes[1] = {}
    assert driver.read() == 0.0
    assert not driver.was_used


@pytest.mark.parametrize("missing", ["package", "library", "gpu"])
def test_machine_without_a_gpu_is_said_in_words(machine, missing):
    """The report names why there is no meter, and the command is judged by its other memory."""

    def load():
        if missing == "package":
            raise ImportError
        if missing == "library":
            machine.nvml.forbidden.append("nvmlInit")
            return machine.nvml
        return Nvml(count=0)

    driver = TreeDriver(lambda: [OURS], load=load)
    assert driver.read() is None
    assert not driver.exists
    expected = {"package": "nvidia-ml-py is not installed", "library": "Insufficient", "gpu": "there is no GPU"}
    assert expected[missing] in driver.blind
