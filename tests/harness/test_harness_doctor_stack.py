"""Contracts of the doctor's checks of installed software: the training stack and the upstream stack."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from importlib.util import find_spec

import pytest

from harness.doctor import machine, training_stack, upstream_stack
from harness.doctor.line import OK, WARNING, WRONG, Broken, Line

pytestmark = pytest.mark.harness

NEEDS_MUJOCO = pytest.mark.skipif(find_spec("mujoco") is None, reason="needs MuJoCo, and so Python 3.11")
GIB = 2**30
NO_GPU = {"version": "2.3.1", "cuda": None, "gpu": None, "obstacle": "built for the CPU", "fix": "install another"}
GPU = {
    "version": "2.3.1",
    "cuda": "12.1",
    "gpu": "NVIDIA RTX 4070",
    "capability": "8.9",
    "count": 2,
    "free": 11 * GIB,
    "total": 12 * GIB,
    "fits": {"cuboid": 5120, "tblock": 3072},
}


def of(**changes):
    """Return a function that returns the facts of a GPU, with changes."""
    return lambda: dict(GPU, **changes)


def no_torch():
    """Raise the error of a torch that cannot be loaded."""
    raise Broken(Line("torch", WRONG, "segmentation fault: SIGSEGV", "install it again"))


def isaac_loads():
    """Return the line of an Isaac Gym that can be loaded."""
    return Line("Isaac Gym", OK, "/isaacgym")


def package(folder, name, source="", **files):
    """Write a Python package."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source)
    for stem, text in files.items():
        path = folder / name / (stem.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


CRASH = "import ctypes; ctypes.string_at(0)"


@pytest.mark.parametrize(
    "version, old, status",
    [((3, 11, 7), False, OK), ((3, 8, 18), False, WRONG), ((3, 8, 18), True, OK), ((3, 7, 1), True, WRONG)],
)
def test_python_must_suit_one_of_the_stacks(monkeypatch, version, old, status):
    """MuJoCo needs Python 3.11; for Isaac Gym, 3.8 is enough."""
    monkeypatch.setattr(sys, "version_info", version)
    assert training_stack.python(old).status == status


@pytest.mark.parametrize(
    "declared, status, named",
    [
        (["numpy", "rich>=1"], OK, ""),
        (["numpy", "no-such-package>=2"], WRONG, "no-such-package"),
        (["numpy==0.0.1"], WRONG, "numpy==0.0.1 (it is"),
        (['no-such-package==1; extra == "gpu"'], OK, ""),
    ],
)
def test_dependencies_are_compared_with_what_is_declared(monkeypatch, declared, status, named):
    """Declared packages must be installed in their pinned version; extras need not."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    line = training_stack.dependencies()
    assert line.status == status
    assert named in line.found


@pytest.mark.parametrize(
    "facts, driver, hidden, status, named",
    [
        (of(), True, None, OK, "RTX 4070 (compute capability 8.9), the first of 2"),
        (lambda: NO_GPU, False, None, OK, "the CPU computes"),
        (lambda: NO_GPU, True, None, WARNING, "built for the CPU"),
        (lambda: dict(NO_GPU, cuda="12.1", obstacle="too old"), True, None, WRONG, "too old"),
        (lambda: NO_GPU, True, "", WARNING, "CUDA_VISIBLE_DEVICES"),
        (no_torch, True, None, WARNING, "unknown"),
    ],
)
def test_gpu_is_judged_by_driver_and_torch(monkeypatch, tmp_path, facts, driver, hidden, status, named):
    """A GPU that torch cannot use is wrong, unless torch was built for the CPU; no GPU is fine."""
    monkeypatch.setattr(training_stack, "DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    line = training_stack.gpu_line(facts)
    assert line.status == status
    assert named in line.found


@pytest.mark.parametrize(
    "changes, status, named",
    [
        ({}, OK, "11.0 GiB of 12.0 GiB free; with --preset gpu fit cuboid 5,120 envs, tblock 3,072 envs"),
        ({"free": 6 * GIB}, WARNING, "6.0 GiB"),
        ({"fits": {}}, OK, "11.0 GiB of 12.0 GiB free"),
        ({"free": GIB, "fits": {"cuboid": 9, "tblock": 0}}, WRONG, "tblock 0"),
        ({"gpu": None}, OK, "none is needed"),
    ],
)
def test_vram_says_what_fits(changes, status, named):
    """The line says how much memory of the GPU is free and how many envs of each task fit."""
    line = training_stack.vram(of(**changes))
    assert line.status == status
    assert named in line.found


@NEEDS_MUJOCO
def test_number_of_envs_that_fit_is_what_training_accepts():
    """The number of envs is the largest whose predicted memory is free."""
    import dataclasses

    from mapush.presets import preset
    from mapush.run.capacity import predict

    fits = training_stack.fitting_envs(9 * GIB)["tblock"]
    config = preset("tblock", "gpu")
    sizes = [predict(dataclasses.replace(config, num_envs=count)).total for count in (fits, fits + 1)]
    assert sizes[0] <= 9 * GIB < sizes[1]


@pytest.mark.parametrize(
    "installed, gpu, status",
    [
        ({}, NO_GPU, OK),
        ({}, GPU, WRONG),
        ({"mujoco-warp": "4.0.0", "warp-lang": "1.18.0"}, NO_GPU, WARNING),
        ({"mujoco-warp": "4.0.0", "warp-lang": "1.19.0"}, NO_GPU, OK),
    ],
)
def test_warp_is_needed_with_a_gpu(monkeypatch, installed, gpu, status):
    """Without a GPU, Warp may be missing; a version that was not tested is a warning."""

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    line = training_stack.warp(lambda: gpu)
    assert line.status == status
    assert bool(line.fix) == (status != OK)


@NEEDS_MUJOCO
def test_mujoco_of_a_different_version_is_wrong(monkeypatch):
    """MuJoCo is loaded, and its version is compared."""
    assert training_stack.mujoco(old=False) == Line("MuJoCo", OK, "4.0.0")
    monkeypatch.setattr(training_stack, "MUJOCO", "4.0.1")
    assert training_stack.mujoco(old=False).status == WRONG


@NEEDS_MUJOCO
def test_mujoco_with_a_wrong_variable_need_not_be_reinstalled(monkeypatch):
    """If MuJoCo does not know the value of MUJOCO_GL, the fix is to unset it."""
    monkeypatch.setenv("MUJOCO_GL", "banana")
    line = training_stack.mujoco(old=False)
    assert line.status == WRONG
    assert "MUJOCO_GL: banana" in line.found
    assert line.fix == "unset MUJOCO_GL"


NO_PERMISSION = """
class NVMLError(Exception): pass

def nvmlInit(): raise NVMLError("Insufficient Permissions")
"""


@pytest.mark.parametrize(
    "source, named",
    [(NO_PERMISSION, "Insufficient Permissions"), (CRASH, "segmentation fault"), ("raise ValueError", "ValueError")],
)
def test_nvml_that_cannot_be_read_is_a_warning(monkeypatch, tmp_path, source, named):
    """If the driver cannot be asked, leaks on the GPU cannot be found, and the doctor warns."""
    monkeypatch.setattr(training_stack, "DRIVER", tmp_path)
    package(tmp_path, "pynvml", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = training_stack.nvml()
    assert line.status == WARNING
    assert named in line.found
    assert line.fix


@pytest.mark.parametrize(
    "source, named",
    [
        (CRASH, "segmentation fault"),
        ("raise ValueError", "ValueError"),
        ("def get_ffmpeg_exe(): raise RuntimeError('No ffmpeg exe could be found.')", "No ffmpeg exe"),
    ],
)
def test_ffmpeg_that_cannot_be_loaded_is_a_warning(monkeypatch, tmp_path, source, named):
    """A broken imageio_ffmpeg is a warning, because training needs no videos."""
    package(tmp_path, "imageio_ffmpeg", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", "")
    line = machine.ffmpeg()
    assert line.status == WARNING
    assert named in line.found
    assert line.fix


LIBPYTHON = "raise ImportError('libpython3.8.so.1.0: cannot open shared object file: No such file or directory')"
ALIAS = "raise AttributeError(\"module 'numpy' has no attribute 'float'.\")"


@pytest.mark.parametrize(
    "source, found, fix",
    [
        (LIBPYTHON, "exception: ImportError: libpython3.8", "LD_LIBRARY_PATH"),
        (ALIAS, "exception: AttributeError", "numpy<1.24"),
        (CRASH, "segmentation fault", "innermost line"),
        ("raise ImportError('PyTorch was imported before isaacgym modules.')", "exception", "import isaacgym first"),
    ],
)
def test_isaac_gym_that_does_not_load_is_diagnosed(monkeypatch, tmp_path, source, found, fix):
    """Isaac Gym is imported in a process of its own, and its failure is reported with a fix."""
    package(tmp_path, "isaacgym", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(upstream_stack, "ISAAC_PYTHONS", ((3, 6), sys.version_info[:2]))
    line = upstream_stack.isaac_gym()
    assert line.status == WRONG
    assert line.found.startswith(found)
    assert fix in line.fix


def test_isaac_gym_that_loads_is_ok(monkeypatch, tmp_path):
    """An Isaac Gym that can be imported is ok; for a different Python it is not tried."""
    package(tmp_path, "isaacgym", "", gymapi="", gymtorch="", torch_utils="")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(upstream_stack, "ISAAC_PYTHONS", ((3, 6), sys.version_info[:2]))
    assert upstream_stack.isaac_gym() == Line("Isaac Gym", OK, str(tmp_path / "isaacgym"))
    monkeypatch.setattr(upstream_stack, "ISAAC_PYTHONS", ((3, 6), (3, 7)))
    assert upstream_stack.isaac_gym().status == WRONG


def test_lock_of_a_killed_build_is_found(monkeypatch, tmp_path):
    """A lock in gymtorch's build folder, for which every import would wait, is reported with its path."""
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert upstream_stack.gymtorch().status == OK
    (tmp_path / "py38_cu121" / "gymtorch").mkdir(parents=True)
    lock = tmp_path / "py38_cu121" / "gymtorch" / "lock"
    lock.write_text("")
    assert str(lock) in upstream_stack.gymtorch().fix


def test_unrelated_mqe_is_recognised(monkeypatch, tmp_path):
    """The package mqe of PyPI, that of MAPush and a missing one are distinguished."""

    def mqe():
        return upstream_stack.mqe(isaac_loads)

    assert mqe().found == "not installed"
    info = tmp_path / "pypi" / "mqe-0.1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: MQE\nVersion: 0.1.5\nSummary: An estimator\n")
    monkeypatch.syspath_prepend(str(tmp_path / "pypi"))
    line = mqe()
    assert line.status == WRONG
    assert "An estimator" in line.found
    assert "pip uninstall mqe" in line.fix
    package(tmp_path / "other", "mqe")
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    assert mqe().status == WRONG
    package(tmp_path / "mapush", "isaacgym")
    package(tmp_path / "mapush", "mqe", "", envs__utils="import sys; assert 'isaacgym' in sys.modules")
    monkeypatch.syspath_prepend(str(tmp_path / "mapush"))
    assert mqe() == Line("MQE", OK, str(tmp_path / "mapush" / "mqe"))


@pytest.mark.parametrize(
    "source, found", [("raise ValueError('broken')", "exception: ValueError: broken"), (CRASH, "segmentation fault")]
)
def test_mqe_and_harl_that_do_not_load_are_wrong(monkeypatch, tmp_path, source, found):
    """MQE and HARL are imported in processes of their own; their files are not enough."""
    package(tmp_path, "isaacgym")
    package(tmp_path, "mqe", "", envs__utils=source)
    package(tmp_path, "harl", "", runners__on_policy_ha_runner=source)
    (tmp_path / "harl" / "configs" / "algos_cfgs").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    for line in (upstream_stack.mqe(isaac_loads), upstream_stack.harl()):
        assert line.status == WRONG
        assert line.found.startswith(found)
        assert line.fix


def test_mqe_is_not_tried_without_isaac_gym(monkeypatch, tmp_path):
    """If Isaac Gym cannot be loaded, MQE is neither ok nor wrong."""
    package(tmp_path, "mqe", "", envs__utils=CRASH)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = upstream_stack.mqe(lambda: Line("Isaac Gym", WRONG, "not installed", "install it"))
    assert line.status == WARNING
    assert "Isaac Gym" in line.found


def test_removed_aliases_of_numpy_are_found_in_isaac_gym(monkeypatch, tmp_path):
    """A torch_utils that uses np.float does not work with this numpy; a patched one does."""
    package(tmp_path, "isaacgym", "", torch_utils="x = np.float(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(upstream_stack, "MQE_NEEDS", ("numpy",))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.24.4")
    assert "np.float" in upstream_stack.mqe_needs().found
    (tmp_path / "isaacgym" / "torch_utils.py").write_text("x = np.float32(1)\n")
    assert upstream_stack.mqe_needs().status == OK


def test_harl_needs_its_checkout_and_undeclared_packages(monkeypatch, tmp_path):
    """HARL without its configurations, or without a package that it imports, is wrong."""
    package(tmp_path, "harl")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "algos_cfgs" in upstream_stack.harl().found
    (tmp_path / "harl" / "configs" / "algos_cfgs").mkdir(parents=True)
    (tmp_path / "harl" / "runners").mkdir()
    (tmp_path / "harl" / "runners" / "on_policy_ha_runner.py").touch()
    assert upstream_stack.harl().status == OK
    monkeypatch.setattr(upstream_stack, "HARL_NEEDS", {"json": "json", "no_such_module": "no-such-package"})
    line = upstream_stack.harl_needs()
    assert line.status == WRONG
    assert line.fix == "pip install no-such-package"


def test_harl_is_searched_where_training_searches(monkeypatch, tmp_path):
    """HARL_DIR names a checkout that need not be installed; a folder without HARL is refused."""
    package(tmp_path, "harl", configs__algos_cfgs__happo="", runners__on_policy_ha_runner="")
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("HARL_DIR", str(tmp_path / "elsewhere"))
    line = upstream_stack.harl()
    assert line.status == WRONG
    assert "HARL_DIR" in line.found
    assert str(tmp_path / "elsewhere") in line.found
    monkeypatch.setenv("HARL_DIR", str(tmp_path))
    assert upstream_stack.harl() == Line("HARL", OK, str(tmp_path / "harl"))
