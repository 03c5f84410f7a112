"""Tests of the contract of starts: numbers written by hand, and toys whose starts vary in some ways only."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import report_of

from harness.contracts import Task
from harness.contracts.starts import Starts, require_different_envs, require_different_episodes
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
