"""Contracts of `--sim standin` without a checkout of MAPush: choice, messages, settings, and the missing network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles import run

from mapush import evaluate, train
from mapush.assembly import device_of
from mapush.config import PushRunConfig, SimConfig
from mapush.device import gpu_errors
from mapush.errors import CapacityError, CheckpointError, ConfigError, SimulatorError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.replay import replay
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.sim import choose_backend, mapush_source, standin
from mapush.upstream.low_level import ADAPTATION, BODY, low_level

pytestmark = [pytest.mark.adapters, pytest.mark.mujoco]

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


def checkout(folder, mqe="ENV_DICT = {}"):
    """Make a folder that looks like a checkout of MAPush.

    Args:
      folder: where.
      mqe: source of `mqe.envs.utils`.
    """
    (folder / "mqe" / "envs").mkdir(parents=True)
    for package in ("mqe", "mqe/envs"):
        (folder / package / "__init__.py").touch()
    (folder / "mqe" / "envs" / "utils.py").write_text(mqe)
    return folder


@pytest.fixture
def no_checkout(monkeypatch):
    """Let nothing lead to a checkout of MAPush, nor to packages that MQE needs."""
    monkeypatch.delenv("MAPUSH_DIR", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if importlib.util.find_spec("mqe") is not None:
        pytest.skip("a package mqe is installed")


# -- the checkout ----------------------------------------------------------------------------------------------------


def test_find_follows_mapush_dir_before_the_path(no_checkout, monkeypatch, tmp_path):
    """The package of the folder that the variable names is found, even where an unrelated one is on the path."""
    other, wanted = tmp_path / "other", checkout(tmp_path / "wanted")
    (other / "mqe").mkdir(parents=True)
    (other / "mqe" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(other))
    assert "pip uninstall mqe" in mapush_source.find().fix
    monkeypatch.setenv("MAPUSH_DIR", str(wanted))
    assert mapush_source.find() is None
    assert Path(importlib.util.find_spec("mqe").origin).is_relative_to(wanted)


def test_find_in_a_folder_without_mqe_says_which_folder(no_checkout, monkeypatch, tmp_path):
    """A wrong folder is named, and nothing is put on the path."""
    monkeypatch.setenv("MAPUSH_DIR", str(tmp_path))
    before = list(sys.path)
    error = mapush_source.find()
    assert error.got == str(tmp_path)
    assert "mqe/envs/utils.py" in error.expected
    assert sys.path == before


def test_missing_packages_are_named_with_one_command(monkeypatch):
    """Only what is missing is installed; OpenRL without the packages that it declares."""
    absent = {"gymnasium", "openrl", "treelib"}
    monkeypatch.setattr(mapush_source.importlib.util, "find_spec", lambda name: None if name in absent else name)
    error = mapush_source.missing_packages()
    assert error.got == "no module named gymnasium, treelib, openrl"
    expected = "python -m pip install gymnasium==0.29.1 treelib && python -m pip install --no-deps openrl"
    assert error.fix == expected


def test_all_packages_there_is_no_error(monkeypatch):
    """Nothing is reported where nothing is missing."""
    monkeypatch.setattr(mapush_source.importlib.util, "find_spec", lambda name: name)
    assert mapush_source.missing_packages() is None


def test_failed_import_of_mqe_is_an_error_with_its_reason(no_checkout, monkeypatch, tmp_path):
    """What MAPush's own modules raise becomes one message."""
    monkeypatch.syspath_prepend(str(checkout(tmp_path, "raise RuntimeError('a bad day')")))
    monkeypatch.setitem(sys.modules, "mqe", None)
    monkeypatch.delitem(sys.modules, "mqe")
    error = mapush_source.load()
    for name in [name for name in sys.modules if name.split(".")[0] == "mqe"]:
        del sys.modules[name]
    assert error.got == "RuntimeError: a bad day"


# -- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", [train, evaluate])
def test_command_without_a_checkout_gives_one_message(no_checkout, monkeypatch, tmp_path, capsys, program):
    """The command ends with exit code 2, says how to get the checkout, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    assert program.main(["cuboid", "--sim", "standin"]) == 2
    said = capsys.readouterr().err
    assert "no checkout of MAPush was found" in said
    assert "git clone https://github.com/collaborative-mapush/MAPush; export MAPUSH_DIR=" in said
    assert list(tmp_path.iterdir()) == []
    assert "isaacgym" not in sys.modules


def test_standin_on_an_old_python_is_refused():
    """Where MuJoCo 4 does not exist, one message names both versions of Python."""
    error = standin.load((3, 8))
    assert (error.got, error.expected) == ("Python 3.8", "3.11")


def test_isaac_gym_that_is_missing_names_the_standin(no_checkout):
    """Where the stand-in works, the error of Isaac Gym names it first."""
    with pytest.raises(SimulatorError, match="isaacgym is not available") as caught:
        choose_backend("isaacgym")
    assert caught.value.fix.startswith("--sim standin")
    assert "developer.nvidia.com" in caught.value.fix


def test_isaac_gym_that_is_missing_where_the_standin_does_not_work_does_not_name_it(no_checkout, monkeypatch):
    """On Python 3.8 the advice is Isaac Gym's only."""
    monkeypatch.setattr(standin, "works_here", lambda: False)
    with pytest.raises(SimulatorError, match="isaacgym is not available") as caught:
        choose_backend("isaacgym")
    assert "standin" not in caught.value.fix


def test_standin_is_not_taken_for_isaac_gym(tmp_path):
    """Under the launcher, `import isaacgym` finds the stand-in: `--sim isaacgym` says so."""
    code = "from mapush.sim import choose_backend; choose_backend('isaacgym')"
    words = [sys.executable, "-m", "isaac_standin", "--", sys.executable, "-c", code]
    environ = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run(words, cwd=str(tmp_path), env=environ, stdout=-1, stderr=-1, text=True)
    assert result.returncode == 1
    assert "is the stand-in for Isaac Gym" in result.stderr
    assert "--sim standin" in result.stderr


def test_real_isaac_gym_is_not_hidden(tmp_path):
    """Where Isaac Gym itself can be imported, the stand-in is refused, and the message names the simulator to use."""
    folder = checkout(tmp_path / "MAPush")
    code = "from mapush.sim import mapush_source, choose_backend; mapush_source.NEEDS.clear()"
    code += "; choose_backend('standin')"
    result = run(code, tmp_path, MAPUSH_DIR=str(folder))
    assert "Isaac Gym itself can be imported here" in result.stderr
    assert "--sim isaacgym; or set ISAAC_STANDIN_ALLOW_REAL=True" in result.stderr


def test_auto_never_chooses_mapush(no_checkout):
    """MAPush's environment runs only where it is asked for."""
    assert choose_backend("auto")[0] in ("mujoco", "warp")


def test_viewer_of_mqe_draws_by_itself():
    """Flags of our own viewer are refused, as for Isaac Gym."""
    with pytest.raises(ConfigError, match="MAPush's environment shows one env"):
        EvaluateConfig(mode="viewer", record=Path("x.gif"), sim=SimConfig("standin"))


def test_replay_of_mapush_is_refused(tmp_path):
    """Episodes in MAPush's environment start again, so that a replay would show nothing; it says so."""
    config = PushRunConfig(sim=SimConfig("standin"))
    path = checkpoints.save(Checkpoint(config, 0, {}, {}, {}), tmp_path / "nonfinite.pt")
    with pytest.raises(CheckpointError, match="cannot be repeated"):
        replay(path)


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def environ(monkeypatch):
    """Give this process an environment whose settings of the stand-in are restored afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ


def test_settings_of_the_simulator_reach_the_standin(environ):
    """Flags that were given replace what the environment says, and only those."""
    from isaac_standin.install import settings
    from mapush.upstream import mqe_standin

    environ.update(ISAAC_STANDIN_THREADS="7", ISAAC_STANDIN_PHYSX_MEMORY="8GiB")
    mqe_standin._export(SimConfig("standin", nconmax=41, njmax=97))
    chosen = settings()
    assert (chosen.threads, chosen.contacts_per_env, chosen.rows_per_env) == (7, 41, 97)
    assert chosen.physx_memory == "8GiB"
    mqe_standin._export(SimConfig("standin", threads=3))
    assert settings().threads == 3


@pytest.mark.parametrize("method", ["step", "check"])
def test_full_buffer_names_our_flags(method, monkeypatch):
    """The error of a buffer on a GPU says which flags of mapush make it larger."""
    from isaac_standin.errors import BufferOverflow
    from mapush.upstream.mqe import MqeEnv
    from mapush.upstream.mqe_standin import StandinEnv

    def overflow(*_):
        raise BufferOverflow("full", 41, 97, fix="python -m isaac_standin ...")

    env = StandinEnv.__new__(StandinEnv)
    env.num_envs = 5
    env._upstream = SimpleNamespace(sim=SimpleNamespace(simulation=SimpleNamespace(engine=SimpleNamespace())))
    env._upstream.sim.simulation.engine.check = overflow
    monkeypatch.setattr(MqeEnv, "step", overflow)
    call = {"step": lambda: env.step(None), "check": env.check}[method]
    with pytest.raises(SimulatorError, match="full") as caught:
        call()
    assert caught.value.fix == "--sim.nconmax 41 --sim.njmax 97"


def test_simulation_larger_than_the_vram_limit_is_refused(monkeypatch):
    """What the simulation took counts; PyTorch gets the rest."""
    from mapush.upstream import mqe_standin

    rest = []
    monkeypatch.setattr(mqe_standin.capacity, "limit_torch", rest.append)
    config = PushRunConfig(num_envs=17, vram_limit="8GiB")
    mqe_standin._limit(config, 3 * GIB)
    assert rest == [5 * GIB]
    with pytest.raises(CapacityError, match="17 envs do not fit"):
        mqe_standin._limit(config, 8 * GIB)


def test_gpu_that_the_standin_does_not_use_is_no_gpu_for_the_learner(monkeypatch):
    """Where "cuda" is redirected to the CPU, it proves nothing that a tensor can be made there."""
    monkeypatch.setattr(gpu_errors, "_hidden", None)
    monkeypatch.setattr("torch.ones", lambda *_, **__: SimpleNamespace(item=lambda: 1.0))
    assert gpu_errors.why_no_gpu() is None
    gpu_errors.hide_gpu("it is not used")
    assert gpu_errors.why_no_gpu().what == "it is not used"
    assert device_of("auto").type == "cpu"


# -- the network that a checkout may lack ----------------------------------------------------------------------------


@pytest.fixture
def networks(tmp_path):
    """Return a folder with the network that every copy of MAPush has, and the path of our own body."""
    folder = tmp_path / "walk_these_ways"
    folder.mkdir()
    (folder / ADAPTATION).write_text("theirs")
    ours = tmp_path / "go1_body.jit"
    ours.write_text("ours")
    return folder, ours


def test_body_of_the_checkout_is_used_if_there_is_one(networks):
    """Nothing is copied and nothing is said."""
    folder, ours = networks
    (folder / BODY).write_text("theirs")
    said = []
    with low_level(folder, ours, said.append) as used:
        assert used == folder
    assert said == []


def test_missing_body_is_replaced_by_ours_outside_the_checkout(networks):
    """Both networks lie in a temporary folder, one line says so, and the checkout stays as it is."""
    folder, ours = networks
    said = []
    with low_level(folder, ours, said.append) as used:
        assert (used / BODY).read_text() == "ours"
        assert (used / ADAPTATION).read_text() == "theirs"
    assert not used.exists()
    assert [path.name for path in folder.iterdir()] == [ADAPTATION]
    assert len(said) == 1
    assert "go1_body.jit" in said[0]


@pytest.mark.parametrize("name", [ADAPTATION, BODY])
def test_network_that_nobody_has_is_an_error(networks, name):
    """The error names the missing file."""
    folder, ours = networks
    ours.unlink()
    (folder / BODY).write_text("theirs")
    (folder / name).unlink()
    with pytest.raises(ConfigError, match="network") as caught, low_level(folder, ours):
        pass
    assert caught.value.where == str(folder / name)
