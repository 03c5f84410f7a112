"""Tests of numbers in infos that all agents report, and that are those of one agent."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import check_env
from harness.contracts.numbers_of_agents import Effect, only_agent
from harness.toys import DiscretePointMass, PointMass

pytestmark = pytest.mark.harness

AGENTS = (0, 1, 2)


def effects(*changed_by_agent):
    """Return effects on one number; `changed_by_agent` has what each agent changed."""
    found = []
    for agent, changed in enumerate(changed_by_agent):
        found += [Effect("fuel", agent, one) for one in changed]
    return found


def test_agent_that_alone_changes_a_number_is_its_owner():
    """It may be any one; now and then its other actions may come to the same."""
    no, yes = [False] * 3, [True] * 3
    assert only_agent(effects(no, no, yes), AGENTS) == 2
    assert only_agent(effects([True, True, True, False], no, no), AGENTS) == 0


@pytest.mark.parametrize(
    "changed_by_agent",
    [
        ([True] * 3, [True] * 3, [False] * 3),  # two do
        ([False] * 3, [False] * 3, [False] * 3),  # none does
        ([True] * 3, [False] * 3, [False] * 2),  # one was judged too seldom
        ([True] * 3, [False] * 3, []),
        ([True, False, False], [False] * 3, [False] * 3),  # once
        ([True, True, False, False, False], [False] * 4, [False] * 4),  # so seldom that the others may, too
        ([True] * 3, [False, False, False, True], [False] * 3),  # a second one did so once
    ],
)
def test_number_of_several_agents_has_no_owner(changed_by_agent):
    """So has one of which too little was seen."""
    assert only_agent(effects(*changed_by_agent), AGENTS) == -1


class Telling:
    """Adds a number to the infos of ends: `say(efforts)` has one for each agent, from their efforts (A,)."""

    say = staticmethod(lambda efforts: efforts)
    is_shared = False

    def step(self, actions):
        """Step, and let infos tell the efforts of the episode that ended."""
        *rest, dones, infos, available = super().step(actions)
        self.__dict__.setdefault("efforts", np.zeros(dones.shape))
        self.efforts += abs(np.asarray(actions, np.float64)).sum(axis=2)
        for env in np.flatnonzero(dones.all(axis=1)):
            numbers = self.say(self.efforts[env])
            for agent, number in enumerate(numbers):
                infos[env][agent][self.key] = float(number)
            self.efforts[env] = 0.0
        if self.is_shared:
            infos = [[{**info[0], **info[len(dones[0]) - 1]}] * len(dones[0]) for info in infos]
        return (*rest, dones, infos, available)


class OwnEffort(Telling, PointMass):
    """Each agent reports its own."""

    key = "effort"


class TeamEffort(Telling, PointMass):
    """All report that of the team, in one dict."""

    key, is_shared = "effort_all", True
    say = staticmethod(lambda efforts: [efforts.sum()] * len(efforts))


class WayOfTheLeader(Telling, PointMass):
    """The first agent determines how far the team came."""

    key = "way"
    say = staticmethod(lambda efforts: [efforts[0]] * len(efforts))


class EffortOfTheLast(Telling, PointMass):
    """One dict, in which the last agent's number stays."""

    key, is_shared = "used_up", True
    say = staticmethod(lambda efforts: efforts)


class MovesOfTheFirst(Telling, DiscretePointMass):
    """The index of the agent is forgotten."""

    key = "moves"
    say = staticmethod(lambda efforts: [efforts[0]] * len(efforts))


def judged(kind):
    """Return what `episode-infos` finds in an environment of this class, or ""."""

    def make(num_envs=5, seed=0):
        return kind(num_envs, 3, seed, 11)

    report = check_env(make, contracts=["episode-infos"], budget_s=60.0)
    return "; ".join(finding.what for finding in report.findings)


@pytest.mark.parametrize("kind", [OwnEffort, TeamEffort, WayOfTheLeader])
def test_numbers_of_each_agent_and_of_the_team_hold(kind):
    """A number of the team is the same for all; the first agent may determine it by design."""
    assert judged(kind) == ""


@pytest.mark.parametrize("kind, agent", [(EffortOfTheLast, 2), (MovesOfTheFirst, 0)])
def test_number_of_one_agent_that_all_report_is_found(kind, agent):
    """The message says whose it is."""
    assert judged(kind) == f"all agents report {kind.key} of agent {agent} in infos"
