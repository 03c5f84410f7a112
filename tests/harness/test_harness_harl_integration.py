"""`python -m harness harl` on the rebuilt integration: fixed, with one bug at a time, and on what cannot be used."""

from __future__ import annotations

import re
from typing import List

import pytest
from integration import (
    GUARDS,
    LOGGER,
    OVERLAY,
    PATCHED,
    REGISTERED,
    RUNNER,
    THEIR_RUNNER,
    Answer,
    harness_harl,
    integrate,
)
from integration_bugs import BUGS

pytestmark = [pytest.mark.harness, pytest.mark.harl]

SETTINGS = str(OVERLAY / "harl/configs/envs_cfgs/mapush.yaml")
USUAL = ("4 transposed", "6 None, on HARL as it is", "7 never set, silently", "8 get_task_name", "ends are lost")
"""Bugs that are put back in every run of the tests; the others are slow."""


def findings(answer: Answer) -> List[str]:
    """Return the first line of each finding."""
    lines = []
    for line in answer.text.splitlines():
        if re.match(r"[a-z-]+: ", line) and not line.startswith(("note:", "not judged")):
            lines.append(line)
    return lines


def place(answer: Answer) -> str:
    """Return the place that the first finding names."""
    return next(line for line in answer.text.splitlines() if line.startswith("  where"))


@pytest.mark.parametrize("words", [(), ("--real",)], ids=["toy", "real"])
@pytest.mark.parametrize("edits", [PATCHED, REGISTERED], ids=["patched", "as-it-is"])
def test_fixed_integration_has_no_finding(tmp_path, edits, words):
    """An integration that trains raises no alarm, whether HARL's files are edited or not."""
    answer = harness_harl(integrate(tmp_path, *edits), *words, "--config", SETTINGS)
    assert (findings(answer), answer.code) == ([], 0), answer.text
    assert "0 broken" in answer.text


def test_none_for_available_actions_is_a_note_where_the_runner_guards(tmp_path):
    """What upstream's runner would refuse and the user's accepts is said, and is no finding."""
    answer = harness_harl(integrate(tmp_path, *PATCHED), "--real", "--contracts", "env-forms,runs")
    assert answer.code == 0, answer.text
    assert "note: available_actions is None: the HARL in" in answer.text
    assert "note: infos hold agent 0 only" in answer.text


def marked(bug):
    """Return a bug as a parameter; most of them are slow."""
    marks = () if bug.name in USUAL else pytest.mark.slow
    return pytest.param(bug, id=bug.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("bug", [marked(bug) for bug in BUGS])
def test_bug_that_is_put_back_is_named_with_its_line(tmp_path, bug):
    """The first finding names the cause in its first line, and the file of the user's to edit."""
    answer = harness_harl(integrate(tmp_path, *bug.harl, *bug.changes), *bug.words)
    assert answer.code == 1, answer.text
    first = findings(answer)[0]
    assert first.startswith(f"{bug.check}: "), answer.text
    assert bug.says in first, answer.text
    assert f"{bug.where}" in place(answer), answer.text
    assert re.search(r"\.py(:|\", line )\d+", place(answer)), answer.text


def test_runner_that_needs_more_than_the_toy_has_is_not_judged(tmp_path):
    """An attribute that only the real environment has is no defect of the runner."""
    text = "        self.cfg = self.envs.env_cfg\n        if hasattr(self.logger"
    answer = harness_harl(integrate(tmp_path, *PATCHED, (THEIR_RUNNER, "        if hasattr(self.logger", text)))
    assert findings(answer) == [], answer.text
    assert "the runner needs envs.env_cfg, which the toy lacks: run it with --real" in answer.text
    assert answer.code != 1


def test_logger_without_an_environment_is_not_judged_for_one(tmp_path):
    """HARL's own loggers ask their environment for nothing."""
    lines = LOGGER, '        if hasattr(self.envs, "get_statistics"):', "        if False:"
    answer = harness_harl(
        integrate(
            tmp_path, *PATCHED, lines, (LOGGER, "self.envs.", "self.kept."), (LOGGER, "self.envs =", "self.kept =")
        ),
        "--contracts",
        "logger-environment,runs",
    )
    assert findings(answer) == [], answer.text
    assert "not judged: logger-environment: the logger asks its environment for nothing" in answer.text
    assert answer.code == 2


def test_statistics_in_a_window_may_stay(tmp_path):
    """An environment without a method that resets its statistics keeps a moving window."""
    env = "harl/envs/mapush/mapush_env.py"
    changes = (
        (LOGGER, "            self.envs.reset_statistics()\n", ""),
        (env, "def reset_statistics(self)", "def _start_counting(self)"),
        (env, "self.reset_statistics()", "self._start_counting()"),
    )
    answer = harness_harl(integrate(tmp_path, *PATCHED, *changes))
    assert (findings(answer), answer.code) == ([], 0), answer.text
    assert "it is judged as a moving window" in answer.text


def test_off_policy_runner_is_run_and_not_misjudged(tmp_path):
    """What a runner without rollouts cannot show is not judged, and is no alarm."""
    words = ("--algo", "hasac", "--set", "use_eval=False")
    answer = harness_harl(integrate(tmp_path, *PATCHED), *words, runner="harl.runners:OffPolicyHARunner")
    assert (findings(answer), answer.code) == ([], 0), answer.text
    assert "not judged" in answer.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("hatrpo",), ("haa2c", "--set", "share_param=True"), ("mappo", "--set", "share_param=False")]
)
def test_other_algorithms_raise_no_alarm(tmp_path, words):
    """Algorithms with other losses and other arguments are judged as far as they can be."""
    runner = RUNNER
    changes = ()
    if words[0] == "mappo":
        changes = (
            (THEIR_RUNNER, "on_policy_ha_runner", "on_policy_ma_runner"),
            (THEIR_RUNNER, "OnPolicyHA", "OnPolicyMA"),
        )
    answer = harness_harl(integrate(tmp_path, *PATCHED, *changes), "--algo", *words, runner=runner)
    assert (findings(answer), answer.code) == ([], 0), answer.text


@pytest.mark.slow
def test_fp_mode_raises_no_alarm(tmp_path):
    """In FP mode, states, rewards, flags and advantages belong to each agent."""
    answer = harness_harl(integrate(tmp_path, *PATCHED), "--set", "state_type=FP")
    assert (findings(answer), answer.code) == ([], 0), answer.text


@pytest.mark.slow
def test_runner_that_clips_actions_and_a_logger_with_a_window_raise_no_alarm(tmp_path):
    """Common habits are no bugs: actions clipped before the step, a mean over the last episodes, a curve in a list."""
    run = "        step = self.envs.step\n        self.envs.step = lambda actions: step(actions.clip(-0.1, 0.1))\n"
    logger = (
        "    def episode_log(self, *arguments):\n        self.curve = getattr(self, 'curve', []) + [self.episode]\n"
        "        if self.episode % 7 == 6:\n            self._log(*arguments)\n        else:\n"
        "            super().episode_log(*arguments)\n\n    def _log(self, "
    )
    changes = (
        (THEIR_RUNNER, "        if hasattr(self.logger", f"{run}        if hasattr(self.logger"),
        (LOGGER, "    def episode_log(self, ", logger),
    )
    answer = harness_harl(integrate(tmp_path, *PATCHED, *changes))
    assert (findings(answer), answer.code) == ([], 0), answer.text
    assert "the logger's curve grows by 1 entries with each log" in answer.text


def test_harl_without_its_parts_is_one_message(tmp_path):
    """A folder named harl that is not HARL, or lacks a module, ends with one message and no traceback."""
    folder = integrate(tmp_path, *PATCHED)
    (folder / "harl/utils/trans_tools.py").unlink()
    answer = harness_harl(folder)
    assert answer.code == 2
    assert (
        answer.first_line == "ConfigError: the package named harl is not HARL, or a fork without harl.utils.trans_tools"
    )
    assert "Traceback" not in answer.text


def test_harl_that_does_not_import_is_one_message(tmp_path):
    """An exception at the import of HARL is told with its line."""
    folder = integrate(tmp_path, *PATCHED, ("harl/envs/__init__.py", "from absl import flags", "import absl_of_nobody"))
    answer = harness_harl(folder)
    assert answer.code == 2
    assert "No module named 'absl_of_nobody'" in answer.text
    assert "Traceback" not in answer.text


def test_available_actions_are_judged_by_the_runner_that_is_named(tmp_path):
    """`check --harl` probes the user's runner: None is a note for a guarded one, and a finding for upstream's."""
    from harness.harl.harl_folder import HarlFolder
    from harness.interface.harl_forms import ONE_NONE_EACH, PLAIN_NONE

    left = HarlFolder(str(integrate(tmp_path / "left")), "test").forms()
    guarded = HarlFolder(str(integrate(tmp_path / "guarded", *GUARDS)), "test").forms()
    assert left.in_training == (ONE_NONE_EACH,)
    assert guarded.in_training == (ONE_NONE_EACH, PLAIN_NONE)
    assert guarded.in_evaluation == left.in_evaluation
    assert left.agent_0_is_enough
    assert left.truncation_keys == ("bad_transition",)
