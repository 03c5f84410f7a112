"""Choosing a simulator by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mapush.config import SimConfig
from mapush.errors import ConfigError, SimulatorError
from mapush.objects import CUBOID
from mapush.sim import make_physics
from mapush.sim.scene import Scene

pytestmark = pytest.mark.contracts


@pytest.mark.parametrize("backend", ["auto", "mujoco"])
def test_make_physics_by_name_makes_mujoco(backend):
    """Both names give the CPU simulator."""
    pytest.importorskip("mujoco.batch")
    physics = make_physics(SimConfig(backend=backend, threads=1), Scene(2, CUBOID), num_envs=5, seed=0)
    assert type(physics).__name__ == "MujocoPhysics"
    assert (physics.num_envs, physics.num_agents) == (5, 2)


def test_make_physics_with_a_misspelt_name_suggests_the_right_one():
    """An unknown name is an error that says which one was probably meant."""
    with pytest.raises(ConfigError, match="did you mean 'mujoco'"):
        make_physics(SimConfig(backend="mujoko"), Scene(2), num_envs=5, seed=0)


@pytest.mark.parametrize("backend", ["isaacgym", "warp"])
def test_make_physics_with_an_absent_simulator_says_what_to_do(backend):
    """A known simulator that cannot be used here is an error with a way out."""
    with pytest.raises(SimulatorError, match="--sim mujoco"):
        make_physics(SimConfig(backend=backend), Scene(2), num_envs=5, seed=0)


def test_make_physics_without_mujoco_says_how_to_install_it(monkeypatch):
    """Without the package, the error gives the command that installs it and the Python that it needs."""
    for name in ("mujoco", "mujoco.batch", "mapush.sim.mjcpu"):
        monkeypatch.setitem(sys.modules, name, None) if name != "mapush.sim.mjcpu" else monkeypatch.delitem(
            sys.modules, name, raising=False
        )
    with pytest.raises(SimulatorError, match="(?s)pip install mujoco.*3.11"):
        make_physics(SimConfig(), Scene(2), num_envs=5, seed=0)


def test_import_of_the_scene_needs_neither_torch_nor_mujoco():
    """Scene, factory and robot data load without the two heavy packages, as Isaac Gym's import order demands."""
    code = (
        "import sys; import mapush.sim, mapush.sim.scene, mapush.sim.go1, mapush.sim.base; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
