"""GPU memory of a tree of processes, on all GPUs together, as the driver counts it."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

import psutil

from harness.memory.driver import MIG_INSTANCE, WHOLE_GPU
from harness.memory.meters import PROCESS, Blind, Meter
from harness.units import MIB

THESE_PROCESSES = "the processes of the command"
LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")


class TreeDriver(Meter):
    """GPU memory that the processes of a command use.

    NVML lists processes under their ids on the host, which a container may hide. Then the processes that appeared on
    the GPUs after the command had started are taken to be the command's, unless they are known here under their ids:
    those belong to somebody else. Where NVML does not report the memory of
    single processes, the meter reads what all processes use, and `scope` says so.

    Args:
      pids: returns the ids of the command's processes.
      load: returns the module `pynvml`.
      is_here: whether a process with this id is known here.

    Attributes:
      scope: what the last reading covered.
      was_used: whether the command was ever seen on a GPU.
      others: whether other processes use the GPUs that were read as a whole.
    """

    name = "driver"
    owner = "GPU memory"
    quantum = 2.0 * MIB
    rank = PROCESS
    on_gpu = True

    def __init__(
        self,
        pids: Callable[[], Sequence[int]],
        load: Callable[[], Any] = lambda: importlib.import_module("pynvml"),
        is_here: Callable[[int], bool] = psutil.pid_exists,
    ) -> None:
        self.scope = THESE_PROCESSES
        self.was_used = False
        self.others = False
        self.by_process: Dict[int, float] = {}
        self._pids = pids
        self._is_here = is_here
        self._nvml: Any = None
        self._handles: List[Any] = []
        self._why_not = ""
        self._used_before = 0.0
        self._open(load)
        self._listed_before: Set[int] = set(self._listed())
        with contextlib.suppress(Blind):
            self._used_before = self._used_by_all()

    @property
    def exists(self) -> bool:
        """Whether this machine has a GPU whose driver can be asked."""
        return bool(self._handles)

    @property
    def why_blind(self) -> str:
        """Why nothing can be read; "" if there is a GPU."""
        return self._why_not

    def _open(self, load: Callable[[], Any]) -> None:
        try:
            nvml = load()
        except ImportError:
            self._why_not = "nvidia-ml-py is not installed"
            return
        try:
            nvml.nvmlInit()
            for index in range(nvml.nvmlDeviceGetCount()):
                self._handles.append(nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            self._why_not = f"NVML: {error}"
            self._handles = []
            return
        self._nvml = nvml
        if not self._handles:
            self._why_not = "there is no GPU"

    def _read(self) -> float:
        if not self._handles:
            raise Blind(self._why_not)
        listed = self._listed()
        ours = [pid for pid in self._pids() if pid in listed]
        self.by_process = {}
        if not ours:
            appeared = [pid for pid in listed if pid not in self._listed_before]
            ours = [pid for pid in appeared if not self._is_here(pid)]
            if appeared and not ours:  # ids are not hidden, and the command is on no GPU
                return 0.0
        if not ours and not any(used is None for used in listed.values()):
            return self._read_unlisted()
        self.was_used = self.was_used or bool(ours)
        for pid in ours:
            used = listed[pid]
            if used is None:
                return self._read_whole(others=len(listed) > len(ours))
            self.by_process[pid] = float(used)
        self.scope = THESE_PROCESSES
        return sum(self.by_process.values())

    def _read_unlisted(self) -> float:
        """Return the reading where NVML lists no process of the command: it may use no GPU, or be hidden."""
        used = self._used_by_all()
        if self.was_used or used - self._used_before < self.quantum:
            return 0.0
        return self._read_whole(others=True)

    def _read_whole(self, others: bool) -> float:
        self.scope = MIG_INSTANCE if self._is_divided() else WHOLE_GPU
        self.others = others
        return max(self._used_by_all() - self._used_before, 0.0)

    def _listed(self) -> Dict[int, Optional[int]]:
        """Return the memory of each process on the GPUs [bytes]; None where NVML does not report it."""
        found: Dict[int, Optional[int]] = {}
        for handle in self._handles:
            for pid, used in self._listed_on(handle).items():
                earlier = found.get(pid, 0)
                if used is None or earlier is None:
                    found[pid] = None
                else:
                    found[pid] = earlier + used
        return found

    def _listed_on(self, handle: Any) -> Dict[int, Optional[int]]:
        """Return the processes on one GPU; one that computes and draws is in two lists with the same number."""
        found: Dict[int, Optional[int]] = {}
        for name in LISTS:
            with contextlib.suppress(self._nvml.NVMLError):
                for process in getattr(self._nvml, name)(handle):
                    found[process.pid] = process.usedGpuMemory
        return found

    def _is_divided(self) -> bool:
        for handle in self._handles:
            with contextlib.suppress(self._nvml.NVMLError):
                if self._nvml.nvmlDeviceGetMigMode(handle)[0]:
                    return True
        return False

    def _used_by_all(self) -> float:
        """Return the memory in use on all GPUs [bytes].

        Raises:
          Blind: NVML does not report it.
        """
        total = 0.0
        for handle in self._handles:
            try:
                total += float(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)
            except self._nvml.NVMLError as error:
                raise Blind(f"NVML: {error}") from error
        return total
