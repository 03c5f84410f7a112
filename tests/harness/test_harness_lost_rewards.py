"""Tests of rewards that are lost where rewards are not in every step: episodes written by hand, and toys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, INFOS, REWARDS, check, factory, report_of

from harness.contracts import Effort
from harness.contracts.ended_episodes import EndedEpisode, ended_episodes, speaks_of_one_episode
from harness.contracts.episode_spans import EpisodeSpan
from harness.contracts.lost_rewards import incomplete_returns, lacking_returns, no_lost_reward
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import StepErrors
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


def with_bonus(returned, said, last=10.0):
    """Return an episode whose last reward is much larger than the others, of at most 0.5."""
    one = episode(returned, said)
    return one._replace(last_rewards=np.array([last, 2.0 * last]))


SUMS = [episode(value, value, 0.25) for value in (1.0, 2.0, 3.5)]
LACKING = [with_bonus(12.0, 2.0), with_bonus(13.0, 2.75, last=10.25), with_bonus(-9.0, 1.5, last=-10.0)]


def test_returns_that_lack_only_large_last_rewards_are_found():
    """Three sums show that it is a return; at the other ends a success or a failure is not counted."""
    assert lacking_returns(SUMS + LACKING, "episode/r", RETURN, 0.5) == LACKING
    assert lacking_returns(SUMS + LACKING, "episode/l", RETURN, 0.5) == []
    summed = [one._replace(numbers={"episode/r": 3.0 * one.numbers["episode/r"]}) for one in SUMS + LACKING]
    assert lacking_returns(summed, "episode/r", ALL, 1.5) == summed[3:]
    assert lacking_returns(summed, "episode/r", RETURN, 0.5) == []


@pytest.mark.parametrize(
    "episodes",
    [
        SUMS[:2] + LACKING,
        SUMS + LACKING[:2],
        [*SUMS, *LACKING, with_bonus(12.0, 12.0)],  # there it is counted
        [*SUMS, *LACKING, with_bonus(12.0, 3.75)],  # something else is missing
        [*SUMS, *LACKING, episode(2.0, 1.0, 0.5)],
        SUMS + [with_bonus(4.0, 30.0, last=3.0) for _ in range(9)],  # rewards are clipped
        [episode(value, value) for value in (0.0, 1.0, 1.0, 2.0)] + LACKING,
    ],
)
def test_returns_of_which_something_else_is_left_out_are_kept(episodes):
    """Clipped or shaped rewards, and few ends."""
    assert lacking_returns(episodes, "episode/r", RETURN, 0.5) == []


def test_last_reward_is_large_if_it_exceeds_the_others_threefold():
    """A last reward of the usual size is no sign of anything."""
    assert lacking_returns(SUMS + LACKING, "episode/r", RETURN, 3.3) == LACKING
    assert lacking_returns(SUMS + LACKING, "episode/r", RETURN, 3.4) == []


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
        infos = [[{}, {}, {}], [{"ep_length": step}, {"ep_length": 17}, {}]]
        history.append(Seen(obs, obs, rewards=rewards, dones=dones, truncated=dones, infos=infos))
    history[4].infos[1] = None
    first, second = ended_episodes(history)
    assert (first.numbers, second.numbers) == ({"ep_length": 2.0}, {})
    assert first.returns.tolist() == [3.0] * 3
    assert second.returns.tolist() == [7.0] * 3
    assert second.last_rewards.tolist() == [4.0] * 3


def test_returns_of_small_rewards_are_added_up_without_rounding():
    """A float32 loses 1 after 2 ** 24."""
    obs = np.zeros((2, 3, 4))
    history = [Seen(obs, obs)]
    for step, reward in enumerate((2.0**24, 1.0, 1.0), start=1):
        dones = np.full((2, 3), step == 3)
        rewards = np.full((2, 3), reward, np.float32)
        history.append(Seen(obs, obs, rewards=rewards, dones=dones, truncated=dones, infos=[]))
    assert ended_episodes(history)[1].returns.tolist() == [2.0**24 + 2.0] * 3


@pytest.mark.parametrize(
    ("path", "speaks"),
    [("episode/r", True), ("Episode_Return", True), ("stats/length", True), ("stats/speed", False)]
    + [("return", True), ("return_MEAN", False), ("episode/mean_r", False), ("returns", False), ("my episode", False)],
)
def test_name_that_speaks_of_one_episode(path, speaks):
    """One part of the path is enough; a word that speaks of more than one episode is too much."""
    assert speaks_of_one_episode(path) == speaks


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


# -- runs that are written down ----------------------------------------------------------------------------------------

STEPS, ENVS, AGENTS = 60, 2, 3


def judge(rewards, ended, limited=None, infos=None, broken=None):
    """Judge a run.

    Args:
      rewards: of all agents, (T, N).
      ended: where an episode ends, (T, N) bool.
      limited: where a time limit ends one; by default, everywhere.
      infos: what agent 0's info has at an end, by step from 1 and env.
      broken: a contract that is broken.

    Returns:
      The error, or None.
    """
    if limited is None:
        limited = ended
    nothing = np.zeros((ENVS, AGENTS, 4))
    history = [Seen(nothing, nothing)]
    for step, of_step in enumerate(rewards, start=1):
        of_agents = np.tile(of_step[:, None], AGENTS)
        dones, truncated = (np.tile(flags[step - 1][:, None], AGENTS) for flags in (ended, limited))
        of_envs = [[dict((infos or {}).get((step, env), {})), {}, {}] for env in range(ENVS)]
        history.append(Seen(nothing, nothing, None, nothing, of_agents, dones, truncated, of_envs))
    errors = StepErrors()
    if broken is not None:
        errors.record(broken, ContractError("broken"))
    run = SimpleNamespace(seen=history)

    def too_few(what, seen, needed):
        return NotJudgedError(f"{seen} {what}, {needed} are needed")

    try:
        no_lost_reward(SimpleNamespace(long_run=lambda: run, errors=errors, too_few=too_few))
    except ContractError as error:
        return error
    return None


def every(length, steps=STEPS, envs=(0, 1)):
    """Return rewards of 1 and ends of episodes of a length, (T, N) each."""
    ended = np.zeros((steps, ENVS), bool)
    ended[length - 1 :: length, envs] = True
    return np.ones((steps, ENVS)), ended


def test_five_steps_of_a_kind_without_a_reward_are_lost():
    """The first of them is named; if the latest one has a reward, nothing is lost."""
    rewards, ended = every(10)
    rewards[ended] = 0.0
    rewards[:39] = 1.0
    assert judge(rewards, ended) is not None
    error = judge(rewards, ended)
    assert error.what == "the reward of the step that a time limit ends is lost"
    assert (error.step, error.where) == (40, "env 0, step 40")
    assert error.got.startswith("exactly 0 in the last 6 of these steps")
    rewards[39, 0] = 1.0
    assert judge(rewards, ended).where == "env 1, step 40"
    rewards[39, 1] = 1.0
    assert judge(rewards, ended) is None
    assert judge(rewards, ended, limited=ended & False) is None


def test_first_steps_are_those_that_follow_an_end_and_end_nothing():
    """They are no usual steps, either."""
    rewards, ended = every(5)
    first = np.zeros_like(ended)
    first[1:] = ended[:-1]
    rewards[first] = 0.0
    error = judge(rewards, ended)
    assert error.what == "the reward of the step after the end of an episode is lost"
    assert (error.step, error.where) == (6, "env 0, step 6")
    rewards, ended = every(5)
    ended[1:] |= ended[:-1]  # every second episode has one step
    rewards[ended] = 0.0
    assert judge(rewards, ended, limited=ended & False) is None


def test_ends_that_no_time_limit_has_made_may_have_no_reward():
    """An alive bonus ends with the life."""
    rewards, ended = every(10)
    rewards[ended] = 0.0
    assert judge(rewards, ended, limited=ended & False) is None


@pytest.mark.parametrize(("steps", "ends"), [(29, 4), (30, 5)])
def test_five_ends_are_enough(steps, ends):
    """Fewer are not judged."""
    rewards, ended = every(6, steps, envs=(1,))
    if ends == 5:
        assert judge(rewards, ended) is None
        return
    with pytest.raises(NotJudgedError, match="^4 ends of episodes, 5 are needed"):
        judge(rewards, ended)


def in_one_env(length, steps):
    """Return a run in which only env 0 has rewards, but for the last ones of its episodes."""
    rewards, ended = every(length, steps)
    rewards[ended] = 0.0
    rewards[:, 1] = 0.0
    return rewards, ended


@pytest.mark.parametrize(("steps", "is_judged"), [(174, True), (173, False)])
def test_hundred_steps_after_two_with_a_reward_are_enough(steps, is_judged):
    """In episodes of seven steps, four follow two steps with a reward and end nothing."""
    rewards, ended = in_one_env(7, steps)
    if is_judged:
        assert judge(rewards, ended).got.startswith(f"exactly 0 in the last {steps // 7} of these steps")
        return
    with pytest.raises(NotJudgedError, match="many steps have no reward"):
        judge(rewards, ended)


@pytest.mark.parametrize("limits", [5, 4])
def test_five_time_limits_after_steps_with_a_reward_are_enough(limits):
    """Ends of a different kind do not count."""
    rewards, ended = in_one_env(25, 125)
    limited = ended.copy()
    limited[: 25 * (5 - limits)] = False
    if limits == 5:
        assert judge(rewards, ended, limited) is not None
        return
    with pytest.raises(NotJudgedError, match="^4 ends of episodes after steps with a reward, 5 are needed"):
        judge(rewards, ended, limited)


def test_both_steps_before_must_have_a_reward():
    """The second step of each episode has none, and so what follows it says nothing."""
    rewards, ended = in_one_env(7, 350)
    rewards[1::7] = 0.0
    assert judge(rewards, ended) is not None


@pytest.mark.parametrize(("lost", "is_found"), [(10, True), (9, False)])
def test_returns_are_judged_if_five_last_rewards_are_missed(lost, is_found):
    """Half of the steps within episodes have a reward, and so half of the last ones should."""
    rewards, ended = every(3, 3 * (lost + 3), envs=(1,))
    rewards[1::2, 0] = 0.0
    infos = {}
    for number in range(lost + 3):
        rewards[3 * number : 3 * number + 3, 1] = (number + 1.0, 0.0, 0.0)
        said = number + 1.0 + (number >= 3)
        infos[3 * number + 3, 1] = {"speed": said, "of": {"episode": {"cost": said, "R": said}}}
    if is_found:
        error = judge(rewards, ended, infos=infos)
        assert error.what == LOST
        assert (error.step, error.where) == (12, "infos[1][0]['of/episode/R'], step 12")
        assert error.got == "5, and a reward of 0 in the last step; so it is at 10 of 13 ends"
        assert error.expected.startswith("4, which is the return")
    broken = [None, "infos-fresh"][is_found]
    with pytest.raises(NotJudgedError, match="many steps have no reward"):
        judge(rewards, ended, infos=infos, broken=broken)


def test_run_without_an_end_has_no_returns():
    """Nothing is said of infos then."""
    rewards, ended = every(3)
    with pytest.raises(NotJudgedError, match="^0 ends of episodes, 5 are needed"):
        judge(rewards, ended & False)


def test_nine_in_ten_usual_steps_with_a_reward_are_too_few():
    """All the more so if there is no usual step."""
    rewards, ended = every(12, 65, envs=(1,))
    assert judge(rewards, ended) is None
    rewards[4:59:5, 0] = 0.0
    assert judge(rewards, ended) is None
    rewards[59, 0] = 0.0
    with pytest.raises(NotJudgedError, match="many steps have no reward"):
        judge(rewards, ended)
    with pytest.raises(NotJudgedError, match="many steps have no reward"):
        judge(*every(1))
