"""The memory of a command over time, measured from the outside."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import psutil

from harness.process.processes import descendants

MAX_SAMPLES = 256
FIRST_SAMPLE_S = 0.05  # by then the command has begun to do something
MAX_CPU_SHARE = 0.02  # of one core, that measuring may use


class MemorySample(NamedTuple):
    """The memory of a command at a moment.

    Attributes:
      seconds: since the command started [s].
      rss: resident memory of all its processes [bytes]; pages that they share count for each of them.
      gpu: memory in use on all GPUs, by any process [bytes]; None if that cannot be read.
    """

    seconds: float
    rss: int
    gpu: Optional[int]


class MemoryCurve:
    """The memory of a command over time: at most `MAX_SAMPLES` samples, evenly spread.

    Whenever there are too many samples, every second one is dropped, and from then on samples are kept at twice the
    distance. So the number of samples is bounded for a command of any duration, and their distances differ by at most
    a small factor. The pauses between samples grow with what a sample costs, so that measuring uses at most
    `MAX_CPU_SHARE` of a core.

    Args:
      clock: returns the time [s].
      processes: returns the processes below a process id.

    Attributes:
      samples: the samples that were kept, in order.
      rss: the last measurement [bytes].
      peak: the largest measurement [bytes].
      threads: for each living process, by its id, the largest number of threads that it was seen to have.
      due: when the next sample is to be taken, on `clock`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        processes: Callable[[int], Sequence[psutil.Process]] = descendants,
    ) -> None:
        self._clock = clock
        self._descendants = processes
        self._gpu = GpuMeter()
        self._start = clock()
        self._distance = 0.0  # least time between samples that are kept [s]
        self.samples: List[MemorySample] = []
        self.threads: Dict[int, int] = {}
        self.rss = 0
        self.peak = 0
        self.due = self._start + FIRST_SAMPLE_S

    def sample(self, pid: int) -> None:
        """Measure the processes below `pid`."""
        now = self._clock()
        cpu_before = time.thread_time()
        self._measure_processes(pid)
        sample = MemorySample(now - self._start, self.rss, self._gpu.used())
        self._keep(sample)
        cost = time.thread_time() - cpu_before
        pause = min(1.0, 0.1 + sample.seconds / 20.0)
        self.due = now + max(pause, cost / MAX_CPU_SHARE)

    def _measure_processes(self, pid: int) -> None:
        rss = 0
        threads = {}
        for process in self._descendants(pid):
            with contextlib.suppress(psutil.Error):
                rss += process.memory_info().rss
                threads[process.pid] = max(process.num_threads(), self.threads.get(process.pid, 0))
        self.rss = rss
        self.threads = threads
        self.peak = max(rss, self.peak)

    def _keep(self, sample: MemorySample) -> None:
        if not self.samples or sample.seconds - self.samples[-1].seconds >= self._distance:
            self.samples.append(sample)
        if len(self.samples) >= MAX_SAMPLES:
            self.samples = self.samples[::2]
            self._distance = 2.0 * sample.seconds / MAX_SAMPLES


class GpuMeter:
    """Reads from the driver how much memory is in use on all GPUs together."""

    def __init__(self) -> None:
        self._handles: List[Any] = []
        with contextlib.suppress(Exception):  # without the package, a driver or the permission there is no such curve
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            for index in range(pynvml.nvmlDeviceGetCount()):
                self._handles.append(pynvml.nvmlDeviceGetHandleByIndex(index))

    def used(self) -> Optional[int]:
        """Return the memory in use [bytes]; None if it cannot be read."""
        total = 0
        try:
            for handle in self._handles:
                total += int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)
        except Exception:  # a driver that has crashed raises errors of its own
            self._handles = []
            return None
        return total or None
