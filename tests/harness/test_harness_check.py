"""Contracts of `harness check` and `harness replay`: whatever the environment does becomes a finding."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest

from harness.__main__ import main
from harness.contracts import Task, check_env
from harness.findings import NO_TIME, Report
from harness.interface.sequence import unpack
from harness.toys import PointMass, PointmassTask, make_pointmass

pytestmark = pytest.mark.harness

BUILT: List[Any] = []
ROOT = Path(__file__).parents[2]


def make_crashing(num_envs: int = 5) -> None:
    """Read address 0, as native code with a bug does."""
    ctypes.string_at(0)


def make_hanging() -> None:
    """Never return."""
    time.sleep(3600.0)


def make_exiting() -> None:
    """End the process."""
    os._exit(3)


def make_leaving() -> None:
    """Leave the program."""
    sys.exit(7)


def make_raising(num_envs: int = 5) -> None:
    """Fail."""
    raise RuntimeError("no licence\nmore lines")


def make_once(num_envs: int = 5) -> Any:
    """Fail on the second call, like a simulator that allows one instance."""
    if BUILT:
        raise RuntimeError("there is a simulator already")
    BUILT.append(1)
    return make_pointmass(num_envs)


class Crashing(PointMass):
    """Kills the process at step 30."""

    steps = 0

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        self.steps += 1
        if self.steps == 30:
            make_crashing()
        return super().step(actions)


def make_crashing_late(num_envs: int = 5, seed: int = 0) -> Any:
    """Read address 0 in the middle of an episode."""
    return _of_class(Crashing, num_envs, seed)


class Overflowing(PointMass):
    """Has an infinite velocity after one large action of one robot."""

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        returned = super().step(actions)
        if actions[2, 1, 0] > 5.0:
            returned[0][2, 1, 3] = np.inf
        return returned


def make_overflowing(num_envs: int = 5, seed: int = 0) -> Any:
    """Return an environment that large actions break."""
    return _of_class(Overflowing, num_envs, seed)


def _of_class(kind: type, num_envs: int, seed: int) -> Any:
    env = make_pointmass(num_envs, seed=seed)
    env.__class__ = kind
    return env


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


class PettingZooSpaces(PettingZoo):
    """Looks like a PettingZoo parallel environment that was given HARL's names of spaces."""

    n_agents = 2
    observation_space = share_observation_space = action_space = {"a": None, "b": None}  # type: ignore[assignment]


class NamedAgents(Gymnasium):
    """Has spaces by the names of its agents."""

    observation_space = share_observation_space = action_space = {"a": None, "b": None}  # type: ignore[assignment]


class Unreadable:
    """Raises whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no " + name)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "make_env, expected",
    [
        (make_raising, "the factory raises RuntimeError: no licence"),
        (make_once, "the factory raises RuntimeError: there is a simulator already"),
        (Gymnasium, "the factory returns a gymnasium environment with one agent, not HARL's interface"),
        (GymnasiumVector, "the factory returns a gymnasium vector environment, not HARL's interface"),
        (PettingZoo, "the factory returns a PettingZoo parallel environment, not HARL's interface"),
        (PettingZooSpaces, "the factory returns a PettingZoo parallel environment, not HARL's interface"),
        (NamedAgents, "the factory returns an environment with dicts of spaces, not HARL's interface"),
        (Unreadable, "the environment raised RuntimeError: no share_observation_space"),
        (lambda: None, "the factory returns a NoneType, not HARL's interface"),
        (lambda: make_pointmass, "the factory returns a function, not HARL's interface"),
        (lambda: make_pointmass(num_envs=1), "the environment has only one env"),
    ],
)
def test_factory_bad_input_is_one_finding(make_env: Callable[..., Any], expected: str) -> None:
    """If the environment cannot be checked, there is one finding that says why."""
    report = check_env(make_env)
    assert [(one.contract, one.what) for one in report.findings] == [("factory", expected)]


def test_factory_that_cannot_be_called_twice_has_its_own_cause() -> None:
    """Only a factory that worked once has the cause that it can be called once only."""
    BUILT.clear()
    assert "built only once" in check_env(make_once, contracts=["factory"]).findings[0].cause
    assert check_env(make_raising, contracts=["factory"]).findings[0].cause is None


def test_factory_tensors_are_refused_with_the_conversion() -> None:
    """A tensor in place of an array is refused, and the fix is its conversion."""
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
    "name, timeout, expected",
    [
        ("make_crashing", "120", "the environment kills the process (SIGSEGV)"),
        ("make_hanging", "2.5", "the environment hangs"),
        ("make_exiting", "120", "the environment kills the process (exit status 3)"),
        ("make_nothing", "120", "unknown factory 'make_nothing'; did you mean 'make_hanging'?"),
    ],
)
def test_check_dying_environment_is_a_finding(
    name: str, timeout: str, expected: str, capsys: pytest.CaptureFixture, elsewhere: Path
) -> None:
    """The parent survives and reports how the child died."""
    status = main(["check", "test_harness_check:" + name, "--contracts", "factory", "--timeout", timeout])
    printed = capsys.readouterr().out
    assert status == 1
    assert "factory: " + expected in printed
    assert "Traceback" not in printed


def test_check_module_that_exits_when_imported_is_a_finding(elsewhere: Path, capsys: pytest.CaptureFixture) -> None:
    """A script without `if __name__ == ...` is reported as such, not as an environment that dies."""
    Path("unguarded.py").write_text("import sys\n\nsys.exit(0)\n")
    assert main(["check", "unguarded:make_env", "--contracts", "factory"]) == 1
    assert capsys.readouterr().out.startswith("factory: importing unguarded raises SystemExit: 0\n")


def test_check_death_in_a_contract_names_it_and_leaves_later_ones_unjudged(
    elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    """A crash at step 30 is a finding of the running contract; those before it are judged, later ones are not."""
    words = ["check", "test_harness_check:make_crashing_late", "--contracts", "spaces,step-form,close"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("step-form: the environment kills the process (SIGSEGV)")
    assert "test_harness_check.py" in printed
    assert "--contracts step-form" in printed
    assert "not judged: close: the process died in step-form\n2 of 3 contracts judged: 1 broken, 1 hold" in printed


class Negated(PointMass):
    """Rewards motion of the disc away from the goal."""

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        returned = super().step(actions)
        return returned[:2] + (-returned[2],) + returned[3:]


def make_negated(num_envs: int = 5, seed: int = 0) -> Any:
    """Return an environment whose reward has the wrong sign."""
    return _of_class(Negated, num_envs, seed)


def make_task() -> Any:
    """Return the task of the toy."""
    return PointmassTask()


@pytest.mark.parametrize("task", ["harness.toys:PointmassTask", "test_harness_check:make_task"])
def test_check_with_a_task_judges_the_reward(task: str, elsewhere: Path, capsys: pytest.CaptureFixture) -> None:
    """A reward of the wrong sign is found if the task is stated, also when the finding is reproduced and replayed."""
    words = ["check", "test_harness_check:make_negated", "--contracts", "reward-task"]
    assert main(words) == 2, "nothing is judged without a task"
    assert "no task is stated: --task PACKAGE.MODULE:TASK" in capsys.readouterr().out
    assert main(words + ["--task", task]) == 1
    printed = capsys.readouterr().out
    assert "\nreward-task: the reward has the wrong sign" in "\n" + printed
    reproduce = next(line for line in printed.splitlines() if "python -m harness check" in line)
    assert f"--task {task} --contracts reward-task" in reproduce
    (written,) = Path("runs/harness").iterdir()
    assert main(["replay", str(written)]) == 1
    assert "the reward has the wrong sign" in capsys.readouterr().out


@pytest.mark.parametrize("task, words", [(PointmassTask(), "--task harness.toys:PointmassTask"), (Task(), "")])
def test_command_of_a_library_call_states_the_task(task: Task, words: str) -> None:
    """The command that reproduces a finding of `check_env` names the task if it has a class of its own."""
    finding = check_env(make_overflowing, task=task, contracts=["finite"], seed=3).findings[0]
    factory = f"{__name__}:make_overflowing"
    command = ["python", "-m", "harness", "check", factory, *words.split(), "--contracts", "finite", "--seed", "3"]
    assert shlex.split(finding.reproduce) == command


def test_finding_of_what_cannot_be_built_says_how_to_see_it_again() -> None:
    """A finding about the factory has a command that reproduces it."""
    finding = check_env(make_raising, contracts=["factory"], seed=3).findings[0]
    command = f"python -m harness check {__name__}:make_raising --contracts factory --seed 3"
    assert finding.reproduce == command


@pytest.mark.parametrize(
    "task, expected",
    [
        ("harness.toys:PointmasTask", "unknown task 'PointmasTask'; did you mean 'PointmassTask'?"),
        ("harness.toys", "'harness.toys' is not the name of a task"),
        ("harness.toys:make_pointmass", "harness.toys:make_pointmass returns a PointMass, not a Task"),
        ("test_harness_check:make_raising", "test_harness_check:make_raising raises RuntimeError: no licence"),
        ("test_harness_check:make_leaving", "test_harness_check:make_leaving raises SystemExit: 7"),
    ],
)
def test_check_invalid_task_is_a_finding(
    task: str, expected: str, elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    """The finding says what is wrong with the name of the task, or with the task."""
    assert main(["check", "harness.toys:make_pointmass", "--contracts", "spaces", "--task", task]) == 1
    assert capsys.readouterr().out.startswith("factory: " + expected)


def test_reader_that_leaves_early_causes_no_traceback() -> None:
    """If the reader leaves early, as `head` does, the exit code is that of SIGPIPE, and there is no traceback."""
    words = [sys.executable, "-m", "harness", "check", "harness.toys:make_pointmass", "--contracts", "spaces"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, b"")


def test_check_finding_leaves_a_bundle_that_replays_its_shortest_actions(
    elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    """The bundle keeps only the action that matters, and it breaks the contract again."""
    assert main(["check", "test_harness_check:make_overflowing", "--contracts", "finite", "--seed", "3"]) == 1
    replay = shlex.split(capsys.readouterr().out.split("  replay ")[1].splitlines()[0])
    assert replay[:4] == ["python", "-m", "harness", "replay"]
    actions = unpack(json.loads(Path(replay[4]).read_text())["finding"]["actions"])
    assert len(actions) == 1
    assert np.argwhere(actions[0]).tolist() == [[2, 1, 0]]
    assert actions[0][2, 1, 0] > 5.0
    assert main(replay[3:]) == 1
    printed = capsys.readouterr().out
    assert "finite is still broken" in printed
    assert "1 step after a reset" in printed


@pytest.mark.slow
def test_commands_of_an_injected_check_plant_the_same_bug(elsewhere: Path) -> None:
    """Under `faults --inject`, the printed commands repeat the injection, so that they show the finding again."""

    def harness(*words: str) -> Any:
        environ = dict(os.environ, PYTHONPATH=str(ROOT))
        return subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True, env=environ)

    injected = ["faults", "--inject", "seed-ignored", "--", "harness"]
    words = ["check", "harness.toys:make_pointmass", "--contracts", "other-seed", "--seed", "0"]
    found = harness(*injected, *words)
    assert found.returncode == 1, found.stderr
    lines = dict(line.split(maxsplit=1) for line in found.stdout.splitlines() if " python -m harness " in line)
    reproduce, replay = shlex.split(lines["reproduce"]), shlex.split(lines["replay"])
    assert reproduce == ["python", "-m", "harness", *injected, *words]
    assert replay[:-1] == ["python", "-m", "harness", *injected, "replay"]
    again = harness(*replay[3:])
    assert "other-seed is still broken" in again.stdout, again.stderr


BUNDLE = {
    "factory": "harness.toys:make_pointmass",
    "kwargs": {},
    "seed": 0,
    "finding": {"contract": "spaces", "what": "something"},
    "versions": {},
    "task": "",
}


def replay(folder: Path, **changes: Any) -> int:
    """Replay a bundle and return the exit code."""
    path = folder / "bundle.json"
    path.write_text(json.dumps({**BUNDLE, **changes}))
    return main(["replay", str(path)])


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"factory": "no_such_package:make"}, "No module named 'no_such_package'"),
        ({"kwargs": {"no_such_argument": 1}}, "no_such_argument"),
        ({"task": "harness.toys:NoSuchTask"}, "unknown task 'NoSuchTask'"),
    ],
)
def test_replay_of_what_cannot_be_built_judges_nothing(
    changes: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A contract of an environment that does not exist any more is not judged."""
    assert replay(tmp_path, **changes) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("spaces cannot be judged:\nfactory: ")
    assert reason in printed.err


def test_replay_of_a_factory_that_still_fails_is_still_broken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """If the finding was that the factory fails, a factory that fails is still broken."""
    finding = {"contract": "factory", "what": "the factory raises RuntimeError: no licence"}
    assert replay(tmp_path, factory="test_harness_check:make_raising", finding=finding) == 1
    assert capsys.readouterr().out.startswith("factory is still broken\n")


@pytest.mark.parametrize(
    "changes, got",
    [
        ({"factory": 3}, "factory is 3"),
        ({"kwargs": [1]}, "kwargs is [1]"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"versions": []}, "versions is []"),
        ({"finding": {"contract": 3, "what": "something"}}, "contract is 3"),
        ({"finding": {"contract": "spaces", "what": "something", "actions": "garbage"}}, "values to unpack"),
    ],
)
def test_replay_bundle_with_fields_of_other_types_is_refused(
    changes: Any, got: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A file in which a field has the wrong type is not a bundle, and the message names the field."""
    assert replay(tmp_path, **changes) == 2
    printed = capsys.readouterr().err
    assert "not a replay bundle" in printed
    assert got in printed


def test_replay_of_endless_brackets_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """JSON that is nested too deeply is not a bundle."""
    path = tmp_path / "deep.json"
    path.write_text("[" * 100000)
    assert main(["replay", str(path)]) == 2
    assert "not a replay bundle" in capsys.readouterr().err


def test_check_that_judges_nothing_exits_with_2(capsys: pytest.CaptureFixture) -> None:
    """If no contract applies, the exit code is neither that of success nor that of a finding."""
    assert main(["check", "harness.toys:make_pointmass", "--contracts", "reward-task"]) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 of 1 contracts judged")


def test_check_that_leaves_a_contract_unjudged_that_was_named_exits_with_2(capsys: pytest.CaptureFixture) -> None:
    """One that holds beside it does not make up for it; without names, what does not apply is no failure."""
    assert main(["check", "harness.toys:make_pointmass", "--contracts", "spaces,reward-task"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("not judged, though asked for by name: reward-task")


def make_slowly(num_envs: int = 5, seed: int = 0) -> Any:
    """Take longer than the budget."""
    time.sleep(0.2)
    return make_pointmass(num_envs, seed=seed)


def test_check_without_time_for_most_contracts_exits_with_2(capsys: pytest.CaptureFixture) -> None:
    """One contract that holds is not enough if there was no time for the others."""
    words = ["check", "test_harness_check:make_slowly", "--budget", "0.1", "--contracts", "factory,horizon,close"]
    assert main(words) == 2
    expected = "1 of 3 contracts judged: 0 broken, 1 hold; 2 had too little time: raise the budget, --budget 10 should "
    assert capsys.readouterr().out.splitlines()[-1].startswith(expected)


@pytest.mark.parametrize("reason, conclusive", [(NO_TIME, False), ("no task is stated", True)])
def test_report_is_inconclusive_where_time_was_too_short_for_most(reason: str, conclusive: bool) -> None:
    """Contracts that do not apply do not count as lack of time, and half of the contracts are enough."""
    report = Report([], ["finite", "close"], {"horizon": reason, "dones": reason, "infos": reason})
    assert report.conclusive is conclusive
    assert ("raise the budget" in str(report)) is not conclusive
    assert Report([], ["finite"], {"horizon": reason}).conclusive
    assert not Report([], [], {"horizon": reason}).conclusive


def test_report_says_which_budget_would_judge_all() -> None:
    """One line has the number of contracts that lack time, and a budget: the largest one named, or an estimate."""
    late = {"horizon": NO_TIME, "close": "3 ends, 5 are needed; --budget 95 allows 1,100 steps", "infos": "no task"}
    report = Report([], ["finite", "dones", "bounds"], late, seconds=60.0)
    assert report.without_time == ["horizon", "close"]
    assert "2 had too little time: raise the budget, --budget 100 should judge all; 60.0 s" in str(report)
    report = Report([], ["finite"], {"horizon": NO_TIME}, seconds=60.0)
    assert report.budget_for_all == 160  # 1.3 times 60 s for each half
    report = Report([], ["finite"], {"horizon": "no task is stated"}, seconds=60.0)
    assert report.summary == "1 of 2 contracts judged: 0 broken, 1 hold"


def test_check_clean_environment_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """If every contract holds, the exit code is 0, and the report is written as JSON, too."""
    words = ["check", "harness.toys:make_pointmass", "--contracts", "reset-form,close", "--kwargs", '{"horizon": 9}']
    assert main([*words, "--report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("2 of 2 contracts judged: 0 broken, 2 hold")
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
    """A mistyped word is refused, and the message proposes the right one."""
    assert main(words) == 2
    assert expected in capsys.readouterr().err
