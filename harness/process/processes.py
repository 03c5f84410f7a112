"""The processes of a command as the system shows them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence

import psutil


class ProcessState(NamedTuple):
    """What one process of a command does at a moment.

    Attributes:
      pid: its process id.
      parent: the process id of its parent.
      command: its command line.
      threads: how many threads it has.
      state: "running" if any of its threads runs, otherwise the state of its first thread in the words of psutil, such
        as "sleeping" or "stopped".
      waits_in: the kernel function in which its first thread sleeps; "" if that cannot be read.
      cpu: share of a core that it uses.
      stack: lines that `faulthandler` wrote; empty if it wrote none.
      most_threads: the largest number of threads that it was seen to have.
      rank: its number in a job of several ranks; None if it is not part of one.
    """

    pid: int
    parent: int
    command: Sequence[str]
    threads: int
    state: str
    waits_in: str
    cpu: float
    stack: Sequence[str] = ()
    most_threads: int = 0
    rank: Optional[int] = None

    @property
    def computes(self) -> bool:
        """Whether it waits for nothing but a processor."""
        return self.cpu > 0.5 or self.state == psutil.STATUS_RUNNING

    def __str__(self) -> str:
        activity = self.state
        if self.computes:
            activity = "computes"
        elif self.waits_in:
            activity = f"{self.state} in {self.waits_in}"
        name = f"process {self.pid} of {self.parent}"
        if self.rank is not None:
            name = f"rank {self.rank}, {name}"
        return f"{name}: {activity}, {self.threads} threads"


def rank_in(environment: Mapping[str, str]) -> Optional[int]:
    """Return the rank that torchrun's variables name; None if the process is not one of several.

    Args:
      environment: environment variables of the process.
    """
    rank, size = environment.get("RANK", ""), environment.get("WORLD_SIZE", "")
    if rank.isdecimal() and size.isdecimal() and int(size) > 1 and "LOCAL_RANK" in environment:
        return int(rank)
    return None


def descendants(pid: int) -> List[psutil.Process]:
    """Return the processes below `pid`, parents before their children; [] if `pid` has ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def alive(pid: int) -> bool:
    """Return whether a process has not ended yet."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def kill_below(pid: int, seconds: float) -> None:
    """Kill all processes below `pid`, and those that they start meanwhile, for at most so many `seconds`."""
    deadline = time.monotonic() + seconds
    living = descendants(pid)
    while living and time.monotonic() < deadline:
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)
        living = [process for process in descendants(pid) if alive(process.pid)]


def examine(processes: Sequence[psutil.Process], seconds: float = 0.2) -> List[ProcessState]:
    """Return what processes do, leaving out those that end meanwhile.

    Args:
      processes: the processes to look at.
      seconds: how long their use of the processor is measured [s].
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()  # the next call returns the share since this one
    time.sleep(seconds)
    states = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            states.append(_state_of(process))
    return states


def _state_of(process: psutil.Process) -> ProcessState:
    cpu = process.cpu_percent() / 100.0
    state = process.status()
    if _any_thread_runs(process.pid):
        state = psutil.STATUS_RUNNING
    return ProcessState(
        pid=process.pid,
        parent=process.ppid(),
        command=process.cmdline(),
        threads=process.num_threads(),
        state=state,
        waits_in=_waits_in(process.pid),
        cpu=cpu,
        rank=_rank_of(process),
    )


def _rank_of(process: psutil.Process) -> Optional[int]:
    with contextlib.suppress(psutil.Error, OSError):
        return rank_in(process.environ())
    return None


def _any_thread_runs(pid: int) -> bool:
    """Return whether any thread of a process runs or is ready to run; `psutil` knows only the first thread."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            after_name = stat.read_bytes().rpartition(b")")[2]
            if after_name.split()[0] == b"R":
                return True
    return False


def _waits_in(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text().strip("0")
    return ""


def oom_kills() -> int:
    """Return how many processes the kernel has killed so far because memory was full; 0 if that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
