"""The choice of a simulator by its name, and the physics that it makes."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from mapush.config import SimConfig
from mapush.errors import ConfigError, SimulatorError
from mapush.objects import CUBOID
from mapush.sim import BACKENDS, choose_backend, how_to_install, make_physics
from mapush.sim.scene import Scene

pytestmark = pytest.mark.sim


def settings(backend):
    """Return settings that no `SimConfig` has validated."""
    return types.SimpleNamespace(backend=backend, threads=3, nconmax=41, njmax=97)


@pytest.fixture
def no_gpu(monkeypatch):
    """Make every GPU unusable."""
    monkeypatch.setattr("mapush.device.mujoco_packages.why_no_gpu", lambda: SimulatorError("no card"))


@pytest.mark.parametrize("backend", ["auto", "mujoco"])
def test_make_physics_by_name_makes_mujoco(no_gpu, backend):
    """Without a GPU, both names make the CPU simulator."""
    pytest.importorskip("mujoco.batch")
    physics = make_physics(SimConfig(backend=backend, threads=1), Scene(2, CUBOID), num_envs=5, seed=0)
    assert type(physics).__name__ == "MujocoPhysics"
    assert (physics.num_envs, physics.num_agents) == (5, 2)


@pytest.mark.parametrize(
    "backend, expected", [("mujoco", {"threads": 3}), ("warp", {"nconmax": 41, "njmax": 97})], ids=["mujoco", "warp"]
)
def test_make_physics_passes_each_simulator_its_settings(monkeypatch, backend, expected):
    """Each simulator gets only its own settings."""
    made = []
    module = types.ModuleType("mapush.sim.fake")
    module.Fake = lambda *args, **options: made.append((args, options))
    monkeypatch.setitem(sys.modules, "mapush.sim.fake", module)
    _, _, fields = BACKENDS[backend]
    monkeypatch.setitem(BACKENDS, backend, ("mapush.sim.fake", "Fake", fields))
    make_physics(settings(backend), Scene(2), 5, 7, None)
    assert made == [((Scene(2), 5), dict(expected, seed=7, randomization=None))]


@pytest.mark.parametrize("unknown_to", [choose_backend, lambda name: make_physics(settings(name), Scene(2), 5, 0)])
def test_misspelt_simulator_suggests_the_right_one(unknown_to):
    """An unknown simulator is an error that names the most similar one."""
    with pytest.raises(ConfigError, match="unknown simulator 'mujoko'; did you mean 'mujoco'") as caught:
        unknown_to("mujoko")
    assert caught.value.where == "sim.backend"


@pytest.mark.parametrize("backend", ["isaacgym", "standin", "warp"])
def test_choose_backend_that_is_not_available_names_alternatives(no_gpu, monkeypatch, backend):
    """A known simulator that does not work on this machine is an error, whose fix names the alternatives."""
    monkeypatch.delenv("MAPUSH_DIR", raising=False)
    with pytest.raises(SimulatorError, match=f"the simulator {backend} is not available") as caught:
        choose_backend(backend)
    assert "--sim mujoco" in caught.value.fix


@pytest.mark.parametrize("backend", ["isaacgym", "standin"])
def test_make_physics_of_mqe_is_refused(backend):
    """Neither Isaac Gym nor the stand-in for it has physics that mapush could drive."""
    with pytest.raises(ConfigError, match="only MQE's pushing tasks"):
        make_physics(SimConfig(backend=backend), Scene(2), num_envs=5, seed=0)


def test_make_physics_without_mujoco_says_how_to_install_it(no_gpu, monkeypatch):
    """Without MuJoCo, the error gives the command that installs it."""
    for name in ("mujoco", "mujoco.batch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "mapush.sim.mjcpu", raising=False)
    with pytest.raises(SimulatorError, match="MuJoCo cannot be loaded") as caught:
        make_physics(SimConfig(), Scene(2), num_envs=5, seed=0)
    assert "python -m pip install mujoco==4.0.0" in caught.value.fix


@pytest.mark.parametrize("python", [(3, 8), (3, 10)])
def test_how_to_install_on_an_old_python_says_which_python_is_needed(python):
    """Where MuJoCo 4 cannot be installed, the advice names both versions of Python and the simulator that works."""
    advice = how_to_install("mujoco==4.0.0", python)
    assert f"needs Python 3.11 or later, and this is Python 3.{python[1]}" in advice
    assert "pip install mujoco==4.0.0" in advice
    assert "--sim isaacgym" in advice


def test_how_to_install_on_a_new_python_is_one_command():
    """From Python 3.11 on, the advice is only the command."""
    assert how_to_install("mujoco==4.0.0", (3, 11)) == "python -m pip install mujoco==4.0.0"


@pytest.mark.parametrize("package, distribution", [("mujoco_warp", "mujoco-warp==4.0.0"), ("warp", "warp-lang==1.19")])
def test_choose_backend_without_the_packages_of_warp_says_how_to_install_them(monkeypatch, package, distribution):
    """Without a package of Warp, auto chooses MuJoCo and says why; warp is refused with the command to install it."""
    monkeypatch.setattr(
        "mapush.device.mujoco_packages.importlib.util.find_spec", {"mujoco_warp": True, "warp": True, package: None}.get
    )
    monkeypatch.setattr("mapush.device.mujoco_packages.why_no_gpu", lambda: pytest.fail("the GPU was tested"))
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
    """Torch is imported only to test the GPU, because Isaac Gym has to be imported before it."""
    code = f"import sys; from mapush.sim import choose_backend; {choice}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_of_the_scene_needs_neither_torch_nor_mujoco():
    """Scene, factory and robot data import neither package, because Isaac Gym has to be imported before torch."""
    code = (
        "import sys; import mapush.sim, mapush.sim.scene, mapush.sim.go1, mapush.sim.physics; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
