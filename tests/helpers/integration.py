"""The integration of HARL and a pushing task, as a user has it: a copy of HARL with the user's files laid over it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Tuple

from mapush.upstream.harl import harl_source

OVERLAY = Path(__file__).parents[1] / "integration" / "overlay"
ROOT = Path(__file__).parents[2]
RUNNER = "harl_mapush.runners.mapush_happo_runner:MAPushHAPPORunner"

ENV = "harl/envs/mapush/mapush_env.py"
LOGGER = "harl/envs/mapush/mapush_logger.py"
THEIR_RUNNER = "harl_mapush/runners/mapush_happo_runner.py"
BASE = "harl/runners/on_policy_base_runner.py"
ENVS, ENVS_TOOLS, CONFIGS_TOOLS = "harl/envs/__init__.py", "harl/utils/envs_tools.py", "harl/utils/configs_tools.py"

Change = Tuple[str, str, str]
"""A file, a text in it, and what replaces the text."""

TABLES: Tuple[Change, ...] = (
    (
        ENVS,
        "from harl.envs.lag.lag_logger import LAGLogger\n",
        "from harl.envs.lag.lag_logger import LAGLogger\nfrom harl.envs.mapush.mapush_logger import MAPushLogger\n",
    ),
    (ENVS, '    "lag": LAGLogger,\n', '    "lag": LAGLogger,\n    "mapush": MAPushLogger,\n'),
    (
        ENVS_TOOLS,
        '    """Make env for training."""\n',
        '    """Make env for training."""\n    if env_name == "mapush":\n'
        "        from harl.envs.mapush.mapush_env import MAPushEnv\n\n"
        '        return MAPushEnv({"n_threads": n_threads, **env_args})\n',
    ),
    (
        ENVS_TOOLS,
        '    elif env == "lag":\n        return envs.n_agents\n',
        '    elif env == "lag":\n        return envs.n_agents\n'
        '    elif env == "mapush":\n        return envs.n_agents\n',
    ),
    (
        CONFIGS_TOOLS,
        "    return task\n",
        '    elif env == "mapush":\n        task = env_args.get("task", "go1push_mid")\n    return task\n',
    ),
)
"""What a user edits in HARL's files so that they know the environment."""

GUARDS: Tuple[Change, ...] = (
    (
        BASE,
        "                available_actions[:, agent_id]\n                if available_actions[0] is not None\n",
        "                available_actions[:, agent_id]\n"
        "                if available_actions is not None and available_actions[0] is not None\n",
    ),
)
"""What a user edits in the runner, so that it accepts None for available_actions."""

ONE_NONE_EACH: Tuple[Change, ...] = (
    (ENV, "self._states(state), None\n", "self._states(state), [None] * self.n_envs\n"),
    (ENV, "available_actions = None\n", "available_actions = [None] * self.n_envs\n"),
)
"""The environment for a runner that is left as it is."""

REGISTERED: Tuple[Change, ...] = (
    (THEIR_RUNNER, "from harl.runners", "import harl_mapush.register  # noqa: F401\nfrom harl.runners"),
    *ONE_NONE_EACH,
)
"""The integration that leaves HARL's own files as they are."""

PATCHED = TABLES + GUARDS


class Answer(NamedTuple):
    """How the command ended."""

    code: int
    text: str

    @property
    def first_line(self) -> str:
        """The first line of what was printed."""
        return self.text.split("\n")[0]


def integrate(folder: Path, *changes: Change) -> Path:
    """Return a copy of HARL with the user's files over it, and with texts replaced in some files."""
    package = harl_source.locate()
    shutil.copytree(str(package), str(folder / "harl"), ignore=_left_out)
    for path in OVERLAY.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            place = folder / path.relative_to(OVERLAY)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(path), str(place))
    for file, old, new in changes:
        change(folder / file, old, new)
    return folder


def _left_out(folder: str, names: list) -> list:
    """Leave out what is compiled, and the large environments that nothing here uses."""
    heavy = {"__pycache__", "DexterousHands", "JSBSim", "multiagent_mujoco"}
    return [name for name in names if name in heavy]


def change(path: Path, old: str, new: str) -> None:
    """Replace a text in a file; it must be there."""
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new))


def harness_harl(folder: Path, *words: str, runner: str = RUNNER, timeout: float = 300.0) -> Answer:
    """Run `python -m harness harl` on the user's runner, from the user's folder."""
    command = [sys.executable, "-m", "harness", "harl", runner, "--env", "mapush", "--harl", str(folder), *words]
    return answer_of(command, folder, timeout)


def answer_of(command: list, folder: Path, timeout: float = 300.0) -> Answer:
    """Run a command from the user's folder."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT), str(folder)]))
    environment.pop("HARL_DIR", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    return Answer(done.returncode, done.stdout + done.stderr)
