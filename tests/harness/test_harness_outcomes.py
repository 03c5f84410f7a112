"""Tests of outcomes of episodes: ends that are marked as time limits, infos of the next episode, and shown ages."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, INFOS, OBS, SHARE_OBS, SHORT, factory, report_of

from harness.contracts import Task, check_env
from harness.contracts.end_infos import SeededEnd, env_with_number_of_next_episode, is_equal, numbers_of_ends
from harness.contracts.episode_spans import episodes
from harness.contracts.marked_outcomes import (
    LateDriver,
    require_no_late_outcome,
    require_no_marked_outcome,
    shows_outcomes,
)
from harness.contracts.shown_age import ages_of, require_shown_age
from harness.contracts.terminal_observation import require_usual_values
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver
from harness.interface.player import Seen
from harness.interface.spaces import read_sizes
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM, LIMIT = 5, 2, 4, 12


def run_of(lengths, outcome, steps=120):
    """Return a run of episodes of these lengths in turn; those of `LIMIT` steps are marked.

    Args:
      lengths: of the episodes, the same for all envs.
      outcome: `outcome(episode, length)` returns the info and the reward of the step that ends an episode.
      steps: number of steps.
    """
    history = [seen_at(0)]
    number = age = 0
    for _ in range(steps):
        age += 1
        length = lengths[number % len(lengths)]
        seen = seen_at(age)
        if age == length:
            info, reward = outcome(number, length)
            seen = seen_at(0, ended=True, marked=length == LIMIT, reward=reward, info=info)
            number, age = number + 1, 0
        history.append(seen)
    return history


def seen_at(age, ended=False, marked=False, reward=0.1, info=None):
    """Return a step at which all envs are alike."""
    obs = np.zeros((NUM_ENVS, AGENTS, OBS_DIM))
    obs[..., 1], obs[..., 2] = 1.0, 1.0 - age / LIMIT
    flags = np.full((2, NUM_ENVS, AGENTS), ended)
    flags[1] &= marked
    infos = [[dict(info or {}) for _ in range(AGENTS)] for _ in range(NUM_ENVS)]
    rewards = np.full((NUM_ENVS, AGENTS), reward)
    return Seen(obs, obs, rewards=rewards, dones=flags[0], truncated=flags[1], infos=infos)


def with_flags(*at_limit, **early):
    """Return an outcome: the infos of marked ends in turn, and that of all others."""

    def outcome(number, length):
        if length == LIMIT:
            return at_limit[number // 2 % len(at_limit)], 0.1
        return early, 0.1

    return outcome


def test_marked_end_with_the_flag_of_an_outcome_is_found():
    """A flag that ends all unmarked episodes is set at a marked end now and then."""
    outcome = with_flags({"success": False}, {"success": False}, {"success": False}, {"success": True}, success=True)
    with pytest.raises(ContractError, match="the episode succeeded or failed") as caught:
        require_no_marked_outcome(run_of([5, LIMIT], outcome))
    assert "infos have 'success'" in caught.value.got
    assert caught.value.where == "env 0, step 68, after 12 steps"


@pytest.mark.parametrize(
    "outcome",
    [
        with_flags({"success": False}, success=True),  # no marked end has it
        with_flags({"success": True}, success=True),  # nearly all marked ends have it: it is meant
        with_flags({"success": False}, {"success": True}, success=True),  # half of them are still too many
        with_flags({}, {}, {}, {"touched": True}, touched=True),  # no name of an outcome
        with_flags({}, {}, {}, {"collision": True}, collision=True, success=True),  # never the only one
        with_flags({}, {}, {}, {"success": True}),  # does not explain the other ends
    ],
)
def test_flags_that_end_no_episode_are_no_outcome(outcome):
    """A flag counts only if it ends episodes, and if most marked ends are without it."""
    assert require_no_marked_outcome(run_of([5, LIMIT], outcome)) is None


def test_flag_that_is_set_within_episodes_is_no_outcome():
    """A collision that does not end an episode may also be in the last step."""
    for step in (1, 2):
        history = run_of([5, LIMIT], with_flags({}, {}, {}, {"success": True}, success=True))
        history[step].infos[3][0]["success"] = True
        assert require_no_marked_outcome(history) is None


def with_rewards(early, *at_limit):
    """Return an outcome: the rewards of marked ends in turn, and that of all others."""

    def outcome(number, length):
        if length == LIMIT:
            return {}, at_limit[number // 2 % len(at_limit)]
        return {}, early

    return outcome


def test_marked_end_with_the_reward_of_an_outcome_is_found():
    """A reward that only unmarked ends have is given at some marked ends."""
    outcome = with_rewards(-3.0, 0.1, 0.1, 0.1, -3.0)
    with pytest.raises(ContractError, match="the episode succeeded or failed") as caught:
        require_no_marked_outcome(run_of([5, LIMIT], outcome))
    assert caught.value.got.startswith("a reward of -3, as at successes or failures; within episodes it is 0.1 to 0.1")
    with pytest.raises(ContractError, match="the episode succeeded or failed"):
        require_no_marked_outcome(run_of([5, LIMIT], with_rewards(3.0, 0.1, 0.1, 0.1, 3.0)))


@pytest.mark.parametrize(
    "rewards",
    [
        (-3.0, -3.0),  # as many marked ends have: the penalty of any end
        (0.1, 0.1, 0.1, 0.1, -3.0),  # unmarked ends do not stand out
        (-3.0, 0.1),
        (-3.0, 0.1, 0.1, 0.1, -1.0),  # a penalty of its own
        (-3.0, 0.1, 0.1, 0.1, 3.0),
    ],
)
def test_rewards_that_are_no_outcome_are_kept(rewards):
    """Only the reward of an outcome counts, and only at a few marked ends."""
    assert require_no_marked_outcome(run_of([5, LIMIT], with_rewards(*rewards))) is None


def test_single_marked_end_with_the_reward_of_an_outcome_may_be_an_accident():
    """One marked end is too few for rewards."""
    history = run_of([5, LIMIT], with_rewards(-3.0, 0.1))
    limited = next(step for step, seen in enumerate(history) if seen.truncated.all())
    history[limited].rewards[2] = -3.0
    assert require_no_marked_outcome(history) is None
    history[limited].rewards[3] = -3.0
    with pytest.raises(ContractError):
        require_no_marked_outcome(history)


# -- infos of the next episode -----------------------------------------------------------------------------------------


def test_numbers_of_ends_are_those_that_only_ends_have_and_that_a_replay_repeats():
    """A number of every step, of the next episode, or of the wall clock is not compared."""

    def outcome(number, length):
        return {"episode": {"saved": number}, "next_goal": 1.0, "speed": 2.0, "cost": 3.0}, 0.1

    history, again = run_of([5], outcome), run_of([5], outcome)
    history[1].infos[0][0]["cost"] = 1.0
    again[10].infos[3][0]["speed"] = 2.5
    assert numbers_of_ends(history, again) == {"episode/saved"}


def of_next_start(env, returned):
    """Read a number of infos after the next episode began."""
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        returned[INFOS][env_id][0]["episode"]["distance"] = float(returned[SHARE_OBS][env_id, 0, 0])


def of_next_start_with_noise(env, returned):
    """Do so where observations are noisy."""
    of_next_start(env, returned)
    noise(env, returned)


def test_infos_of_the_next_episode_are_found_with_and_without_noise():
    """What infos say of an episode does not depend on the next one; noise changes everything in a step."""
    (finding,) = report_of(factory(result=of_next_start), contracts=["no-foresight"]).findings
    assert finding.what == "infos of the step that ends an episode are computed from the next episode"
    assert "'episode/distance'" in finding.where
    options = {"contracts": ["no-foresight"], "effort": dataclasses.replace(SHORT, long_run_steps=300)}
    (finding,) = report_of(factory(result=of_next_start_with_noise), **options).findings
    assert finding.what == "infos of the step that ends an episode are computed from the next episode"
    assert report_of(factory(result=noise), **options).ok


def noise(env, returned):
    """Add noise to what is seen, and nothing else."""
    drawn = env._env._generators[0].normal(size=returned[OBS].shape)
    returned[OBS] = (returned[OBS] + drawn).astype(np.float32)


def seeded(number, starts=lambda seed, env: b"%d %d" % (seed, env)):
    """Return ends of two envs with drawn seeds; `number(env, old seed, seed)` is in their infos."""
    draw, ends = np.random.default_rng(1), []
    for env in range(2):
        old = 0
        for seed in draw.integers(3, size=12).tolist():
            ends.append(SeededEnd(env, seed, starts(seed, env), {"saved": number(env, old, seed)}))
            old = seed
    return ends


def test_number_that_only_the_next_episode_determines_is_found_in_noise():
    """A number of the old episode, of both, or that never changes is no finding; nor is any if starts are not known."""
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: env + seed), "saved") == 0
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: env + min(seed, 1)), "saved") == 0
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: old), "saved") is None
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: seed * (env < 1) + old * env), "saved") is None
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: 1.0), "saved") is None
    assert env_with_number_of_next_episode(seeded(lambda env, old, seed: seed), "other") is None
    draw = np.random.default_rng(2)
    hidden = seeded(lambda env, old, seed: seed, starts=lambda seed, env: draw.bytes(4))
    assert env_with_number_of_next_episode(hidden, "saved") is None


# -- the time that is left ---------------------------------------------------------------------------------------------


def final_obs(value):
    """Return an outcome whose infos hold a last observation with this value in entry 1."""
    last = np.zeros(OBS_DIM)
    last[1] = value
    return lambda number, length: ({"final_obs": last}, 0.1)


def test_number_that_changes_only_in_the_last_observation_is_found():
    """Entry 1 is 1 in all steps; 0 in the last observation at time limits is a finding."""
    history = run_of([LIMIT], final_obs(0.0))
    with pytest.raises(ContractError, match="entry 1 of obs changes only in the last") as caught:
        require_usual_values(history, episodes(history))
    assert caught.value.got == "1 in every obs, 0 there"
    for seen in history:
        seen.obs[3, :, 1] = seen.obs[0, :, 2]  # in one env it changes
    assert require_usual_values(history, episodes(history)) is None
    history = run_of([LIMIT], final_obs(1.0))
    assert require_usual_values(history, episodes(history)) is None
    history = run_of([LIMIT - 1], final_obs(0.0))  # other ends may have a flag of their own
    assert require_usual_values(history, episodes(history)) is None


def test_age_is_shown_by_a_number_that_depends_on_nothing_else():
    """Entry 2 is the time that is left; without it, no number shows the age."""
    history = run_of([5, LIMIT], with_flags({}))
    assert ages_of(history)[:8, 0].tolist() == [-1, -1, -1, -1, -1, 0, 1, 2]
    assert require_shown_age(history) is None
    for seen in history:
        seen.obs[:, 1, 2] = np.ceil(seen.obs[:, 1, 2])
    with pytest.raises(ContractError, match="no number in obs shows how old") as caught:
        require_shown_age(history)
    assert caught.value.where == "agent 1"


def test_age_is_asked_for_only_if_the_task_states_it():
    """A toy whose time stands still is broken only if its task states that the time is shown."""

    def rounded(env, returned):
        returned[OBS][..., -1] = 1.0

    make_env = factory(result=rounded)
    assert report_of(make_env, contracts=["horizon"]).ok
    (finding,) = report_of(make_env, contracts=["horizon"], task=Task(time_left=True)).findings
    assert finding.what == "no number in obs shows how old an episode is"
    report = check_env(make_pointmass, contracts=["horizon"], task=Task(time_left=True))
    assert report.passed == ["horizon"], report


# -- outcomes that come late -------------------------------------------------------------------------------------------


def test_run_shows_outcomes_if_unmarked_ends_have_flags_or_rewards_of_their_own():
    """Without either, nothing can be said of marked ends, and no run is made in which outcomes come late."""
    assert shows_outcomes(run_of([5, LIMIT], with_flags({}, success=True)))
    assert shows_outcomes(run_of([5, LIMIT], with_rewards(-3.0, 0.1)))
    assert not shows_outcomes(run_of([5, LIMIT], with_rewards(0.1, -3.0)))
    assert not shows_outcomes(run_of([5, LIMIT], with_flags({"success": True})))


def test_late_driver_rests_for_as_long_as_the_limit_exceeds_an_outcome():
    """Envs rest at the beginning of every episode, and act afterwards."""
    sizes = read_sizes(make_pointmass(NUM_ENVS), NUM_ENVS)
    driver = LateDriver(ActionDriver(sizes, 3, ("hold",)), lengths=[5, 5], limit=LIMIT, seed=3)
    history = run_of([LIMIT], with_flags({}), steps=2 * LIMIT)
    rests = []
    for step, seen in enumerate(history):
        if step == 0:
            seen = dataclasses.replace(seen, rewards=np.zeros((0, 0)), dones=np.zeros((0, 0)))
        rests.append(bool((driver(seen)[2] == 0.0).all()))
    of_an_episode = [True] * (LIMIT - 5) + [False] * 5
    assert rests == of_an_episode * 2 + [True]


def played_late(history, late, steps):
    """Return a subject that has played a run; a later run shows `late`, and there is time for so many steps."""
    player = SimpleNamespace(seen=late[:1], env=SimpleNamespace(close=lambda: None))
    player.step = lambda actions: player.seen.append(late[len(player.seen)])
    return SimpleNamespace(
        long_run=lambda: SimpleNamespace(seen=history),
        steps=lambda wanted, runs, share: steps,
        sizes=read_sizes(make_pointmass(NUM_ENVS), NUM_ENVS),
        seed=3,
        player=lambda watch: player,
    )


def test_outcome_that_comes_late_is_looked_for_in_a_run_of_its_own():
    """It takes time for two episodes, and outcomes before the limit that show."""
    early = run_of([5, LIMIT], with_flags({"success": False}, success=True))
    outcome = with_flags({"success": False}, {"success": False}, {"success": False}, {"success": True}, success=True)
    late = run_of([5, LIMIT], outcome)
    with pytest.raises(ContractError, match="the episode succeeded or failed"):
        require_no_late_outcome(played_late(early, late, len(late) - 1), LIMIT)
    assert require_no_late_outcome(played_late(early, late, 2 * LIMIT - 1), LIMIT) is None
    assert require_no_late_outcome(played_late(early, early, len(late) - 1), LIMIT) is None
    silent = run_of([5, LIMIT], with_flags({}))
    assert require_no_late_outcome(played_late(silent, late, len(late) - 1), LIMIT) is None


def test_nan_in_infos_is_equal_to_nan_only():
    """A number that is NaN in both runs is the same; a missing one is not."""
    assert is_equal(np.nan, np.nan)
    assert is_equal(1.0, 1.0)
    for other in (1.0, None):
        assert not is_equal(np.nan, other)


def test_age_is_shown_by_three_values():
    """A number with two values tells hardly anything; one with three does."""
    history = run_of([LIMIT], with_flags({}), steps=40)
    for seen in history:
        seen.obs[..., 2] = np.floor(3.0 * np.minimum(seen.obs[..., 2], 0.99))
    assert require_shown_age(history) is None
    for seen in history:
        seen.obs[..., 2] = np.minimum(seen.obs[..., 2], 1.0)
    with pytest.raises(ContractError):
        require_shown_age(history)


def test_flag_that_only_another_agent_or_env_has_within_episodes_is_an_outcome():
    """Only agent 0 of the envs of the run decides what is set within episodes; others and steps with an end do not."""
    history = run_of([5, LIMIT], with_flags({}, {}, {}, {"success": True}, success=True))
    history[2].infos[3][1]["success"] = True
    history[2].infos.append([{"success": True}, {}])
    with pytest.raises(ContractError, match="the episode succeeded or failed"):
        require_no_marked_outcome(history)


@pytest.mark.parametrize(("early", "is_found"), [(3.5, True), (3.25, False), (-1.7, True), (-1.5, False)])
def test_reward_of_an_outcome_exceeds_the_others_by_a_quarter_of_their_range(early, is_found):
    """Rewards within episodes are 0.9 to 2.9, or -1.1 to 0.9: outcomes are those above 3.4, or below -1.6."""
    shift = 2.0 * (early < 0.0)
    history = run_of([5, LIMIT], with_rewards(early, 0.5, 0.5, 0.5, early))
    for step, seen in enumerate(history[1:], start=1):
        if not seen.ended.any():
            seen.rewards[:] = 0.9 + 2.0 * (step % 2) - shift
    if not is_found:
        assert require_no_marked_outcome(history) is None
        return
    with pytest.raises(ContractError) as caught:
        require_no_marked_outcome(history)
    assert caught.value.got.startswith(f"a reward of {early:g}, as at successes or failures")


def test_rewards_that_are_all_alike_are_exceeded_by_more_than_rounding():
    """With a range of 0, the least reward of an outcome is a millionth away."""
    for off, is_found in ((5e-7, False), (2e-6, True)):
        history = run_of([5, LIMIT], with_rewards(0.1 + off, 0.1, 0.1, 0.1, 0.1 + off))
        assert shows_outcomes(history) == is_found


def test_third_of_the_marked_ends_may_have_the_reward_of_an_outcome():
    """The first of them is named, with its reward and the number of the others."""
    history = run_of([5, LIMIT], with_rewards(3.0, 0.1, 0.1, 3.0))
    marked = [step for step, seen in enumerate(history) if seen.truncated.any()]
    assert len(marked) == 7
    history = history[: marked[5] + 1]
    history[marked[2]].rewards[0] = 4.0
    with pytest.raises(ContractError) as caught:
        require_no_marked_outcome(history)
    assert caught.value.got.startswith("a reward of 4, as at successes")
    assert caught.value.got.endswith("so it is at 10 of 30 marked ends")
    assert caught.value.where == f"env 0, step {marked[2]}, after 12 steps"


@pytest.mark.parametrize(("early", "shows"), [(2.5, False), (2.75, True), (-0.5, False), (-0.75, True)])
def test_reward_just_a_quarter_of_the_range_away_does_not_stand_out(early, shows):
    """Rewards within episodes are 0 to 2, in numbers without rounding."""
    history = run_of([5, LIMIT], with_rewards(early, 1.0))
    for step, seen in enumerate(history[1:], start=1):
        if not seen.ended.any():
            seen.rewards[:] = 2.0 * (step % 2)
    assert shows_outcomes(history) == shows


@pytest.mark.parametrize(("outstanding", "shows"), [(4, True), (3, False)])
def test_four_in_five_unmarked_ends_must_stand_out(outstanding, shows):
    """Three in five are too few for a statement about outcomes."""
    history = run_of([5], with_rewards(3.0), steps=5)
    history[5].rewards[outstanding:] = 0.1
    assert shows_outcomes(history) == shows
