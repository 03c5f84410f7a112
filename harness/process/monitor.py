"""What can be seen of a running command from outside: its console, its processes, its memory."""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence

import psutil

LINES, LINE = 200, 2000  # of the console that are kept; characters of each
STACK_LINES = 2000
SAMPLES = 256  # of memory that are kept

_STACK_BEGINS = re.compile(r"(Fatal Python error: |Current thread|Thread 0x|Stack \(most recent|Timeout \()")
_STACK_GOES_ON = re.compile(r'(  File "|  Binary file "|  <|  \.\.\.|Extension modules: |Python runtime state: |$)')
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])")
_STEP = re.compile(r"total num timesteps (\d+)")
_RUN = re.compile(r"training \S+ in (.+): simulator ")


class Console:
    """The last lines that a command printed, and apart from them what `faulthandler` wrote of its stacks.

    Attributes:
      lines: the last ones, without colours and cursor movements.
      stacks: Python stacks, in `faulthandler`'s form.
      step: the last count of env steps that a line told.
      run: folder of the training run that a line named.
      heard: when a line was ended last, on `time.monotonic`'s clock; a progress bar rewrites its own and ends none.
    """

    def __init__(self) -> None:
        self.lines: Deque[str] = deque(maxlen=LINES)
        self.stacks: Deque[str] = deque(maxlen=STACK_LINES)
        self.step: Optional[int] = None
        self.run: Optional[Path] = None
        self.heard = time.monotonic()
        self._rest: Dict[Any, bytes] = {}  # of each stream: the line that is not finished yet
        self._in_stack = False

    def feed(self, stream: Any, data: bytes) -> None:
        """Take what came from `stream`, any key; its lines are told apart from those of others."""
        if b"\n" in data:
            self.heard = time.monotonic()
        *whole, rest = re.split(rb"\r\n|[\r\n]", self._rest.get(stream, b"") + data)
        if len(rest) > LINE:
            whole, rest = whole + [rest], b""
        self._rest[stream] = rest
        for line in whole:
            self._add(line)

    def finish(self) -> None:
        """Take what was left without an end of line."""
        for line in self._rest.values():
            self._add(line)
        self._rest = {}

    def _add(self, data: bytes) -> None:
        line = _ESCAPES.sub("", data.decode(errors="replace")).rstrip()[:LINE]
        if _STACK_BEGINS.match(line) or (self._in_stack and _STACK_GOES_ON.match(line)):
            self._in_stack = True
            self.stacks.append(line)
            return
        self._in_stack = False
        if line:
            self.lines.append(line)
        step, run = _STEP.search(line), _RUN.match(line)
        if step:
            self.step = int(step.group(1))
        if run:
            self.run = Path(run.group(1))


class Process(NamedTuple):
    """One process of a command that hangs.

    Attributes:
      pid: its number.
      parent: that of its parent.
      command: the command line.
      threads: how many it has.
      state: running if any of its threads does, otherwise that of its first, as psutil names it: sleeping, stopped ...
      waits_in: function of the kernel in which its first thread sleeps, "" if that cannot be read.
      cpu: share of a core that it takes.
      stack: lines that `faulthandler` wrote, [] if it did not.
      most_threads: that it was seen to have.
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

    @property
    def computes(self) -> bool:
        """It waits for nothing but a processor."""
        return self.cpu > 0.5 or self.state == psutil.STATUS_RUNNING

    def __str__(self) -> str:
        doing = "computes" if self.computes else self.state + (" in " + self.waits_in if self.waits_in else "")
        return f"process {self.pid} of {self.parent}: {doing}, {self.threads} threads"


def descendants(pid: int) -> List[psutil.Process]:
    """Return the processes below `pid`, parents before their children; [] if it is gone."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def alive(pid: int) -> bool:
    """Return whether a process has not ended yet."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def kill_below(pid: int, seconds: float) -> None:
    """Kill all processes below `pid`, and what they start meanwhile, for some `seconds` at most."""
    deadline = time.monotonic() + seconds
    living = descendants(pid)
    while living and time.monotonic() < deadline:
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)
        living = [process for process in descendants(pid) if alive(process.pid)]


def examine(processes: Sequence[psutil.Process], seconds: float = 0.2) -> List[Process]:
    """Return what the processes are doing, after watching them for some `seconds`; those that end are left out."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    facts = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            cpu = process.cpu_percent() / 100.0
            facts.append(
                Process(
                    process.pid,
                    process.ppid(),
                    process.cmdline(),
                    process.num_threads(),
                    psutil.STATUS_RUNNING if _runs(process.pid) else process.status(),
                    _waits_in(process.pid),
                    cpu,
                )
            )
    return facts


def _runs(pid: int) -> bool:
    """Return whether any of its threads runs or is about to."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_bytes().rpartition(b")")[2].split()[0] == b"R":
                return True
    return False


def _waits_in(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text().strip("0")
    return ""


class Sample(NamedTuple):
    """Memory at one moment.

    Attributes:
      seconds: since the command started.
      rss: resident memory of all its processes, pages that they share counted for each [bytes].
      gpu: memory of the GPUs in use, by whomever [bytes]; None if that cannot be read.
    """

    seconds: float
    rss: int
    gpu: Optional[int]


class MemoryCurve:
    """Memory of a command over time: at most `SAMPLES`, evenly spread, at a cost of 2 % of a core at most.

    Attributes:
      samples: those that are kept, in order.
      rss: the last one measured [bytes].
      peak: the largest one measured [bytes].
      threads: of each process that is there, the most that it was seen to have.
    """

    def __init__(self) -> None:
        self.samples: List[Sample] = []
        self.threads: Dict[int, int] = {}
        self.rss = self.peak = 0
        self._start = time.monotonic()
        self._due = self._start + 0.05  # by then there is something to measure
        self._gap = 0.0
        self._gpu = GpuMeter()

    @property
    def due(self) -> float:
        """When the next sample is to be taken, on `time.monotonic`'s clock."""
        return self._due

    def sample(self, pid: int) -> None:
        """Measure the processes below `pid`."""
        begin, cost = time.monotonic(), -time.thread_time()
        rss, before, self.threads = 0, self.threads, {}
        for process in descendants(pid):
            with contextlib.suppress(psutil.Error):
                rss += process.memory_info().rss
                self.threads[process.pid] = max(process.num_threads(), before.get(process.pid, 0))
        self.rss, self.peak = rss, max(rss, self.peak)
        sample = Sample(begin - self._start, rss, self._gpu.used())
        if not self.samples or sample.seconds - self.samples[-1].seconds >= self._gap:
            self.samples.append(sample)
        if len(self.samples) >= SAMPLES:
            self.samples = self.samples[::2]
            self._gap = 2.0 * sample.seconds / SAMPLES
        cost += time.thread_time()
        self._due = begin + max(min(1.0, 0.1 + sample.seconds / 20.0), 50.0 * cost)


class GpuMeter:
    """Memory in use on all GPUs together, from the driver."""

    def __init__(self) -> None:
        self._handles: List[Any] = []
        with contextlib.suppress(Exception):  # no such package, no driver, no permission: then there is no such curve
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def used(self) -> Optional[int]:
        """Return the memory in use [bytes]; None if it cannot be read."""
        try:
            return sum(int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in self._handles) or None
        except Exception:  # a driver that fell over has its own errors
            self._handles = []
            return None


def oom_kills() -> int:
    """Return how many processes the kernel has killed so far because memory was full; 0 if it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
