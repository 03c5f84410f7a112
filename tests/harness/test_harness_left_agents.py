"""Tests of the contract that an agent that has left changes nothing more: toys whose agents leave near the disc."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import DONES, OBS, REWARDS, SHARE_OBS, Wrapped, factory, report_of

from harness.contracts import Effort
from harness.contracts.left_agents import agents_that_had_left
from harness.interface.player import Seen
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=150, max_searches=0, growth_steps=40, max_kept_entries=150)
CLOSE = 0.7  # to the disc, where an agent leaves


class Leaving(Wrapped):
    """A toy whose agents, but for the last one, are done once they are close to the disc.

    Args:
      env: the toy.
      flaw: what is wrong with it: "acts", "costs", "remembered", "returns", or nothing; "shown" is no flaw.
    """

    def __init__(self, env, flaw=""):
        super().__init__(env)
        self.flaw = flaw
        self.left = np.zeros((env.num_envs, env.n_agents), bool)
        self.sum = np.zeros(env.num_envs)

    def step(self, actions):
        """Act; agents that have left rest, unless they still act."""
        acted = actions.copy()
        if self.flaw != "acts":
            acted[self.left] = 0.0
        returned = list(self._env.step(acted))
        ended = returned[DONES].all(axis=1)
        effort = abs(actions * self.left[..., None]).sum(axis=(1, 2))
        self.sum = np.where(ended, 0.0, self.sum + effort)
        if self.flaw == "costs":
            returned[REWARDS] = returned[REWARDS] - 0.1 * effort[:, None, None].astype(np.float32)
        if self.flaw == "shown":
            returned[OBS][..., -1] = actions[..., 0]
            returned[SHARE_OBS][..., -1] = actions[:, :1, 0]
        if self.flaw == "remembered":
            returned[SHARE_OBS][..., -1] = np.tanh(0.1 * self.sum)[:, None]
        near = np.hypot(returned[OBS][..., 0], returned[OBS][..., 1]) < CLOSE
        if self.flaw == "returns":
            self.left[:] = False
        self.left |= near
        self.left[:, -1] = False
        self.left[ended] = False
        returned[DONES] = returned[DONES] | self.left
        return tuple(returned)


def make_leaving(num_envs=5, seed=0, flaw=""):
    """Return a toy whose agents leave."""
    return Leaving(make_pointmass(num_envs, 3, seed), flaw)


def judged(flaw):
    """Return the report on a toy with a flaw."""
    return report_of(make_leaving, kwargs={"flaw": flaw}, contracts=["left-agents"], effort=EFFORT)


@pytest.mark.parametrize("flaw", ["", "shown"])
def test_agents_that_leave_and_rest_hold(flaw):
    """Their actions change nothing; that they are shown in the same step is no effect."""
    report = judged(flaw)
    assert report.passed == ["left-agents"], report


@pytest.mark.parametrize(("flaw", "field"), [("acts", ""), ("costs", "rewards"), ("remembered", "share_obs")])
def test_action_of_an_agent_that_left_is_found(flaw, field):
    """What moves the agent, costs the team, or is remembered is an effect; the finding names field and agents."""
    (finding,) = judged(flaw).findings
    assert finding.what.startswith(f"an agent that is done still acts: its actions change {field}")
    assert "other actions of agents [" in finding.where
    assert "[]" not in finding.where
    assert ", 2]" not in finding.where  # the last agent stays


def test_agents_that_all_stay_are_not_judged():
    """Where agents are done together, there is nothing to say."""
    report = report_of(factory(), contracts=["left-agents"], effort=EFFORT)
    assert report.not_judged == {"left-agents": "no agent is done before its env is"}


def test_agents_that_come_back_are_not_judged():
    """If `dones` is broken, nobody knows who has left."""
    report = judged("returns")
    assert report.not_judged == {"left-agents": "dones is broken, so nobody knows which agents have left"}


def test_few_actions_of_agents_that_left_are_not_judged():
    """A few actions say nothing."""
    report = report_of(make_leaving, contracts=["left-agents"], effort=Effort(long_run_steps=3, max_searches=0))
    assert "other actions of agents that had left in 3 steps, 8 are needed" in report.not_judged["left-agents"], report


def test_agent_has_left_from_the_step_after_it_is_done_until_its_env_is():
    """The step in which it is done is its last one; an end of all agents is none of one."""
    nothing = np.zeros((2, 3, 4))
    history = [Seen(nothing, nothing)]
    for done in ([[0, 1, 0], [0, 0, 0]], [[0, 1, 0], [1, 1, 1]], [[1, 1, 1], [0, 0, 1]], [[0, 0, 0], [0, 0, 1]]):
        history.append(Seen(nothing, nothing, rewards=np.zeros((2, 3)), dones=np.array(done, bool)))
    left = agents_that_had_left(history)
    assert np.argwhere(left).tolist() == [[2, 0, 1], [3, 0, 1], [4, 1, 2]]
    assert left.shape == (5, 2, 3)
