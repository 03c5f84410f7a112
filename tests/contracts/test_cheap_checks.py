"""Contracts of the cheap checks, which are always on: on a CPU in every env step, on a GPU once per rollout."""

from __future__ import annotations

import pytest
import torch
from fakes import make_env, random_actions
from runs import tiny

from mapush.env.walk import WalkEnv
from mapush.errors import NonFiniteError, SimulatorError
from mapush.train import Run

pytestmark = pytest.mark.contracts


def poison(env, step, env_id=3):
    """Make one robot's velocity NaN after env step `step` of the simulator, and finite after all other steps."""
    simulate = env.simulator.step

    def poisoned(commands, state=None):
        result = simulate(commands, state)
        if env.simulator.steps == step:
            result.robot_lin_vel_w[env_id, 1, 2] = float("nan")
        return result

    env.simulator.step = poisoned


@pytest.mark.parametrize("step", [1, 4, 6])
def test_state_on_a_cpu_is_checked_in_every_env_step(step):
    """A NaN is reported with its env step, even if a decision takes three env steps and the NaN is gone at its end."""
    env = make_env(steps_per_decision=3)
    env.reset()
    poison(env, step)
    with pytest.raises(NonFiniteError, match=rf"env 3, agent 1, robot_lin_vel_w\[2\], env step {step}"):
        for seed in range(2):
            env.step(random_actions(seed))


@pytest.mark.mujoco
def test_training_checks_the_environment_once_per_rollout_before_it_learns(monkeypatch):
    """At the end of a rollout the errors of the GPU are read, and nothing is learned from a bad rollout."""
    calls = []

    def check(env):
        calls.append(run.step)
        if len(calls) == 3:
            raise SimulatorError("the physics diverged")
        return {"iterations": 1.0}

    monkeypatch.setattr(WalkEnv, "check", check)
    run = Run.start(tiny())
    run.iterate()
    run.iterate()
    before = [weights.clone() for weights in run.agent.actors[0].parameters()]
    with pytest.raises(SimulatorError):
        run.iterate()
    run.close()
    assert calls == [35, 70, 105]
    assert all(torch.equal(one, other) for one, other in zip(before, run.agent.actors[0].parameters()))
