"""GPU memory of this process as the driver counts it: the only meter that also sees memory no allocator counts."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from harness.memory.meters import PROCESS, Blind, Meter
from harness.units import MIB

THIS_PROCESS = "this process"
WHOLE_GPU = "the whole GPU, other processes included"
DRIVER_FOLDER = Path("/proc/driver/nvidia")
MIG_INSTANCE = "the MIG instance, other processes on it included"


class DriverMeter(Meter):
    """GPU memory that this process uses.

    NVML lists the processes of a GPU under their ids on the host. A container may hide these ids. Then this process is
    the process that appeared after this meter was made, or the only process listed. Where NVML does not help, the
    meter reads the memory in use on the complete GPU, and `scope` says so.

    Args:
      device: index of the GPU in CUDA's numbering. Make the meter before anything uses CUDA.

    Attributes:
      device: index of the GPU.
      of_others: memory in use on the GPU before this process used it [bytes]; 0 if unknown.
      scope: what the last reading covered.
      others: whether NVML listed other processes that the last reading may have included.
      why_no_nvml: why NVML does not help; "" if it does.
    """

    name = "driver"
    owner = "memory outside the allocators of PyTorch and Warp"
    quantum = 2.0 * MIB
    rank = PROCESS
    on_gpu = True

    def __init__(self, device: int = 0) -> None:
        self.device = device
        self.scope = THIS_PROCESS
        self.others = False
        self.why_no_nvml = ""
        self.of_others = 0
        self._nvml: Any = None
        self._handle: Any = None
        self._our_id = os.getpid()
        self._listed_before: Optional[Set[int]] = None
        self._open()
        if not _uses_cuda():
            self._listed_before = set(self._processes())
            self.of_others = int(self.read() or 0)

    @property
    def exists(self) -> bool:
        """Whether this machine has the GPU, as far as that can be known before anything uses it."""
        return self._handle is not None or DRIVER_FOLDER.is_dir()

    @property
    def is_used(self) -> bool:
        """Whether this process uses the GPU."""
        return _uses_cuda() or self._our_id in self._processes()

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
            self.scope = MIG_INSTANCE
            self.why_no_nvml = "MIG divides this GPU, and NVML counts all of it"

    def _read(self) -> float:
        listed = self._processes()
        used = listed.get(self._id_in(listed))
        self.others = used is None and len(listed) > 1
        if used is not None:
            self.scope = THIS_PROCESS
            return used
        return self._used_by_all()

    def _processes(self) -> Dict[int, Optional[int]]:
        """Return the memory of each process on the GPU [bytes] by process id; None where NVML does not report it."""
        if self._nvml is None or self.scope == MIG_INSTANCE:
            return {}
        try:
            listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError as error:
            self.why_no_nvml = f"GPU {self.device}: NVML: {error}"
            return {}
        return {process.pid: process.usedGpuMemory for process in listed}

    def _id_in(self, listed: Dict[int, Optional[int]]) -> int:
        """Return the id under which this process is listed; its own id if that is unknown."""
        if self._our_id in listed or not _uses_cuda():
            return self._our_id
        new: List[int] = []
        if self._listed_before is not None:
            new = []
            for process_id in listed:
                if process_id not in self._listed_before:
                    new.append(process_id)
        for candidates in (new, list(listed)):
            if len(candidates) == 1:
                self._our_id = candidates[0]
                break
        return self._our_id

    def _used_by_all(self) -> int:
        """Return the memory in use on the GPU, or on our MIG instance [bytes].

        Raises:
          Blind: neither PyTorch nor NVML reports it.
        """
        if self.scope == THIS_PROCESS:
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
    """Return NVML's handle of a GPU.

    NVML numbers all GPUs of the machine, CUDA only the visible ones, so the index is translated.
    """
    if _uses_cuda():
        uuid = getattr(sys.modules["torch"].cuda.get_device_properties(device), "uuid", None)
        if uuid is not None:
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    name = str(device)
    visible = []
    for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","):
        if each:
            visible.append(each)
    if device < len(visible):
        name = visible[device]
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _is_divided(nvml: Any, handle: Any) -> bool:
    """Return whether MIG divides the GPU."""
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False  # a GPU without MIG
