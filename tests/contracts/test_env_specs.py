"""Contracts of what the environments declare: specs, sizes and names."""

from __future__ import annotations

import math

import pytest
import torch
from fakes import NUM_AGENTS, NUM_ENVS, KinematicSimulator, make_env, random_actions
from still import make_env as make_walk_env
from still import walk_config

from mapush.config import TaskConfig
from mapush.env.metrics import FirstEpisodes
from mapush.env.push import PushEnv
from mapush.errors import ConfigError, MapushError, NonFiniteError
from mapush.spec import TensorSpec

pytestmark = pytest.mark.contracts


def test_push_env_states_its_specs_and_sizes():
    """Names, axes, shapes and bounds are those of MAPush's task, at 1,000 env steps an episode."""
    env = make_env(steps_per_decision=3)
    agents = ("num_envs", "num_agents")
    assert env.obs_spec == TensorSpec("obs", agents + ("obs_dim",), (5, 2, 8))
    assert env.share_obs_spec == TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (5, 20))
    assert env.action_spec == TensorSpec("actions", agents + ("action_dim",), (5, 2, 3), low=-1.0, high=1.0)
    assert (env.num_envs, env.num_agents, env.device) == (NUM_ENVS, NUM_AGENTS, torch.device("cpu"))
    assert (env.steps_per_decision, env.max_episode_length, env.simulator_name) == (3, 1000, "kinematic")


def test_walk_env_states_its_specs_and_sizes():
    """One robot sees 50 numbers, the critic 14 more; 12 joints act for 1,000 env steps an episode."""
    env = make_walk_env(walk_config(), num_envs=7)
    agents = ("num_envs", "num_agents")
    assert env.obs_spec == TensorSpec("obs", agents + ("obs_dim",), (7, 1, 50))
    assert env.share_obs_spec == TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (7, 64))
    assert env.action_spec == TensorSpec("actions", agents + ("joints",), (7, 1, 12))
    assert (env.num_envs, env.num_agents, env.device) == (7, 1, torch.device("cpu"))
    assert (env.steps_per_decision, env.max_episode_length, env.simulator_name) == (1, 1000, "still")
    assert env.metrics.names == ("fall", "length", "return", "linear_error", "yaw_error")


def test_push_env_refuses_an_impossible_task():
    """An unknown object, less than one step per decision, and a team of a wrong size are errors."""
    simulator = KinematicSimulator(NUM_ENVS, NUM_AGENTS)
    with pytest.raises(ConfigError, match="unknown object 'cuboit'; did you mean 'cuboid'?"):
        PushEnv(simulator, TaskConfig(object="cuboit"), 0)
    for steps in (0, -1):
        with pytest.raises(ConfigError, match="steps_per_decision"):
            PushEnv(simulator, TaskConfig(steps_per_decision=steps), 0)
    with pytest.raises(ConfigError, match="team does not fit"):
        PushEnv(KinematicSimulator(NUM_ENVS, 3), TaskConfig(), 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_check_raises_once_for_a_value_that_is_not_finite(value):
    """The step and the next check name the first value that is not finite; the check after that passes."""
    env = make_env()
    env.reset()
    position = env.simulator.state().robot_pos_w
    position[3, 1, 2] = position[4, 0, 1] = value
    env.simulator.place(robot_pos_w=position)
    for ask in (lambda: env.step(0.0 * random_actions()), env.check):
        with pytest.raises(NonFiniteError) as caught:
            ask()
        assert "env 3, agent 1, robot_pos_w[2], env step 1" in str(caught.value)
        assert caught.value.got == "2 of 30 values are nan or inf"
    assert env.check() == {}


def test_check_names_an_object_without_an_agent():
    """The error for a value of the object names no agent."""
    env = make_env()
    env.reset()
    velocity = torch.zeros(NUM_ENVS, 3)
    velocity[2, 1] = math.nan
    env.simulator.object_velocity_w = velocity
    with pytest.raises(NonFiniteError) as caught:
        env.step(0.0 * random_actions())
    assert "env 2, object_pos_w[1], env step 1" in caught.value.where


def test_evaluation_that_is_not_over_says_how_far_it_is():
    """Nothing is measured before every env has ended its episodes."""
    first = FirstEpisodes(NUM_ENVS)
    with pytest.raises(MapushError) as caught:
        first.metrics()
    assert caught.value.got == "0 of 5 episodes have ended"
    outcome = {"success": torch.ones(NUM_ENVS, dtype=torch.bool)}
    first.add(torch.tensor([True, False, False, True, False]), outcome)
    with pytest.raises(MapushError) as caught:
        first.metrics()
    assert caught.value.got == "2 of 5 episodes have ended"
