"""Tests of starts that are unlike all others of their env, on starts that are written down, and on a toy."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import DONES, OBS, SHARE_OBS, factory

from harness.contracts import Effort, check_env
from harness.contracts.odd_starts import require_no_odd_starts
from harness.contracts.starts_of_runs import BY_RESET, Start
from harness.findings import ContractError
from harness.toys import PointMass

pytestmark = pytest.mark.harness

NUMBERS, STARTS, ENV = 10, 7, 2
PLACES = [("obs", 1, entry) for entry in range(NUMBERS)]
USUAL = np.linspace(-1.0, 1.5, NUMBERS)
ALWAYS = np.ones(NUMBERS)
LONG = Effort(long_run_steps=400, max_searches=0, growth_steps=40, max_kept_entries=150)


def runs_of(count=STARTS):
    """Return two runs in which an env always starts in the same place."""
    return [[Start(ENV, number, (ENV,), USUAL.copy()) for number in range(count)] for _ in range(2)]


def make_odd(runs, *places, changed=6, by=0.5):
    """Change the first numbers of the starts at these places, (run, number)."""
    for run, number in places:
        runs[run][number].values[:changed] += by
    return runs


def found(runs, variability=ALWAYS):
    """Return the error about odd starts, or None."""
    try:
        require_no_odd_starts(runs, variability, PLACES)
    except ContractError as error:
        return error
    return None


def test_two_odd_starts_are_found_and_one_is_an_accident():
    """The finding has both values, the place, and how many starts are odd."""
    assert found(runs_of()) is None
    assert found(make_odd(runs_of(), (0, 3))) is None
    error = found(make_odd(runs_of(), (0, 3), (1, 5)))
    assert error.what == "the start of an episode depends on how the one before ended: obs entry 0"
    assert error.where == "env 2, agent 1, entry 0, after a reset within a step"
    assert error.got.startswith("-0.5, though the same start was drawn; 2 of 14 starts are so")
    assert error.expected.startswith("-1, as at most starts")
    error = found([run[:] for run in make_odd(runs_of(), (1, 2), (1, 4))])
    assert error is not None


@pytest.mark.parametrize(("changed", "is_found"), [(8, True), (9, False), (10, False), (1, True)])
def test_start_of_which_too_little_is_equal_was_drawn_differently(changed, is_found):
    """A fifth of the numbers must be as usual: otherwise the step drew more before it drew the start."""
    error = found(make_odd(runs_of(), (0, 3), (1, 5), changed=changed))
    assert (error is not None) == is_found


def test_only_numbers_that_always_differ_show_how_a_start_was_drawn():
    """Numbers that starts have in common anyway say nothing."""
    runs = make_odd(runs_of(), (0, 3), (1, 5))
    often = np.where(np.arange(NUMBERS) < 6, 1.0, 0.9)
    assert found(runs, often) is None
    for run in range(2):
        assert found(make_odd(runs_of(), (run, 3), (run, 5)), often) is None
    assert found(runs, np.full(NUMBERS, 0.9)) is None


@pytest.mark.parametrize("places", [((0, 0), (1, 4)), ((0, 6), (1, 4)), ((0, 0), (0, 1), (1, 6))])
def test_first_and_last_starts_may_be_of_another_level(places):
    """A level that rises once is no finding: the usual start must have come before and after."""
    assert found(make_odd(runs_of(), *places)) is None


def test_number_of_the_episode_may_decide():
    """If both runs start elsewhere in the same episodes, it is the number that decides."""
    assert found(make_odd(runs_of(), (0, 3), (1, 3), (0, 5), (1, 5))) is None
    assert found(make_odd(runs_of(), (0, 3), (1, 3), (0, 5), (1, 4))) is not None


def test_other_envs_that_start_in_the_same_step_may_decide():
    """A generator that envs share draws something else if others start, too."""
    runs = make_odd(runs_of(), (0, 3), (1, 5))
    for run, number in ((0, 3), (1, 5)):
        runs[run][number] = runs[run][number]._replace(together=(0, ENV))
    assert found(runs) is None
    runs[1][2] = runs[1][2]._replace(together=(0, ENV))
    assert found(runs) is not None


def test_most_starts_must_be_equal():
    """Six in ten starts of an env are enough, and three; otherwise no start is the usual one."""
    six_of_ten = [(0, 2), (1, 1), (0, 3), (1, 3)]
    assert found(make_odd(runs_of(5), *six_of_ten)) is not None
    assert found(make_odd(runs_of(5), *six_of_ten, (1, 4))) is None
    assert found(make_odd(runs_of(2), (0, 1), (1, 1))) is None


def test_starts_by_reset_and_of_one_run_only_do_not_count():
    """Only resets within steps are compared, and only envs that are in both runs."""
    runs = make_odd(runs_of(), (0, 3), (1, 5))
    by_reset = [[start._replace(number=BY_RESET + start.number) for start in run] for run in runs]
    assert found(by_reset) is None
    assert found([runs[0], []]) is None
    assert found([runs[0], [start._replace(env=1) for start in runs[1]]]) is None


def starts_of(env, *values, first=0):
    """Return starts of an env, each the usual one plus a number."""
    return [
        Start(env, first + number, (env,), USUAL + value * (np.arange(NUMBERS) < 6))
        for number, value in enumerate(values)
    ]


def test_three_usual_starts_of_each_env_are_enough():
    """Odd starts of all envs in both runs are added up; calls of reset and envs in one run do not count."""
    one = starts_of(1, 0.0, 0.5, 0.0) + starts_of(4, 0.0, 0.25, 0.0) + starts_of(0, 0.0, 0.0)
    other = starts_of(1, 0.75, 0.0) + starts_of(4, 0.75, 0.0) + starts_of(3, 0.0)
    by_reset = starts_of(1, 2.0, first=BY_RESET) + starts_of(4, 2.0, first=BY_RESET)
    error = found([one, other + by_reset])
    assert error.where.startswith("env 1, ")
    assert "; 2 of 10 starts are so" in error.got
    assert found([other, one]) is not None
    fewer = starts_of(1, 0.0, 0.5) + starts_of(4, 0.0, 0.25)
    assert found([fewer, other]) is None


class DrawsAtCollisions(PointMass):
    """Draws a number at each collision, before the next episode is drawn, which then starts elsewhere."""

    def _infos(self, ended, outcome):
        for env_id in np.flatnonzero(outcome["collision"]):
            self._generators[env_id].normal()
        return super()._infos(ended, outcome)


def make_drawing(num_envs=6, seed=0):
    """Return a toy that draws at collisions."""
    return DrawsAtCollisions(num_envs, 2, seed, 20)


@pytest.mark.parametrize("seed", [0, 1])
def test_toy_that_draws_more_at_some_ends_is_not_found(seed):
    """Nothing of a start that is drawn later is as usual."""
    report = check_env(make_drawing, contracts=["clean-start"], effort=LONG, seed=seed)
    assert report.ok, report


def after_failures(env, returned):
    """Show a robot's heading as 0 in the first step of an episode that follows a collision."""
    for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
        if returned[4][env_id][0]["outcome"]["collision"]:
            returned[OBS][env_id, 0, :2] = 0.0


def test_toy_that_starts_elsewhere_after_failures_is_found():
    """The generators draw the same start, and a part of it is missing after a collision."""
    report = check_env(factory(result=after_failures), contracts=["clean-start"], effort=LONG)
    (finding,) = report.findings
    assert finding.contract == "clean-start"
    assert "depends on" in finding.what


def remember(env, actions):
    """Keep the actions."""
    env.last = actions
    return actions


def after_leftward_ends(env, returned):
    """Shift most of a start if agent 0 drove to the left when the episode before ended."""
    for env_id in np.flatnonzero(returned[DONES].all(axis=1) & (env.last[:, 0, 1] > 0.0)):
        returned[OBS][env_id, :, :-1] += 0.25
        returned[SHARE_OBS][env_id, :, :6] += 0.25


def test_odd_starts_are_found_though_pairs_of_starts_seem_to_be_drawn_differently():
    """If much of many starts is different, pairs show only that no generator was found."""
    make_env = factory(actions=remember, result=after_leftward_ends)
    (finding,) = check_env(make_env, contracts=["clean-start"], effort=LONG, seed=2).findings
    assert finding.what.startswith("the start of an episode depends on how the one before ended")
