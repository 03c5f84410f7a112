"""A HARL runner is soaked as it is, over its own environment: statistics in lists in the rebuilt integration."""

from __future__ import annotations

import sys

import pytest
from integration import ENV, PATCHED, RUNNER, THEIR_RUNNER, answer_of, integrate

pytestmark = [pytest.mark.memory, pytest.mark.harl]

SMALL = (
    "n_rollout_threads=5 episode_length=12 hidden_sizes=[16,14] ppo_epoch=1 critic_epoch=1 log_interval=5 cuda=False"
)
LISTS = (
    (ENV, "self.episode_success = deque(maxlen=1000)", "self.episode_success = []"),
    (ENV, "self.episode_lengths = deque(maxlen=1000)", "self.episode_lengths = []"),
)
NEVER_RESET = ((THEIR_RUNNER, "self.logger.set_envs(self.envs)", "pass"),)


def soaked(folder, *words):
    """Run `harness memory` on the user's runner, from the user's folder."""
    command = [sys.executable, "-m", "harness", "memory", RUNNER, "--env", "mapush", "--harl", str(folder)]
    command += ["--minutes", "0", "--cycles", "150", "--set", *SMALL.split(), *words]
    return answer_of(command, folder)


def test_statistics_in_lists_that_nobody_resets_are_named(tmp_path):
    """Lists instead of bounded deques, and a logger that never resets them: the attribute is the first owner."""
    answer = soaked(integrate(tmp_path, *PATCHED, *LISTS, *NEVER_RESET))
    assert answer.code == 1, answer.text
    assert answer.first_line.startswith("memory: leak of env env.episode_"), answer.text


def test_integration_as_it_trains_is_clean(tmp_path):
    """The fixed integration, whose deques are bounded and whose logger resets them, raises no alarm."""
    answer = soaked(integrate(tmp_path, *PATCHED))
    assert answer.code == 0, answer.text
    assert "episodes ended in" in answer.text


def test_unknown_algorithm_is_one_message(tmp_path):
    """A name that HARL does not know ends before anything runs."""
    answer = soaked(integrate(tmp_path, *PATCHED), "--algo", "hapo")
    assert answer.code == 2
    assert "unknown algorithm 'hapo'; did you mean 'happo'?" in answer.text
    assert "Traceback" not in answer.text
