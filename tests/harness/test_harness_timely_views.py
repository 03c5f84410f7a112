"""Tests of views that come late: sums and tries written by hand, and toys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import Effort, Task, check_env
from harness.contracts.timely_views import (
    Acting,
    _resting,
    _shown_at_rest,
    add_shown,
    require_no_late_entry,
    require_no_late_sums,
)
from harness.findings import ContractError
from harness.grid_toy import GridTeam, make_grid
from harness.interface.drivers import ActionDriver
from harness.interface.player import Seen
from harness.interface.spaces import read_sizes

pytestmark = pytest.mark.harness

STEPS, NUM_ENVS, AGENTS, LENGTH = 80, 5, 2, 16
EFFORT = Effort(long_run_steps=120, max_searches=0, growth_steps=40, max_kept_entries=150)


def walks(view, seed=0):
    """Return a run in which the state is a random walk of four numbers.

    Args:
      view: `view(now, before)` returns what agent 1 sees, of the state now and in the step before, (N, D).
      seed: of the walks.
    """
    random = np.random.default_rng(seed)
    state = before = random.normal(size=(NUM_ENVS, 4))
    history = []
    for step in range(STEPS):
        ended = np.full((NUM_ENVS, AGENTS), step > 0 and step % LENGTH == 0)
        before, state = state, state + random.normal(size=(NUM_ENVS, 4))
        if ended.any():
            before = state = random.normal(size=(NUM_ENVS, 4))
        obs = np.repeat(view(state, before)[:, None], AGENTS, axis=1)
        obs[:, 0] = state[:, :1]
        share_obs = np.repeat(state[:, None], AGENTS, axis=1)
        history.append(Seen(obs, share_obs, rewards=np.zeros((NUM_ENVS, AGENTS)), dones=ended))
    return history


def near(number):
    """Return a number that is nearly, but not exactly, the given one."""
    return number + 0.05 * np.sin(20.0 * number)


LATE = {
    "one number": lambda now, before: np.stack([now[:, 0], before[:, 2]], axis=1),
    "an offset": lambda now, before: np.stack([now[:, 0], before[:, 2] - now[:, 0]], axis=1),
}
IN_TIME = {
    "all of it": lambda now, before: now[:, :2],
    "a velocity": lambda now, before: np.stack([now[:, 0], now[:, 2] - before[:, 2]], axis=1),
    "a history": lambda now, before: np.stack([now[:, 2], before[:, 2]], axis=1),
    "nearly a late number": lambda now, before: np.stack([now[:, 0], near(before[:, 2])], axis=1),
    "no sum": lambda now, before: np.stack([now[:, 0], before[:, 2] * now[:, 0]], axis=1),
}


@pytest.mark.parametrize("view", LATE.values(), ids=LATE)
def test_entry_that_follows_from_the_state_before_is_found(view):
    """The finding names agent and entry, and what it follows from; an agent that sees the present is kept."""
    history = walks(view)
    assert require_no_late_sums(history, 0) == 2
    with pytest.raises(ContractError, match="a part of obs is one step late") as caught:
        require_no_late_sums(history, 1)
    assert caught.value.where == "agent 1, entry 1 of obs"
    assert caught.value.got.startswith("it follows from entry 2 of share_obs of the step before")


@pytest.mark.parametrize("view", IN_TIME.values(), ids=IN_TIME)
def test_velocity_and_history_are_no_late_view(view):
    """What also shows the present, and what is no sum at all, is kept."""
    assert require_no_late_sums(walks(view), 1) >= 1


def test_short_run_says_nothing():
    """With fewer samples than a fit needs, no entry is known."""
    assert require_no_late_sums(walks(LATE["an offset"])[:8], 1) == 0


@pytest.mark.parametrize("seconds, num_steps", [(0.0, 80), (60.0, 3)])
def test_no_agent_acts_without_time_or_beyond_the_run(seconds, num_steps):
    """Nothing is built then."""
    played = SimpleNamespace(seen=walks(IN_TIME["all of it"])[:num_steps])
    sizes = SimpleNamespace(num_agents=AGENTS)
    subject = SimpleNamespace(
        long_run=lambda: played, time_for=lambda share: seconds, sizes=sizes, build_s=0.1, step_s=0.01
    )
    assert _shown_at_rest(subject) == {}


def test_agent_that_cannot_rest_takes_its_first_available_action():
    """Each agent of each env has a mask of its own."""
    sizes = read_sizes(make_grid(NUM_ENVS), NUM_ENVS)
    available = np.ones((NUM_ENVS, 3, 6))
    available[1, 2, :4] = available[3, 0, :1] = 0
    actions = _resting(SimpleNamespace(available=available), ActionDriver(sizes, 0))
    assert actions.shape == (NUM_ENVS, 3, 1)
    assert {tuple(place): actions[tuple(place)] for place in np.argwhere(actions)} == {(1, 2, 0): 4.0, (3, 0, 0): 1.0}


def tried(state, own, other, drift=7.0):
    """Return when agent 1 sees in its two entries what agent 0 did.

    Args:
      state: what the action changes in share_obs in each of three steps; None for one that is made of the observations.
      own: what it changes in what agent 0 sees.
      other: what it changes in what agent 1 sees, (3, 2).
      drift: by which share_obs changes in each step, with and without the action.
    """
    resting, acting = [], []
    for step in range(3):
        obs, share_obs = np.zeros((NUM_ENVS, AGENTS, 2)), np.zeros((NUM_ENVS, AGENTS, 1))
        dones = np.zeros((NUM_ENVS, AGENTS), bool)
        resting.append(Seen(obs, share_obs + drift * step, rewards=np.zeros((NUM_ENVS, AGENTS)), dones=dones))
        changed_obs, changed_state = obs.copy(), share_obs + drift * step
        changed_obs[3, 0, 0], changed_obs[3, 1] = own[step], other[step]
        if state is None:
            changed_state = changed_obs.reshape(NUM_ENVS, 1, -1).repeat(AGENTS, axis=1)
            resting[-1].share_obs = obs.reshape(NUM_ENVS, 1, -1).repeat(AGENTS, axis=1)
        elif state[step]:
            changed_state[3] = state[step]
        acting.append(Seen(changed_obs, changed_state, rewards=np.zeros((NUM_ENVS, AGENTS)), dones=dones))
    shown = {}
    add_shown(shown, Acting(3, 0), resting, acting)
    return shown


def test_step_in_which_an_action_shows_counts_only_if_the_world_stands_still():
    """A change of the state that stays the same has nothing new for the others."""
    late, moving = [(0, 5), (1, 5), (1, 5)], [1, 2, 3]
    assert tried([4, 4, 4], moving, late) == {(1, 0, 0): [2], (1, 0, 1): [1]}
    assert tried(None, [2, 2, 2], late) == {(1, 0, 0): [2], (1, 0, 1): [1]}
    assert tried(moving, [2, 2, 2], late) == {}  # something moves that the agent itself does not see
    assert tried(moving, moving, late) == {}
    assert tried([0, 4, 4], moving, late) == {}  # nothing changed at once
    assert tried([0, 0, 0], moving, late, drift=0.0) == {}
    even_later = [(0, 5), (0, 5), (1, 5)]  # something else may have happened in the step before
    assert tried([4, 4, 5], moving, even_later) == {(1, 0, 1): [1]}


def test_entry_is_late_if_every_try_shows_it_late():
    """One try that shows the action at once, or too few tries, are no finding."""
    with pytest.raises(ContractError, match="an agent sees another one a step late") as caught:
        require_no_late_entry({(1, 0, 6): [2, 2, 3, 2], (2, 0, 6): [1, 1, 1, 1], (1, 2, 6): [2, 2, 2, 2]})
    assert caught.value.where == "agent 1 sees agent 0 in entry 6 of obs; pairs (who sees, whom) [(1, 0), (1, 2)]"
    assert require_no_late_entry({(1, 0, 6): [2, 2, 1, 2], (2, 0, 6): [2, 2, 2]}) is None


class Late(GridTeam):
    """Its robots see where the others were before the step, but at the start of an episode."""

    def step(self, actions):
        """Act."""
        self.before = self._robots.copy()
        return super().step(actions)

    def _start(self, env_id):
        super()._start(env_id)
        if hasattr(self, "before"):
            self.before[env_id] = self._robots[env_id]

    def _seen_robots(self, env_id, agent):
        return np.delete(getattr(self, "before", self._robots)[env_id], agent, axis=0)


def make_late(num_envs=5, num_agents=3, seed=0):
    """Return a grid whose robots see each other late."""
    return Late(num_envs, num_agents, seed, 18)


def test_contract_judges_a_grid():
    """Robots on a grid stand still at rest; late views are found, unless the task states them."""
    report = check_env(make_grid, contracts=["timely-views"], effort=EFFORT)
    assert report.passed == ["timely-views"], report
    (finding,) = check_env(make_late, contracts=["timely-views"], effort=EFFORT).findings
    assert finding.what == "an agent sees another one a step late"
    report = check_env(make_late, contracts=["timely-views"], effort=EFFORT, task=Task(delay=1))
    assert "by design" in report.not_judged["timely-views"]
