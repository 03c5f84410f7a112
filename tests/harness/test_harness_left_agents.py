"""Tests of the contract that an agent that has left changes nothing more: toys whose agents leave near the disc."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, OBS, REWARDS, SHARE_OBS, Wrapped, factory, report_of

from harness.contracts import Effort
from harness.contracts.left_agents import agents_that_had_left, left_agents
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import StepErrors
from harness.interface.player import Seen
from harness.interface.spaces import read_sizes
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


STEPS, ENVS, AGENTS = 15, 4, 3


def seen_at(dones):
    """Return a step in which nothing happens."""
    nothing = np.zeros((ENVS, AGENTS, 4))
    actions, rewards = np.zeros((ENVS, AGENTS, 3)), np.zeros((ENVS, AGENTS))
    return Seen(nothing, nothing.copy(), None, actions, rewards, dones.copy(), dones & False)


class Played:
    """A subject that has played a run in which agents 0 and 2 of env 1 leave in one of the first steps.

    Args:
      changes: fields that differ when the run is played again, by step.
      leaves: the step.
      affordable: for how many steps there is time.
    """

    def __init__(self, changes=None, leaves=1, affordable=STEPS):
        self.errors, self.seed = StepErrors(), 3
        self.sizes = read_sizes(make_pointmass(ENVS, AGENTS), ENVS)
        self.changes, self.affordable = changes or {}, affordable
        self.history = [seen_at(np.zeros((ENVS, AGENTS), bool))]
        for step in range(1, STEPS + 1):
            dones = np.zeros((ENVS, AGENTS), bool)
            dones[1, [0, 2]] = step >= leaves
            self.history.append(seen_at(dones))
        self.seen, self.given, self.asked, self.num_closed = [self.history[0]], [], [], 0
        self.env = self

    def require_same_again(self):
        """Agree that runs can be compared."""

    def long_run(self):
        """Return the run."""
        return SimpleNamespace(seen=self.history)

    def steps(self, wanted, runs, share):
        """Return for how many steps there is time."""
        self.asked.append((wanted, runs, share))
        return min(wanted, self.affordable)

    def player(self, watch):
        """Return what plays the run again."""
        assert watch is False
        return self

    def step(self, actions):
        """Return the recorded step, with its changes."""
        self.given.append(actions)
        number = len(self.given)
        seen = seen_at(self.history[number].dones)
        for field in self.changes.get(number, ()):
            getattr(seen, field)[2, 1] = 1
        self.seen.append(seen)
        return seen

    def close(self):
        """Count the calls."""
        self.num_closed += 1

    def too_few(self, what, seen, needed):
        """Return the error of a run that is too short."""
        return NotJudgedError(f"{seen} {what}, {needed} are needed")


def test_agents_that_left_are_given_other_actions_in_two_of_four_steps():
    """All others, and all agents in the other steps, are given the recorded actions; the env is closed."""
    subject = Played()
    left_agents(subject)
    others = [(actions != 0.0).all(axis=2) for actions in subject.given]
    expected = {4: [[1, 0], [1, 2]], 5: [[1, 0], [1, 2]], 8: [[1, 0], [1, 2]], 9: [[1, 0], [1, 2]]}
    for step, other in enumerate(others, start=1):
        assert np.argwhere(other).tolist() == expected.get(step - step // 12 * 8, []), step
    assert (len(subject.given), subject.num_closed) == (STEPS, 1)
    assert subject.asked == [(STEPS, 1, 0.1)]
    assert (abs(np.array(subject.given)) <= 1.0).all()


@pytest.mark.parametrize(
    ("step", "field", "is_found"),
    [(3, "rewards", True), (4, "rewards", True), (9, "dones", True), (7, "obs", True), (11, "share_obs", True)]
    + [(step, "obs", False) for step in (4, 5, 6, 8, 9, 10)],
)
def test_obs_is_compared_where_recorded_actions_were_taken_again_and_rewards_everywhere(step, field, is_found):
    """What is seen may show the actions of the last step."""
    subject = Played({step: [field]})
    if not is_found:
        assert left_agents(subject) is None
        return
    with pytest.raises(ContractError, match=f"its actions change {field}") as caught:
        left_agents(subject)
    assert caught.value.step == step
    assert subject.num_closed == 1


def test_finding_names_the_agents_that_had_left_lately():
    """Agents of other envs, and of long ago, are not named."""
    subject = Played({9: ["rewards"]})
    subject.history[8].dones[2, 2] = True  # for one step
    subject.history[3].dones[2, 1] = True
    with pytest.raises(ContractError) as caught:
        left_agents(subject)
    assert "other actions of agents [2], which were done" in caught.value.where


@pytest.mark.parametrize(
    ("leaves", "affordable", "seen"), [(3, 9, None), (4, 8, 4), (8, 15, 6), (7, 15, None), (14, 15, 0)]
)
def test_eight_other_actions_are_enough(leaves, affordable, seen):
    """Fewer are not judged, and the reason has their number; steps that nobody plays do not count."""
    subject = Played(leaves=leaves, affordable=affordable)
    if seen is None:
        assert left_agents(subject) is None
        assert len(subject.given) == affordable
        return
    with pytest.raises(NotJudgedError, match=f"^{seen} other actions of agents that had left, 8 are needed"):
        left_agents(subject)
