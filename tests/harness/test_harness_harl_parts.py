"""The parts of `python -m harness harl` that need no HARL: lines of the user's, tables, settings, the toy."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from harness.harl.harl_command import main
from harness.harl.harl_tables import MadeBy, knows, replaced, returned_name
from harness.harl.rollout_checks import _same_order, first_difference
from harness.harl.runner_checks import chosen_checks
from harness.harl.settings import made_small, read_settings
from harness.harl.toy_env import LONGEST, Statistics, ToyEnv, ToyMaker, ToySizes
from harness.harl.users_lines import UsersFiles, innermost_place, returned_place
from harness.harl.users_logger import LoggersCode, who_sets
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

HERE = Path(__file__)


# -- lines of the user's -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, owned",
    [
        ("harl/runners/on_policy_base_runner.py", False),
        ("harl/envs/smac/smac_logger.py", False),
        ("harl/envs/mapush/mapush_env.py", True),
        ("harl/runners/my_runner.py", True),
        ("harl_mapush/runners/runner.py", True),
        ("lib/python3.11/site-packages/gym/core.py", False),
    ],
)
def test_files_of_the_user_are_told_from_upstreams(tmp_path, file, owned):
    """Additions to a copy of HARL are the user's; what upstream ships is not."""
    assert UsersFiles(tmp_path / "harl").owns(str(tmp_path / file)) is owned


def test_files_of_python_and_of_the_harness_are_nobodys(tmp_path):
    """Neither is a place to edit."""
    files = UsersFiles(tmp_path / "harl")
    assert not files.owns(textwrap.__file__)
    assert not files.owns(sys.modules["harness.harl.settings"].__file__)
    assert not files.owns("<frozen importlib._bootstrap>")


class Returns:
    """Returns tuples whose parts come from several lines."""

    def step(self, actions):
        """Return three parts."""
        obs = list(actions)
        infos = [{} for _ in actions]
        infos = [{0: {}} for _ in actions]
        infos[0][0]["bad_transition"] = True
        obs[1] = None
        return obs, infos, [None] * len(actions)


def test_line_of_a_returned_part_is_its_last_assignment():
    """A name leads to the line that gives it its value; an expression to the line of the return."""
    lines = HERE.read_text().splitlines()
    assert "infos = [{0: {}}" in lines[int(returned_place(Returns.step, 1).rpartition(":")[2]) - 1]
    assert "obs[1] = None" in lines[int(returned_place(Returns.step, 0).rpartition(":")[2]) - 1]
    assert "return obs" in lines[int(returned_place(Returns.step, 2).rpartition(":")[2]) - 1]


def test_place_of_an_error_is_outside_of_the_harness():
    """A wrapper of the harness is never named as the place of an error."""
    with pytest.raises(ConfigError) as caught:
        read_settings(HERE.parent, "mapush", "happo", Path("missing.json"), {})
    assert HERE.name in innermost_place(caught.value)


# -- the logger's code -------------------------------------------------------------------------------------------------


class KeepsStatistics:
    """A logger that asks its environment."""

    def episode_log(self):
        """Read and reset."""
        if hasattr(self.envs, "read_numbers"):
            self.envs.read_numbers()
            self.envs.clear_numbers()


class HandsOver:
    """A runner that hands its environment over."""

    def __init__(self):
        self.logger = KeepsStatistics()
        self.logger.envs = self


def test_code_of_a_logger_says_what_it_asks():
    """The methods of the environment are read from the syntax tree, whatever their names."""
    files = UsersFiles(HERE.parent / "harl")
    code = LoggersCode.of(KeepsStatistics, files)
    assert (code.attribute, code.getters, code.resetters) == ("envs", ["read_numbers"], ["clear_numbers"])
    assert LoggersCode.of(Returns, files) is None
    assert len(who_sets("envs", [HandsOver], files)) == 1
    assert who_sets("envs", [Returns], files) == []


# -- tables ------------------------------------------------------------------------------------------------------------


def make_env(env_name, seed, n_threads, env_args):
    """Know two names, one of them by an import of its own."""
    if env_name == "mapush":
        from package_of_nobody.mapush_env import PushEnv

        return PushEnv({"n_threads": n_threads, **env_args})
    elif env_name == "other":
        return Returns()

    def init_env():
        if env_name == "single":
            return Returns()
        raise NotImplementedError

    return [init_env for _ in range(n_threads)]


def make_any(env_name, seed, n_threads, env_args):
    """Make the same whatever the name."""
    return Returns()


def test_function_that_knows_a_name_is_recognised():
    """A branch anywhere counts; a function that compares no name knows all."""
    assert [knows(make_env, name) for name in ("mapush", "other", "single", "nobody")] == [True, True, True, False]
    assert knows(make_any, "nobody")


def test_what_makes_a_batch_is_read_from_the_branch():
    """Only a batch that is returned whole can be replaced by a toy."""
    assert returned_name(make_env, "mapush") == MadeBy("PushEnv", "package_of_nobody.mapush_env", "PushEnv")
    assert returned_name(make_env, "other") == MadeBy("Returns")
    assert returned_name(make_env, "single") is None


def test_toy_takes_the_place_of_a_simulator_that_is_not_installed(monkeypatch):
    """The module of the environment is not imported, and nothing is left behind."""
    maker = ToyMaker(ToySizes(), 5, "EP")
    monkeypatch.setitem(sys.modules, "package_of_nobody", type(sys)("package_of_nobody"))
    with replaced(make_env, returned_name(make_env, "mapush"), maker):
        assert isinstance(make_env("mapush", 0, 5, {}), ToyEnv)
    with replaced(make_any, returned_name(make_any, "mapush"), maker):
        assert isinstance(make_any("mapush", 0, 5, {}), ToyEnv)
    assert isinstance(make_any("mapush", 0, 5, {}), Returns)
    assert "package_of_nobody.mapush_env" not in sys.modules


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def harl(tmp_path):
    """Return the folder of a package with settings of one algorithm and one environment."""
    for name, text in (
        ("algos_cfgs/happo", "train: {log_interval: 5}\neval: {use_eval: true}\nalgo: {gamma: 0.9}\n"),
        ("envs_cfgs/mapush", "task: go1push_mid\n"),
    ):
        path = tmp_path / "harl" / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "harl"


def test_settings_are_those_of_harls_files(harl):
    """HARL's own files are read, a file of the user's goes first, and a change is written wherever its key occurs."""
    settings = read_settings(harl, "mapush", "happo", None, {"gamma": 0.5, "task": "go1push_upper"})
    assert settings.algo_args["algo"] == {"gamma": 0.5}
    assert settings.env_args == {"task": "go1push_upper"}
    assert not settings.evaluation_is_asked_for
    config = harl / "own.yaml"
    config.write_text("algo: {gamma: 0.7}\neval: {use_eval: true}\nstate_type: FP\n")
    settings = read_settings(harl, "mapush", "happo", config, {})
    assert settings.algo_args["algo"]["gamma"] == 0.7
    assert (settings.state_type, settings.evaluation_is_asked_for) == ("FP", True)


def test_unknown_names_in_settings_get_a_suggestion(harl):
    """A misspelled algorithm, setting or contract is one message."""
    with pytest.raises(ConfigError, match="unknown algorithm 'hapo'; did you mean 'happo'"):
        read_settings(harl, "mapush", "hapo", None, {})
    with pytest.raises(ConfigError, match="unknown setting 'gama'; did you mean 'gamma'"):
        read_settings(harl, "mapush", "happo", None, {"gama": 1})
    with pytest.raises(ConfigError, match="unknown contract 'mask'; did you mean 'masks'"):
        chosen_checks(["mask"])


def test_missing_file_of_an_environment_is_kept_for_the_report(harl):
    """It is a finding of the run, not an error of the command."""
    assert read_settings(harl, "nobody", "happo", None, {}).missing.endswith("nobody.yaml")


def test_small_settings_leave_the_users_unchanged(harl):
    """The small run is a copy."""
    settings = read_settings(harl, "mapush", "happo", None, {})
    small = made_small(settings, "logs", num_envs=6)
    assert (small.train["n_rollout_threads"], small.train["log_interval"]) == (6, 1)
    assert settings.train == {"log_interval": 5}


def test_command_without_harl_is_one_message(capsys, monkeypatch):
    """Exit code 2, and where to get HARL."""
    monkeypatch.delenv("HARL_DIR", raising=False)
    monkeypatch.setattr("harness.harl.harl_folder._installed", lambda: None)
    assert main(["package.module:Runner", "--env", "mapush"]) == 2
    assert "no HARL: neither --harl nor HARL_DIR names one" in capsys.readouterr().err


# -- the toy -----------------------------------------------------------------------------------------------------------


def test_toy_ends_episodes_in_both_ways():
    """A few rollouts see failures and time limits, and each is flagged as what it is."""
    env = ToyEnv(ToySizes(), 5, "training")
    env.reset()
    ended = limits = 0
    for _ in range(4 * LONGEST):
        _, _, _, dones, infos, _ = env.step(None)
        ended += int(dones.all(axis=1).sum())
        limits += sum("bad_transition" in info[0] for info in infos)
    assert ended > limits > 2
    assert env.get_statistics()["number of episodes"] == ended
    env.reset_statistics()
    assert env.get_statistics()["num_episodes"] == 0


def test_statistics_of_the_toy_have_every_key():
    """Whatever a logger asks for gets a number that says which kind of key it was."""
    statistics = Statistics({"success": 0.25, "other": 0.5})
    assert (statistics["push_success_rate"], statistics.get("whatever", 3), "x" in statistics) == (0.25, 0.5, True)


# -- comparisons -------------------------------------------------------------------------------------------------------


def test_first_difference_is_named_with_both_numbers():
    """Arrays are compared in float64 within a tolerance."""
    found = first_difference(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]))
    assert found == ((0, 1), 2.0, 3.0)
    assert first_difference(np.float32([0.1]), np.float64([0.1])) is None


def test_clipped_actions_keep_their_order_and_exchanged_ones_do_not():
    """Clipping and scaling on the way to the environment are no exchange of agents or envs."""
    stored = np.random.default_rng(2).normal(size=(7, 5, 3))
    assert _same_order(stored, 0.5 * stored.clip(-0.3, 0.3))
    assert not _same_order(stored, stored[:, ::-1])


WITHOUT_COMPILER = """
import sys, torch
from harness.harl.quick_start import compile_nothing_yet
compile_nothing_yet()
weight = torch.ones(2, requires_grad=True)
optimiser = torch.optim.Adam([weight], lr=0.5)
weight.sum().backward()
optimiser.step()
optimiser.zero_grad()
assert (weight - 0.5).abs().max() < 1e-6, weight
assert "torch._dynamo.convert_frame" not in sys.modules
assert torch.compile(lambda x: x + 1.0, backend="eager")(torch.ones(2)).tolist() == [2.0, 2.0]
assert "torch._dynamo.convert_frame" in sys.modules
compile_nothing_yet()
assert torch._dynamo is sys.modules["torch._dynamo"]
assert torch._dynamo.__file__
"""


def test_optimisers_step_without_the_compiler_and_whoever_compiles_gets_it():
    """The stand-in is enough for a step, and gives way to the compiler, with the same numbers."""
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
