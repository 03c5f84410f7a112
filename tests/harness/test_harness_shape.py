"""Tests of the search for short failures, and of spaces that HARL cannot use."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import check

from harness.contracts import Effort, check_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.shape import SEARCH_SHARE, search
from harness.findings import ContractError
from harness.toys import Discrete, PointMass, make_pointmass
from mapush.env.harl_view import Box

pytestmark = pytest.mark.harness

AGENTS = 2


# -- the search for short sequences ----------------------------------------------------------------------------------


class Flawed(PointMass):
    """Observes an infinity as soon as an action of env 3 is outside the bounds."""

    broken = False

    def step(self, actions):
        """Act."""
        returned = super().step(actions)
        self.broken |= bool((abs(actions[3]) > 2.0).any())
        if self.broken:
            returned[0][3, 1, 2] = np.inf
        return returned


def searched(make, seed, build_s=0.0):
    """Search the environments of a class that take `build_s` to build; return the error and the number of builds."""
    made = []

    def make_env(num_envs=5, seed=0):
        made.append(make(num_envs, AGENTS, seed, 20))
        return made[-1]

    subject = EnvUnderTest(make_env, seed=seed)
    subject.sizes  # noqa: B018  read from an environment that is built for it
    made.clear()
    subject.build_s = build_s
    try:
        search(subject)
    except ContractError as error:
        return error, len(made)
    return None, len(made)


def test_search_finds_what_breaks_the_form():
    """Each sequence is played in a new environment; the seed decides which sequences are tried."""
    error, _ = searched(Flawed, seed=5)
    assert error is not None
    assert (error.contract, error.what) == ("finite", "obs holds infinity")
    assert searched(PointMass, seed=5) == (None, Effort().max_searches)


def test_search_takes_its_share_of_the_time():
    """There is no search if fewer than five environments can be built in that time."""
    assert searched(PointMass, seed=5, build_s=SEARCH_SHARE * 60.0 / 8)[1] in range(5, 9)
    assert searched(Flawed, seed=5, build_s=SEARCH_SHARE * 60.0 / 4) == (None, 0)


# -- spaces ------------------------------------------------------------------------------------------------------


def make_with(**spaces):
    """Return a factory of a toy with other spaces."""

    def make_env(num_envs=5, seed=0):
        env = PointMass(num_envs, AGENTS, seed, 20)
        for name, space in spaces.items():
            setattr(env, name, space)
        return env

    return make_env


@pytest.mark.parametrize("largest, said", [(0.05, ""), (0.04, "0.04"), (20.0, ""), (21.0, "21"), (np.inf, "")])
def test_range_of_actions_far_from_one_is_named(largest, said):
    """HARL draws actions of about half a unit on either side of 0, whatever the bounds."""
    for low, high in ((-largest, largest), (0.0, largest), (-largest, 0.0)):
        expected = ""
        if said:
            expected = f"actions range up to {said}, far from 1"
        assert check(make_with(action_space=[Box(low, high, (3,))] * 2), "spaces") == expected


def test_space_without_room_is_named():
    """An upper bound at or below the lower one allows no action."""
    for high in (1.0, 0.5):
        assert check(make_with(action_space=[Box(1.0, high, (3,))] * 2), "spaces") == "action_space is empty"


def test_spaces_that_differ_between_agents_are_named():
    """Shapes and kinds must be equal, because HARL stacks the arrays of all agents."""
    wide, narrow = Box(-9.0, 9.0, (7,)), Box(-9.0, 9.0, (6,))
    assert (
        check(make_with(observation_space=[wide, narrow]), "spaces") == "observation_space differs between the agents"
    )
    mixed = [Box(-1.0, 1.0, (3,)), Discrete(4)]
    assert check(make_with(action_space=mixed), "spaces") == "action_space differs between the agents"


def test_spaces_of_too_many_agents_are_named():
    """There must be one space for each agent."""
    many = [Box(-9.0, 9.0, (7,))] * 3
    assert check(make_with(observation_space=many), "spaces").startswith("observation_space has 3 entries for 2 agents")


def test_factory_that_makes_another_number_of_agents_is_named():
    """A factory may refuse three or four agents, but must not make a different number."""

    def fixed(num_envs=5, num_agents=2, seed=0):
        return make_pointmass(num_envs, 2, seed)

    def refusing(num_envs=5, num_agents=2, seed=0):
        if num_agents != 2:
            raise ValueError("two")
        return make_pointmass(num_envs, 2, seed)

    def small(num_envs=5, seed=0):
        if num_envs > 7:
            raise ValueError("full")
        return make_pointmass(num_envs, 2, seed)

    assert check(fixed, "factory") == "the factory was asked for 3 agents and made 2"
    report = check_env(refusing, contracts=["factory"])
    assert report.ok
    assert [note for note in report.notes if "refuses" in note] == [
        "the factory refuses num_agents 3",
        "the factory refuses num_agents 4",
    ]
    assert check(small, "factory") == "the factory raises ValueError: full"
