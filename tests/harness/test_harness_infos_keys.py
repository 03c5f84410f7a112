"""Tests of keys of infos that come and go, and of time limits that are one step off after one kind of reset."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import DONES, INFOS, check, factory, report_of

from harness.contracts.time_limits import EpisodeSpan, require_first_episodes_as_later
from harness.findings import ContractError
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

LIMIT = 20


def keyed(has_key, value=lambda env, env_id: float(env.count)):
    """Return a factory whose infos have the key "speed" where `has_key(env, env_id, agent, done)` says so."""

    def result(env, returned):
        begins = env.__dict__.get("begins", np.ones(len(returned[DONES]), bool))
        for env_id, infos in enumerate(returned[INFOS]):
            done = bool(returned[DONES][env_id].all())
            for agent, info in enumerate(infos):
                env.is_first = bool(begins[env_id])
                if has_key(env, env_id, agent, done):
                    info["speed"] = value(env, env_id)
        env.begins = returned[DONES].all(axis=1)

    return factory(result=result)


@pytest.mark.parametrize(
    "has_key",
    [
        lambda env, env_id, agent, done: env.count % 3 > 0,
        lambda env, env_id, agent, done: env.count % 30 > 1,
        lambda env, env_id, agent, done: (env_id, agent) != (3, 1) or env.count % 2 or env.count > 30,
    ],
)
def test_key_that_comes_and_goes_is_found(has_key):
    """It may be missing often, rarely, or in the infos of one agent of one env."""
    assert check(keyed(has_key), "infos-keys") == "the key 'speed' of infos comes and goes"


@pytest.mark.parametrize(
    "has_key",
    [
        lambda env, env_id, agent, done: True,
        lambda env, env_id, agent, done: env.count % 3 == 0,
        lambda env, env_id, agent, done: env_id == 0 and agent == 0,
        lambda env, env_id, agent, done: done,
        lambda env, env_id, agent, done: not done,
        lambda env, env_id, agent, done: not env.is_first,
        lambda env, env_id, agent, done: env.count != 41,
    ],
)
def test_key_that_tells_of_something_is_kept(has_key):
    """A key of every step, of events, of one env, of ends, of all other steps, or without one step is fine."""
    report = report_of(keyed(has_key), contracts=["infos-keys"])
    assert report.passed == ["infos-keys"], report


def test_flag_that_is_usually_set_is_kept():
    """A key whose value is always the same is a flag, however often it is set."""
    make_env = keyed(lambda env, env_id, agent, done: env.count % 3 > 0, lambda env, env_id: True)
    assert report_of(make_env, contracts=["infos-keys"]).passed == ["infos-keys"]


def test_infos_without_dicts_have_no_keys_to_judge():
    """Infos of another form are the business of another contract."""

    def result(env, returned):
        returned[INFOS] = [[None, None] for _ in returned[INFOS]]

    report = report_of(factory(result=result), contracts=["infos-keys"])
    assert report.not_judged == {"infos-keys": "infos have no dict of an agent"}


def first_of(lengths, truncated=True):
    """Return first episodes of these lengths, one in each env."""
    found = []
    for env, length in enumerate(lengths):
        found.append(EpisodeSpan(env=env, end=length, length=length, truncated=truncated, first=True))
    return found


@pytest.mark.parametrize(
    "lengths, is_found",
    [
        ([19, 19], True),
        ([21, 21, 21], True),
        ([19], False),
        ([20, 20, 20], False),
        ([19, 20], False),
        ([18, 18, 18], False),
        ([7, 19, 12], False),
    ],
)
def test_first_episodes_that_are_one_step_off_are_found(lengths, is_found):
    """All first episodes must be off by the same one step; scattered lengths spread the ends over time."""
    if not is_found:
        assert require_first_episodes_as_later(first_of(lengths), LIMIT) is None
        return
    with pytest.raises(ContractError, match="later episodes is off by one"):
        require_first_episodes_as_later(first_of(lengths), LIMIT)
    assert require_first_episodes_as_later(first_of(lengths, truncated=False), LIMIT) is None


def test_clock_that_starts_at_one_after_a_later_reset_is_found():
    """The first reset is correct, later ones are one step off."""

    def reset(env, returned):
        env._env._age += int(env.count > 0)
        return returned

    assert check(factory(reset=reset), "horizon") == "the time limit is off by one after reset"


def test_horizon_that_was_not_reached_is_not_judged():
    """Episodes that all ended earlier say nothing about the limit."""

    def make_env(num_envs=5, seed=0):
        return make_pointmass(num_envs, 2, seed, horizon=200)

    report = report_of(make_env, contracts=["horizon"], seed=3)
    assert report.not_judged["horizon"].startswith(("0 episodes that reached a time limit", "no episode ended"))
