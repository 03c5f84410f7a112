"""What the driver says this process takes of a GPU: the only meter that sees what no allocator counts."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Dict, List, Optional, Set

from harness.memory.meters import MIB, PROCESS, Blind, Meter

PROCESS_ALONE = "this process"
WHOLE_GPU = "the whole GPU, other processes included"
MIG_INSTANCE = "the MIG instance, other processes on it included"


class DriverMeter(Meter):
    """Memory of a GPU that this process takes.

    NVML lists the processes of a GPU under the ids that they have on the host. Where a container hides those, ours is
    the one that came since this meter was made, or the only one. Where NVML cannot tell, what is in use of the whole
    GPU counts, and `scope` says so.

    Args:
      device: index of the GPU, as CUDA counts. Make the meter before CUDA is used.

    Attributes:
      device: index of the GPU.
      of_others: what was in use of the GPU before this process used it [bytes]; 0 if that was not seen.
      scope: what the last reading covered.
      others: whether NVML knows of others that it may have covered.
      why_no_nvml: why NVML does not help; "" if it does.
    """

    name, owner, quantum, rank = "driver", "memory outside the allocators of PyTorch and Warp", 2.0 * MIB, PROCESS
    on_gpu = True

    def __init__(self, device: int = 0) -> None:
        self.device = device
        self._nvml: Any = None
        self._handle: Any = None
        self._our_id = os.getpid()
        self.scope, self.others, self.why_no_nvml = PROCESS_ALONE, False, ""
        self._open()
        self._strangers: Optional[Set[int]] = None
        self.of_others = 0
        if not _uses_cuda():
            self._strangers, self.of_others = set(self._processes()), int(self.read() or 0)

    def _open(self) -> None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            self.why_no_nvml = "nvidia-ml-py is not installed"
            return
        try:
            nvml.nvmlInit()
            self._handle = _handle(nvml, self.device)
        except nvml.NVMLError as error:
            self.why_no_nvml = f"GPU {self.device}: NVML: {error}"
            return
        self._nvml = nvml
        if _is_divided(nvml, self._handle):
            self.scope, self.why_no_nvml = MIG_INSTANCE, "MIG divides this GPU, and NVML counts the whole of it"

    def _read(self) -> float:
        listed = self._processes()
        used = listed.get(self._find(listed))
        self.others = used is None and len(listed) > 1
        if used is not None:
            self.scope = PROCESS_ALONE
            return used
        return self._whole()

    def _processes(self) -> Dict[int, Optional[int]]:
        """Return the memory of each process on the GPU [bytes] by its id; None where it is not told."""
        if self._nvml is None or self.scope == MIG_INSTANCE:
            return {}
        try:
            listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError as error:
            self.why_no_nvml = f"GPU {self.device}: NVML: {error}"
            return {}
        return {process.pid: process.usedGpuMemory for process in listed}

    def _find(self, listed: Dict[int, Optional[int]]) -> int:
        """Return under which id this process is listed; its own if that cannot be told."""
        if self._our_id in listed or not _uses_cuda():
            return self._our_id
        new = [] if self._strangers is None else [pid for pid in listed if pid not in self._strangers]
        for candidates in (new, list(listed)):
            if len(candidates) == 1:
                self._our_id = candidates[0]
                break
        return self._our_id

    def _whole(self) -> int:
        """Return what is in use of the GPU, or of the part of it that MIG gives us.

        Raises:
          Blind: nobody tells.
        """
        if self.scope == PROCESS_ALONE:
            self.scope = WHOLE_GPU
        if _uses_cuda():
            free, total = sys.modules["torch"].cuda.mem_get_info(self.device)
            return total - free
        if self._nvml is None or self.scope == MIG_INSTANCE:
            raise Blind(f"{self.why_no_nvml}; and PyTorch does not use this GPU")
        try:
            return self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used
        except self._nvml.NVMLError as error:
            raise Blind(f"GPU {self.device}: NVML: {error}") from error


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _handle(nvml: Any, device: int) -> Any:
    """Return NVML's handle of a GPU; NVML counts all GPUs, CUDA those that it may see."""
    if _uses_cuda():
        uuid = getattr(sys.modules["torch"].cuda.get_device_properties(device), "uuid", None)
        if uuid is not None:
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    visible: List[str] = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[device] if device < len(visible) else str(device)
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)


def _is_divided(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False  # a GPU that knows no MIG
