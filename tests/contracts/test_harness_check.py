"""The command that checks a factory: whatever the environment does, it ends in a finding."""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest

from harness.__main__ import main
from harness.contracts import check_env
from harness.toys import make_pointmass

pytestmark = pytest.mark.contracts

BUILT: List[Any] = []


def make_crashing(num_envs: int = 5) -> None:
    """Read address 0, as native code with a bug does."""
    ctypes.string_at(0)


def make_hanging() -> None:
    """Never come back."""
    time.sleep(3600.0)


def make_exiting() -> None:
    """End the process."""
    sys.exit(3)


def make_raising(num_envs: int = 5) -> None:
    """Fail."""
    raise RuntimeError("no licence\nmore lines")


def make_once(num_envs: int = 5) -> Any:
    """Fail at the second time, as a simulator does that allows one instance."""
    if BUILT:
        raise RuntimeError("there is a simulator already")
    BUILT.append(1)
    return make_pointmass(num_envs)


class Gymnasium:
    """Looks like a gymnasium environment."""

    observation_space = action_space = None

    def reset(self, seed: Any = None) -> Any:  # noqa: D102
        return np.zeros(3), {}

    def step(self, action: Any) -> Any:  # noqa: D102
        return np.zeros(3), 0.0, False, False, {}


class GymnasiumVector(Gymnasium):
    """Looks like a gymnasium vector environment."""

    single_observation_space = None


class PettingZoo(Gymnasium):
    """Looks like a PettingZoo parallel environment."""

    possible_agents = ("a", "b")


@pytest.mark.parametrize(
    "make_env, expected",
    [
        (make_raising, "the factory raises RuntimeError: no licence"),
        (make_once, "the factory raises RuntimeError: there is a simulator already"),
        (Gymnasium, "the factory returns a gymnasium environment with one agent, not HARL's interface"),
        (GymnasiumVector, "the factory returns a gymnasium vector environment, not HARL's interface"),
        (PettingZoo, "the factory returns a PettingZoo parallel environment, not HARL's interface"),
        (lambda: None, "the factory returns a NoneType, not HARL's interface"),
        (lambda: make_pointmass, "the factory returns a function, not HARL's interface"),
        (lambda: make_pointmass(num_envs=1), "the environment has one env only"),
    ],
)
def test_factory_bad_input_is_one_finding(make_env: Callable[..., Any], expected: str) -> None:
    """What cannot be checked is one finding that says why, however many contracts ask for it."""
    report = check_env(make_env)
    assert [(one.contract, one.what) for one in report.findings] == [("factory", expected)]


def test_factory_tensors_are_refused_with_the_conversion() -> None:
    """Tensors instead of arrays are named, and how to convert them."""
    torch = pytest.importorskip("torch")

    def make_env(num_envs: int = 5) -> Any:
        env = make_pointmass(num_envs)
        reset = env.reset
        env.reset = lambda: (torch.as_tensor(reset()[0]),) + reset()[1:]  # type: ignore[method-assign]
        return env

    finding = check_env(make_env, contracts=["reset-form"]).findings[0]
    assert finding.what == "obs is a torch tensor, not a numpy array"
    assert finding.fix == "obs.detach().cpu().numpy().copy()"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("make_crashing", "the environment kills the process (SIGSEGV)"),
        ("make_hanging", "the environment hangs"),
        ("make_exiting", "the environment kills the process (exit status 3)"),
        ("make_nothing", "test_harness_check has no make_nothing"),
    ],
)
def test_check_dying_environment_is_a_finding(
    name: str, expected: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent lives, and says what the child died of."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    status = main(["check", "test_harness_check:" + name, "--contracts", "factory", "--timeout", "5"])
    printed = capsys.readouterr().out
    assert status == 1
    assert "factory: " + expected in printed
    assert "Traceback" not in printed


def test_check_clean_environment_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A kept contract ends in status 0 and a report for programs."""
    words = ["check", "harness.toys:make_pointmass", "--contracts", "reset-form,close", "--kwargs", '{"horizon": 9}']
    assert main([*words, "--report", str(tmp_path)]) == 0
    assert "0 broken, 2 hold" in capsys.readouterr().out
    assert json.loads(next(tmp_path.glob("*.json")).read_text())


@pytest.mark.parametrize(
    "words, expected",
    [
        (["check", "harness.toys:make_pointmass", "--contracts", "impuls"], "did you mean 'impulse'?"),
        (["check", "harness.toys:make_pointmass", "--kwargs", "{num_envs: 5}"], "--kwargs is not JSON"),
        (["chek"], "did you mean 'check'?"),
    ],
)
def test_command_line_mistake_is_explained(words: List[str], expected: str, capsys: pytest.CaptureFixture) -> None:
    """A mistyped command line is refused with the right word."""
    assert main(words) == 2
    assert expected in capsys.readouterr().err
