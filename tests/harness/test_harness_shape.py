"""Zeros that hide a NaN, and spaces that HARL cannot work with."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import check

from harness.contracts import Effort, check_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.shape import SEARCH_SHARE, search
from harness.contracts.values import isolated_zeros
from harness.findings import ContractError
from harness.toys import Discrete, PointMass, make_pointmass
from mapush.env.harl_view import Box

pytestmark = pytest.mark.harness

STEPS, NUM_ENVS, AGENTS, OBS_DIM = 60, 5, 2, 4
END = 30  # of env 2's episode


def seen(*zeros, base=3.0):
    """Return what is seen (T + 1, N, A, D), numbers about `base` but for zeros at these places, and the ends (T, N)."""
    values = base + 0.1 * np.random.default_rng(0).normal(size=(STEPS + 1, NUM_ENVS, AGENTS, OBS_DIM))
    for place in zeros:
        values[place] = 0.0
    ended = np.zeros((STEPS, NUM_ENVS), bool)
    ended[END - 1, [0, 1, 2, 3, 4]] = True  # what is seen at END is the first of the next episode
    return values, ended


def found(*zeros, **options):
    """Return the places of the zeros that are found."""
    return [tuple(place) for place in isolated_zeros(*seen(*zeros, **options)).tolist()]


@pytest.mark.parametrize("step", [1, 17, END - 1, END, END + 1, STEPS - 1])
def test_zero_among_numbers_is_found_wherever_it_is(step):
    """In the middle, at the last step of an episode, at its first one and beside it; with its exact place."""
    assert found((step, 2, 1, 3)) == [(step, 2, 1, 3)]


@pytest.mark.parametrize("step", [0, STEPS])
def test_zero_at_the_rim_of_the_run_is_not_judged(step):
    """What has no step before or behind it has no neighbours to differ from."""
    assert found((step, 2, 1, 3)) == []


def test_zero_of_a_number_that_is_often_zero_is_none():
    """Two are an exception, three are not; each entry counts for itself."""
    two, three = [(9, 2, 1, 3), (21, 4, 1, 3)], [(9, 2, 1, 3), (21, 4, 1, 3), (40, 0, 1, 3)]
    assert found(*two) == two
    assert found(*three) == []
    assert found(*three, (9, 2, 0, 3)) == [(9, 2, 0, 3)]


def test_zero_beside_a_small_number_is_none():
    """What is small beside it, rests or is clipped at 0, may well be 0; what changes its sign never is exactly."""
    values, ended = seen((17, 2, 1, 3))
    cases = (
        (3.0, 3.0, 1),
        (-3.0, -3.0, 1),
        (3.0, -3.0, 1),
        (-3.0, 0.01, 1),
        (3.0, 0.01, 0),
        (0.01, 3.0, 0),
        (0.0, 3.0, 0),
        (1e-18, -3.0, 0),
        (-3.0, 1e-18, 0),
    )
    for before, after, expected in cases:
        values[16, 2, 1, 3], values[18, 2, 1, 3] = before, after
        assert len(isolated_zeros(values, ended)) == expected, (before, after)


def test_zero_of_a_number_with_few_values_is_none():
    """A contact or a count is 0 at times; a number that is hardly ever the same twice is not."""
    values, ended = seen((17, 2, 1, 3))
    values[:, :, 1, 3] = np.round(values[:, :, 1, 3] * 5.0)
    assert isolated_zeros(values, ended).tolist() == []


@pytest.mark.parametrize("step", [END - 1, END])
def test_zero_of_a_small_number_among_large_ones_is_found(step):
    """Whether an end or a start is far from its neighbour is told in the unit of each entry."""
    values, ended = seen((step, 2, 1, 3))
    values[..., :3] *= 1000.0
    assert isolated_zeros(values, ended).tolist() == [[step, 2, 1, 3]]


def test_starts_that_are_zero_at_times_are_none():
    """An entry that a reset sets to 0 in a quarter of the starts is meant to be 0."""
    values, ended = seen((END, 2, 1, 3))
    assert len(isolated_zeros(values, ended)) == 1
    values[0, 4, 1, 3] = 0.0  # two of six known starts
    assert len(isolated_zeros(values, ended)) == 0


def test_observation_that_is_all_zero_is_found_unless_it_is_usual():
    """An agent that sees nothing but zeros for a step is blind; for half of an env's steps it is idle."""
    blind = [(step, 2, 1) for step in range(20, 26)]
    assert {place[:3] for place in found(*blind)} == set(blind)
    idle = [(step, 2, 1) for step in range(20, 50)]
    assert found(*idle) == []
    assert found((20, 2, 1, slice(0, 3)), (21, 2, 1, slice(0, 3)), (22, 2, 1, slice(0, 3))) == []


def test_short_run_is_not_judged():
    """With less than twenty steps, nothing is rare."""
    values, ended = seen((17, 2, 1, 3))
    assert len(isolated_zeros(values[:20], ended[:19])) == 1
    assert len(isolated_zeros(values[:19], ended[:18])) == 0


# -- the search for short sequences ----------------------------------------------------------------------------------


class Flawed(PointMass):
    """Sees an infinity from the moment on at which an action of env 3 is beyond the bounds."""

    broken = False

    def step(self, actions):
        """Act."""
        returned = super().step(actions)
        self.broken |= bool((abs(actions[3]) > 2.0).any())
        if self.broken:
            returned[0][3, 1, 2] = np.inf
        return returned


def searched(make, seed, build_s=0.0):
    """Search the environments of a class, which take so long to build [s]; return what is found, and the builds."""
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
    """Short sequences with actions beyond the bounds are tried, in a new environment each; the seed decides which."""
    error, _ = searched(Flawed, seed=5)
    assert error is not None
    assert (error.contract, error.what) == ("finite", "obs holds infinity")
    assert searched(PointMass, seed=5) == (None, Effort().max_searches)


def test_search_takes_its_share_of_the_time():
    """Where fewer than five environments can be built in it, there is none."""
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
    """HARL draws actions of about half a unit, whatever the bounds; on either side of 0."""
    for low, high in ((-largest, largest), (0.0, largest), (-largest, 0.0)):
        expected = f"actions range up to {said}, far from 1" if said else ""
        assert check(make_with(action_space=[Box(low, high, (3,))] * 2), "spaces") == expected


def test_space_without_room_is_named():
    """An upper bound at or below the lower one admits no action."""
    for high in (1.0, 0.5):
        assert check(make_with(action_space=[Box(1.0, high, (3,))] * 2), "spaces") == "action_space is empty"


def test_spaces_that_differ_between_agents_are_named():
    """In shape or in kind: HARL stacks them."""
    wide, narrow = Box(-9.0, 9.0, (7,)), Box(-9.0, 9.0, (6,))
    assert (
        check(make_with(observation_space=[wide, narrow]), "spaces") == "observation_space differs between the agents"
    )
    mixed = [Box(-1.0, 1.0, (3,)), Discrete(4)]
    assert check(make_with(action_space=mixed), "spaces") == "action_space differs between the agents"


def test_spaces_of_too_many_agents_are_named():
    """There is one for each agent."""
    many = [Box(-9.0, 9.0, (7,))] * 3
    assert check(make_with(observation_space=many), "spaces").startswith("observation_space has 3 entries for 2 agents")


def test_factory_that_makes_another_number_of_agents_is_named():
    """It is asked for three and four agents, too, and may refuse, but not make others."""

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
