"""Tests of what may show in the start of an episode: pairs of starts written by hand, and toys with a memory."""

from __future__ import annotations

import ctypes
import ctypes.util
import random
from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, OBS, Wrapped, factory

from harness.contracts import Effort, check_env
from harness.contracts.clean_start import (
    BY_RESET,
    Start,
    _variability,
    pairs_of,
    places_of,
    require_nothing_remembered,
    starts_in,
)
from harness.contracts.reseeding import STEPS_BETWEEN_SEARCHES, Reseeder, all_states_of
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, NUMBERS = 5, 2, 10
PLACES = [("obs", 1, entry) for entry in range(NUMBERS)]
EFFORT = Effort(long_run_steps=200, max_searches=0, growth_steps=40, max_kept_entries=150)


def drawn(seed=0, count=8):
    """Return pairs of starts that are equal, and different from pair to pair."""
    values = np.random.default_rng(seed).normal(size=(count, NUMBERS))
    pairs = []
    for number, value in enumerate(values):
        pairs.append((Start(2, number, (2,), value), Start(2, number, (2,), value.copy())))
    return pairs


def judge(pairs, variability=None):
    """Judge pairs of starts in which every number usually differs."""
    if variability is None:
        variability = np.ones(NUMBERS)
    require_nothing_remembered(pairs, variability, PLACES)


def test_number_that_differs_in_two_starts_is_found():
    """One start with a different number may be an accident; two are a finding, with both values."""
    pairs = drawn()
    pairs[3][1].values[4] += 1.0
    assert judge(pairs) is None
    pairs[5][1].values[4] += 1.0
    with pytest.raises(ContractError, match="depends on the one before: obs entry 4") as caught:
        judge(pairs)
    assert caught.value.where == "env 2, agent 1, entry 4, after a reset within a step"
    assert caught.value.got.endswith("so it is in 2 of 8 pairs of starts")
    by_reset = [(one._replace(number=BY_RESET), other._replace(number=BY_RESET)) for one, other in pairs]
    with pytest.raises(ContractError) as caught:
        judge(by_reset)
    assert caught.value.where.endswith("after a call of reset")


def test_starts_that_are_not_drawn_alike_are_not_judged():
    """If much of what starts usually differ in is different, generators were not reached."""
    pairs = drawn()
    for _, other in pairs[:2]:
        other.values[:4] += 1.0
    with pytest.raises(NotJudgedError, match="no generator was found"):
        judge(pairs)
    rare = np.ones(NUMBERS)
    rare[:4] = 0.1  # numbers that starts hardly differ in
    with pytest.raises(ContractError):
        judge(pairs, rare)


def test_a_fifth_of_the_pairs_may_be_drawn_differently():
    """Eight of ten pairs are enough, and the values in the finding are those of a pair that was drawn alike."""
    pairs = drawn(count=10)
    for _, other in pairs[:2]:
        other.values[:] += 5.0
    assert judge(pairs) is None
    pairs[2][1].values[4] = pairs[6][1].values[4] = 77.0
    with pytest.raises(ContractError) as caught:
        judge(pairs)
    assert " and 77 after different actions" in caught.value.got


def test_variability_is_how_often_a_number_changes_from_start_to_start():
    """A number that changes in one of three steps has a third."""
    starts = np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 5.0], [0.0, 1.0, 5.0], [0.0, 3.0, 6.0]])
    assert np.allclose(_variability(starts), [0.0, 1.0, 1.0 / 3.0])


def test_starts_are_paired_by_env_number_and_those_that_end_together():
    """A generator that envs share draws the same only for the same envs."""
    values = np.zeros(NUMBERS)
    one = [Start(0, 0, (0, 1), values), Start(0, 1, (0,), values), Start(1, 0, (0, 1), values)]
    other = [Start(0, 0, (0, 1), values), Start(0, 1, (0, 1), values), Start(2, 0, (2,), values)]
    assert [pair[0][:2] for pair in pairs_of(one, other)] == [(0, 0)]


def test_starts_hold_everything_that_is_seen():
    """Obs, share_obs and masks of an env are one row of numbers, and each has its place."""
    obs, share_obs, available = np.zeros((NUM_ENVS, 2, 3)), np.zeros((NUM_ENVS, 2, 1)), np.ones((NUM_ENVS, 2, 2))
    dones = np.zeros((NUM_ENVS, 2), bool)
    dones[3] = True
    first = Seen(obs, share_obs, available)
    seen = Seen(obs + 1.0, share_obs + 2.0, available, rewards=np.zeros((NUM_ENVS, 2)), dones=dones)
    (start,) = starts_in([first, seen])
    assert start[:3] == (3, 0, (3,))
    assert start.values.tolist() == [1.0] * 6 + [2.0] * 2 + [1.0] * 4
    assert places_of(seen)[5:9] == [("obs", 1, 2), ("share_obs", 0, 0), ("share_obs", 1, 0), ("available", 0, 0)]


class Remembering(Wrapped):
    """Shows in the last number of obs whether agent 0 drove forward in the last step of the old episode."""

    def __init__(self, env, within_steps, by_reset):
        super().__init__(env)
        self.within_steps, self.by_reset = within_steps, by_reset
        self.forward = np.zeros(env.num_envs, bool)
        self.shown = np.zeros(env.num_envs, bool)

    def reset(self):
        """Start new episodes."""
        obs, share_obs, available = self._env.reset()
        self.shown = self.forward & self.by_reset
        obs[..., -1] += self.shown[:, None]
        return obs, share_obs, available

    def step(self, actions):
        """Act."""
        returned = list(self._env.step(actions))
        self.forward = actions[:, 0, 0] > 0
        self.shown = np.where(returned[DONES].all(axis=1), self.forward & self.within_steps, self.shown)
        returned[OBS][..., -1] += self.shown[:, None]
        return tuple(returned)


def make_remembering(num_envs=5, seed=0, within_steps=True, by_reset=False):
    """Return a toy with a memory."""
    return Remembering(make_pointmass(num_envs, 2, seed), within_steps, by_reset)


@pytest.mark.parametrize(("within_steps", "words"), [(True, "a reset within a step"), (False, "a call of reset")])
def test_memory_of_either_reset_is_found(within_steps, words):
    """A flag that survives one kind of reset only is found, and named."""
    kwargs = {"within_steps": within_steps, "by_reset": not within_steps}
    report = check_env(make_remembering, kwargs=kwargs, contracts=["clean-start"], effort=EFFORT, seed=1)
    (finding,) = report.findings
    assert finding.what == "the start of an episode depends on the one before: obs entry 6"
    assert finding.where.endswith(words)


def counted(env, returned):
    """Show whether the number of the env's episode is odd."""
    env.episodes = getattr(env, "episodes", 0) + returned[DONES].all(axis=1)
    returned[OBS][..., -1] += env.episodes[:, None] % 2


def test_number_of_an_episode_is_no_memory():
    """A side that changes from episode to episode is the same after any actions."""
    report = check_env(factory(result=counted), contracts=["clean-start"], effort=EFFORT)
    assert report.passed == ["clean-start"]


class HiddenGenerator:
    """Draws from the generator of the C library, which Python does not see."""

    def __init__(self):
        self._library = ctypes.CDLL(ctypes.util.find_library("c"))

    def uniform(self, low, high, size=None):
        """Draw."""
        draws = np.array([self._library.rand() / 2**31 for _ in range(int(np.prod(size or 1)))])
        draws = low + (high - low) * draws
        return draws if size else float(draws[0])


def make_hidden(num_envs=5, seed=0):
    """Return a toy whose starts nobody can seed anew; a large action draws, too."""
    env = make_pointmass(num_envs, 2, seed)
    hidden = HiddenGenerator()
    hidden._library.srand(seed)
    env._generators = [hidden] * num_envs

    def act(wrapped, actions):
        for _ in range(int((abs(actions) > 0.5).sum())):
            hidden.uniform(0.0, 1.0)
        return actions

    return Wrapped(env, actions=act)


def test_hidden_generator_is_not_judged():
    """Starts that differ because a generator is out of reach say nothing."""
    report = check_env(make_hidden, contracts=["clean-start"], effort=EFFORT)
    assert "no generator was found" in report.not_judged["clean-start"], report


def test_generator_that_is_made_later_is_seeded_too():
    """An environment may make new generators: every 25th time they are looked for."""
    env = SimpleNamespace(rngs=[np.random.default_rng(1)])
    reseeder = Reseeder(env, 5)
    drawn = []
    for _ in range(STEPS_BETWEEN_SEARCHES + 1):
        reseeder.seed_again()
        drawn.append(env.rngs[-1].random())
        if len(env.rngs) == 1:
            env.rngs.append(np.random.default_rng(2))
    again = Reseeder(env, 5)
    again.seed_again()
    assert drawn[-1] == env.rngs[-1].random()
    assert len(set(drawn)) == STEPS_BETWEEN_SEARCHES + 1
    assert drawn[0] != drawn[-1]


def draw_with_torch():
    """Draw from torch's generator."""
    pytest.importorskip("torch").rand(1)


@pytest.mark.parametrize("draw", [np.random.random, random.random, draw_with_torch])
def test_states_of_all_generators_contain_those_of_the_process(draw):
    """An environment may draw from the generators of Python, numpy and torch."""
    draw()
    env = SimpleNamespace(rng=np.random.default_rng(1))
    before = all_states_of(env)
    assert all_states_of(env) == before
    draw()
    changed = all_states_of(env)
    assert changed != before
    env.rng.random()
    assert all_states_of(env) != changed


BUILT_AND_CLOSED = ["clean-start", "timely-views", "other-seed", "no-foresight", "bad-transition"]


@pytest.mark.parametrize("name", BUILT_AND_CLOSED)
def test_contract_closes_the_environments_that_it_makes(name):
    """Only that of the long run stays open: a simulator may have room for few."""
    alive = []

    class Closing(Wrapped):
        def close(self):
            """Be gone."""
            alive.remove(self)

    def make_env(num_envs=5, seed=0):
        alive.append(Closing(make_pointmass(num_envs, 2, seed)))
        return alive[-1]

    check_env(make_env, contracts=[name], effort=EFFORT)
    assert len(alive) == 1


def remembers_any_action(acts):
    """Return a factory: once `acts(actions)` (N,) was so in an env, all of its episodes start elsewhere."""

    def remember(env, actions):
        env.used = getattr(env, "used", False) | acts(actions)
        return actions

    def show(env, returned):
        returned[OBS][returned[DONES].all(axis=1) & env.used, :, 0] += 0.5

    def show_after_reset(env, returned):
        returned[OBS][np.zeros(len(returned[OBS]), bool) | getattr(env, "used", False), :, 0] += 0.5
        return returned

    return factory(actions=remember, result=show, reset=show_after_reset)


def test_memory_of_what_nearly_every_episode_does_is_found():
    """Envs act in their first episode, whatever kinds of actions; only a run at rest shows how they should start."""
    moves = remembers_any_action(lambda actions: (actions != 0.0).any(axis=(1, 2)))
    report = check_env(moves, contracts=["clean-start"], effort=EFFORT)
    assert [finding.what for finding in report.findings] == [
        "the start of an episode depends on the one before: obs entry 0"
    ]
