"""What ails a GPU ends in one message; what ails the program keeps its traceback."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import sys
import types

import pytest
import torch

from mapush.assembly import resolve
from mapush.config import SimConfig, WalkRunConfig
from mapush.device.gpu_errors import explain, gpu_errors, why_no_gpu
from mapush.errors import NonFiniteError, SimulatorError
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import read_config
from mapush.sim import choose_backend

pytestmark = pytest.mark.sim

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 12.34 GiB is "
    "free. Including non-PyTorch memory, this process has 66.75 GiB memory in use. Of the allocated memory 65.12 GiB "
    "is allocated by PyTorch, and 1.08 GiB is reserved by PyTorch but unallocated."
)
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from "
    "http://www.nvidia.com/Download/index.aspx"
)
ILLEGAL = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at some "
    "other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)
RECORDED = [
    (OUT_OF_MEMORY, "the memory of the GPU is full", "--num-envs"),
    ("CUDA error: out of memory\nCUDA kernel errors might be", "the memory of the GPU is full", "nvidia-smi"),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "memory of the GPU is full", ""),
    ("Failed to allocate 17179869184 bytes on device 'cuda:0'", "the memory of the GPU is full", "--num-envs"),
    ("Warp CUDA error 2: out of memory (in function wp_alloc_device_async, warp.cu:588)", "GPU is full", "--num-envs"),
    (TOO_OLD, "it supports CUDA 12.2", "built for CUDA 12.2"),
    (NO_DRIVER, "there is no NVIDIA driver", "nvidia-smi"),
    ("No CUDA GPUs are available", "CUDA sees no GPU", "CUDA_VISIBLE_DEVICES"),
    ("CUDA error: no kernel image is available for execution on the device\n", "not built for this GPU", "pytorch.org"),
    ("CUDA error: CUDA-capable device(s) is/are busy or unavailable\n", "the GPU is in use", "nvidia-smi"),
    ("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", "CUDA does not start", ""),
    (ILLEGAL, "the GPU failed", "CUDA_LAUNCH_BLOCKING=1"),
    ("CUDA error: device-side assert triggered\nCUDA kernel errors", "the GPU failed", ""),
    ("Graph launch error: Warp CUDA error 700: an illegal memory access was encountered (in", "the GPU failed", ""),
]


@pytest.mark.parametrize("text, what, fix", RECORDED)
def test_explain_what_a_gpu_says_names_the_trouble_and_a_way_out(text, what, fix):
    """Every text in which PyTorch and Warp complain of a GPU becomes an error that fits a screen."""
    explained = explain(RuntimeError(text))
    assert isinstance(explained, SimulatorError)
    assert what in explained.what
    assert fix in explained.fix
    assert text.startswith(explained.got.split(" ...")[0])
    assert max(map(len, str(explained).splitlines())) < 180


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (5x8 and 9x7)"),
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two, cuda:0 and cpu!"),
        RuntimeError("Failed to allocate 17179869184 bytes on device 'cpu'"),
        ZeroDivisionError("CUDA"),
        NonFiniteError("rewards", got="CUDA out of memory"),
    ],
)
def test_explain_an_error_of_the_program_leaves_it_alone(error):
    """A defect of the program stays what it is, with its traceback, although it may speak of CUDA."""
    assert explain(error) is None
    with pytest.raises(type(error)) as caught:
        with gpu_errors():
            raise error
    assert caught.value is error


def test_gpu_errors_asks_for_a_way_out_only_when_needed():
    """The way out is added to the fix of an error of the GPU, and is not asked for otherwise."""
    with gpu_errors(lambda: pytest.fail("asked")):
        pass
    with pytest.raises(SimulatorError) as caught:
        with gpu_errors(lambda: "go home"):
            raise RuntimeError(ILLEGAL)
    assert caught.value.fix.endswith("; go home")
    assert str(caught.value.__cause__) == ILLEGAL


# -- the choice of the simulator -------------------------------------------------------------------------------------


@pytest.fixture
def warp_is_installed(monkeypatch):
    """Let the packages of Warp seem to be installed."""
    for name in ("mujoco_warp", "warp"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.skipif(torch.version.cuda is not None, reason="PyTorch is built for CUDA")
def test_pytorch_without_cuda_is_the_reason_for_mujoco(warp_is_installed):
    """The real complaint of a CPU build of PyTorch is understood."""
    assert choose_backend("auto") == ("mujoco", "this PyTorch is built only for the CPU")
    with pytest.raises(SimulatorError) as refused:
        choose_backend("warp")
    assert (refused.value.where, refused.value.got) == ("sim.backend", "Torch not compiled with CUDA enabled")
    assert "built only for the CPU" in refused.value.cause
    assert "pytorch.org" in refused.value.fix
    assert "--sim mujoco" in refused.value.fix


@pytest.mark.parametrize("text", [TOO_OLD, NO_DRIVER, "No CUDA GPUs are available", OUT_OF_MEMORY, "anything else"])
def test_gpu_that_fails_is_the_reason_for_mujoco(monkeypatch, warp_is_installed, text):
    """Whatever keeps PyTorch from computing on the GPU, auto falls back and says why; warp is refused with the same."""

    def fail(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(torch, "ones", fail)
    backend, reason = choose_backend("auto")
    assert backend == "mujoco"
    assert reason == why_no_gpu().what
    assert "\n" not in reason
    with pytest.raises(SimulatorError) as refused:
        choose_backend("warp")
    assert "warp is not available" in refused.value.what
    assert reason in refused.value.cause


def test_gpu_that_computes_is_the_reason_for_warp(monkeypatch, warp_is_installed):
    """A GPU that works, and the packages, make auto choose Warp; the reason names the card and the version."""
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"mujoco-warp": "4.0.0"}[name])
    expected = ("warp", "NVIDIA H100 80GB HBM3, mujoco-warp 4.0.0")
    assert choose_backend("auto") == choose_backend("warp") == expected
    config, reason = resolve(WalkRunConfig(sim=SimConfig(threads=3)))
    assert (config.sim, reason) == (SimConfig(backend="warp", threads=3), expected[1])


def test_warp_without_a_driver_is_explained():
    """The real complaints of Warp about a machine without a GPU are understood."""
    warp = pytest.importorskip("warp")
    if warp.is_cuda_available():
        pytest.skip("there is a GPU")
    for ask in (lambda: warp.get_device("cuda:0"), lambda: warp.zeros(3, device="cuda")):
        with pytest.raises((RuntimeError, ValueError)) as failed:
            ask()
        assert explain(failed.value).what == "there is no NVIDIA driver"


# -- a GPU that fails in a run ---------------------------------------------------------------------------------------

WORDS = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --device cpu --total-steps 175"
WORDS += " --sim mujoco --sim.threads 1"


@pytest.fixture
def train(monkeypatch):
    """Return the command, on a machine whose GPU cannot be used; the networks are tiny, so it takes one thread."""
    pytest.importorskip("mujoco.batch")
    from mapush.train import main

    monkeypatch.setattr("mapush.sim.why_no_warp", lambda: SimulatorError("the card is in the post"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield main
    torch.set_num_threads(threads)


def break_update(monkeypatch, error, number):
    """Let the update of the iteration `number` fail."""
    from mapush.train import Run

    learn = Run.learn

    def learn_or_fail(run):
        if run.iteration + 1 == number:
            raise error
        return learn(run)

    monkeypatch.setattr(Run, "learn", learn_or_fail)


def test_gpu_that_fails_in_training_leaves_a_checkpoint_and_the_way_back(train, tmp_path, monkeypatch, capsys):
    """One message on stderr with the newest checkpoint, exit code 2; that checkpoint continues to the end."""
    folder = tmp_path / "run"
    words = WORDS.split() + ["--checkpoint-every", "70", "--run-dir", str(folder)]
    with monkeypatch.context() as patch:
        break_update(patch, RuntimeError(OUT_OF_MEMORY), number=4)
        assert train(words) == 2
    said = capsys.readouterr().err
    newest = checkpoints.latest(folder)
    assert said.startswith("SimulatorError: the memory of the GPU is full\n")
    assert said.count("SimulatorError") == 1
    assert f"{newest} is complete: --resume {folder}" in said
    assert "Traceback" not in said
    assert checkpoints.load(newest).step == 70
    assert not (folder / "nonfinite.pt").exists()
    assert train(["--resume", str(folder)]) == 0
    assert checkpoints.load(checkpoints.latest(folder)).step == 175


def test_gpu_that_fails_at_the_start_leaves_nothing(train, tmp_path, monkeypatch, capsys):
    """Before there is a checkpoint, the message promises none; before there is a run, no folder is made."""
    with monkeypatch.context() as patch:
        patch.setattr("mapush.train.make_agent", lambda *_, **__: (_ for _ in ()).throw(RuntimeError(OUT_OF_MEMORY)))
        assert train(WORDS.split() + ["--run-dir", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()
    break_update(monkeypatch, RuntimeError(ILLEGAL), number=1)
    assert train(WORDS.split() + ["--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "the GPU failed" in said
    assert "--resume" not in said


def test_program_that_fails_in_training_keeps_its_traceback(train, tmp_path, monkeypatch):
    """An error which is not the GPU's reaches the user as it is."""
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (5x8 and 9x7)")
    break_update(monkeypatch, error, number=1)
    with pytest.raises(RuntimeError) as failed:
        train(WORDS.split() + ["--run-dir", str(tmp_path / "run")])
    assert failed.value is error


def test_gpu_that_fails_in_an_evaluation_ends_in_one_message(train, monkeypatch, capsys):
    """The evaluation, too, exits with 2 and one message."""
    from mapush.evaluate import main

    monkeypatch.setattr("mapush.evaluate.load_in_env", lambda *_: (_ for _ in ()).throw(RuntimeError(ILLEGAL)))
    assert main(["cuboid", "--untrained"]) == 2
    said = capsys.readouterr()
    assert said.out == "simulator mujoco (the card is in the post)\n"
    assert "loading policy and simulator\nSimulatorError: the GPU failed\n" in said.err
    assert "Traceback" not in said.err


# -- the simulator of a run ------------------------------------------------------------------------------------------


def test_run_stores_and_tells_which_simulator_computes_and_why(train, tmp_path, capsys):
    """What auto chose is in the run's configuration and, with the reason, on the console."""
    words = WORDS.replace("--sim mujoco", "--sim auto").split()
    assert train(words + ["--run-dir", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert read_config(tmp_path / "run").sim.backend == "mujoco"
    assert "simulator mujoco" in said
    assert "on cpu (the card is in the post), learner on cpu" in said


def test_resumed_run_stays_on_its_simulator(train, tmp_path, monkeypatch, capsys):
    """A run begun on MuJoCo goes on there although there is a GPU now; another simulator is refused by name."""
    folder = tmp_path / "run"
    assert train(WORDS.split() + ["--run-dir", str(folder)]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("mapush.sim.why_no_warp", lambda: None)
        patch.setattr("mapush.sim._gpu_and_version", lambda: "a card")
        assert train(["--resume", str(folder), "--total-steps", "210"]) == 0
        assert "(as configured)" in " ".join(capsys.readouterr().out.split())
        assert train(["--resume", str(folder), "--total-steps", "245", "--sim", "warp"]) == 2
    said = capsys.readouterr().err
    assert "sim.backend cannot change" in said
    assert "'mujoco', with which the run was made" in said


def test_run_that_did_not_store_its_simulator_can_be_resumed(train, tmp_path):
    """A run of an older version, whose configuration says auto, goes on; then its configuration says where."""
    from mapush.run.folder import RunFolder

    folder = tmp_path / "run"
    assert train(WORDS.split() + ["--run-dir", str(folder)]) == 0
    config = read_config(folder)
    opened = RunFolder.reopen(folder)
    opened.write(dataclasses.replace(config, sim=dataclasses.replace(config.sim, backend="auto")))
    opened.close()
    assert train(["--resume", str(folder), "--total-steps", "210"]) == 0
    assert read_config(folder) == dataclasses.replace(config, total_steps=210)
