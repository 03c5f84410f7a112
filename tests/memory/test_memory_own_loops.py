"""Tests of `python -m harness memory PACKAGE.MODULE:MAKE`: whatever a user has is soaked in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import own_loops
import pytest

from harness.__main__ import main
from harness.memory.soak import soak
from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_JUDGED
from harness.soaking.own_command import soak_in_child
from harness.soaking.own_soak import SoakTarget
from harness.soaking.runner_loop import runner_subject
from harness.soaking.subjects import EpisodeCounter, subject_of
from mapush.errors import ConfigError

pytestmark = [pytest.mark.memory, pytest.mark.slow]

HELPERS = str(Path(own_loops.__file__).parent)
ROOT = Path(__file__).resolve().parents[2]
OWNERS = {
    "env": "env env.episode_success: +",
    "runner": "logger logger.returns: +",
    "generator": "loop loop: +",
    "function": "open files /dev/null: +",
    "subject": "threads ",
}
CYCLES = {"env": 4000, "runner": 400, "generator": 1500, "function": 300, "subject": 60}
EITHER = ("leaking", "clean")


def target(name, cycles=300, **changes):
    """Return a short soak of a factory of `own_loops`."""
    return SoakTarget(f"own_loops:{name}", minutes=0.0, cycles=cycles, warm_up=20, **changes)


@pytest.fixture(scope="module")
def reports():
    """The reports on each kind that can be soaked, leaking and clean, each from a process of its own."""
    cases = [(kind, either) for kind in OWNERS for either in EITHER]

    def soaked(case):
        kind, either = case
        return soak_in_child(target(f"{either}_{kind}", CYCLES[kind]), timeout=200.0)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("PYTHONPATH", os.pathsep.join([HELPERS, str(ROOT)]))
        return dict(zip(cases, pool.map(soaked, cases)))


@pytest.fixture
def importable(monkeypatch):
    """Let child processes find `own_loops`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HELPERS, str(ROOT)]))


@pytest.mark.parametrize("kind", OWNERS)
def test_leak_of_whatever_is_soaked_is_found_and_named(reports, kind):
    """The first owner is where the user has to look."""
    report = reports[kind, "leaking"]
    assert report.kind == LEAK, report
    assert OWNERS[kind] in report.owners[0], report


@pytest.mark.parametrize("kind", OWNERS)
def test_what_keeps_nothing_is_clean(reports, kind):
    """The clean twin of each kind leaks nothing and releases everything, its thread and process included."""
    report = reports[kind, "clean"]
    assert report.kind in (CLEAN, ENDS), report
    assert report.ok, report


def test_steps_are_env_steps(reports):
    """A step of five envs counts as five; an iteration of a runner as its whole rollout."""
    assert reports["env", "clean"].steps == CYCLES["env"] * own_loops.NUM_ENVS
    assert reports["runner", "clean"].steps == CYCLES["runner"] * 6 * own_loops.NUM_ENVS


def test_episodes_that_are_too_few_leave_it_unjudged(importable):
    """What is kept of each episode cannot be seen before episodes end."""
    report = soak_in_child(target("env_of_long_episodes"), timeout=200.0)
    assert report.kind == NOT_JUDGED, report
    assert report.why.startswith("0 episodes ended, at least 128 are needed")


def test_second_call_that_kills_the_process_names_the_option(importable):
    """A factory that works once in a process is told from one that never works, and --once soaks it."""
    with pytest.raises(ConfigError) as error:
        soak_in_child(target("only_once"), timeout=200.0)
    assert "while making it, time 2: abort" in str(error.value)
    assert "--once" in error.value.fix
    report = soak_in_child(target("only_once", cycles=1000, once=True), timeout=200.0)
    assert report.kind in (CLEAN, ENDS), report
    assert "made once: what the close releases is not judged" in report.notes


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_gpu", "own_loops:no_gpu raises RuntimeError: No CUDA GPUs are available"),
        ("raising_runner", "own_loops:raising_runner raises ValueError: the critic is NaN"),
        ("number", "the factory makes nothing that can be soaked"),
        ("leaking_en", "unknown factory 'leaking_en'; did you mean 'leaking_env'?"),
    ],
)
def test_what_fails_is_one_message(importable, capsys, name, message):
    """The error of the factory comes with its line and no traceback, and the exit code is 2."""
    assert main(["memory", f"own_loops:{name}", "--minutes", "0", "--cycles", "30"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_factory_that_hangs_is_ended(importable):
    """A factory that never returns ends with the phase in which it was, and no process is left."""
    with pytest.raises(ConfigError, match="ends its process while"):
        soak_in_child(target("hangs"), timeout=6.0)


def test_number_of_envs_reaches_the_factory(importable):
    """--num-envs is passed on under the name that the factory has for it, and refused if it has none."""
    report = soak_in_child(target("clean_env", cycles=50, num_envs=8), timeout=200.0)
    assert report.steps == 50 * 8
    with pytest.raises(ConfigError, match="takes no number of envs"):
        soak_in_child(target("only_once", num_envs=8), timeout=200.0)


def test_command_line_prints_the_verdict_and_exits_with_it(importable):
    """As a user runs it: the first line is the verdict with its owner, and the exit code is 1."""
    words = ["memory", "own_loops:leaking_function", "--minutes", "0", "--cycles", "200", "--warm-up", "5"]
    done = subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("memory: leak of open files /dev/null: +")


def test_runner_runs_one_iteration_a_cycle_and_is_closed():
    """Its own run() drives it; each cycle is one iteration, and closing ends run() and calls the runner's close."""
    runner = own_loops.Runner()
    subject = runner_subject(runner)
    for cycle in range(1, 5):
        subject.advance()
        assert runner.envs.time == 6 * cycle
    subject.close()
    assert runner.closed
    assert runner.envs.time == 24
    assert subject.steps == 6 * own_loops.NUM_ENVS


def test_runner_that_ends_by_itself_is_an_error_with_its_fix():
    """A runner whose number of steps is elsewhere ends too early; the message names the setting."""
    runner = own_loops.Runner()
    subject = runner_subject(runner)
    runner.algo_args["train"]["num_env_steps"] = 60
    subject.advance()
    subject.advance()
    with pytest.raises(ConfigError, match=r"run\(\) ended by itself"):
        subject.advance()
    subject.close()


def test_episodes_of_a_runner_are_counted():
    """An episode has ended when all its agents are done."""
    episodes = EpisodeCounter()
    runner = own_loops.Runner()
    subject = subject_of(runner, episodes)
    for _ in range(7):
        subject.advance()
    subject.close()
    assert (episodes.steps, episodes.ended) == (42, 6 * own_loops.NUM_ENVS)
    episodes.count([[True, False], [True, True]])
    assert episodes.ended == 6 * own_loops.NUM_ENVS + 1


def test_make_is_called_once_on_request():
    """The rehearsal is left out, so that a subject of which a process can hold one is soaked."""
    calls = []

    def make():
        calls.append(1)
        return own_loops.clean_subject()

    soak(make, warm_up=3, cycles=40, once=True)
    assert len(calls) == 1
    soak(make, warm_up=3, cycles=40)
    assert len(calls) == 3
