"""Choosing a simulator by name."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

from mapush.config import SimConfig
from mapush.errors import ConfigError, SimulatorError
from mapush.objects import CUBOID
from mapush.sim import choose_backend, make_physics
from mapush.sim.scene import Scene

pytestmark = pytest.mark.sim


@pytest.fixture
def no_gpu(monkeypatch):
    """Let no GPU be usable."""
    monkeypatch.setattr("mapush.sim.why_no_gpu", lambda: SimulatorError("no card"))


@pytest.mark.parametrize("backend", ["auto", "mujoco"])
def test_make_physics_by_name_makes_mujoco(no_gpu, backend):
    """Without a GPU, both names give the CPU simulator."""
    pytest.importorskip("mujoco.batch")
    physics = make_physics(SimConfig(backend=backend, threads=1), Scene(2, CUBOID), num_envs=5, seed=0)
    assert type(physics).__name__ == "MujocoPhysics"
    assert (physics.num_envs, physics.num_agents) == (5, 2)


@pytest.mark.parametrize(
    "backend, settings", [("mujoco", {"threads": 3}), ("warp", {"nconmax": 41, "njmax": 97})], ids=["mujoco", "warp"]
)
def test_make_physics_passes_each_simulator_its_settings(monkeypatch, backend, settings):
    """Each simulator gets the settings that are its own, and no others."""
    made = []
    module = types.ModuleType("mapush.sim.fake")
    module.Fake = lambda *args, **options: made.append((args, options))
    monkeypatch.setitem(sys.modules, "mapush.sim.fake", module)
    names = importlib.import_module("mapush.sim").BACKENDS[backend][2]
    monkeypatch.setitem(importlib.import_module("mapush.sim").BACKENDS, backend, ("mapush.sim.fake", "Fake", names))
    monkeypatch.setattr("mapush.sim.choose_backend", lambda name: (name, ""))
    config = types.SimpleNamespace(backend=backend, threads=3, nconmax=41, njmax=97)
    make_physics(config, Scene(2), 5, 7, None)
    assert made == [((Scene(2), 5), dict(settings, seed=7, randomization=None))]


def test_make_physics_with_a_misspelt_name_suggests_the_right_one():
    """An unknown name is an error that says which one was probably meant."""
    with pytest.raises(ConfigError, match="did you mean 'mujoco'"):
        make_physics(SimConfig(backend="mujoko"), Scene(2), num_envs=5, seed=0)


@pytest.mark.parametrize("backend", ["isaacgym", "warp"])
def test_make_physics_with_an_absent_simulator_says_what_to_do(no_gpu, backend):
    """A known simulator that cannot be used here is an error with a way out."""
    with pytest.raises(SimulatorError, match="--sim mujoco"):
        make_physics(SimConfig(backend=backend), Scene(2), num_envs=5, seed=0)


def test_make_physics_without_mujoco_says_how_to_install_it(no_gpu, monkeypatch):
    """Without the package, the error gives the command that installs it and the Python that it needs."""
    for name in ("mujoco", "mujoco.batch", "mapush.sim.mjcpu"):
        monkeypatch.setitem(sys.modules, name, None) if name != "mapush.sim.mjcpu" else monkeypatch.delitem(
            sys.modules, name, raising=False
        )
    with pytest.raises(SimulatorError, match="(?s)pip install mujoco.*3.11"):
        make_physics(SimConfig(), Scene(2), num_envs=5, seed=0)


@pytest.mark.parametrize("package, distribution", [("mujoco_warp", "mujoco-warp==4.0.0"), ("warp", "warp-lang==1.19")])
def test_choose_backend_without_the_packages_of_warp_says_how_to_install_them(monkeypatch, package, distribution):
    """Without a package of Warp, auto takes MuJoCo and says why; warp is refused with the command that installs it."""
    monkeypatch.setattr("mapush.sim.importlib.util.find_spec", lambda name: None if name == package else name)
    monkeypatch.setattr("mapush.sim.why_no_gpu", lambda: pytest.fail("the GPU was asked"))
    assert choose_backend("auto") == ("mujoco", f"{package} is not installed")
    with pytest.raises(SimulatorError, match=f"pip install {distribution}"):
        choose_backend("warp")


@pytest.mark.parametrize(
    "choice",
    [
        "choose_backend('mujoco')",
        "sys.modules['mujoco_warp'] = None; choose_backend('auto')",
    ],
    ids=["mujoco", "auto without Warp"],
)
def test_choose_backend_that_needs_no_gpu_loads_no_torch(choice):
    """Torch is loaded to look at the GPU alone: Isaac Gym has to come before it."""
    code = f"import sys; from mapush.sim import choose_backend; {choice}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_of_the_scene_needs_neither_torch_nor_mujoco():
    """Scene, factory and robot data load without the two heavy packages, as Isaac Gym's import order demands."""
    code = (
        "import sys; import mapush.sim, mapush.sim.scene, mapush.sim.go1, mapush.sim.physics; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
