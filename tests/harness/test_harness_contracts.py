"""Tests that every contract of an environment catches what breaks it, and reports it in clear words."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
from wrapped import (
    AVAILABLE,
    DONES,
    INFOS,
    OBS,
    REWARDS,
    SHARE_OBS,
    SHORT,
    Wrapped,
    check,
    convert,
    factory,
    flagged,
    report_of,
    with_entry,
)

from harness.contracts.info_dicts import REUSED, SHARED_BY_AGENTS
from harness.toys import PointMass

pytestmark = pytest.mark.harness


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
    if env.count < 3:
        return actions
    return actions[:, ::-1]


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


def kept_without_flags(env: Wrapped, returned: List[Any]) -> None:
    kept = env.__dict__.setdefault("kept", returned[INFOS])
    for old, new in zip(itertools.chain(*kept), itertools.chain(*returned[INFOS])):
        new = dict(new)
        old.clear()
        old.update(new)
    returned[INFOS] = kept


def infos_of_the_episode(env: Wrapped, returned: List[Any]) -> None:
    kept = env.__dict__.setdefault("kept", {})
    for env_id, infos in enumerate(returned[INFOS]):
        olds = kept.setdefault(env_id, [{} for _ in infos])
        for old, new in zip(olds, infos):
            old.update(new)
        returned[INFOS][env_id] = olds
        if returned[DONES][env_id].any():
            del kept[env_id]


def changed_later(env: Wrapped, returned: List[Any]) -> None:
    for infos in env.__dict__.get("last", []):
        infos[0]["seen"] = True
    env.last = returned[INFOS]


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


def hidden_nan(env: Wrapped, returned: List[Any]) -> None:
    if env.count == 47:
        returned[OBS][1, 0, 0] = 0.0


def lost_end(env: Wrapped, returned: List[Any]) -> None:
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        for agent, info in enumerate(returned[INFOS][env_id]):
            info["final_obs"] = returned[OBS][env_id, agent].copy()


def lost_end_of_agent_1(env: Wrapped, returned: List[Any]) -> None:
    lost_end(env, returned)
    for infos in returned[INFOS]:
        infos[0].pop("final_obs", None)


def lost_end_of_harl(env: Wrapped, returned: List[Any]) -> None:
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        for info in returned[INFOS][env_id]:
            del info["final_obs"]
        returned[INFOS][env_id][0]["original_obs"] = returned[OBS][env_id].copy()


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


def late_dones(env: Wrapped, returned: List[Any]) -> None:
    env.late, returned[DONES] = returned[DONES], env.__dict__.get("late", np.zeros_like(returned[DONES]))


def end_of_a_neighbour(env: Wrapped, returned: List[Any]) -> None:
    ends = {env_id: infos[0].get("final_obs") for env_id, infos in enumerate(returned[INFOS])}
    env.__dict__.setdefault("shown", returned[OBS])
    for env_id, end in ends.items():
        if end is not None:
            for agent, info in enumerate(returned[INFOS][env_id]):
                info["final_obs"] = env.shown[env_id - 1, agent]
    env.shown = returned[OBS].copy()


def goal_stays(env: Wrapped, returned: List[Any]) -> None:
    env.__dict__.setdefault("goals", env._env._goal.copy())
    env._env._goal[:] = env.goals
    returned[OBS], returned[SHARE_OBS] = env._env._observe()


def obs_before_the_step(env: Wrapped, returned: List[Any]) -> None:
    env.before, returned[OBS] = returned[OBS], env.__dict__.get("before", returned[OBS])


def rewards_of_the_next_env(env: Wrapped, returned: List[Any]) -> None:
    returned[REWARDS] = np.roll(returned[REWARDS], 1, axis=0)


def share_obs_far_out(env: Wrapped, returned: List[Any]) -> None:
    returned[SHARE_OBS][:, :, 0] = 50.0


SEEN_STEPS: List[int] = []


def grow_in_the_module(env: Wrapped, returned: List[Any]) -> None:
    SEEN_STEPS.append(env.count)


def contagious(env: Wrapped, actions: np.ndarray) -> np.ndarray:
    ill = np.isnan(actions).any()
    env._env._yaw += 0.5 * ill
    return np.nan_to_num(actions)


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
    "bounds share": (factory(result=share_obs_far_out), "share_obs leaves its share_observation_space"),
    "bounds": (with_entry(OBS, 1e4, 2, 1, 3), "obs leaves its observation_space"),
    "share-obs-same": (factory(result=share_by_agent), "share_obs differs between the agents of an env"),
    "share-obs-same rewards": (with_entry(REWARDS, 0.5, 2, 1), "rewards differs between the agents of an env"),
    "actions-untouched": (factory(actions=clip_in_place), "step writes into the actions it is given"),
    "actions-any-range": (factory(actions=unclipped), "actions beyond the action_space are not clipped"),
    "impulse swapped": (factory(actions=swap_agents), "actions of agents 0 and 1 are swapped"),
    "impulse transposed": (factory(actions=transpose), "actions of env 0 go to env 2"),
    "impulse late": (factory(actions=one_step_late), "actions take effect 1 step late"),
    "impulse ignored": (factory(actions=ignore_an_axis), "axis 1 of the actions is ignored"),
    "impulse obs late": (factory(result=obs_before_the_step), "obs comes 1 step late"),
    "impulse rewards": (factory(result=rewards_of_the_next_env), "the rewards of env "),
    "infos key": (convert(INFOS, lambda infos: [{"a": {}, "b": {}} for _ in infos]), "info of env 0 has no key 0"),
    "infos dict": (convert(INFOS, lambda infos: {"a": infos}), "infos is a dict of 1, not one entry for each env"),
    "infos short": (convert(INFOS, lambda infos: infos[:1]), "infos has 1 entries for 5 envs"),
    "infos none": (convert(INFOS, lambda infos: None), "infos is None, not one entry for each env"),
    "infos-fresh repeated": (
        factory(result=repeated_infos),
        "one info dict is shared by env 0, agent 0 and env 1, agent 0",
    ),
    "bad-transition renamed": (flagged(rename), "time limits count as failures: bad_transition is not set"),
    "bad-transition always": (flagged(flag_everything), "bad_transition is set although no time limit was reached"),
    "bad-transition running": (flagged(flag_a_running_episode), "bad_transition is set where no episode ended"),
    "available-actions none": (convert(AVAILABLE, lambda _: None), "available_actions is None, not [None] * num_envs"),
    "available-actions ones": (
        convert(AVAILABLE, lambda _: np.ones((5, 2, 3))),
        "available_actions is an array (5, 2, 3) of float64, not [None] * num_envs",
    ),
    "dones one agent": (with_entry(DONES, True, 2, 1), "the agents of an env are not done together"),
    "auto-reset goal": (factory(result=goal_stays), "a reset within a step does not reset share_obs entry 2"),
    "auto-reset": (factory(result=stuck), "env 0 stays done: it is not reset"),
    "horizon one": (factory(result=one_never_done), "the episode of env 2 never ends"),
    "terminal-observation lost": (factory(result=lost_end), "the terminal observation is lost: final_obs is the first"),
    "terminal-observation lost, agent 1": (factory(result=lost_end_of_agent_1), "the terminal observation is lost"),
    "terminal-observation lost, HARL": (
        factory(result=lost_end_of_harl),
        "the terminal observation is lost: original_obs",
    ),
    "terminal-observation other": (
        factory(result=end_of_a_neighbour),
        "the terminal observation is not the last of the old episode",
    ),
    "terminal-observation late": (
        factory(result=late_reset),
        "the observation that comes with a done is the last of the old episode",
    ),
    "same-seed": (factory(result=unscaled_noise), "the same seed gives a different run: the runs diverge at step 1"),
    "independence": (factory(result=mixed_rewards), "actions of one env change another: rewards of env"),
    "independence nan": (factory(actions=contagious), "an env that is given NaN harms another: obs of env"),
    "partial-reset": (factory(result=reset_of_all), "the reset of one env changes another"),
    "aliasing": (factory(result=from_a_buffer), "the rewards buffer is reused: the array of step 1 changed at step 2"),
    "aliasing two": (
        factory(result=from_two_buffers),
        "the obs buffer is reused: the array of step 1 changed at step 3",
    ),
    "bounded-statistics": (factory(result=grow), "env.history grows without bound"),
    "bounded-statistics module": (factory(result=grow_in_the_module), f"{__name__}.SEEN_STEPS grows without"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_contract_planted_violation_names_it(case: str) -> None:
    """Each contract reports the violation that it is for."""
    make_env, expected = BROKEN[case]
    assert check(make_env, case.split()[0]).startswith(expected)


def test_dones_one_step_late_are_named_so_and_nothing_follows_from_them() -> None:
    """One contract reports the cause, and no other contract reports it again in different words."""
    report = report_of(factory(result=late_dones), contracts=["auto-reset", "bad-transition", "terminal-observation"])
    assert [one.what for one in report.findings] == ["dones come one step late"]


class DropsOut(PointMass):
    """A toy whose agent 1 leaves after eight steps; its team mate goes on until the time limit."""

    comes_back = False

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Act; agent 1 is done from its eighth step on, or only there."""
        returned = list(super().step(actions))
        left = self._age >= 8
        if self.comes_back:
            left = self._age == 8
        dones = returned[DONES].copy()
        dones[:, 1] |= left
        returned[DONES] = dones
        return tuple(returned)


class ComesBack(DropsOut):
    """The same, but it is done in a single step, after which it takes part again."""

    comes_back = True


def test_dones_agent_that_leaves_for_the_rest_of_an_episode_is_no_finding() -> None:
    """HARL leaves it out of the loss until the episode ends; one that comes back would be learned across its end."""
    assert check(lambda num_envs=5, seed=0: DropsOut(num_envs, 2, seed, 20), "dones") == ""
    found = check(lambda num_envs=5, seed=0: ComesBack(num_envs, 2, seed, 20), "dones")
    assert found == "the agents of an env are not done together"


class KeepsItsClock(PointMass):
    """A toy whose `reset` does not restart the clock, and whose env 0 always succeeds early."""

    def reset(self) -> Tuple[Any, ...]:
        """Start new episodes at the age of the old ones."""
        age = self._age.copy()
        returned = super().reset()
        self._age[:] = age
        return returned

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Act, with the disc of env 0 at the goal from its ninth step on."""
        if self._age[0] >= 9:
            self._disc[0] = self._goal[0]
        return super().step(actions)


def test_horizon_clock_that_reset_leaves_running_is_found_though_an_env_ends_early() -> None:
    """Envs that end for another reason say nothing of the clock; the others do."""

    def make_env(num_envs: int = 5, seed: int = 0) -> PointMass:
        return KeepsItsClock(num_envs, 2, seed, 20)

    assert check(make_env, "horizon") == "reset does not restart the clock of the time limit"


def one_dict_for_all_agents(env: Wrapped, returned: List[Any]) -> None:
    returned[INFOS] = [infos[:1] * len(infos) for infos in returned[INFOS]]


@pytest.mark.parametrize(
    "result, note",
    [
        (infos_of_the_episode, REUSED),
        (kept_without_flags, REUSED),
        (changed_later, REUSED),
        (one_dict_for_all_agents, SHARED_BY_AGENTS),
    ],
)
def test_info_dicts_that_harl_reads_in_time_are_a_note(result: Callable[..., Any], note: str) -> None:
    """HARL reads infos at once, and only what is the same for all agents: no flag reaches a wrong step or env."""
    report = report_of(factory(result=result), contracts=["infos-fresh", "bad-transition"])
    assert report.ok
    assert [text for text in report.notes if text.startswith("infos: ")] == [note]


def test_flag_of_an_info_dict_that_is_never_cleared_is_found() -> None:
    """It is the flag that does harm, not the dict."""
    report = report_of(factory(result=kept_infos), contracts=["infos-fresh", "bad-transition"])
    assert [finding.contract for finding in report.findings] == ["bad-transition"]


def test_horizon_no_end_is_found() -> None:
    """With an environment that is never done, an evaluation would run for ever."""
    effort = dataclasses.replace(SHORT, endless_steps=200)
    assert check(factory(result=never_done), "horizon", effort=effort) == "no episode ever ends"
