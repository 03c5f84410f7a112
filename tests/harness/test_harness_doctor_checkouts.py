"""Contracts of `harness doctor --harl DIR --mqe DIR`: a planted trap is named with its line; clean code is clean."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_checkouts import write_checkouts

from harness.doctor import main
from harness.doctor.checkouts import examine_checkouts
from harness.doctor.line import OK, WARNING, WRONG
from mapush.upstream.contact_pairs import BYTES_PER_PAIR

pytestmark = pytest.mark.harness

HARL_DIR, MAPUSH_DIR = os.environ.get("HARL_DIR"), os.environ.get("MAPUSH_DIR")
BASE, CONFIG = "base_task.py", "base/config.py"
ENV, LOGGER, OWN_RUNNER = "mapush_env.py", "mapush_logger.py", "mapush_happo_runner.py"
TABLES, TOOLS, RUNNER = "configs_tools.py", "envs_tools.py", "on_policy_base_runner.py"
GUARD = "available_actions is not None and available_actions[0]"
TRAPS = {  # name: changes, file that is named, text on its line, status, words
    "contact pairs x5": (
        [(BASE, "*= 1", "*= 5")],
        BASE,
        "*= 5",
        WARNING,
        "multiplied by 5: room for 41,943,040 contact pairs, about 10.0 GiB of GPU memory instead of 2.0 GiB",
    ),
    "contact pairs, written out": (
        [
            (
                BASE,
                "self.sim_params.physx.max_gpu_contact_pairs *= 1",
                "physx.max_gpu_contact_pairs = 3 * physx.max_gpu_contact_pairs",
            ),
            (CONFIG, "2**23", "1024 * 1024"),
        ],
        BASE,
        "= 3 *",
        WARNING,
        "multiplied by 3: room for 3,145,728 contact pairs",
    ),
    "task name": ([(TABLES, '"mapush"', '"other"')], TABLES, "def get_task_name", WRONG, "UnboundLocalError"),
    "one name for all tasks": (
        [(TABLES, 'env_args.get("task", "go1push_mid")', '"mapush"')],
        TABLES,
        'task = "mapush"',
        WRONG,
        "every task of 'mapush' is called 'mapush'",
    ),
    "train env": (
        [
            (
                TOOLS,
                'env_name == "mapush":\n        return Env(env_args)\n    raise',
                'env_name == "x":\n        return Env(env_args)\n    raise',
            )
        ],
        TOOLS,
        "def make_train_env",
        WRONG,
        "NotImplementedError",
    ),
    "eval env": ([(TOOLS, '("smac", "mapush")', '("smac", "x")')], TOOLS, "def make_eval_env", WARNING, "use_eval"),
    "number of agents": (
        [(TOOLS, 'env == "mapush"', 'env == "x"')],
        TOOLS,
        "def get_num_agents",
        WRONG,
        "None agents, then TypeError",
    ),
    "registry": ([("envs/__init__.py", '"mapush": MAPushLogger', "")], "envs/__init__.py", "LOGGER", WRONG, "KeyError"),
    "choices": ([("examples/train.py", ', "mapush"', "")], "examples/train.py", "choices", WARNING, "is refused"),
    "masks None": (
        [(RUNNER, GUARD, "available_actions[0]"), (ENV, "[None] * self.n_envs", "None")],
        ENV,
        "infos, None",
        WRONG,
        "indexes it: TypeError in the first step",
    ),
    "masks None, read in evaluation only": (
        [
            (RUNNER, "if eval_available_actions is", "if eval_available_actions[0] is"),
            (ENV, "[None] * self.n_envs", "None"),
        ],
        ENV,
        "infos, None",
        WARNING,
        "TypeError at the first evaluation (use_eval)",
    ),
    "masks nested": (
        [(ENV, "[None] * self.n_envs", "np.array([[None] * 2] * self.n_envs)")],
        ENV,
        "np.array([[None]",
        WRONG,
        "a None for each agent",
    ),
    "infos flat": (
        [(RUNNER, "0 in info and ", ""), (ENV, "{0: {}}", "{}")],
        ENV,
        "infos = ",
        WRONG,
        "infos have no key 0",
    ),
    "actions transposed": (
        [(ENV, "torch.from_numpy(actions)", "torch.from_numpy(actions.transpose(1, 0, 2))")],
        ENV,
        "transpose",
        WRONG,
        "the actions are transposed",
    ),
    "actions transposed by numpy": (
        [(ENV, "torch.from_numpy(actions)", "torch.from_numpy(np.swapaxes(actions, 0, 1))")],
        ENV,
        "swapaxes",
        WRONG,
        "the actions are transposed",
    ),
    "statistics in lists": (
        [(ENV, "deque(maxlen=1000)", "[]"), (LOGGER, "self.envs.reset_statistics()", "pass")],
        ENV,
        "episode_success.append",
        WRONG,
        "MAPushEnv.episode_success grows with every call",
    ),
    "deque without a bound": (
        [(ENV, "deque(maxlen=1000)", "deque()"), (LOGGER, "self.envs.reset_statistics()", "pass")],
        ENV,
        "episode_success.append",
        WRONG,
        "MAPushEnv.episode_success grows",
    ),
    "frames of MQE": (
        [(BASE, "self.frames.clear()", "pass")],
        BASE,
        "self.frames.append",
        WRONG,
        "BaseTask.frames grows",
    ),
    "logger never told": (
        [(OWN_RUNNER, "self.logger.set_envs(self.envs)", "pass")],
        LOGGER,
        "get_statistics",
        WRONG,
        "MAPushLogger.envs stays None",
    ),
    "logger without attribute": (
        [
            (OWN_RUNNER, "self.logger.set_envs(self.envs)", "pass"),
            (LOGGER, "self.envs = None", "pass"),
            (LOGGER, "self.envs = envs", "pass"),
        ],
        LOGGER,
        "get_statistics",
        WRONG,
        "AttributeError at the first log line",
    ),
    "namespace without device": (
        [
            (ENV, "argparse.Namespace()", "SimpleNamespace(task=1)"),
            (ENV, "args.sim_device, args.headless", "device, args.headless"),
        ],
        ENV,
        "make_mqe_env(",
        WRONG,
        "the arguments lack sim_device",
    ),
    "without custom_cfg": (
        [(ENV, ", custom_cfg=custom_cfg(args)", "")],
        ENV,
        "make_mqe_env(",
        WARNING,
        "record_video stays True",
    ),
}


def found_in(lines):
    """Return the lines that are not ok."""
    return [line for line in lines if line.status != OK]


@pytest.mark.parametrize("name", TRAPS)
def test_trap_is_named_with_file_line_and_fix(tmp_path, name):
    """One planted trap gives one line: the file, the line of the text that was planted, what happens, and the fix."""
    changes, file, text, status, words = TRAPS[name]
    harl, mqe = write_checkouts(tmp_path, changes)
    (line,) = found_in(examine_checkouts(harl, mqe, "mapush"))
    place, number = line.found.split(": ")[0].rsplit(":", 1)
    assert place.endswith(file)
    assert text in Path(place).read_text().splitlines()[int(number) - 1]
    assert words in line.found
    assert line.status == status
    assert line.fix


HARMLESS = {  # changes that resemble traps
    "logger set from outside": [
        (OWN_RUNNER, "self.logger.set_envs(self.envs)", "self.logger.envs = self.envs"),
    ],
    "masks None, every line guarded": [(ENV, "[None] * self.n_envs", "None")],
    "unguarded line, list of None": [(RUNNER, GUARD, "available_actions[0]")],
    "unguarded infos, key 0": [(RUNNER, "0 in info and ", "")],
    "flat infos, every line guarded": [(ENV, "{0: {}}", "{}")],
    "list that a called method empties": [(ENV, "deque(maxlen=1000)", "[]")],
    "transposed observations": [(ENV, "infos = [", "obs = obs.transpose(1, 0, 2)\n        infos = [")],
    "transposed actions for another simulator": [
        (ENV, "from mqe.envs.utils import", "from other.envs import"),
        (ENV, "torch.from_numpy(actions)", "torch.from_numpy(actions.transpose(1, 0, 2))"),
    ],
    "last axes of actions": [(ENV, "torch.from_numpy(actions)", "torch.from_numpy(actions.transpose(0, 2, 1))")],
    "arguments from elsewhere": [(ENV, "argparse.Namespace()", "their_parser()")],
    "task name with a default": [
        (
            TABLES,
            'elif env == "mapush":\n        task = env_args.get("task", "go1push_mid")',
            "else:\n        task = env",
        ),
    ],
    "None of one env, which HARL stacks": [
        (ENV, "n_envs", "count"),
        (ENV, "args.num_envs", "args.count"),
        (ENV, "[None] * self.count", "None"),
        (RUNNER, GUARD, "available_actions[0]"),
        (ENV, "argparse.Namespace()", "their_parser()"),
    ],
    "less contact pairs": [(BASE, "*= 1", "*= 0.5")],
    "custom step of another interface": [
        (ENV, "return obs, state, rewards, dones, infos, [None] * self.n_envs", "return obs")
    ],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_change_gives_no_line(tmp_path, name):
    """Code that resembles a trap and works is not reported."""
    harl, mqe = write_checkouts(tmp_path, HARMLESS[name])
    assert found_in(examine_checkouts(harl, mqe, "mapush")) == []


def test_clean_checkouts_give_one_line_that_says_so(tmp_path, capsys):
    """Without a trap, the exit code is 0, and the line states how many files were read."""
    harl, mqe = write_checkouts(tmp_path)
    assert main(["--harl", str(harl), "--mqe", str(mqe)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("+ source code   no known trap in 13 files\n"), printed


def test_environment_of_another_name_is_missing_in_every_table(tmp_path):
    """--env names the environment that the tables should know; an unwritten one makes the runner's lines relevant."""
    harl, _ = write_checkouts(tmp_path, [(RUNNER, GUARD, "available_actions[0]")])
    found = [line.found for line in found_in(examine_checkouts(harl, None, "pusher"))]
    for table in ("get_task_name", "make_train_env", "make_eval_env", "make_render_env", "get_num_agents", "LOGGER"):
        assert len([line for line in found if f"{table}" in line and "'pusher'" in line]) == 1, table
    assert any("--env pusher is refused" in line for line in found)
    assert any("pusher.yaml" in line for line in found)
    assert any("TypeError if an environment returns None" in line for line in found)


def test_doctor_command_prints_traps_as_json_and_fails(tmp_path, capsys):
    """A certain trap gives exit code 1; a warning alone does not."""
    harl, mqe = write_checkouts(tmp_path, [(BASE, "*= 1", "*= 5")])
    assert main(["--mqe", str(mqe)]) == 0
    assert "! contact pairs" in capsys.readouterr().out
    write_checkouts(tmp_path, [(TABLES, '"mapush"', '"x"')])
    assert main(["--harl", str(harl), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["count"] == {"wrong": 1, "warning": 0, "ok": 0}
    assert "get_task_name" in report["lines"][0]["found"]


@pytest.mark.parametrize("package", ["harl", "mqe"])
def test_folder_that_is_no_checkout_is_one_line(tmp_path, capsys, package):
    """A folder that does not exist, or lacks the package, is named with what is expected."""
    assert main([f"--{package}", str(tmp_path / "nowhere")]) == 1
    assert f"nowhere has no folder {package}" in capsys.readouterr().out


def test_file_that_is_not_python_is_a_warning(tmp_path):
    """A file with a syntax error is named, and the others are examined."""
    harl, mqe = write_checkouts(
        tmp_path, [(OWN_RUNNER, "class MAPushRunner(Runner):", "class (:"), (BASE, "*= 1", "*= 5")]
    )
    found = found_in(examine_checkouts(harl, mqe, "mapush"))
    assert any("mapush_happo_runner.py:4: cannot be read" in line.found for line in found)
    assert any(line.name == "contact pairs" for line in found)


@pytest.mark.skipif(MAPUSH_DIR is None, reason="needs upstream MAPush in the folder MAPUSH_DIR")
def test_upstream_mapush_has_one_trap():
    """Of MAPush's own code, the doctor says one true thing: five times as many contact pairs, with the cost."""
    (line,) = examine_checkouts(None, Path(MAPUSH_DIR), "mapush")
    assert "mqe/envs/base/base_task.py:44: max_gpu_contact_pairs is multiplied by 5" in line.found
    assert f"about {5 * 2**23 * BYTES_PER_PAIR / 2**30:.1f} GiB of GPU memory instead of 2.0 GiB" in line.found


@pytest.mark.skipif(HARL_DIR is None, reason="needs upstream HARL in the folder HARL_DIR")
def test_upstream_harl_lacks_the_environment_and_guards():
    """Of HARL's own code, the doctor names eight tables without the environment, and eight unguarded lines."""
    lines = examine_checkouts(Path(HARL_DIR), None, "mapush")
    assert [line.name for line in lines] == ["HARL's tables"] * 8 + ["runner"] * 8
    assert any("on_policy_base_runner.py:444: available_actions" in line.found for line in lines)
    assert any("on_policy_base_runner.py:415: info" in line.found for line in lines)


@pytest.mark.skipif(HARL_DIR is None, reason="needs upstream HARL in the folder HARL_DIR")
@pytest.mark.parametrize("env", ["smac", "mamujoco", "football", "gym", "lag", "pettingzoo_mpe", "smacv2", "dexhands"])
def test_upstream_harl_has_no_certain_trap_with_its_own_environments(env):
    """The environments that HARL ships train, so nothing is wrong with them, their loggers and their tables."""
    assert [line for line in examine_checkouts(Path(HARL_DIR), None, env) if line.status == WRONG] == []
