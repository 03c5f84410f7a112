"""Tests of the contract of what infos say of an episode that ended, on runs that are written down."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts.episode_infos import episode_infos
from harness.contracts.interrupted_episodes import interrupted_run
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import StepErrors
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

ENVS, AGENTS = 4, 2
LENGTHS = ((3, 5, 4, 6), (5, 2, 7, 3), (4, 6, 2, 5), (2, 7, 5, 3))  # of the episodes of each env


class Played:
    """A subject that has played a run already; `say` returns the info of an episode that ended."""

    def __init__(self, say, lengths=LENGTHS):
        self.errors, self.notes = StepErrors(), []
        self.history = run(say, lengths)

    def long_run(self):
        """Return the run."""
        return SimpleNamespace(seen=self.history)

    def once(self, find):
        """Return the same run for one with a call of reset in mid-episode."""
        assert find is interrupted_run
        return self.history

    def too_few(self, what, seen, needed):
        """Return the error of a run that is too short."""
        return NotJudgedError(f"{seen} {what}, {needed} are needed")


def run(say, lengths):
    """Return a run in which the rewards are the step's number plus the agent's."""
    steps = min(map(sum, lengths))
    ends = [np.cumsum(one) for one in lengths]
    history = [Seen(np.zeros((ENVS, AGENTS, 3)), np.zeros((ENVS, AGENTS, 5)))]
    began = [0] * ENVS
    for step in range(1, steps + 1):
        rewards = np.tile(0.25 * step + np.arange(AGENTS), (ENVS, 1))
        dones = np.zeros((ENVS, AGENTS), bool)
        infos = []
        for env in range(ENVS):
            dones[env] = step in ends[env]
            info = {}
            if dones[env, 0]:
                length = step - began[env]
                returned = 0.25 * sum(range(began[env] + 1, step + 1))
                info = say(env, step, length, returned)
                began[env] = step
            infos.append([dict(info) for _ in range(AGENTS)])
        seen = Seen(history[0].obs, history[0].share_obs, None, history[0].obs, rewards, dones, dones & False, infos)
        history.append(seen)
    return history


def judge(say, lengths=LENGTHS):
    """Judge a run, and return the error, or None."""
    try:
        episode_infos(Played(say, lengths))
    except ContractError as error:
        return error
    return None


def test_return_and_length_of_the_episode_hold():
    """Flat and nested entries are recognised by what they are in the first episodes."""
    assert judge(lambda env, step, length, returned: {"episode": {"r": returned, "l": length}}) is None
    assert judge(lambda env, step, length, returned: {"episode_return": returned}) is None
    both = 2.0  # the second agent's rewards are larger by 1 in each step
    assert judge(lambda env, step, length, returned: {"ep_score": both * returned + length}) is None


@pytest.mark.parametrize("name", ["return", "length"])
def test_number_that_is_not_reset_is_found(name):
    """A sum over all episodes is right in the first one only; the error names entry, value and what it should be."""
    totals = {}

    def say(env, step, length, returned):
        value = {"return": returned, "length": length}[name]
        totals[env] = totals.get(env, 0.0) + value
        return {"episode": {name: totals[env]}}

    error = judge(say)
    assert error is not None
    assert error.what == f"infos give a wrong number for the {name} of an episode"
    assert error.where == f"infos[1][0]['episode/{name}'], step 7"
    expected = {"return": 0.25 * (6 + 7), "length": 2}[name]
    assert error.expected == f"{expected:g}"
    assert error.got.startswith(f"{totals_after_two(name):g}; wrong in ")


LONG = tuple(6 * lengths for lengths in LENGTHS)


@pytest.mark.parametrize("name", ["return", "length"])
@pytest.mark.parametrize("lengths", [LONG, ((6, *LONG[0]), (6, *LONG[1]), (6, *LONG[2]), (6, *LONG[3]))])
def test_number_that_is_not_reset_from_some_step_on_is_found(name, lengths):
    """Most episodes are right, but all of the last ones are not; equal first episodes hide it as little."""
    totals = {}

    def say(env, step, length, returned):
        value = {"return": returned, "length": length}[name]
        if step < 75:
            return {"episode": {name: value}}
        totals[env] = totals.get(env, 0.0) + value
        return {"episode": {name: totals[env]}}

    error = judge(say, lengths)
    assert error is not None
    assert error.what == f"infos give a wrong number for the {name} of an episode"


@pytest.mark.parametrize("path", ["l", "len", "length", "episode_length", "ep_len"])
@pytest.mark.parametrize("wrong, is_found", [((5, 7), True), ((), False), ((3, 4, 5, 6, 7), False)])
def test_length_that_is_wrong_after_some_outcomes_is_found(path, wrong, is_found):
    """Episodes of 2 to 7 steps; those of 5 and 7 report the limit. What hardly ever is the length may be another."""

    def say(env, step, length, returned):
        return {"episode": {path: 20 if length in wrong else length}, "score": 1.0}

    error = None
    try:
        episode_infos(Played(say))
    except NotJudgedError:
        assert not is_found
    except ContractError as caught:
        error = caught
    assert (error is not None) is is_found
    if error is not None:
        assert error.what == "infos give a wrong number for the length of an episode"
        assert error.got.startswith("20; wrong at ")


def extreme(name="min_gap", again=False, step=0.25):
    """Return what infos say of a minimum over all episodes of an env, or over the latest `again`."""
    lowest, count = {}, {}

    def say(env, at, length, returned):
        count[env] = count.get(env, 0) + 1
        drawn = 3.0 - step * (at % 7) - (0.01 * at if count[env] % 3 == 0 else 0.0)
        if again:
            return {"episode": {name: drawn}}
        lowest[env] = min(lowest.get(env, 9.0), drawn)
        return {"episode": {name: lowest[env]}}

    return say


def test_minimum_of_all_episodes_is_found():
    """It often stays the same, and never rises; a name that says so, and a minimum of each episode, are no findings."""
    error = judge(extreme(), LONG)
    assert error is not None
    assert error.what == "episode/min_gap in infos is that of all episodes of its env so far, not of the one that ended"
    assert "falls" in error.got
    assert judge(extreme(again=True), LONG) is None
    for name in ("min_gap_so_far", "record/min_gap", "gap", "minutes"):
        with pytest.raises(NotJudgedError):
            episode_infos(Played(extreme(name), LONG))


def test_wrong_numbers_between_right_ones_may_be_something_else():
    """Every third return is wrong: more than eight, but never two in a row."""
    ends = []

    def say(env, step, length, returned):
        ends.append(step)
        return {"episode": {"r": returned + 50.0 * (len(ends) > 12 and len(ends) % 3 == 0)}}

    assert judge(say, LONG) is None


@pytest.mark.parametrize("values", [lambda number: -0.5 * number, lambda number: -float(number // 2 % 9)])
def test_number_that_falls_at_every_end_or_goes_back_is_no_minimum_of_all_episodes(values):
    """A level that gets harder, and one that starts over."""
    count = {}

    def say(env, step, length, returned):
        count[env] = count.get(env, 0) + 1
        return {"episode": {"min_gap": values(count[env])}}

    assert judge(say, LONG) is None


def test_few_episodes_say_nothing_of_a_minimum():
    """Three episodes of each env are no proof."""
    with pytest.raises(NotJudgedError):
        episode_infos(Played(extreme()))


def test_last_number_that_is_wrong_may_be_an_accident():
    """Seven wrong numbers in a row at the end of a run are too few."""
    ends = []

    def say(env, step, length, returned):
        ends.append(step)
        return {"episode": {"r": returned}}

    judge(say, LONG)
    for wrong, is_found in ((7, False), (8, True)):
        counted = []

        def say_wrongly(env, step, length, returned, wrong=wrong, counted=counted):
            counted.append(step)
            return {"episode": {"r": returned + 50.0 * (len(counted) > len(ends) - wrong)}}

        assert (judge(say_wrongly, LONG) is not None) is is_found


def totals_after_two(name):
    """Return the sum over the first two episodes of env 1, which end at step 7."""
    return {"return": 0.25 * sum(range(1, 8)), "length": 7}[name]


@pytest.mark.parametrize("path", ["total_return", "time", "score_so_far", "episode_count", "mean_episode_length"])
def test_numbers_that_may_count_on_are_not_judged(path):
    """A clock of the run, a total, a mean: the name does not speak of one episode."""
    with pytest.raises(NotJudgedError, match="no entry of the infos"):
        episode_infos(Played(lambda env, step, length, returned: {path: step}))


def test_number_that_is_no_return_from_the_start_is_not_judged():
    """A discounted return, say, is the return of no episode: nothing is known about it."""
    with pytest.raises(NotJudgedError, match="no entry of the infos"):
        episode_infos(Played(lambda env, step, length, returned: {"episode": {"r": 0.9 * returned + 1.0}}))


def test_length_that_counts_on_is_found_though_all_first_episodes_are_alike():
    """Equal first lengths show no meaning, but a number that is the sum of all lengths so far is no setting."""
    totals = {}

    def say(env, step, length, returned):
        totals[env] = totals.get(env, 0) + length
        return {"episode_length": totals[env]}

    with pytest.raises(ContractError, match="infos give a wrong number for the length"):
        episode_infos(Played(say, lengths=((4, 5, 4, 6), (4, 2, 7, 3), (4, 6, 2, 5), (4, 7, 5, 3))))


def test_numbers_that_are_all_equal_are_not_judged():
    """If all first episodes have one length, any constant would be taken for it."""
    with pytest.raises(NotJudgedError, match="no entry of the infos"):
        episode_infos(Played(lambda env, step, length, returned: {"episode_steps": 7}))
