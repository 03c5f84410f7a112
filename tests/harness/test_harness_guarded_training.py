"""Contracts of training under guard: it finds what breaks while a run trains, and changes nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fakes import make_env, put_object_at_goal, random_actions

from harness.findings import ContractError
from harness.stack import guarded_training
from harness.stack.guarded_training import GuardedEnv, guarded
from mapush import train
from mapush.errors import NonFiniteError, SpecError

pytestmark = pytest.mark.harness

SHARED = torch.zeros(5, 2)


class Damaged:
    """An environment, one method of which is replaced."""

    def __init__(self, env, step):
        self._env, self._step = env, step

    def __getattr__(self, name):
        return getattr(self._env, name)

    def step(self, actions):
        """Do what is wrong."""
        return self._step(self._env, actions)


def clipped_in_place(env, actions):
    actions.clamp_(-0.5, 0.5)
    return env.step(actions)


def reused_reward(env, actions):
    result = env.step(actions)
    return dataclasses.replace(result, reward=SHARED.copy_(result.reward))


def scaled_reward(env, actions):
    result = env.step(actions)
    return dataclasses.replace(result, reward=3.0 * result.reward)


def transposed_reward(env, actions):
    result = env.step(actions)
    return dataclasses.replace(result, reward=result.reward.T)


def infinite_state(env, actions):
    result = env.step(actions)
    result.observation.share_obs[3, 1] = torch.inf
    return result


def terminated_and_truncated(env, actions):
    put_object_at_goal(env, 4)
    result = env.step(actions)
    return dataclasses.replace(result, truncated=result.terminated.clone())


def integer_ending(env, actions):
    result = env.step(actions)
    return dataclasses.replace(result, truncated=result.truncated.long())


FAULTS = {
    clipped_in_place: (ContractError, "step modifies the actions in place"),
    reused_reward: (ContractError, "reward buffer is reused"),
    scaled_reward: (ContractError, "the reward is not the sum of its terms"),
    transposed_reward: (SpecError, "the first two axes are swapped"),
    infinite_state: (NonFiniteError, "share_obs"),
    terminated_and_truncated: (ContractError, "both terminated and truncated"),
    integer_ending: (SpecError, "truncated"),
}


def play(env, decisions=7):
    """Reset and step, each time with other actions; return the last transition."""
    env.reset()
    for seed in range(decisions):
        result = env.step(random_actions(seed))
    return result


@pytest.mark.parametrize("step", FAULTS, ids=lambda step: step.__name__)
def test_guard_names_the_fault(step):
    """What an environment breaks while it trains stops the run with its cause."""
    error, cause = FAULTS[step]
    with pytest.raises(error, match=cause):
        play(GuardedEnv(Damaged(make_env(), step), time_share=math.inf))


@pytest.mark.parametrize("task", [{}, {"steps_per_decision": 3}, {"upstream_quirks": True}], ids=str)
def test_guard_of_a_sound_environment_changes_no_bit(task):
    """A sound environment trips nothing, and goes through the same states as without a guard."""
    watched = GuardedEnv(make_env(**task), time_share=math.inf)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two = play(watched), play(make_env(**task))
    assert watched.watched == watched.decisions == 7
    assert torch.equal(one.observation.obs, two.observation.obs)
    assert torch.equal(one.reward, two.reward)
    assert torch.equal(before, torch.random.get_rng_state())


def test_guard_out_of_time_stops_watching():
    """When watching has used up its share of the time, decisions are no longer watched."""
    env = GuardedEnv(make_env(), time_share=1e-9)
    play(env)
    assert env.watched == 1


def test_guarded_training_is_guarded_and_only_then(monkeypatch, capsys):
    """The command trains with a guarded environment, tells what was watched, and leaves `mapush.train` as it was."""
    monkeypatch.setattr(train, "make_env", lambda config: make_env())
    monkeypatch.setattr(train, "main", lambda argv: play(train.make_env(dataclasses.make_dataclass("C", ["seed"])(1))))
    before = train.make_env
    guarded_training.main([])
    assert train.make_env is before
    assert "of 7 decisions" in capsys.readouterr().out


def test_guarded_restores_training_after_an_error(monkeypatch):
    """A run that fails leaves no guard behind."""
    before = train.make_env
    with pytest.raises(ZeroDivisionError), guarded():
        raise ZeroDivisionError
    assert train.make_env is before
