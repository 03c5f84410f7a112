"""Tests of the contracts of first steps and of the rewards at the ends of episodes."""

from __future__ import annotations

import collections
from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, INFOS, OBS, REWARDS, SHARE_OBS, check, factory, report_of

from harness.contracts import Task
from harness.contracts.end_rewards import _ends_of_round, _latest_ends
from harness.contracts.first_steps import _require_alive, require_agents_back
from harness.contracts.lost_rewards import _lost_lately
from harness.findings import ContractError
from harness.interface.player import Seen

pytestmark = pytest.mark.harness


def remember_ends(env, returned):
    """Keep which envs begin an episode with the next step."""
    env.begins = returned[DONES].all(axis=1)


def resting_first(agents):
    """Return what lets these agents rest in the first step after a reset within a step."""

    def actions(env, given):
        acted = given.copy()
        for env_id in np.flatnonzero(env.__dict__.get("begins", [])):
            acted[env_id, agents] = 0.0
        return acted

    return actions


def halved_first(env, given):
    """Return the actions, halved in the first step after a reset within a step."""
    acted = given.copy()
    acted[env.__dict__.get("begins", np.zeros(len(given), bool))] *= 0.5
    return acted


@pytest.mark.parametrize(
    "agents, words", [([0, 1], "the first action in a new"), ([1], "the first action of agent 1 in a new")]
)
def test_first_action_that_is_ignored_is_found(agents, words):
    """The finding says whose action is ignored."""
    make_env = factory(result=remember_ends, actions=resting_first(agents))
    assert check(make_env, "first-action").startswith(words)


def test_first_action_that_counts_less_is_kept():
    """An action that has some effect counts."""
    report = report_of(factory(result=remember_ends, actions=halved_first), contracts=["first-action"])
    assert report.passed == ["first-action"]


def test_first_action_by_design_is_not_judged():
    """A task may state that the first steps only settle."""
    make_env = factory(result=remember_ends, actions=resting_first([0, 1]))
    report = report_of(make_env, contracts=["first-action"], task=Task(settling=1))
    assert "the first 1 steps" in report.not_judged["first-action"]


def test_first_action_without_ends_is_not_judged():
    """A run without ends of episodes shows no first action."""

    def endless(env, returned):
        returned[DONES] = np.zeros_like(returned[DONES])

    report = report_of(factory(result=endless), contracts=["first-action"])
    assert report.not_judged["first-action"].startswith("0 ends of episodes in 90 steps")


@pytest.mark.parametrize(
    "lengths, total, found",
    [
        ({1: 4}, 20, False),
        ({1: 5}, 20, True),
        ({1: 5}, 19, False),
        ({1: 8, 2: 1}, 40, False),
        ({1: 9, 2: 1}, 40, True),
        ({1: 9, 3: 2}, 40, False),
    ],
)
def test_episodes_that_are_born_done_are_more_than_those_that_end_next(lengths, total, found):
    """Ends in the first step count if they exceed four times those of a later one, and one end more."""
    if not found:
        assert _require_alive("a reset", collections.Counter(lengths), total) is None
        return
    with pytest.raises(ContractError, match="over when they begin"):
        _require_alive("a reset", collections.Counter(lengths), total)


def test_episodes_of_one_step_are_not_judged():
    """If every step ends an episode by design, there is no first step that others follow."""

    def always(env, returned):
        returned[DONES] = np.ones_like(returned[DONES])

    report = report_of(factory(result=always), contracts=["alive-at-start"])
    assert report.not_judged == {"alive-at-start": "every episode has one step"}


def test_clean_toy_is_alive_rewarded_and_without_foresight():
    """All four contracts judge the toy, and hold."""
    wanted = ["first-action", "alive-at-start", "no-lost-reward", "no-foresight"]
    report = report_of(factory(), contracts=wanted)
    assert report.passed == wanted, report


def test_rewards_are_lost_lately():
    """Only the last consecutive places without a reward count."""
    rewarded = np.ones((9, 3), bool)
    where = np.zeros((9, 3), bool)
    where[[1, 3, 5, 7], [0, 1, 2, 0]] = True
    assert len(_lost_lately(rewarded, where)) == 0
    rewarded[[1, 5, 7], [0, 2, 0]] = False
    assert _lost_lately(rewarded, where).tolist() == [[5, 2], [7, 0]]


def lost_at_limits(env, returned):
    """Clear the rewards of steps that a time limit ends."""
    without_returns(env, returned)
    for env_id, infos in enumerate(returned[INFOS]):
        if infos[0].get("bad_transition"):
            returned[REWARDS][env_id] = 0.0


def without_returns(env, returned):
    """Say nothing of the episode in infos, which would show that a reward is lost."""
    for infos in returned[INFOS]:
        for info in infos:
            info.pop("episode", None)


def lost_at_failures(env, returned):
    """Clear the rewards of steps that end an episode in another way."""
    without_returns(env, returned)
    for env_id, infos in enumerate(returned[INFOS]):
        if returned[DONES][env_id].all() and not infos[0].get("bad_transition"):
            returned[REWARDS][env_id] = 0.0


def sparse(env, returned):
    """Reward ends only."""
    returned[REWARDS] = np.where(returned[DONES][..., None], 1.0, 0.0).astype(np.float32)


def test_reward_lost_at_time_limits_is_found_and_at_failures_may_be_meant():
    """A failed step without a reward may be an alive bonus that ends; a time limit is no such event."""
    assert (
        check(factory(result=lost_at_limits), "no-lost-reward")
        == "the reward of the step that a time limit ends is lost"
    )
    assert check(factory(result=lost_at_failures), "no-lost-reward") == ""
    report = report_of(factory(result=sparse), contracts=["no-lost-reward"])
    assert report.not_judged == {"no-lost-reward": "many steps have no reward"}


def played(*ends, steps=40, affordable=40):
    """Return a subject that has played a run whose episodes end at these steps, (env, step).

    It has time for a few runs of `affordable` steps, or for one run of as many.
    """
    nothing = np.zeros((3, 2, 4))
    history = [Seen(nothing, nothing)]
    for step in range(1, steps + 1):
        dones = np.zeros((3, 2), bool)
        dones[[env for env, end in ends if end == step]] = True
        history.append(Seen(nothing, nothing, rewards=np.zeros((3, 2)), dones=dones, truncated=dones))
    run = SimpleNamespace(seen=history)
    asked = []

    def steps_for(wanted, runs, share):
        asked.append((wanted, runs))
        return min(wanted, affordable)

    return SimpleNamespace(long_run=lambda: run, steps=steps_for, asked=asked)


def test_ends_of_a_round_are_those_that_there_is_time_to_play_as_far():
    """The first, second and third end of each env, up to the last step that is affordable."""
    ends = ((0, 4), (0, 9), (0, 20), (1, 9), (2, 12), (2, 13))

    def of_round(number, affordable):
        subject = played(*ends, affordable=affordable)
        found = _ends_of_round(subject, number)
        assert subject.asked == [(40, 3)]
        return {env: span.end for env, span in found.items()}

    assert of_round(0, 40) == {0: 4, 1: 9, 2: 12}
    assert of_round(0, 9) == {0: 4, 1: 9}
    assert of_round(0, 8) == {0: 4}
    assert of_round(1, 40) == {0: 9, 2: 13}
    assert of_round(1, 12) == {0: 9}
    assert of_round(2, 40) == {0: 20}
    assert of_round(3, 40) == {}


def test_latest_ends_are_compared_only_if_there_is_time_for_the_complete_run():
    """A run that is one step too long has none."""
    ends = ((0, 4), (0, 9), (2, 12), (1, 30))
    subject = played(*ends, affordable=40)
    found = _latest_ends(subject)
    assert subject.asked == [(40, 1)]
    assert {env: span.end for env, span in found.items()} == {0: 9, 1: 30, 2: 12}
    assert _latest_ends(played(*ends, affordable=39)) == {}


def of_next_state(env, returned):
    """Compute the rewards of ends from the next episode."""
    ended = returned[DONES].all(axis=1)
    returned[REWARDS][ended] = returned[SHARE_OBS][ended][:, :, :1]


def noisy(part):
    """Return what adds noise to a part, from the env's own generator."""

    def result(env, returned):
        noise = env._env._generators[0].normal(size=returned[part].shape)
        returned[part] = (returned[part] + noise).astype(np.float32)

    return factory(result=result)


def test_reward_of_the_next_episode_is_found():
    """The finding gives the reward with two different next episodes."""
    assert "is computed from the next episode" in check(factory(result=of_next_state), "no-foresight")


def test_noise_in_rewards_is_not_judged():
    """Rewards that are drawn differ anyway, also if all episodes end in the same step; other noise does not matter."""
    report = report_of(noisy(REWARDS), contracts=["no-foresight"])
    assert report.not_judged == {"no-foresight": "the rewards of all steps are random"}
    assert report_of(noisy(OBS), contracts=["no-foresight"]).passed == ["no-foresight"]


def rows_of_dones(steps):
    """Return a run of 5 envs of 2 agents; `steps` has the dones of agent 0 in all envs, and whether the envs ended."""
    obs = np.zeros((5, 2, 3))
    history = [Seen(obs, obs)]
    for first_agent, ended in steps:
        dones = np.zeros((5, 2), bool)
        dones[:, 0] = first_agent or ended
        dones[:, 1] = ended
        history.append(Seen(obs, obs, None, obs, np.zeros((5, 2)), dones, dones & False, []))
    return history


EPISODE, LEFT = [(False, False), (True, False), (True, True)], [(True, False), (True, False), (True, True)]


def test_agents_that_do_not_come_back_are_found():
    """An agent left the first episode, and is done in the first step of all later ones."""
    with pytest.raises(ContractError, match="agents that left an episode are gone in the next one, too"):
        require_agents_back(rows_of_dones(EPISODE + 3 * LEFT))


@pytest.mark.parametrize("steps", [4 * EPISODE, 4 * LEFT, EPISODE + LEFT + 4 * EPISODE])
def test_agents_that_come_back_or_are_never_there_hold(steps):
    """They come back in all episodes or most, or are done in the first step of first episodes, too."""
    require_agents_back(rows_of_dones(steps))
