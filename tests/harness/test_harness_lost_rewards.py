"""Tests of rewards that are lost where rewards are not in every step: episodes written by hand, and toys."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import DONES, INFOS, REWARDS, check, factory, report_of

from harness.contracts import Effort
from harness.contracts.ended_episodes import EndedEpisode, ended_episodes
from harness.contracts.episode_spans import EpisodeSpan
from harness.contracts.lost_rewards import incomplete_returns
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

LONG = Effort(long_run_steps=900, max_searches=0, growth_steps=40, max_kept_entries=150)
RETURN, ALL = "the return", "the return of all agents together"
LOST = "the last reward of an episode is in the return that infos give, but was never given"


def episode(returned, said, last=0.0, env=1):
    """Return an episode with a return, what infos say it was, and a last reward."""
    span = EpisodeSpan(env=env, end=9, length=4, truncated=False, first=False)
    return EndedEpisode(span, np.array([returned, 2.0 * returned]), np.array([last, 0.0]), {"episode/r": said})


def ended(sums=(1.0, 2.0, 3.5), lost=(0.5, 1.0, 2.0), add=1.0, last=0.0):
    """Return episodes whose returns are the sums of their rewards, and some in which the last reward is missing."""
    return [episode(value, value, 0.25) for value in sums] + [episode(value, value + add, last) for value in lost]


def lost_in(episodes, rewarded=1.0, quantity=RETURN, path="episode/r"):
    """Return how many returns are incomplete."""
    return len(incomplete_returns(episodes, path, quantity, rewarded))


def test_returns_that_exceed_the_rewards_where_the_last_one_is_zero_are_incomplete():
    """Three sums show that it is a return, three others that the last reward was lost."""
    assert lost_in(ended(lost=range(5))) == 5
    assert lost_in(ended(lost=range(5)), path="episode/l") == 0
    assert lost_in(ended(lost=range(5)), quantity=ALL) == 0
    summed = [one._replace(numbers={"episode/r": float(one.returns.sum())}) for one in ended(lost=())]
    summed += [one._replace(numbers={"episode/r": float(one.returns.sum()) + 1.0}) for one in ended(sums=())] * 2
    assert lost_in(summed, quantity=ALL) == 6


def test_last_rewards_must_be_missed():
    """Where few steps have a reward, last steps may have none by accident."""
    assert lost_in(ended(lost=range(10)), rewarded=0.5) == 10
    assert lost_in(ended(lost=range(10)), rewarded=0.49) == 0
    assert lost_in(ended(lost=(1.0, 2.0)), rewarded=0.0) == 0
    assert lost_in(ended(lost=(1.0, 2.0, 3.0)), rewarded=0.0) == 3


@pytest.mark.parametrize(
    "episodes",
    [
        ended(lost=range(9), last=0.5),  # the last reward is there
        [*ended(lost=range(9)), episode(1.0, 2.0, 0.5)],
        [*ended(lost=range(9)), episode(1.0, 2.0)._replace(last_rewards=np.array([0.0, 0.5]))],
        ended(sums=(1.0, 2.0), lost=range(9)),  # too few returns that are sums of rewards
        ended(sums=(1.0, 1.0, 2.0), lost=range(9)),
        ended(sums=(0.0, 1.0, 2.0), lost=range(9)),
        ended(lost=range(9), add=0.0),
        [episode(value, 0.5 * value) for value in range(12)],  # rewards are scaled
    ],
)
def test_returns_that_are_no_sums_of_rewards_are_complete(episodes):
    """A return that is scaled, shaped or clipped differs elsewhere, too."""
    assert lost_in(episodes) == 0


def test_ended_episodes_have_the_rewards_of_their_last_step():
    """Returns are those of an episode; its last rewards are those of the step that ended it."""
    obs = np.zeros((2, 3, 4))
    history = [Seen(obs, obs)]
    for step in range(1, 5):
        rewards = np.full((2, 3), float(step))
        dones = np.zeros((2, 3), bool)
        dones[1] = step in (2, 4)
        history.append(Seen(obs, obs, rewards=rewards, dones=dones, truncated=dones, infos=[[{}] * 3] * 2))
    first, second = ended_episodes(history)
    assert first.returns.tolist() == [3.0] * 3
    assert second.returns.tolist() == [7.0] * 3
    assert second.last_rewards.tolist() == [4.0] * 3


def rare(is_lost, scale=1.0):
    """Return a toy that rewards large changes only, and perhaps no last step; infos have the complete return."""

    def result(env, returned):
        done = returned[DONES].all(axis=1)
        rewards = np.where(abs(returned[REWARDS]) > 0.02, returned[REWARDS], 0.0).astype(np.float32)
        env.totals = getattr(env, "totals", 0.0) + rewards[:, 0, 0]
        for env_id in np.flatnonzero(done):
            for info in returned[INFOS][env_id]:
                info["episode"]["return"] = scale * float(env.totals[env_id])
        env.totals[done] = 0.0
        if is_lost:
            rewards[done] = 0.0
        returned[REWARDS] = rewards

    return factory(result=result)


def test_last_reward_that_infos_count_is_found_where_rewards_are_rare():
    """The return in infos shows what was lost; without a loss, or with another scale, nothing is found."""
    assert check(rare(True), "no-lost-reward", effort=LONG) == LOST
    assert check(rare(False), "no-lost-reward", effort=LONG) == ""
    assert check(rare(False, scale=2.0), "no-lost-reward", effort=LONG) == ""


def test_only_reward_of_an_episode_that_is_lost_is_found():
    """A run without any reward, whose infos tell of returns, has lost them all."""

    def result(env, returned):
        returned[REWARDS] = np.zeros_like(returned[REWARDS])

    assert check(factory(result=result), "no-lost-reward", effort=LONG) == LOST


def of_motion(is_lost=False, rewarded=1.0):
    """Return a toy that rewards no rest, and perhaps no step that a time limit ends, and says nothing of returns."""

    def actions(env, taken):
        env.at_rest = (taken == 0.0).all(axis=(1, 2))
        return taken

    def result(env, returned):
        returned[REWARDS] = np.where(env.at_rest[:, None, None], 0.0, returned[REWARDS]).astype(np.float32)
        draw = np.random.default_rng(env.count)
        returned[REWARDS][draw.random(len(env.at_rest)) >= rewarded] = 0.0
        for env_id, infos in enumerate(returned[INFOS]):
            if is_lost and infos[0].get("bad_transition"):
                returned[REWARDS][env_id] = 0.0
            for info in infos:
                info.pop("episode", None)

    return factory(result=result, actions=actions)


def test_reward_that_is_lost_at_time_limits_is_found_where_a_team_at_rest_has_none():
    """Steps that follow two steps with a reward have one, too, but for those that a time limit ends."""
    lost = "the reward of the step that a time limit ends is lost"
    assert check(of_motion(is_lost=True), "no-lost-reward", effort=LONG) == lost
    report = report_of(of_motion(), contracts=["no-lost-reward"], effort=LONG)
    assert report.passed == ["no-lost-reward"], report


def test_rewards_that_come_by_chance_are_not_judged():
    """If a fifth of the steps have no reward anyway, those of time limits may have none either."""
    report = report_of(of_motion(rewarded=0.8), contracts=["no-lost-reward"], effort=LONG)
    assert report.not_judged == {"no-lost-reward": "many steps have no reward"}
    report = report_of(of_motion(), contracts=["no-lost-reward"], effort=Effort(long_run_steps=25, max_searches=0))
    assert report.not_judged == {"no-lost-reward": "many steps have no reward"}
