"""Tests of masks that do not fit what actions do: tries written by hand, and a grid."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import Effort, Task, check_env
from harness.contracts.mask_effects import Budget, Try, _broken, _cause, claims_of, rest_of, too_idle, tries_of
from harness.grid_toy import CLEAR, GridTeam, make_grid
from harness.interface.player import Seen
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

STEPS, NUM_ENVS, AGENTS, CHOICES = 30, 5, 3, 4
EFFORT = Effort(long_run_steps=120, max_searches=0, growth_steps=40, max_kept_entries=150)


def masks():
    """Return masks (T, N, A, n) bool that allow everything."""
    return np.ones((STEPS, NUM_ENVS, AGENTS, CHOICES), bool)


def test_masks_claim_something_of_what_they_forbid_where_there_is_a_choice():
    """An action that is hardly ever forbidden, or only together with all others, is the task's own choice."""
    available = masks()
    available[:10, 0, 1, 2] = False  # often, with a choice
    available[:9, 1, 1, 3] = False  # nine times
    available[:, :, 2, 1:] = False  # a dead agent
    assert np.argwhere(claims_of(available)).tolist() == [[1, 2]]
    long = np.ones((1000, NUM_ENVS, AGENTS, CHOICES), bool)
    long[:99, 0, 1, 2] = False  # less than 2 % of 5,000 states
    assert not claims_of(long).any()
    long[:100, 0, 1, 2] = False
    assert claims_of(long)[1, 2]


def history_of(available):
    """Return a run with these masks."""
    obs = np.zeros((NUM_ENVS, AGENTS, 1))
    return [Seen(obs, obs, available=mask.astype(np.float32)) for mask in available]


def test_rest_is_the_first_available_action():
    """An agent that may not do nothing does the first thing that it may."""
    available = masks()[0]
    available[4, 2, 0] = False
    (seen,) = history_of(available[None])
    assert rest_of(seen)[4, :, 0].tolist() == [0, 0, 1]


def test_tries_are_of_available_actions_with_a_claim_about_equally_often():
    """Only what is available, claimed and not rest is tried, once in a state; rare actions are not forgotten."""
    available = masks()
    available[:, :, 0, 1] = False
    available[7, 2, 0, 1] = True  # in one state only
    claims = np.zeros((AGENTS, CHOICES), bool)
    claims[0, :2] = claims[1, 2] = True
    tries = tries_of(history_of(available), claims, Budget(total_s=2.0, build_s=0.001, step_s=0.001), seed=3)
    assert Try(7, 2, 0, 1) in tries
    assert {(one.agent, one.choice) for one in tries} == {(0, 1), (1, 2)}
    assert len(set(tries)) == len(tries) > 20
    few = tries_of(history_of(available), claims, Budget(total_s=0.02, build_s=0.001, step_s=0.001), seed=3)
    assert 0 < len(few) < len(tries)
    assert tries_of(history_of(available), claims, Budget(0.0, 0.001, 0.001), seed=3) == []


def of_agents(*agents):
    """Return a try of each of these agents."""
    return [Try(start, 0, agent, start % CHOICES) for start, agent in enumerate(agents)]


def test_idle_tries_of_an_agent_or_an_action_are_too_many():
    """Three idle tries are needed, and a tenth of all of that agent or action."""
    tries = of_agents(*[0] * 40, *[1] * 20)
    assert too_idle(tries, tries[:2]) == []
    assert too_idle(tries, tries[:3]) == []  # of 40
    assert too_idle(tries, tries[40:43]) == tries[40:43]
    of_one_action = [one for one in tries if one.choice == 2][:3]
    assert too_idle(tries, of_one_action) == of_one_action


TRIES = [Try(4, 1, 0, 2), Try(6, 3, 1, 2), Try(9, 4, 2, 3)]


@pytest.mark.parametrize(
    "step, env, agent, cause",
    [
        (0, 0, 1, "the mask of the agent 1 places further"),
        (0, 0, 2, "the mask of the agent 2 places further"),
        (0, 1, 0, "the mask of the env 1 places further"),
        (0, 2, 0, "the mask of the env 2 places further"),
        (0, 4, 0, "the mask of the env 4 places further"),
        (-1, 0, 0, "the mask of the step before"),
    ],
)
def test_cause_names_the_mask_that_forbids_what_did_nothing(step, env, agent, cause):
    """It is the mask of a different agent, env or step, if it forbids all of the tries."""
    available = masks()
    for one in TRIES:
        place = one.start + step, (one.env + env) % NUM_ENVS, (one.agent + agent) % AGENTS, one.choice
        available[place] = False
    assert _cause(TRIES, history_of(available)) == f"{cause} forbids them: indices or moments are mixed up"
    available[place] = True
    assert _cause(TRIES, history_of(available)).startswith("the mask belongs to a different agent, env, moment")


def test_finding_counts_the_tries_of_the_same_agents_and_actions():
    """Other agents, and other actions of these agents, do not count."""
    others = [Try(9, 2, 0, 2), Try(9, 2, 0, 1), Try(3, 2, 1, 2), Try(3, 2, 2, 2)]
    error = _broken(TRIES[:2], [*TRIES, *others], history_of(masks()))
    assert error.got.startswith("the same as at rest, for ")
    assert error.got.endswith("in 2 of 4 tries of actions [2] of agents [0, 1]; the mask is [1, 1, 1, 1]")
    assert (error.step, error.where) == (5, "env 1, agent 0, action 2, after 4 steps")


class Loose(GridTeam):
    """Lets robots try to clear boxes where there is none, half of the time."""

    def _mask(self, env_id, agent):
        mask = super()._mask(env_id, agent)
        mask[CLEAR - 1] = mask[CLEAR - 1] or bool(self._robots[env_id, agent].sum() % 2)
        return mask


class Clumsy(GridTeam):
    """Its robots fail by chance in every second try."""

    def _act(self, env_id, agent, choice):
        if self._generators[env_id].uniform() < 0.5:
            return 0
        return super()._act(env_id, agent, choice)


def factory_of(kind):
    """Return a factory of grids of a class."""

    def make(num_envs=5, num_agents=3, seed=0):
        return kind(num_envs, num_agents, seed, 18)

    return make


def test_contract_finds_actions_that_do_nothing_but_not_those_that_fail_by_chance():
    """A mask that allows too much is found, unless the task states it; chance is no finding."""
    options = {"contracts": ["mask-effects"], "effort": EFFORT}
    (finding,) = check_env(factory_of(Loose), **options).findings
    assert finding.what == "available_actions allows actions that do nothing"
    assert f", action {CLEAR}, " in finding.where
    assert check_env(factory_of(Clumsy), **options).passed == ["mask-effects"]
    assert check_env(make_grid, **options).passed == ["mask-effects"]
    report = check_env(factory_of(Loose), task=Task(loose_masks=True), **options)
    assert "by design" in report.not_judged["mask-effects"]
    report = check_env(make_pointmass, **options)
    assert "no masks" in report.not_judged["mask-effects"]
