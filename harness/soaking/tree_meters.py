"""Meters of a whole tree of processes, read from outside, without a change of the program."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import psutil

from harness.memory.meters import PART, PROCESS, Blind, Meter
from harness.memory.sampler import Series
from harness.process.processes import descendants
from harness.soaking.tree_gpu import TreeDriver
from harness.soaking.tree_ranks import RankMeters, RankNumbers
from harness.units import MIB

MAX_CPU_SHARE = 0.02  # of one core, that measuring may use
FREE_CPU_S = 2.0  # that measuring may use besides, so that short runs are measured often enough
FIRST_LOOK_S = 0.05
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
MAX_SNAPSHOTS = 64
MAX_LABEL = 60  # characters of a command line
SHARE_OF_SNAPSHOTS = 0.25  # of the time for measuring: what each process holds is listed more rarely

Amounts = Dict[str, float]


class Snapshot(NamedTuple):
    """What each process, or each kind of what is counted, had at a moment.

    Attributes:
      seconds: since the command started [s].
      parts: amounts by meter, and by the process or the kind.
    """

    seconds: float
    parts: Dict[str, Amounts]


class TreeMeter(Meter):
    """A number that is summed over the processes of a tree.

    Args:
      name: of the number in reports.
      unit: `bytes`, or the plural of what is counted.
      quantum: step in which the number moves [unit].
      owner: what to blame if it grows.
      of_process: returns the number of one process.

    Attributes:
      processes: the living processes of the tree; set before each reading.
    """

    def __init__(
        self, name: str, unit: str, quantum: float, owner: str, of_process: Callable[[psutil.Process], float]
    ) -> None:
        self.name = name
        self.unit = unit
        self.quantum = quantum
        self.owner = owner
        self.rank = PROCESS if unit == "bytes" else PART
        self.processes: Sequence[psutil.Process] = ()
        self._of_process = of_process

    def _read(self) -> float:
        total = 0.0
        for process in self.processes:
            try:
                total += self._of_process(process)
            except psutil.NoSuchProcess:  # it has ended meanwhile; a zombie, too
                continue
            except psutil.AccessDenied as error:
                if is_zombie(process):
                    continue
                raise Blind(f"process {process.pid}: permission denied") from error
        return total


def is_zombie(process: psutil.Process) -> bool:
    """Return whether a process has ended and was not waited for."""
    with contextlib.suppress(psutil.Error):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def tree_meters() -> List[TreeMeter]:
    """Return the meters of a tree of processes that need no GPU."""
    return [
        TreeMeter("descriptors", "descriptors", 1.0, "open files", lambda process: process.num_fds()),
        TreeMeter("threads", "threads", 1.0, "threads", lambda process: process.num_threads()),
        TreeMeter("children", "processes", 1.0, "child processes", lambda process: 1.0),
        TreeMeter("rss", "bytes", MIB, "memory", lambda process: process.memory_info().rss),
    ]


class TreeMeters:
    """Measures the processes below a process over time, as an `Onlooker` of a command.

    The pauses between two looks grow with what a look costs, so that measuring uses at most `MAX_CPU_SHARE` of a core
    after the first `FREE_CPU_S`, and the storage is bounded for a command of any duration.

    Args:
      minutes: after which it has seen enough [min]; None to look until the command ends.
      clock: returns the time [s].
      processes: returns the processes below a process id.
      gpu: returns the meter of the GPUs, which asks for the ids of the processes.

    Attributes:
      gpu: the meter of the GPUs.
      series: the curve of each meter, over seconds since the command started.
      snapshots: what each process had, at some of the looks.
      due: when the next look is to be taken, on `clock`.
      seconds: time of the last look [s].
      spent: CPU time that looking took [s].
    """

    def __init__(
        self,
        minutes: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
        processes: Callable[[int], Sequence[psutil.Process]] = descendants,
        gpu: Callable[[Callable[[], Sequence[int]]], TreeDriver] = TreeDriver,
    ) -> None:
        self._minutes = minutes
        self._clock = clock
        self._descendants = processes
        self._living: List[psutil.Process] = []
        self._distance = 0.0  # least time between snapshots that are kept [s]
        self._spent_on_snapshots = 0.0
        self._tree = tree_meters()
        self.gpu = gpu(lambda: [process.pid for process in self._living])
        on_gpu: Optional[Callable[[], Dict[int, float]]] = None
        if self.gpu.exists:
            on_gpu = self._memory_on_gpu
        self._ranks = RankMeters(on_gpu)
        self.series: Dict[str, Series] = {meter.name: Series() for meter in self.meters}
        self.snapshots: List[Snapshot] = []
        self._start = clock()
        self.due = self._start + FIRST_LOOK_S
        self.seconds = 0.0
        self.spent = 0.0

    @property
    def meters(self) -> List[Meter]:
        """The meters: those of the tree, that of the GPUs, and those of the ranks that were seen."""
        return [*self._tree, self.gpu, *self._ranks.meters]

    @property
    def has_seen_enough(self) -> bool:
        """Whether the time that was given has passed."""
        return self._minutes is not None and self._clock() - self._start >= 60.0 * self._minutes

    def look(self, pid: int) -> None:
        """Measure the processes below `pid`."""
        now = self._clock()
        began = time.thread_time()
        every = list(self._descendants(pid))
        self._living = [process for process in every if not is_zombie(process)]
        if self._living:
            self.seconds = now - self._start
            self._read(every)
            self._keep_snapshot(every)
        cost = time.thread_time() - began
        self.spent += cost
        pause = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S + self.seconds / 20.0)
        if self.spent > FREE_CPU_S:
            pause = max(pause, cost / MAX_CPU_SHARE)
        self.due = now + pause

    def _memory_on_gpu(self) -> Dict[int, float]:
        return self.gpu.by_process

    def _read(self, every: Sequence[psutil.Process]) -> None:
        for tree_meter in self._tree:
            tree_meter.processes = every if tree_meter.name == "children" else self._living
        self._ranks.assign(self._living)
        for meter in self.meters:
            value = meter.read()
            if value is not None:
                self.series.setdefault(meter.name, Series()).add(self.seconds, self.seconds, value)

    def _keep_snapshot(self, every: Sequence[psutil.Process]) -> None:
        """Keep what each process has, unless the last time was a short while ago, or this has become too expensive."""
        if self.snapshots and self.seconds - self.snapshots[-1].seconds < self._distance:
            return
        if self.snapshots and self._spent_on_snapshots > SHARE_OF_SNAPSHOTS * MAX_CPU_SHARE * self.seconds:
            return
        began = time.thread_time()
        self.snapshots.append(Snapshot(self.seconds, parts_of(every, self.gpu.by_process, self._ranks.numbers)))
        if len(self.snapshots) >= MAX_SNAPSHOTS:
            self.snapshots = self.snapshots[::2]
            self._distance = 2.0 * self.seconds / MAX_SNAPSHOTS
        self._spent_on_snapshots += time.thread_time() - began


# -- what each process holds -----------------------------------------------------------------------------------------


def parts_of(processes: Sequence[psutil.Process], on_gpu: Dict[int, float], ranks: RankNumbers) -> Dict[str, Amounts]:
    """Return memory by process, and descriptors, threads and children by what they are, under the meters' names.

    Args:
      processes: of the tree, those that have ended and were not waited for among them.
      on_gpu: GPU memory by process id [bytes].
      ranks: looks up which rank of a job a process is.
    """
    found: Dict[str, Amounts] = {}
    for name in ("rss", "driver", "descriptors", "threads", "children"):
        found[name] = collections.defaultdict(float)
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            _add_parts(found, process, on_gpu, ranks)
    for pid, used in on_gpu.items():
        if not any(process.pid == pid for process in processes):
            found["driver"][f"process {pid}, by its id on the host"] += used
    return found


def _add_parts(
    found: Dict[str, Amounts], process: psutil.Process, on_gpu: Dict[int, float], ranks: RankNumbers
) -> None:
    program = _without_digits(process.name())
    if is_zombie(process):
        found["children"][f"{program} (ended)"] += 1
        return
    found["children"][program] += 1
    label = f"process {process.pid} ({' '.join(process.cmdline())[:MAX_LABEL]})"
    rank = ranks.of(process)
    if rank is not None:
        label = f"rank {rank}, {label}"
    found["rss"][label] += process.memory_info().rss
    if process.pid in on_gpu:
        found["driver"][label] += on_gpu[process.pid]
    folder = Path(f"/proc/{process.pid}")
    for link in _entries(folder / "fd"):
        with contextlib.suppress(OSError):  # the file was closed meanwhile
            found["descriptors"][_without_digits(os.readlink(str(link)))] += 1
    for task in _entries(folder / "task"):
        with contextlib.suppress(OSError):  # the thread has ended
            found["threads"][_without_digits((task / "comm").read_text().strip())] += 1


def _entries(folder: Path) -> List[Path]:
    if not folder.is_dir():  # not Linux
        return []
    return list(folder.iterdir())


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "N", name)
