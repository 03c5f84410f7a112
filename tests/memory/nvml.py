"""A fake of NVML that refuses what the real library refuses."""

from __future__ import annotations

import types
from typing import Dict, List, Optional

import torch

TOTAL = 80 * 2**30  # [bytes]


class NVMLError(Exception):
    """As in pynvml."""


class NVMLError_NoPermission(NVMLError):
    """As in pynvml."""


class Handle:
    """Represents one GPU; anything else in its place is a TypeError, as in ctypes."""

    def __init__(self, index: int, uuid: str) -> None:
        self.index, self.uuid = index, uuid


class Nvml(types.ModuleType):
    """NVML of a machine with `count` GPUs.

    Attributes:
      processes: memory [bytes] by process id, for each GPU; None where NVML does not report it.
      used: memory in use, for each GPU [bytes].
      divided: whether MIG is on.
      forbidden: functions for which there is no permission.
    """

    NVMLError = NVMLError
    NVMLError_NoPermission = NVMLError_NoPermission

    def __init__(self, count: int = 1) -> None:
        super().__init__("pynvml")
        self._handles = [Handle(index, f"GPU-{index}") for index in range(count)]
        self._ready = False
        self.processes: List[Dict[int, Optional[int]]] = [{} for _ in range(count)]
        self.used = [0] * count
        self.divided = False
        self.forbidden: List[str] = []

    def nvmlInit(self) -> None:
        """Initialise NVML."""
        self._require_permission("nvmlInit")
        self._ready = True

    def nvmlDeviceGetCount(self) -> int:
        """Return the number of GPUs."""
        self._require(True)
        return len(self._handles)

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Handle) -> List[types.SimpleNamespace]:
        """Return the processes that draw on a GPU: none."""
        self._index(handle)
        return []

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:
        """Return the handle of a GPU."""
        self._require(isinstance(index, int) and 0 <= index < len(self._handles))
        return self._handles[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Handle:
        """Return the handle of a GPU."""
        found = [handle for handle in self._handles if handle.uuid == uuid]
        self._require(bool(found))
        return found[0]

    def nvmlDeviceGetMigMode(self, handle: Handle) -> List[int]:
        """Return whether MIG is on now, and whether it will be on after the next reset."""
        self._require_permission("nvmlDeviceGetMigMode")
        self._index(handle)
        return [int(self.divided), int(self.divided)]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Handle) -> List[types.SimpleNamespace]:
        """Return the processes on a GPU."""
        self._require_permission("nvmlDeviceGetComputeRunningProcesses")
        listed = self.processes[self._index(handle)]
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in listed.items()]

    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> types.SimpleNamespace:
        """Return the memory of a GPU: in use, free, total."""
        self._require_permission("nvmlDeviceGetMemoryInfo")
        used = self.used[self._index(handle)]
        return types.SimpleNamespace(used=used, free=TOTAL - used, total=TOTAL)

    def _index(self, handle: Handle) -> int:
        if not isinstance(handle, Handle):
            raise TypeError(f"expected a handle, got {handle!r}")
        return handle.index

    def _require(self, good: bool) -> None:
        if not self._ready:
            raise NVMLError("Uninitialized")
        if not good:
            raise NVMLError("Invalid Argument")

    def _require_permission(self, name: str) -> None:
        if name in self.forbidden:
            raise NVMLError_NoPermission("Insufficient Permissions")


class Cuda:
    """Replaces what torch.cuda reports of a GPU.

    Attributes:
      initialized: whether this process uses the GPU.
      used: memory in use on the GPU, as the CUDA runtime sees it [bytes].
    """

    def __init__(self, monkeypatch, initialized: bool, used: int = 0, uuid: str = "0") -> None:
        self.initialized, self.used = initialized, used
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: self.initialized)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: self._mem_get_info())
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid=uuid))

    def _mem_get_info(self):
        assert self.initialized, "this would make a context"
        return TOTAL - self.used, TOTAL
