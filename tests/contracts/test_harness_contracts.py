"""Every contract of an environment catches what breaks it, and nothing else is taken for broken."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import pytest

from harness.contracts import Task, check_env, names, subject, upkeep
from harness.findings import Report
from harness.toys import PointMass, make_pointmass
from mapush.errors import ConfigError

pytestmark = pytest.mark.contracts

OBS, SHARE_OBS, REWARDS, DONES, INFOS, AVAILABLE = range(6)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LONG_RUN", 110)
    monkeypatch.setattr(upkeep, "PART", 60)
    monkeypatch.setattr(upkeep, "LARGE", 300)


class Wrapped:
    """An environment with other results of `step`, other actions, or another `reset`."""

    def __init__(self, env: Any, result: Any = None, actions: Any = None, reset: Any = None) -> None:
        self._env, self._result, self._actions, self._reset = env, result, actions, reset
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self) -> Any:  # noqa: D102
        returned = self._env.reset()
        return self._reset(self, returned) if self._reset else returned

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        self.count += 1
        taken = self._actions(self, actions) if self._actions else actions
        returned = list(self._env.step(taken))
        return tuple(self._result(self, returned) or returned) if self._result else tuple(returned)


def factory(**wrap: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory of wrapped environments; `result` may change the list in place or return another."""

    def make_env(num_envs: int = 6, num_agents: int = 2, seed: int = 0) -> Any:
        return Wrapped(make_pointmass(num_envs, num_agents, seed), **wrap)

    return make_env


def check(make_env: Callable[..., Any], contract: str, **options: Any) -> str:
    """Return the first line of what breaks the contract, or nothing."""
    report = check_env(make_env, contracts=[contract], **options)
    assert not any("check itself failed" in reason for reason in report.not_judged.values()), report
    return next((one.what for one in report.findings if one.contract == contract), "")


def convert(part: int, change: Callable[[Any], Any]) -> Callable[..., Any]:
    def result(env: Wrapped, returned: List[Any]) -> None:
        returned[part] = change(returned[part])

    return factory(result=result)


def with_entry(part: int, value: Any, *place: int) -> Callable[..., Any]:
    def result(env: Wrapped, returned: List[Any]) -> None:
        if env.count >= 7:
            returned[part][place] = value

    return factory(result=result)


def flagged(flag: Callable[[Wrapped, int, bool, Dict[str, Any]], None]) -> Callable[..., Any]:
    """Return a factory whose infos are changed: `flag(env, env_id, done, info)`."""

    def result(env: Wrapped, returned: List[Any]) -> None:
        for env_id, infos in enumerate(returned[INFOS]):
            for info in infos:
                flag(env, env_id, bool(returned[DONES][env_id].all()), info)

    return factory(result=result)


def rename(env: Wrapped, env_id: int, done: bool, info: Dict[str, Any]) -> None:
    if info.pop("bad_transition", False):
        info["TimeLimit.truncated"] = True


def flag_everything(env: Wrapped, env_id: int, done: bool, info: Dict[str, Any]) -> None:
    if done:
        info["bad_transition"] = True


def flag_a_running_episode(env: Wrapped, env_id: int, done: bool, info: Dict[str, Any]) -> None:
    if env.count % 9 == 0:
        info["bad_transition"] = True


def clip_in_place(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    return np.clip(actions, -1.0, 1.0, out=actions)


def swap_agents(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    return actions[:, ::-1] if env.count >= 3 else actions


def transpose(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(actions.transpose(1, 0, 2)).reshape(actions.shape)


def one_step_late(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    last = env.__dict__.get("last", np.zeros_like(actions))
    env.last = actions.copy()
    return last


def ignore_an_axis(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    return actions * np.array([1.0, 0.0, 1.0], np.float32)


def from_a_buffer(env: Wrapped, returned: List[Any]) -> None:
    buffer = env.__dict__.setdefault("buffer", np.empty_like(returned[REWARDS]))
    buffer[...] = returned[REWARDS]
    returned[REWARDS] = buffer


def from_two_buffers(env: Wrapped, returned: List[Any]) -> None:
    buffers = env.__dict__.setdefault("buffers", [np.empty_like(returned[OBS]) for _ in range(2)])
    buffers[env.count % 2][...] = returned[OBS]
    returned[OBS] = buffers[env.count % 2]


def kept_infos(env: Wrapped, returned: List[Any]) -> None:
    kept = env.__dict__.setdefault("kept", returned[INFOS])
    for old, new in zip(itertools.chain(*kept), itertools.chain(*returned[INFOS])):
        old.update(new)
    returned[INFOS] = kept


def repeated_infos(env: Wrapped, returned: List[Any]) -> None:
    returned[INFOS] = [[{}, {}]] * len(returned[INFOS])


def grow(env: Wrapped, returned: List[Any]) -> None:
    env.__dict__.setdefault("history", []).append(float(returned[REWARDS].mean()))


def unscaled_noise(env: Wrapped, returned: List[Any]) -> None:
    returned[OBS] = returned[OBS] + np.random.standard_normal(returned[OBS].shape).astype(np.float32) * 1e-3


def mixed_rewards(env: Wrapped, returned: List[Any]) -> None:
    returned[REWARDS] = returned[REWARDS] - returned[REWARDS].mean(axis=0)


def reset_of_all(env: Wrapped, returned: List[Any]) -> None:
    if returned[DONES].any() and not returned[DONES].all():
        env._env._yaw += 0.5
        returned[OBS], returned[SHARE_OBS] = env._env._observe()


def dark(env: Wrapped, returned: List[Any]) -> None:
    if 30 < env.count < 45:
        returned[OBS][1] = 0.0


def no_last_reward(env: Wrapped, returned: List[Any]) -> None:
    returned[REWARDS][returned[DONES].all(axis=1)] = 0.0


def hidden_nan(env: Wrapped, returned: List[Any]) -> None:
    if env.count == 47:
        returned[OBS][1, 0, 0] = 0.0


def lost_end(env: Wrapped, returned: List[Any]) -> None:
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        for agent, info in enumerate(returned[INFOS][env_id]):
            info["final_obs"] = returned[OBS][env_id, agent].copy()


def late_reset(env: Wrapped, returned: List[Any]) -> None:
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        returned[OBS][env_id] = np.stack([info["final_obs"] for info in returned[INFOS][env_id]])


def stuck(env: Wrapped, returned: List[Any]) -> None:
    env.__dict__.setdefault("over", np.zeros_like(returned[DONES]))
    env.over |= returned[DONES]
    returned[DONES] = env.over.copy()


def never_done(env: Wrapped, returned: List[Any]) -> None:
    returned[DONES] = np.zeros_like(returned[DONES])
    for infos in returned[INFOS]:
        for info in infos:
            info.clear()


def one_never_done(env: Wrapped, returned: List[Any]) -> None:
    returned[DONES][2] = False
    for info in returned[INFOS][2]:
        info.clear()


def unclipped(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    env._env._commands = lambda given: given
    return actions


def share_by_agent(env: Wrapped, returned: List[Any]) -> None:
    returned[SHARE_OBS][:, 1] += 0.01


BROKEN = {
    "step-form obs transposed": (
        convert(OBS, lambda x: x.transpose(1, 0, 2)),
        "obs has shape (2, 5, 7), not (5, 2, 7)",
    ),
    "step-form rewards flat": (convert(REWARDS, lambda x: x[..., 0]), "rewards has shape (5, 2), not (5, 2, 1)"),
    "step-form obs float64": (convert(OBS, lambda x: x.astype(float)), "obs is float64, not float32"),
    "step-form dones float": (convert(DONES, lambda x: x.astype(np.float32)), "dones is float32, not bool"),
    "step-form rewards int": (convert(REWARDS, lambda x: x.astype(int)), "rewards is int64, not float32"),
    "step-form five parts": (factory(result=lambda env, parts: parts[:5]), "step returns 5 values, not 6 values"),
    "reset-form one part": (factory(reset=lambda env, parts: parts[0]), "reset returns ndarray, not 3 values"),
    "finite nan": (with_entry(OBS, np.nan, 2, 1, 3), "obs holds NaN"),
    "finite inf": (with_entry(REWARDS, np.inf, 2, 1), "rewards holds infinity"),
    "finite hidden nan": (factory(result=hidden_nan), "obs drops to exactly 0"),
    "finite dark": (factory(result=dark), "obs drops to exactly 0"),
    "bounds": (with_entry(OBS, 1e4, 2, 1, 3), "obs leaves its observation_space"),
    "share-obs-same": (factory(result=share_by_agent), "share_obs differs between the agents of an env"),
    "share-obs-same rewards": (with_entry(REWARDS, 0.5, 2, 1), "rewards differs between the agents of an env"),
    "actions-untouched": (factory(actions=clip_in_place), "step writes into the actions it is given"),
    "actions-any-range": (factory(actions=unclipped), "actions beyond the action_space are not clipped"),
    "impulse swapped": (factory(actions=swap_agents), "actions of agents 0 and 1 are swapped"),
    "impulse transposed": (factory(actions=transpose), "actions of env 0 go to env 2"),
    "impulse late": (factory(actions=one_step_late), "actions take effect 1 step late"),
    "impulse ignored": (factory(actions=ignore_an_axis), "axis 1 of the actions is ignored"),
    "infos key": (convert(INFOS, lambda infos: [{"a": {}, "b": {}} for _ in infos]), "info of env 0 has no key 0"),
    "infos dict": (convert(INFOS, lambda infos: {"a": infos}), "infos is a dict of 1, not one entry for each env"),
    "infos short": (convert(INFOS, lambda infos: infos[:1]), "infos has 1 entries for 5 envs"),
    "infos none": (convert(INFOS, lambda infos: None), "infos is None, not one entry for each env"),
    "infos-fresh kept": (factory(result=kept_infos), "one info dict is shared by env 0, agent 0 (step 1)"),
    "infos-fresh repeated": (factory(result=repeated_infos), "one info dict is shared by env 0, agent 0 (step 1)"),
    "bad-transition renamed": (flagged(rename), "time limits count as failures: bad_transition is not set"),
    "bad-transition always": (flagged(flag_everything), "bad_transition is set although no time limit was reached"),
    "bad-transition running": (flagged(flag_a_running_episode), "bad_transition is set where no episode ended"),
    "available-actions none": (convert(AVAILABLE, lambda _: None), "available_actions is None, not [None] * num_envs"),
    "available-actions ones": (
        convert(AVAILABLE, lambda _: np.ones((5, 2, 3))),
        "available_actions is an array (5, 2, 3) of float64, not [None] * num_envs",
    ),
    "dones one agent": (with_entry(DONES, True, 2, 1), "the agents of an env are not done together"),
    "auto-reset": (factory(result=stuck), "env 0 stays done: it is not reset"),
    "horizon one": (factory(result=one_never_done), "the episode of env 2 never ends"),
    "terminal-observation lost": (factory(result=lost_end), "the terminal observation is lost: final_obs is the first"),
    "terminal-observation late": (
        factory(result=late_reset),
        "the observation that comes with a done is the last of the old episode",
    ),
    "same-seed": (factory(result=unscaled_noise), "the same seed gives another run: the runs part at step 1"),
    "independence": (factory(result=mixed_rewards), "actions of one env change another: rewards of env"),
    "partial-reset": (factory(result=reset_of_all), "the reset of one env changes another"),
    "aliasing": (factory(result=from_a_buffer), "the rewards buffer is reused: the array of step 1 changed at step 2"),
    "aliasing two": (
        factory(result=from_two_buffers),
        "the obs buffer is reused: the array of step 1 changed at step 3",
    ),
    "bounded-statistics": (factory(result=grow), "env.history grows without bound"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_contract_planted_violation_names_it(case: str) -> None:
    """Each contract catches what it is for, and says so as a person would."""
    make_env, expected = BROKEN[case]
    assert check(make_env, case.split()[0]).startswith(expected)


def test_horizon_no_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is never done would let an evaluation run for ever."""
    monkeypatch.setattr("harness.contracts.episodes.ENDLESS", 200)
    assert check(factory(result=never_done), "horizon") == "no episode ever ends"


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
        ("two-environments", make_restless, "an environment behaves otherwise while another one runs in the process"),
        ("other-seed", make_deaf, "the seed changes nothing"),
        ("other-seed", make_alike, "all envs start alike"),
    ],
)
def test_seed_misused_names_it(contract: str, make_env: Callable[..., Any], expected: str) -> None:
    """Randomness comes from the seed, and from nowhere else."""
    assert check(make_env, contract) == expected


def test_close_raising_twice_is_found() -> None:
    """`close` may be called again."""

    class Once(PointMass):
        def close(self) -> None:
            del self._disc

    report = check_env(lambda: Once(5, 2, 0, 20), contracts=["close"])
    assert report.findings[0].what.startswith("the second call of close raises AttributeError")


def test_aliasing_view_of_the_state_is_found() -> None:
    """Writing in what was returned must not reach the environment."""

    def feed_back(env: Wrapped, returned: List[Any]) -> None:
        if abs(env.__dict__.get("shown", np.zeros(1))).max() > 1e6:
            returned[REWARDS] += 1.0
        env.shown = returned[OBS]

    found = check(factory(result=feed_back), "aliasing")
    assert found.startswith("a returned array is the environment's own state")


class Progress(Task):
    """The toy's reward: the disc comes nearer to the goal."""

    def reward(self, previous: Any, current: Any) -> Optional[np.ndarray]:  # noqa: D102
        def distance(seen: Any) -> np.ndarray:
            return np.hypot(*(seen.share_obs[:, 0, :2] - seen.share_obs[:, 0, 2:4]).T)

        return distance(previous) - distance(current)


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
        (convert(REWARDS, lambda x: np.zeros_like(x)), "the reward has nothing to do with what the task states"),
    ],
)
def test_reward_task_stated_progress_finds_sign_and_delay(make_env: Callable[..., Any], expected: str) -> None:
    """A flipped or late reward is caught against a statement of the task."""
    assert check(make_env, "reward-task", task=Progress()) == expected


class Turning(Task):
    """Of the toy, a velocity moves the disc's offset on the same axis the other way."""

    def effect(self, agent: int, axis: int) -> Any:  # noqa: D102
        return (axis, -1.0) if axis < 2 else None


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda actions: actions, ""),
        (lambda actions: actions[..., [1, 0, 2]], "axes 0 and 1 of the actions are swapped"),
        (lambda actions: actions * np.float32([-1.0, 1.0, 1.0]), "axis 0 of the actions has the wrong sign"),
    ],
)
def test_impulse_stated_effect_finds_axes_and_signs(change: Callable[..., Any], expected: str) -> None:
    """Which axis does what is known from the task alone."""
    make_env = factory(actions=lambda env, actions: change(actions))
    assert check(make_env, "impulse", task=Turning()) == expected


@pytest.mark.parametrize(
    "sizes", [{}, {"num_envs": 2, "num_agents": 2}, {"num_agents": 3}, {"discrete": True}, {"horizon": 7}]
)
def test_check_env_clean_environment_breaks_nothing(sizes: Dict[str, Any]) -> None:
    """A correct environment of any size trips no contract."""
    report = check_env(make_pointmass, kwargs=sizes, seed=3)
    assert report.ok, report
    assert "check itself failed" not in str(report)
    assert set(report.passed) | set(report.not_judged) == set(names("env"))


def test_check_env_leaves_global_generators_alone() -> None:
    """The caller's random numbers do not depend on a check."""
    np.random.seed(5)
    check_env(make_pointmass, contracts=["same-seed"])
    drawn = np.random.random()
    np.random.seed(5)
    assert drawn == np.random.random()


def test_check_env_unknown_contract_is_refused() -> None:
    """A mistyped name is not a passed check."""
    with pytest.raises(ConfigError, match="there is no contract 'impuls'"):
        check_env(make_pointmass, contracts=["impuls"])


def test_report_is_json_and_reproducible() -> None:
    """A finding carries the command that shows it again."""
    report: Report = check_env(BROKEN["finite nan"][0], contracts=["finite"], seed=4)
    finding = report.as_dict()["findings"][0]
    assert finding["step"] == 7 and finding["where"] == "step 7, env 2, agent 1, entry 3"
    assert finding["reproduce"].endswith("--contracts finite --seed 4")
