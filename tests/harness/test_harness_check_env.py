"""Tests of `check_env` as a complete function: its arguments, and contracts that need a task or two environments."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import types
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import pytest
from interrupts import interruptible
from wrapped import DONES, INFOS, OBS, REWARDS, Wrapped, check, convert, factory, report_of, with_entry

from harness.contracts import CONTRACTS, Task, check_env, env_under_test, names
from harness.findings import Report
from harness.toys import PointMass, make_pointmass
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness


SETTINGS = {"sim": {"max_gpu_contact_pairs": 2**20}}


def make_multiplying(num_envs: int = 6, seed: int = 0) -> PointMass:
    env = make_pointmass(num_envs, seed=seed)
    SETTINGS["sim"]["max_gpu_contact_pairs"] *= 5
    env.settings = SETTINGS
    return env


def test_two_environments_setting_multiplied_in_place_is_found() -> None:
    """A setting that grows with every environment is named, although nothing else shows it."""
    found = check(make_multiplying, "two-environments")
    assert found.startswith("env.settings['sim']['max_gpu_contact_pairs'] is multiplied by 5 with every environment")


def make_by_other_names(n_rollout_threads: int = 6, n_agents: int = 2, seed: int = 0) -> PointMass:
    return make_pointmass(n_rollout_threads, n_agents, seed)


def test_subject_factory_with_other_names_is_varied() -> None:
    """Sizes are also varied under the names that HARL's own factories use."""
    one = env_under_test.EnvUnderTest(make_by_other_names)
    assert one.sizes.num_envs == 5
    assert check(make_by_other_names, "factory") == ""


def fail(_: Any) -> None:
    {}["no such key"]


class Unreadable(PointMass):
    """Raises when its number of agents is read."""

    @property
    def n_agents(self) -> int:
        """Raise."""
        return int("two")

    @n_agents.setter
    def n_agents(self, value: int) -> None:
        self._agents = value


def test_check_env_contract_that_fails_counts_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception in a contract is a finding with a place."""
    monkeypatch.setitem(CONTRACTS, "finite", dataclasses.replace(CONTRACTS["finite"], check=fail))
    report = report_of(make_pointmass, contracts=["finite", "bounds"])
    assert report.passed == ["bounds"]
    assert not report.ok
    assert report.findings[0].what == "the environment raised KeyError: 'no such key'"
    assert "test_harness_check_env.py:" in report.findings[0].where


def test_check_env_environment_that_raises_when_asked_is_a_finding() -> None:
    """An attribute that raises is a defect of the environment, and the harness shows no traceback."""
    report = report_of(lambda: Unreadable(5, 2, 0, 20), contracts=["spaces"])
    assert "raise" in report.findings[0].what
    assert "invalid literal" in report.findings[0].what


class Mapping(PointMass):
    """Has one space for each name, where lists are expected."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.share_observation_space = types.MappingProxyType({"a": None, "b": None})  # type: ignore[assignment]


def test_spaces_by_name_are_refused() -> None:
    """A mapping has a length and can be indexed, but not by an agent's number."""
    found = check(lambda: Mapping(5, 2, 0, 20), "spaces")
    assert found == "share_observation_space is a mappingproxy, not a list with one space for each agent"


@pytest.mark.parametrize("count, expected", [("2", "'2', a str"), (2.0, "2.0, a float")])
def test_spaces_number_of_agents_that_is_no_whole_number_is_refused(count: Any, expected: str) -> None:
    """HARL counts up to it."""

    def make_env(num_envs: int = 6) -> PointMass:
        env = make_pointmass(num_envs)
        env.n_agents = count
        return env

    assert check(make_env, "spaces") == f"the number of agents is {expected}, not a whole number"


class Abort(BaseException):
    """An exception that is not an `Exception`."""


ENDS = [SystemExit(3), Abort("now"), GeneratorExit(), KeyboardInterrupt()]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_environment_that_ends_the_program_is_found(error: BaseException) -> None:
    """No exception of an environment ends the check, whether it is built, read, stepped or closed."""
    name = type(error).__name__
    assert check(factory(actions=raising(error)), "step-form") == f"step raised {name}: {error}"
    assert check(raising(error), "factory") == f"the factory raises {name}: {error}"
    asked = type("Asked", (PointMass,), {"n_agents": property(raising(error), lambda env, count: None)})
    assert check(lambda: asked(5, 2, 0, 20), "spaces") == f"the environment raised {name}: {error}"
    closed = type("Closed", (PointMass,), {"close": raising(error)})
    report = report_of(lambda: closed(5, 2, 0, 20), contracts=["spaces", "close"])
    assert [one.contract for one in report.findings] == ["close"]
    assert report.passed == ["spaces"]


def interrupted(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGINT)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        pass


CLOSE_INTERRUPTED = type("CloseInterrupted", (PointMass,), {"close": interrupted})


@pytest.mark.parametrize(
    "make_env", [interrupted, factory(actions=interrupted), lambda: CLOSE_INTERRUPTED(5, 2, 0, 20)]
)
def test_check_env_ctrl_c_in_the_environment_ends_the_check(make_env: Callable[..., Any]) -> None:
    """A KeyboardInterrupt that no statement raised comes from the user and is not a finding."""
    with interruptible(), pytest.raises(KeyboardInterrupt):
        report_of(make_env, contracts=["step-form"])


class Speechless(Exception):
    """Raises when its message is read."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def breaks_speechlessly(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    if env.count == 20:
        raise Speechless()
    return actions


def test_step_that_raises_an_error_without_a_text_is_found_with_its_step() -> None:
    """An error that raises when it is printed is named by its class."""
    report = report_of(factory(actions=breaks_speechlessly), contracts=["step-form", "dones"])
    assert [(one.contract, one.step) for one in report.findings] == [("step-form", 20)]
    assert report.findings[0].what == "step raised Speechless: (no text: its __str__ raises RuntimeError)"
    assert not report.passed


def test_check_env_defect_of_the_harness_in_the_long_run_lets_no_contract_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ended early cannot be judged, and the reason is reported once."""
    monkeypatch.setattr(env_under_test, "ActionDriver", fail)
    report = report_of(make_pointmass, contracts=["step-form", "finite", "dones"])
    assert [one.contract for one in report.findings] == ["step-form"]
    assert not report.passed


def test_check_env_overdrawn_budget_judges_no_more() -> None:
    """Contracts for which there was no time are reported as not judged."""
    report = report_of(make_pointmass, contracts=["finite", "close"], budget_s=1e-6)
    assert report.not_judged["close"] == "there was no time left"


class Restless(PointMass):
    """Draws its starts from the generator of the process."""

    def _start(self, env_id: int) -> None:
        self._generators[env_id] = np.random.default_rng(np.random.randint(1000))
        super()._start(env_id)


def make_restless(num_envs: int = 6) -> PointMass:
    return Restless(num_envs, 2, 0, 20)


def make_deaf(num_envs: int = 6, seed: int = 0) -> PointMass:
    return make_pointmass(num_envs)


def make_alike(num_envs: int = 6, seed: int = 0) -> PointMass:
    env = make_pointmass(num_envs, seed=seed)
    env._generators = [np.random.default_rng(seed) for _ in range(num_envs)]
    return env


@pytest.mark.parametrize(
    "contract, make_env, expected",
    [
        (
            "two-environments",
            make_restless,
            "an environment behaves differently when a second one runs in the same process",
        ),
        ("other-seed", make_deaf, "the seed changes nothing"),
        ("other-seed", make_alike, "all envs start alike"),
    ],
)
def test_seed_misused_names_it(contract: str, make_env: Callable[..., Any], expected: str) -> None:
    """Randomness must come only from the seed."""
    assert check(make_env, contract) == expected


def test_close_raising_twice_is_found() -> None:
    """`close` may be called again."""

    class Once(PointMass):
        def close(self) -> None:
            del self._disc

    report = report_of(lambda: Once(5, 2, 0, 20), contracts=["close"])
    assert report.findings[0].what.startswith("the second call of close raises AttributeError")


def test_aliasing_view_of_the_state_is_found() -> None:
    """Writing in returned arrays must not reach the environment."""

    def feed_back(env: Wrapped, returned: List[Any]) -> None:
        if abs(env.__dict__.get("shown", np.zeros(1))).max() > 1e6:
            returned[REWARDS] += 1.0
        env.shown = returned[OBS]

    found = check(factory(result=feed_back), "aliasing")
    assert found.startswith("a returned array is the environment's own state")


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_aliasing_array_in_infos_that_changes_later_is_found(kind: str) -> None:
    """A view of a counter is 0 again when the infos of the end are read."""
    torch = pytest.importorskip("torch")

    def count(env: Wrapped, returned: List[Any]) -> None:
        if "moves" not in env.__dict__:
            env.moves = np.zeros(len(returned[OBS]))
        env.moves += 1
        for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
            view = env.moves[env_id : env_id + 1]
            returned[INFOS][env_id][0]["moves"] = torch.from_numpy(view) if kind == "tensor" else view
            env.moves[env_id] = 0

    assert check(factory(result=count), "aliasing") == "an array in infos changes later: 'moves'"


def test_aliasing_array_in_infos_within_an_episode_is_read_at_once() -> None:
    """A view of a counter that counts on is right when it is returned."""

    def count(env: Wrapped, returned: List[Any]) -> None:
        if "moves" not in env.__dict__:
            env.moves = np.zeros(len(returned[OBS]))
        env.moves += 1
        for env_id in np.flatnonzero(~returned[DONES].all(axis=1)):
            returned[INFOS][env_id][0]["moves"] = env.moves[env_id : env_id + 1]

    assert check(factory(result=count), "aliasing") == ""


def test_aliasing_number_in_infos_is_no_array() -> None:
    """Nor is an array that is a copy, or a dict that is used again, which is a note of a different contract."""
    kept: List[Any] = []

    def count(env: Wrapped, returned: List[Any]) -> None:
        kept[:] = kept or returned[INFOS]
        for env_id, infos in enumerate(returned[INFOS]):
            kept[env_id][0].clear()
            kept[env_id][0].update(infos[0], moves=np.array([env.count]), name="a")
        returned[INFOS] = kept

    assert check(factory(result=count), "aliasing") == ""


class Progress(Task):
    """The reward of the toy rises as the disc comes nearer to the goal."""

    def reward(self, previous: Any, current: Any) -> Optional[np.ndarray]:  # noqa: D102
        def distance(seen: Any) -> np.ndarray:
            return np.hypot(*(seen.share_obs[:, 0, :2] - seen.share_obs[:, 0, 2:4]).T)

        return distance(previous) - distance(current)


def no_last_reward(env: Wrapped, returned: List[Any]) -> None:
    returned[REWARDS][returned[DONES].all(axis=1)] = 0.0


def late_reward(env: Wrapped, returned: List[Any]) -> None:
    last = env.__dict__.get("last", np.zeros_like(returned[REWARDS]))
    env.last, returned[REWARDS] = returned[REWARDS], last


@pytest.mark.parametrize(
    "make_env, expected",
    [
        (make_pointmass, ""),
        (convert(REWARDS, lambda x: -x), "the reward has the wrong sign"),
        (factory(result=late_reward), "the reward comes 1 step late"),
        (factory(result=no_last_reward), "the reward of the step that ends an episode is lost"),
        (convert(REWARDS, lambda x: np.zeros_like(x)), "the reward is unrelated to what the task states"),
    ],
)
def test_reward_task_stated_progress_finds_sign_and_delay(make_env: Callable[..., Any], expected: str) -> None:
    """A negated or late reward is found if the task is stated."""
    assert check(make_env, "reward-task", task=Progress()) == expected


class Turning(Task):
    """In the toy, a velocity moves the disc's offset on the same axis in the opposite direction."""

    def effect(self, agent: int, axis: int) -> Any:  # noqa: D102
        if axis < 2:
            return axis, -1.0
        return None


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda actions: actions, ""),
        (lambda actions: actions[..., [1, 0, 2]], "axes 0 and 1 of the actions are swapped"),
        (lambda actions: actions * np.float32([-1.0, 1.0, 1.0]), "axis 0 of the actions has the wrong sign"),
    ],
)
def test_impulse_stated_effect_finds_axes_and_signs(change: Callable[..., Any], expected: str) -> None:
    """Only the task knows which axis does what."""
    make_env = factory(actions=lambda env, actions: change(actions))
    assert check(make_env, "impulse", task=Turning()) == expected


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"num_envs": 2, "num_agents": 2},
        pytest.param({"num_agents": 3}, marks=pytest.mark.slow),
        {"discrete": True},
        pytest.param({"horizon": 7}, marks=pytest.mark.slow),
    ],
)
def test_check_env_clean_environment_breaks_nothing(sizes: Dict[str, Any]) -> None:
    """A correct environment of any size breaks no contract."""
    report = report_of(make_pointmass, kwargs=sizes, seed=3)
    assert report.ok, report
    assert set(report.passed) | set(report.not_judged) == set(names("env"))


def test_check_env_leaves_global_generators_alone() -> None:
    """The caller's random numbers do not depend on a check."""
    np.random.seed(5)
    report_of(make_pointmass, contracts=["same-seed"])
    drawn = np.random.random()
    np.random.seed(5)
    assert drawn == np.random.random()


def test_check_env_unknown_contract_is_refused() -> None:
    """A mistyped name is an error, not a passed check."""
    with pytest.raises(ConfigError, match="unknown contract 'impuls'; did you mean 'impulse'"):
        check_env(make_pointmass, contracts=["impuls"])


def test_report_is_json_and_reproducible() -> None:
    """A finding carries the command that reproduces it."""
    report: Report = report_of(with_entry(OBS, np.nan, 2, 1, 3), contracts=["finite"], seed=4)
    finding = report.as_dict()["findings"][0]
    assert finding["step"] == 7
    assert finding["where"] == "step 7, env 2, agent 1, entry 3"
    assert " --contracts finite --seed 4  # " in finding["reproduce"]  # the factory is a local function
