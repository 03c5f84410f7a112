"""Tests of numbers and texts in infos that run on, never move, or say that an ended episode is running."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from told_run import LONGEST, told_run

from harness.contracts.running_on import require_no_running_on
from harness.contracts.unfinished_outcomes import require_finished_outcomes
from harness.contracts.unmoved_numbers import require_no_unmoved
from harness.findings import ContractError

pytestmark = pytest.mark.harness

NOW_AND_THEN = itertools.cycle([0.0, 0.0, 0.0, 1.0])


def error_of(require, history):
    """Return what `require` raises for a run, or None."""
    try:
        require(history)
    except ContractError as error:
        return error
    return None


def path_so_far(speeds, rewards, earlier):
    """Return how far an env has come in all of its episodes."""
    return float(abs(earlier).sum() + abs(speeds).sum())


# -- numbers that run on ----------------------------------------------------------------------------------------------


def test_number_that_adds_up_the_episodes_of_an_env_is_found():
    """No step shows what it adds up, and its name says nothing of more than one episode."""
    error = error_of(require_no_running_on, told_run(lambda *of: {"water": path_so_far(*of)}))
    assert error.what == "water in infos goes on over the episodes of an env"
    idle = told_run(lambda speeds, rewards, earlier: {"idle_steps": float(len(earlier) + len(speeds))})
    assert error_of(require_no_running_on, idle) is not None


def test_number_that_adds_up_the_episodes_of_all_envs_is_found():
    """All envs add to one counter."""
    total = [0.0]

    def add(speeds, rewards, earlier):
        total[0] += float(abs(speeds).sum())
        return {"water": total[0]}

    assert error_of(require_no_running_on, told_run(add)) is not None


def test_number_that_only_one_env_sets_again_is_found():
    """The other envs add up all of their episodes."""
    history = told_run(lambda *of: {"water": path_so_far(*of)})
    of_the_episode = told_run(lambda speeds, *_: {"water": float(abs(speeds).sum())})
    for seen, right in zip(history[1:], of_the_episode[1:]):
        seen.infos[0] = right.infos[0]
    assert error_of(require_no_running_on, history) is not None
    for seen, right in zip(history[1:], of_the_episode[1:]):
        seen.infos[1] = right.infos[1]
    assert error_of(require_no_running_on, history) is None  # two envs may do so by chance


def test_number_that_grows_in_envs_with_few_ends_may_do_so_by_chance():
    """If it falls in one env, the others must have many ends; four are too few."""
    few = told_run(lambda *of: {"water": path_so_far(*of)})[:26]
    assert error_of(require_no_running_on, few) is not None
    for seen, right in zip(few[1:], told_run(lambda speeds, *_: {"water": float(abs(speeds).sum())})[1:]):
        seen.infos[0] = right.infos[0]
    assert error_of(require_no_running_on, few) is None


def test_number_that_rises_by_the_same_each_time_holds():
    """It counts the episodes of its env by design."""
    history = told_run(lambda *of: {"rank": 0.0})
    counts = [0] * len(history[1].infos)
    for seen in history[1:]:
        for env in np.flatnonzero(seen.ended):
            counts[env] += 1
            for info in seen.infos[env]:
                info["rank"] = float(counts[env])
    assert error_of(require_no_running_on, history) is None


@pytest.mark.parametrize(
    "say",
    [
        lambda *of: {"total_water": path_so_far(*of)},
        lambda *of: {"lifetime/water": path_so_far(*of)},
        lambda *of: {"odometer": path_so_far(*of)},
        lambda speeds, rewards, earlier: {"steps": float(len(earlier) + len(speeds))},
        lambda speeds, rewards, earlier: {"water": float(abs(speeds).sum())},  # of the episode
        lambda speeds, rewards, earlier: {"wins": float(len(earlier) > 0)},
        lambda speeds, rewards, earlier: {"skill": 50.0 + len(earlier) * 0.01 + speeds[0] ** 2 * 1e-6},  # slowly
    ],
)
def test_number_that_may_grow_holds(say):
    """Its name says that it is of all episodes, or it falls, or it does not grow as a sum over episodes does."""
    assert error_of(require_no_running_on, told_run(say)) is None


# -- numbers that never move ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["distance_run", "stats/moved", "fatigue_gain", "delta"])
def test_distance_or_change_that_is_always_0_is_found(name):
    """Observations change in every step, but what is called a distance or a change is exactly 0."""
    error = error_of(require_no_unmoved, told_run(lambda *of: {}, lambda: {name: 0.0}))
    assert error.what == f"{name} in infos is 0 whatever happens"


@pytest.mark.parametrize(
    "say_in_steps",
    [
        lambda: {"collisions": 0.0},
        lambda: {"rew_distance": 0.0, "max_distance": 0.0},
        lambda: {"distance": 0.25},
        lambda: {"moved": next(NOW_AND_THEN)},
    ],
)
def test_number_that_may_be_0_holds(say_in_steps):
    """It is no distance, it is a part of the reward or a bound, or it is not always 0."""
    assert error_of(require_no_unmoved, told_run(lambda *of: {}, say_in_steps)) is None


def test_distance_of_what_stands_still_holds():
    """Without a change in observations nothing has moved."""
    history = told_run(lambda *of: {}, lambda: {"distance": 0.0})
    still = [dataclasses.replace(seen, obs=history[0].obs) for seen in history]
    assert error_of(require_no_unmoved, still) is None


# -- outcomes in words ------------------------------------------------------------------------------------------------


def test_outcome_that_says_running_at_time_limits_is_found():
    """The other ends have an outcome; the error says at which ends it is missing."""
    history = told_run(lambda speeds, rewards, _: {"outcome": "running" if len(rewards) == LONGEST else "failed"})
    error = error_of(require_finished_outcomes, history)
    assert error.what == "outcome in infos says 'running' at the end of an episode"
    assert "ends by a time limit" in error.got


@pytest.mark.parametrize(
    "say",
    [
        lambda speeds, rewards, _: {"outcome": "time limit" if len(rewards) == LONGEST else "failed"},
        lambda speeds, rewards, _: {"engine": "running"},  # always: it is no outcome
        lambda speeds, rewards, _: {"outcome": "" if len(rewards) == LONGEST else "failed"},
    ],
)
def test_text_that_names_the_outcome_holds(say):
    """It does not say that the episode goes on, or always says so."""
    assert error_of(require_finished_outcomes, told_run(say)) is None
