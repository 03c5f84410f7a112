"""Simulators that can be started once in a process: each environment of a check has a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from wrapped import SHORT, factory, report_of

from harness.__main__ import main
from harness.contracts.env_under_test import EnvUnderTest
from harness.findings import NotJudgedError, Report
from harness.interface.far_env import FarEnv
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

BUILT: List[int] = []
LAST_SIZE: List[int] = []


def make_once(num_envs: int = 5, seed: int = 0) -> Any:
    """Die at the second environment, as Isaac Gym does."""
    if BUILT:
        os.kill(os.getpid(), signal.SIGSEGV)
    BUILT.append(1)
    return make_pointmass(num_envs, seed=seed)


def make_refused(num_envs: int = 5, seed: int = 0) -> Any:
    """Refuse a second environment, as a simulator of which there is one instance does."""
    if BUILT:
        raise RuntimeError("there is a simulator already")
    BUILT.append(1)
    return make_pointmass(num_envs, seed=seed)


class Dying(PointMass):
    """Reads address 0 at step 12."""

    steps = 0

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        self.steps += 1
        if self.steps == 12:
            ctypes.string_at(0)
        return super().step(actions)


def make_dying_once(num_envs: int = 5, seed: int = 0) -> Any:
    """Die at the second environment, and at step 12 of the first one."""
    env = make_once(num_envs, seed)
    env.__class__ = Dying
    return env


def clipping(env: Any, actions: np.ndarray) -> np.ndarray:
    """Clip in place."""
    return np.clip(actions, -0.5, 0.5, out=actions)


def keeping(env: Any, result: List[Any]) -> None:
    """Keep something of every step."""
    vars(env).setdefault("kept", []).append(float(env.count))


class Drawing:
    """Draws from the global generator, which no seed reaches."""

    def __call__(self, env: Any, result: List[Any]) -> None:  # noqa: D102
        result[2] = result[2] + np.random.random()


def reusing(env: Any, result: List[Any]) -> None:
    """Return one array again and again."""
    buffer = vars(env).setdefault("buffer", result[0])
    buffer[...] = result[0]
    result[0] = buffer


def judged(make_env: Any, *contracts: str) -> Report:
    """Check with each environment in a process of its own."""
    return report_of(make_env, contracts=contracts, one_per_process=True)


@pytest.mark.parametrize("name, how", [("make_once", "ends it (SIGSEGV)"), ("make_refused", "is refused")])
def test_check_that_fails_at_the_second_environment_goes_on_with_processes(
    name: str, how: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found out, said in a note, and no finding; contracts of one environment are judged."""
    monkeypatch.chdir(tmp_path)
    contracts = "factory,spaces,step-form,same-seed,aliasing,batch-size,close,horizon"
    assert main(["check", f"test_harness_one_per_process:{name}", "--contracts", contracts]) == 0
    printed = capsys.readouterr().out
    assert f"note: the second environment in one process {how}" in printed
    assert "8 of 8 contracts judged: 0 broken, 8 hold" in printed


def test_check_asked_for_processes_never_builds_twice_in_one(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be found out, and commands that show a finding again ask for processes, too."""
    monkeypatch.chdir(tmp_path)
    words = ["check", "test_harness_one_per_process:make_dying_once", "--one-per-process", "--contracts", "step-form"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "step-form: the environment kills the process (SIGSEGV)" in printed
    assert "the second environment" not in printed
    assert "--one-per-process --contracts step-form" in printed
    assert "in step" in printed
    assert "test_harness_one_per_process.py" in printed


def test_contracts_of_several_environments_are_not_judged() -> None:
    """What is about two environments in one process cannot be seen in two processes."""
    report = judged(make_pointmass, "two-environments", "made-and-closed")
    assert set(report.not_judged) == {"two-environments", "made-and-closed"}
    assert "once in a process" in report.not_judged["two-environments"]


@pytest.mark.parametrize(
    "make_env, contract",
    [
        (factory(actions=clipping), "actions-untouched"),
        (factory(result=keeping), "bounded-statistics"),
        (factory(result=Drawing()), "same-seed"),
        (factory(result=reusing), "aliasing"),
    ],
)
def test_bug_is_found_across_processes(make_env: Any, contract: str) -> None:
    """Checks look at what the environment returned and keeps, in its own process; replays are compared across them."""
    report = judged(make_env, contract)
    assert [finding.contract for finding in report.findings] == [contract]
    assert judged(factory(), contract).passed == [contract]


def test_global_generators_differ_in_every_process() -> None:
    """A copy of a process would otherwise draw the same numbers each time, and hide a lost seed."""
    subject = EnvUnderTest(lambda: make_pointmass(5), one_per_process=True)
    first = subject.build().apply(draw)
    assert subject.build().apply(draw) == first, "a factory without a seed finds the generators seeded"
    seeded = EnvUnderTest(lambda seed=0: make_pointmass(5), one_per_process=True)
    drawn = []
    for _ in range(2):
        np.random.seed(3)  # as this process is copied
        drawn.append(seeded.build().apply(draw))
    assert drawn[0] != drawn[1]


def draw(env: Any) -> float:
    """Draw from the global generator."""
    return float(np.random.random())


def test_environment_ends_when_the_next_is_built() -> None:
    """There is at most one at a time, and the one before cannot be used any more."""
    subject = EnvUnderTest(make_pointmass, effort=SHORT, one_per_process=True)
    player = subject.player()
    pid = player.env.apply(own_pid)
    assert pid != os.getpid()
    later = subject.player()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(NotJudgedError, match="two environments at once"):
        player.reset()
    assert isinstance(later.env, FarEnv)
    assert later.reset().obs.shape[0] == 5
    later.env.close()


def own_pid(env: Any) -> int:
    """Return the process in which the environment is."""
    return os.getpid()


class SharedBuffer(PointMass):
    """Has one buffer for all environments of a process, made by the one that was built last."""

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        returned = super().step(actions)
        if len(actions) != LAST_SIZE[-1]:
            raise ValueError(f"{len(actions)} envs and a buffer for {LAST_SIZE[-1]}")
        return returned


def make_shared(num_envs: int = 5, seed: int = 0) -> Any:
    """Build an environment with a class-wide buffer."""
    LAST_SIZE.append(num_envs)
    env = make_pointmass(num_envs, seed=seed)
    env.__class__ = SharedBuffer
    return env


def test_sizes_are_varied_one_after_the_other() -> None:
    """An environment whose process can hold one size at a time breaks nothing."""
    report = report_of(make_shared, contracts=["factory", "spaces", "reset-form", "batch-size", "step-form"])
    assert report.findings == []
    assert "batch-size" in report.passed
