"""Tests of the driver's meter: it reads this process, or says what else it covers, or that it is blind."""

from __future__ import annotations

import os
import sys

import pytest
from nvml import Cuda, Nvml

from harness.memory.driver import MIG_INSTANCE, THIS_PROCESS, WHOLE_GPU, DriverMeter

pytestmark = pytest.mark.memory

OURS, THEIRS = 700, 300  # [bytes]
HOST_ID = 4_000_001  # id of this process on the host


@pytest.fixture
def nvml(monkeypatch):
    """Fake NVML of a machine with two GPUs."""
    double = Nvml(count=2)
    monkeypatch.setitem(sys.modules, "pynvml", double)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return double


def test_process_that_nvml_lists_is_read_without_others(nvml, monkeypatch):
    """Memory of other processes does not count."""
    Cuda(monkeypatch, initialized=True, used=1000)
    nvml.processes[0] = {os.getpid(): OURS, 17: THEIRS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (OURS, THIS_PROCESS, False)


def test_process_under_a_different_id_is_the_new_one(nvml, monkeypatch):
    """In a container, this process is the one that appeared when CUDA was first used, whatever comes and goes later."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.processes[0] = {17: THEIRS}
    meter = DriverMeter()
    cuda.initialized = True
    nvml.processes[0][HOST_ID] = OURS
    assert (meter.read(), meter.scope) == (OURS, THIS_PROCESS)
    nvml.processes[0] = {99: THEIRS, HOST_ID: OURS + 1}
    assert (meter.read(), meter.scope, meter.others) == (OURS + 1, THIS_PROCESS, False)


def test_only_process_on_the_gpu_is_ours(nvml, monkeypatch):
    """A process that uses CUDA and sees only one process on the GPU sees itself."""
    Cuda(monkeypatch, initialized=True, used=1000)
    nvml.processes[0] = {HOST_ID: OURS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (OURS, THIS_PROCESS)


def test_process_among_several_unknown_ids_makes_the_complete_gpu_count(nvml, monkeypatch):
    """If two unknown ids may be this process, the complete GPU is read, and the meter says that others are included."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.processes[0] = {HOST_ID: OURS, HOST_ID + 1: THEIRS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (1234, WHOLE_GPU, True)


@pytest.mark.parametrize("listed", [{}, {os.getpid(): None}], ids=["hidden", "not reported"])
def test_process_whose_memory_is_not_reported_makes_the_complete_gpu_count(nvml, monkeypatch, listed):
    """If a container hides all processes, or the driver does not count per process, the complete GPU is read."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.processes[0] = listed
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (1234, WHOLE_GPU, False)


def test_memory_of_others_before_cuda_is_used_is_remembered(nvml, monkeypatch):
    """If only the complete GPU can be read, the memory that others used before is remembered."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.used[0] = THEIRS
    meter = DriverMeter()
    cuda.initialized, cuda.used = True, THEIRS + OURS
    assert (meter.read(), meter.of_others) == (THEIRS + OURS, THEIRS)
    assert DriverMeter().of_others == 0


def test_process_without_cuda_reads_the_gpu_and_makes_no_context(nvml, monkeypatch):
    """Before CUDA is used, the memory in use on the GPU comes from NVML."""
    Cuda(monkeypatch, initialized=False)
    nvml.used[0] = THEIRS
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (THEIRS, WHOLE_GPU)


def test_nvml_without_permission_to_list_processes_reads_the_gpu(nvml, monkeypatch):
    """The missing permission is reported, and the complete GPU is read instead."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.forbidden = ["nvmlDeviceGetComputeRunningProcesses"]
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (1234, WHOLE_GPU)
    assert "Insufficient Permissions" in meter.why_no_nvml


@pytest.mark.parametrize("forbidden", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_meter_without_any_source_is_blind(nvml, monkeypatch, forbidden):
    """Without NVML and without CUDA there is no number, but a reason."""
    Cuda(monkeypatch, initialized=False)
    nvml.forbidden = [forbidden]
    meter = DriverMeter()
    assert meter.read() is None
    assert "Insufficient Permissions" in meter.blind


def test_machine_without_nvml_package_reads_the_cuda_runtime(monkeypatch):
    """The missing package is reported, and the CUDA runtime is read instead."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    cuda = Cuda(monkeypatch, initialized=False)
    meter = DriverMeter()
    assert meter.read() is None
    assert "nvidia-ml-py is not installed" in meter.blind
    cuda.initialized, cuda.used = True, 1234
    assert (meter.read(), meter.scope, meter.blind) == (1234, WHOLE_GPU, None)


def test_gpu_that_does_not_exist_makes_the_meter_blind(nvml, monkeypatch):
    """The reason contains the index of the GPU."""
    Cuda(monkeypatch, initialized=False)
    meter = DriverMeter(device=7)
    assert meter.read() is None
    assert "GPU 7" in meter.blind
    assert "Invalid Argument" in meter.blind


def test_gpu_is_found_by_what_cuda_may_see(nvml, monkeypatch):
    """The first GPU that CUDA sees need not be NVML's first GPU."""
    Cuda(monkeypatch, initialized=False)
    nvml.used = [111, 222]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert DriverMeter(device=0).read() == 222
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert DriverMeter(device=0).read() == 222


def test_gpu_in_use_is_found_by_its_uuid(nvml, monkeypatch):
    """If CUDA orders the GPUs differently from NVML, the UUID identifies the GPU."""
    Cuda(monkeypatch, initialized=True, uuid="1")
    nvml.processes = [{os.getpid(): 111}, {os.getpid(): 222}]
    assert DriverMeter(device=0).read() == 222


def test_divided_gpu_is_read_by_its_instance(nvml, monkeypatch):
    """Under MIG, NVML counts all instances, so only the CUDA runtime's number for our instance is read."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.divided, nvml.used[0], nvml.processes[0] = True, 9999, {os.getpid(): 5555, 17: THEIRS}
    meter = DriverMeter()
    assert meter.read() is None
    assert "MIG" in meter.blind
    cuda.initialized, cuda.used = True, 1234
    assert (meter.read(), meter.scope) == (1234, MIG_INSTANCE)
