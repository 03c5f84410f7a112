"""Tests of training under guard: it finds what breaks while a run trains, and changes nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fakes import make_env, put_object_at_goal, random_actions

from harness.findings import ContractError
from harness.stack.guarded_training import GuardedEnv, GuardedEnvs, main
from mapush.config import RunConfig
from mapush.errors import NonFiniteError, SpecError

pytestmark = pytest.mark.harness

SHARED = torch.zeros(5, 2)


class Damaged:
    """An environment with a wrong `step`."""

    def __init__(self, env, step):
        self._env, self._step = env, step

    def __getattr__(self, name):
        return getattr(self._env, name)

    def step(self, actions):
        """Take a wrong step."""
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
    """Reset and step with different actions each time; return the last transition."""
    env.reset()
    for seed in range(decisions):
        result = env.step(random_actions(seed))
    return result


@pytest.mark.parametrize("step", FAULTS, ids=lambda step: step.__name__)
def test_guard_names_the_fault(step):
    """A fault of the environment stops the run with an error that names it."""
    error, cause = FAULTS[step]
    with pytest.raises(error, match=cause):
        play(GuardedEnv(Damaged(make_env(), step), time_share=math.inf))


@pytest.mark.parametrize("task", [{}, {"steps_per_decision": 3}, {"upstream_quirks": True}], ids=str)
def test_guard_of_a_sound_environment_changes_no_bit(task):
    """A sound environment passes, and its trajectory is the same as without a guard."""
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


def test_guarded_envs_wrap_what_the_factory_makes():
    """Every environment that is built for a run is guarded, and kept in the order of building."""
    guarded_envs = GuardedEnvs(make_env=lambda config: make_env(), time_share=math.inf)
    first, second = guarded_envs(RunConfig()), guarded_envs(RunConfig())
    play(first, decisions=2)
    assert guarded_envs.built == [first, second]
    assert (first.watched, second.watched) == (2, 0)


def test_command_trains_under_guard_and_prints_what_was_watched(tmp_path, capsys):
    """`harness train` takes the flags of `mapush.train` and ends with a line about the guard."""
    words = "cuboid --num-envs 2 --num-steps 3 --total-steps 120 --sim mujoco --sim.threads 1 --device cpu "
    words += "--happo.actor-num-mini-batch 1 --happo.critic-num-mini-batch 1"
    assert main(words.split() + ["--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "guard: watched " in said
    assert " of 6 decisions, " in said


def test_command_prints_what_was_watched_after_an_error_too(tmp_path, capsys):
    """A training that ends with an error exits with 2, after the line about the guard."""

    def make_broken_env(config):
        return Damaged(make_env(), transposed_reward)

    words = "cuboid --num-envs 5 --num-steps 3 --total-steps 1000 --sim mujoco --device cpu"
    assert main(words.split() + ["--run-dir", str(tmp_path / "run")], make_env=make_broken_env) == 2
    assert "guard: watched 1 of 1 decisions" in capsys.readouterr().out
