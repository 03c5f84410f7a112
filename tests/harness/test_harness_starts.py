"""Tests of the contract of starts: numbers written by hand, and toys whose starts vary in some ways only."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import factory, report_of

from harness.contracts import Task
from harness.contracts.starts import (
    Overlap,
    Starts,
    all_equal,
    overlap_of,
    overlap_of_states,
    require_different_envs,
    require_different_episodes,
)
from harness.findings import ContractError
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

RESETS, NUM_ENVS, AGENTS, OBS_DIM = 8, 5, 2, 4
LATER = 3  # later episodes of each env


def drawn(seed=0):
    """Return starts that are all different."""
    random = np.random.default_rng(seed)
    called = random.normal(size=(RESETS, NUM_ENVS, AGENTS, OBS_DIM))
    later = []
    for _ in range(NUM_ENVS):
        later.append(list(random.normal(size=(LATER, AGENTS, OBS_DIM))))
    return Starts(called, later)


def test_starts_that_differ_are_kept():
    """Starts that differ between resets, envs and episodes are correct."""
    assert require_different_envs(drawn()) is None
    assert require_different_episodes(drawn(), seeds_differ=True) is None


def test_envs_that_start_alike_are_found():
    """All envs share a draw at every reset, although the draws differ."""
    starts = drawn()
    starts.called[:] = starts.called[:, :1]
    with pytest.raises(ContractError, match="all envs start alike") as caught:
        require_different_envs(starts)
    assert "in all 5 envs" in caught.value.got


def test_two_envs_that_always_start_alike_are_found():
    """A pair is found, and named; one reset at which they differ is enough to pass."""
    starts = drawn()
    starts.called[:, 4] = starts.called[:, 1]
    with pytest.raises(ContractError, match="envs 1 and 4 always start alike"):
        require_different_envs(starts)
    starts.called[6, 4] += 1.0
    assert require_different_envs(starts) is None


def test_two_envs_with_few_places_are_no_finding():
    """Envs that start in one of three places may well start in the same one."""
    starts = drawn()
    starts.called[3:] = starts.called[:1]
    starts.called[:, 4] = starts.called[:, 1]
    assert require_different_envs(starts) is None


def test_episodes_that_start_alike_are_found():
    """Every env must begin its later episodes alike; a single env that does not is enough to pass."""
    starts = drawn()
    for of_env in starts.later:
        of_env[:] = of_env[:1] * LATER
    with pytest.raises(ContractError, match="every episode of an env starts alike") as caught:
        require_different_episodes(starts, seeds_differ=False)
    assert caught.value.got == "the same first observation in the first 3 episodes"
    starts.later[3][1] = starts.later[3][1] + 1.0
    assert require_different_episodes(starts, seeds_differ=False) is None
    starts.later[3][:] = starts.later[3][:1]
    assert require_different_episodes(starts, seeds_differ=False) is None  # one later episode says nothing


def test_resets_that_repeat_are_found_if_no_episode_shows_otherwise():
    """Calls of reset that give the same starts are a bug if the seed changes them, and a note if episodes differ."""
    starts = drawn()
    starts.called[:] = starts.called[:1]
    assert "evaluations" in require_different_episodes(starts, seeds_differ=True)
    alone = starts._replace(later=[[] for _ in range(NUM_ENVS)])
    with pytest.raises(ContractError, match="every episode of an env starts alike") as caught:
        require_different_episodes(alone, seeds_differ=True)
    assert "with another seed they differ" in caught.value.got
    assert require_different_episodes(alone, seeds_differ=False) is not None


class Still:
    """The toy, whose envs always start where the first episode of a seed starts."""

    def __init__(self, seed):
        self._seed = seed
        self._env = make_pointmass(5, 2, seed)

    def __getattr__(self, name):
        return getattr(self._env, name)

    def reset(self):
        """Draw again with the same seed."""
        self._env = make_pointmass(5, 2, self._seed)
        return self._env.reset()


def make_still(num_envs=5, seed=0):
    """Make a toy in which every call of reset gives the same starts."""
    return Still(seed)


def make_fixed(num_envs=5):
    """Make a toy without a seed that has one start only."""
    env = make_pointmass(num_envs, 2, 0)
    begin = env._start

    def start(env_id):
        env._generators[env_id] = np.random.default_rng(3)
        begin(env_id)

    env._start = start
    return env


def test_whole_contract_tells_a_note_from_what_is_not_judged():
    """Repeated resets with drawn episodes are a note; a fixed start without a seed, or by statement, is not judged."""
    report = report_of(make_still, contracts=["other-seed"])
    assert report.passed == ["other-seed"]
    assert any("every call of reset" in note for note in report.notes)
    report = report_of(make_fixed, contracts=["other-seed"])
    assert report.not_judged == {"other-seed": "the starts are not random"}
    report = report_of(make_pointmass, contracts=["other-seed"], task=Task(fixed_starts=True))
    assert "by design" in report.not_judged["other-seed"]


def test_seeds_that_share_starts_in_other_envs_are_found():
    """Env i + 1 of a seed starts as env i of the next one; one start that differs is enough to pass."""
    places = np.random.default_rng(0).normal(size=(4, NUM_ENVS + 2, AGENTS, OBS_DIM))
    by_seed = {seed: places[:, seed : seed + NUM_ENVS].copy() for seed in range(2)}
    assert overlap_of(by_seed) == Overlap(seed=0, later=1, places=-1)
    assert overlap_of({0: by_seed[1], 1: by_seed[0]}) == Overlap(seed=0, later=1, places=1)
    by_seed[1][3, 2] += 1.0
    assert overlap_of(by_seed) is None
    assert overlap_of({0: by_seed[0], 1: by_seed[0]}) is None  # in the same env: the seed changes nothing
    few = {seed: np.round(called * 0.0) for seed, called in by_seed.items()}
    assert overlap_of(few) is None  # all starts are one place, which is no accident to speak of


def make_neighbouring(num_envs=5, seed=0):
    """Return the toy whose env i draws from a generator of seed + i."""
    env = make_pointmass(num_envs, 2, seed)
    env._generators = [np.random.default_rng(seed + env_id) for env_id in range(num_envs)]
    return env


def test_contract_finds_seeds_that_share_starts():
    """The finding says which envs are alike."""
    (finding,) = report_of(make_neighbouring, contracts=["other-seed"], seed=3).findings
    assert finding.what == "neighbouring seeds share their episodes"
    assert finding.got.startswith("env 1 of seed 3 starts as env 0 of seed 4 does")


def test_generators_that_seeds_share_are_found():
    """Levels that depend on the seed hide equal draws; generators in a shifted order are a finding all the same."""
    assert overlap_of_states({3: list("abcd"), 4: list("bcde")}) == Overlap(seed=3, later=4, places=-1)
    assert overlap_of_states({3: list("bcde"), 4: list("abcd")}) == Overlap(seed=3, later=4, places=1)
    assert overlap_of_states({3: list("abcd"), 4: list("abcd")}) is None  # the same in every env: a fixed layout
    assert overlap_of_states({3: list("aaaa"), 4: list("aaaa")}) is None
    assert overlap_of_states({3: list("abc"), 4: list("bcd")}) is None  # two in common
    spaces = {3: list("abcduvw"), 4: list("bcdexyz")}  # and generators of spaces, which nobody seeds
    assert overlap_of_states(spaces) == Overlap(seed=3, later=4, places=-1)


def make_neighbouring_levels(num_envs=5, seed=0):
    """Return the same, with a disc whose place depends on the seed."""
    env = make_neighbouring(num_envs, seed)
    begin = env._start

    def start(env_id):
        begin(env_id)
        env._disc[env_id] += 0.01 * seed

    env._start = start
    return env


def test_contract_finds_generators_that_seeds_share():
    """The finding says that generators are alike, not starts."""
    (finding,) = report_of(make_neighbouring_levels, contracts=["other-seed"], seed=3).findings
    assert finding.got.startswith("env 1 of seed 3 has the generator that env 0 of seed 4 has")


def test_single_start_is_equal_to_itself():
    """So are none, and several only if no number differs."""
    assert all_equal([])
    assert all_equal([np.zeros(3)])
    assert all_equal([np.zeros(3), np.zeros(3)])
    assert not all_equal([np.zeros(3), np.zeros(3), np.ones(3)])


def test_seed_that_changes_nothing_is_found():
    """Episodes and envs start in different places, but with every seed in the same ones."""
    (finding,) = report_of(lambda num_envs=5, seed=0: make_pointmass(num_envs, 2, 7), contracts=["other-seed"]).findings
    assert finding.what == "the seed changes nothing"
    assert finding.got == "the same starts with seeds 0 to 2"


def make_with_seed_0_as_none(num_envs=5, seed=0):
    """Return toys of which seed 0 counts as no seed."""
    return make_pointmass(num_envs=num_envs, seed=seed or 1)


def test_two_seeds_that_give_the_same_starts_are_found():
    """The finding names them."""
    (finding,) = report_of(make_with_seed_0_as_none, contracts=["other-seed"]).findings
    assert finding.what == "seeds 0 and 1 give the same starts"
    assert report_of(make_with_seed_0_as_none, contracts=["other-seed"], seed=3).ok


def broadcast(values):
    """Return a factory; after each reset, entry 0 of all envs is the next of `values(count)`."""
    counts = []

    def reset(env, returned):
        counts.append(0)
        returned[0][..., 0] = values(len(counts))
        return returned

    return factory(reset=reset)


@pytest.mark.parametrize(
    "values, is_found",
    [
        (lambda count: np.random.default_rng(count).normal(), True),
        (lambda count: 0.37 * count, False),  # a clock of the process
        (lambda count: float(count * 7 % 5), False),  # whole numbers may be a level
        (lambda count: 0.73, False),
    ],
)
def test_number_that_is_drawn_once_for_all_envs_is_found(values, is_found):
    """It differs from reset to reset, and is the same in all envs."""
    report = report_of(broadcast(values), contracts=["other-seed"])
    words = "all envs start with the same number in obs entry 0"
    assert any(finding.what == words for finding in report.findings) is is_found
