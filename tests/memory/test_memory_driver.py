"""Contracts of the driver's meter: it reads this process, or says what else it reads, or that it is blind."""

from __future__ import annotations

import os
import sys

import pytest
from nvml import Cuda, Nvml

from harness.memory.driver import MIG_INSTANCE, THIS_PROCESS, WHOLE_GPU, DriverMeter

pytestmark = pytest.mark.memory

OURS, THEIRS = 700, 300  # [bytes]
HOST_ID = 4_000_001  # what the host calls this process


@pytest.fixture
def nvml(monkeypatch):
    """NVML of a machine with two GPUs."""
    double = Nvml(count=2)
    monkeypatch.setitem(sys.modules, "pynvml", double)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return double


def test_process_that_nvml_lists_is_read_alone(nvml, monkeypatch):
    """What others take of the GPU does not count."""
    Cuda(monkeypatch, initialized=True, used=1000)
    nvml.processes[0] = {os.getpid(): OURS, 17: THEIRS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (OURS, THIS_PROCESS, False)


def test_process_under_another_id_is_the_one_that_came(nvml, monkeypatch):
    """In a container, ours is the process that was not there before CUDA was used, whoever comes and goes later."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.processes[0] = {17: THEIRS}
    meter = DriverMeter()
    cuda.initialized = True
    nvml.processes[0][HOST_ID] = OURS
    assert (meter.read(), meter.scope) == (OURS, THIS_PROCESS)
    nvml.processes[0] = {99: THEIRS, HOST_ID: OURS + 1}
    assert (meter.read(), meter.scope, meter.others) == (OURS + 1, THIS_PROCESS, False)


def test_only_process_on_the_gpu_is_ours(nvml, monkeypatch):
    """Whoever uses CUDA and sees one process on the GPU sees itself."""
    Cuda(monkeypatch, initialized=True, used=1000)
    nvml.processes[0] = {HOST_ID: OURS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (OURS, THIS_PROCESS)


def test_process_that_cannot_be_told_from_others_makes_the_whole_gpu_count(nvml, monkeypatch):
    """Two unknown ids may both be ours: the whole GPU is read, and the meter says that others are in it."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.processes[0] = {HOST_ID: OURS, HOST_ID + 1: THEIRS}
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (1234, WHOLE_GPU, True)


@pytest.mark.parametrize("listed", [{}, {os.getpid(): None}], ids=["hidden", "not told"])
def test_process_whose_memory_is_not_told_makes_the_whole_gpu_count(nvml, monkeypatch, listed):
    """A container that hides all processes, or a driver that does not count by process, still shows the GPU."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.processes[0] = listed
    meter = DriverMeter()
    assert (meter.read(), meter.scope, meter.others) == (1234, WHOLE_GPU, False)


def test_what_others_have_before_cuda_is_used_is_kept(nvml, monkeypatch):
    """Where only the whole GPU can be read, this much of it is not ours."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.used[0] = THEIRS
    meter = DriverMeter()
    cuda.initialized, cuda.used = True, THEIRS + OURS
    assert (meter.read(), meter.of_others) == (THEIRS + OURS, THEIRS)
    assert DriverMeter().of_others == 0


def test_process_without_cuda_reads_the_gpu_and_makes_no_context(nvml, monkeypatch):
    """Before CUDA is used, what is in use of the GPU comes from NVML."""
    Cuda(monkeypatch, initialized=False)
    nvml.used[0] = THEIRS
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (THEIRS, WHOLE_GPU)


def test_nvml_without_permission_to_list_processes_reads_the_gpu(nvml, monkeypatch):
    """What is forbidden is said, and the whole GPU is read instead."""
    Cuda(monkeypatch, initialized=True, used=1234)
    nvml.forbidden = ["nvmlDeviceGetComputeRunningProcesses"]
    meter = DriverMeter()
    assert (meter.read(), meter.scope) == (1234, WHOLE_GPU)
    assert "Insufficient Permissions" in meter.why_no_nvml


@pytest.mark.parametrize("forbidden", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_meter_that_nobody_answers_is_blind(nvml, monkeypatch, forbidden):
    """Without NVML and without CUDA there is no number, but a reason."""
    Cuda(monkeypatch, initialized=False)
    nvml.forbidden = [forbidden]
    meter = DriverMeter()
    assert meter.read() is None
    assert "Insufficient Permissions" in meter.blind


def test_machine_without_nvml_package_reads_what_cuda_tells(monkeypatch):
    """A missing package is said, and the CUDA runtime read instead."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    cuda = Cuda(monkeypatch, initialized=False)
    meter = DriverMeter()
    assert meter.read() is None
    assert "nvidia-ml-py is not installed" in meter.blind
    cuda.initialized, cuda.used = True, 1234
    assert (meter.read(), meter.scope, meter.blind) == (1234, WHOLE_GPU, None)


def test_gpu_that_does_not_exist_makes_the_meter_blind(nvml, monkeypatch):
    """The reason names the GPU that was asked for."""
    Cuda(monkeypatch, initialized=False)
    meter = DriverMeter(device=7)
    assert meter.read() is None
    assert "GPU 7" in meter.blind
    assert "Invalid Argument" in meter.blind


def test_gpu_is_found_by_what_cuda_may_see(nvml, monkeypatch):
    """The first GPU that CUDA sees need not be NVML's first."""
    Cuda(monkeypatch, initialized=False)
    nvml.used = [111, 222]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert DriverMeter(device=0).read() == 222
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert DriverMeter(device=0).read() == 222


def test_gpu_in_use_is_found_by_its_uuid(nvml, monkeypatch):
    """Where CUDA orders the GPUs otherwise than NVML, the uuid tells which one it is."""
    Cuda(monkeypatch, initialized=True, uuid="1")
    nvml.processes = [{os.getpid(): 111}, {os.getpid(): 222}]
    assert DriverMeter(device=0).read() == 222


def test_divided_gpu_is_read_by_its_instance(nvml, monkeypatch):
    """Under MIG, NVML counts all instances: what CUDA tells of ours is read, or nothing."""
    cuda = Cuda(monkeypatch, initialized=False)
    nvml.divided, nvml.used[0], nvml.processes[0] = True, 9999, {os.getpid(): 5555, 17: THEIRS}
    meter = DriverMeter()
    assert meter.read() is None
    assert "MIG" in meter.blind
    cuda.initialized, cuda.used = True, 1234
    assert (meter.read(), meter.scope) == (1234, MIG_INSTANCE)
