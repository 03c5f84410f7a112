"""Contracts of finding HARL: one message names what is missing or different, before anything starts."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from mapush import train as training
from mapush.config import HarlConfig, PushRunConfig, SimConfig
from mapush.errors import ConfigError, LearnerError
from mapush.upstream.harl import harl_source, harl_training

pytestmark = pytest.mark.adapters

TINY = "cuboid --learner harl --num-envs 5 --num-steps 7 --total-steps 350 --device cpu --sim mujoco".split()

DOUBLE = {  # a minimal HARL: only what the adapter calls
    "algorithms/actors/happo.py": "class HAPPO:\n    def __init__(self, args, obs_space, act_space, device=None): ...",
    "algorithms/critics/v_critic.py": "class VCritic:\n    def __init__(self, args, cent_obs_space, device=None): ...",
    "common/buffers/on_policy_actor_buffer.py": (
        "class OnPolicyActorBuffer:\n    def __init__(self, args, obs_space, act_space): ..."
    ),
    "common/buffers/on_policy_critic_buffer_ep.py": (
        "class OnPolicyCriticBufferEP:\n    def __init__(self, args, share_obs_space): ..."
    ),
    "common/valuenorm.py": "class ValueNorm:\n    def __init__(self, input_shape, norm_axes=1, device=None): ...",
    "runners/on_policy_ha_runner.py": """
class OnPolicyHARunner:
    def __init__(self, args, algo_args, env_args): ...
    def run(self): ...
    def warmup(self): ...
    def collect(self, step): ...
    def insert(self, data): ...
    def compute(self): ...
    def train(self): ...
    def save(self): ...
    def after_update(self): ...
""",
}
HAPPO, RUNNER = "algorithms/actors/happo.py", "runners/on_policy_ha_runner.py"


@pytest.fixture
def installed(monkeypatch):
    """Pretend that the packages that HARL needs are installed, but not HARL; return their names, to remove some."""
    names = {"absl", "setproctitle", "uu"}
    find_spec = importlib.util.find_spec

    def find(name):
        if name in names:
            return name
        if name in ("absl", "setproctitle", "uu"):
            return None
        return find_spec(name)

    for name in harl_modules():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "HARL" not in path])
    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.delenv("HARL_DIR", raising=False)
    yield names
    for name in harl_modules():
        del sys.modules[name]


def harl_modules():
    """Return the names of HARL's modules that have been imported."""
    return [name for name in sys.modules if name.split(".")[0] == "harl"]


@pytest.fixture
def checkout(tmp_path, installed, monkeypatch):
    """Return a function that writes a double of HARL, with changes to its files, and sets `HARL_DIR`."""

    def make(changes=()):
        for name, text in dict(DOUBLE, **dict(changes)).items():
            path = tmp_path / "checkout" / "harl" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in (tmp_path / "checkout" / "harl").rglob("*"):
            if folder.is_dir():
                (folder / "__init__.py").touch()
        (tmp_path / "checkout" / "harl" / "__init__.py").touch()
        monkeypatch.setenv("HARL_DIR", str(tmp_path / "checkout"))

    return make


def test_upstream_is_loaded_from_the_folder_that_is_named(tmp_path, checkout):
    """`HARL_DIR` needs no installation; HARL's own settings are read, so that a fork's keys keep their values."""
    settings = "algo: {clip_param: 0.2, curriculum: 3}\nmodel: {gain: 0.01}"
    checkout({"configs/algos_cfgs/happo.yaml": settings})
    assert harl_source.locate() == tmp_path / "checkout" / "harl"
    found = harl_source.load()
    assert found.HAPPO.__module__ == "harl.algorithms.actors.happo"
    assert found.defaults == {"clip_param": 0.2, "curriculum": 3, "gain": 0.01}


def test_locating_loads_neither_harl_nor_torch(checkout):
    """The simulator is loaded first, because Isaac Gym must be imported before torch."""
    checkout({"__init__.py": "raise RuntimeError('imported')"})
    harl_source.locate()
    assert "harl" not in sys.modules


@pytest.mark.parametrize(
    "absent, got, fix",
    [
        ({"absl", "setproctitle"}, "absl and setproctitle", "python -m pip install absl-py setproctitle"),
        ({"setproctitle"}, "no module named setproctitle", "python -m pip install setproctitle"),
        ({"uu"}, "has no module uu", "use Python 3.12 or older"),
    ],
)
def test_missing_packages_are_named_with_the_command(checkout, installed, absent, got, fix):
    """All packages that HARL imports and that are not installed are named at once, with their names for pip."""
    checkout()
    installed -= absent
    with pytest.raises(LearnerError) as caught:
        harl_source.locate()
    assert got in caught.value.got
    assert fix in caught.value.fix


def test_folder_without_harl_is_refused(tmp_path, installed, monkeypatch):
    """The error for a `HARL_DIR` that is not a checkout contains its value."""
    monkeypatch.setenv("HARL_DIR", str(tmp_path))
    with pytest.raises(LearnerError, match="HARL_DIR is not a checkout") as caught:
        harl_source.locate()
    assert caught.value.got == str(tmp_path)


@pytest.mark.parametrize(
    "changes, what, got",
    [
        ({HAPPO: "import a_package_of_the_fork"}, "packages that are not installed", "a_package_of_the_fork"),
        ({HAPPO: "import harl.of.a.fork"}, "not HARL, or a fork without harl.of", None),
        ({HAPPO: "class MAPPO: ..."}, "this HARL has no HAPPO", None),
        ({HAPPO: DOUBLE[HAPPO].replace("args,", "args, teams,")}, "calls HAPPO with other arguments", "teams"),
        ({HAPPO: DOUBLE[HAPPO].replace(", device=None", "")}, "calls HAPPO with other arguments", "act_space)"),
        ({RUNNER: DOUBLE[RUNNER].replace("collect", "gather")}, "no OnPolicyHARunner.collect", None),
        ({RUNNER: DOUBLE[RUNNER].replace("(self, data)", "(self, data, infos)")}, "OnPolicyHARunner.insert", "infos"),
        ({RUNNER: "class OnPolicyHARunner: ..."}, "calls OnPolicyHARunner with other arguments", None),
    ],
)
def test_fork_that_differs_is_refused_with_the_part_that_differs(checkout, changes, what, got):
    """One message names the part, its arguments in the fork, and the expected ones."""
    checkout(changes)
    with pytest.raises(LearnerError) as caught:
        harl_source.load()
    assert what in caught.value.what
    assert got is None or got in caught.value.got
    assert caught.value.fix
    assert caught.value.where.endswith("harl")


# -- the command line ------------------------------------------------------------------------------------------------


def test_run_without_harl_ends_before_it_begins(tmp_path, installed, capsys):
    """The command exits with code 2 and one message that says how to install HARL; it starts no simulator."""
    made = []
    assert training.main(TINY + ["--run-dir", str(tmp_path / "run")], make_env=made.append) == 2
    assert made == []
    said = capsys.readouterr().err
    assert said.startswith("LearnerError: HARL is not installed")
    assert "git clone" in said
    assert list(tmp_path.iterdir()) == []


def test_learner_that_does_not_exist_is_refused_with_the_nearest(capsys):
    """The error for a misspelt learner suggests the right one."""
    assert training.main(["--learner", "harel"]) == 2
    assert "did you mean 'harl'" in capsys.readouterr().err


def test_second_isaac_gym_in_one_process_is_refused(tmp_path):
    """Isaac Gym cannot run twice in a process, so HARL's evaluation during training is refused."""
    config = PushRunConfig(learner="harl", harl=HarlConfig(eval_episodes=4), sim=SimConfig("isaacgym"))
    with pytest.raises(ConfigError, match="Isaac Gym runs once in a process") as caught:
        harl_training.train(config, tmp_path / "run", "", lambda: False)
    assert "mapush.evaluate" in caught.value.fix
