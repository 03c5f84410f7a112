"""Contracts of QuirkyPushEnv: it makes exactly the errors that upstream makes."""

from __future__ import annotations

import math

import pytest
import torch
from fakes import (
    NUM_AGENTS,
    KinematicSimulator,
    ended,
    make_env,
    put_object_at_goal,
    put_robots_together,
    random_actions,
    rest,
)

from mapush.config import TaskConfig
from mapush.env import observations, rewards
from mapush.env.push import PushEnv
from mapush.env.push_quirks import QuirkyPushEnv, push_env_class
from mapush.errors import ConfigError
from mapush.objects import OBJECTS
from mapush.sim.geometry import wrap, yaw_of

pytestmark = pytest.mark.contracts


@pytest.mark.parametrize("kind, quirks", ((PushEnv, True), (QuirkyPushEnv, False)))
def test_push_env_of_the_other_kind_is_refused(kind, quirks):
    """A task with upstream's errors is refused by the class without them, and the other way round."""
    with pytest.raises(ConfigError) as caught:
        kind(KinematicSimulator(5, NUM_AGENTS), TaskConfig(upstream_quirks=quirks), 0)
    assert caught.value.where == "task.upstream_quirks"
    assert push_env_class(TaskConfig(upstream_quirks=quirks)) is not kind


def test_step_quirks_action_is_scaled_twice():
    """With upstream's quirks the command saturates at an action of 2."""
    env = make_env(upstream_quirks=True)
    env.reset()
    actions = random_actions()
    env.step(actions)
    assert torch.equal(env.simulator.commands, 0.5 * (0.5 * actions).clamp(-1.0, 1.0))


def test_reset_quirks_loses_the_published_share_of_first_steps():
    """With upstream's quirks about 6.3 % of the episodes end on their first step."""
    env = make_env(num_envs=3000, upstream_quirks=True)
    env.reset()
    share = float(env.step(torch.zeros(3000, NUM_AGENTS, 3)).done.double().mean())
    assert share == pytest.approx(0.063, abs=3.3 * math.sqrt(0.063 * 0.937 / 3000))


def test_quirks_reward_of_an_ended_step_mixes_episodes():
    """With upstream's quirks the last reward uses flags of the old episode, positions and goal of the new one."""
    env = make_env(upstream_quirks=True, seed=3)
    env.reset()
    env.step(rest())
    old_object_xy = env.simulator.state().object_pos_w[:, :2]
    put_object_at_goal(env, 3)
    transition = env.step(rest())
    assert ended(transition) == [3]
    state = env.simulator.state()
    inputs = rewards.RewardInputs(
        robot_pos_w=state.robot_pos_w,
        object_pos_w=state.object_pos_w,
        object_yaw=yaw_of(state.object_quat_w),
        object_lin_vel_w=state.object_lin_vel_w,
        previous_object_xy=old_object_xy,
        goal_pos_w=env.goal_pos_w,
        success=transition.outcome["success"],
        exception=transition.outcome["collision"],
    )
    terms = rewards.compute(inputs, torch.tensor(OBJECTS["cuboid"].vertices), env.task.reward)
    torch.testing.assert_close(transition.reward[3], sum(value[3] for value in terms.values()))


def test_quirks_first_step_after_reset_has_no_progress():
    """With upstream's quirks the first step after `reset` compares the object with itself."""
    first = {}
    for quirks in (False, True):
        env = make_env(upstream_quirks=quirks, seed=3)
        env.reset()
        env.simulator.object_velocity_w[:, 0] = 1.0
        distance = (env.simulator.state().object_pos_w - env.goal_pos_w)[:, :2].norm(dim=1)
        env.step(rest())
        summary = env.metrics.summary()
        after = (env.simulator.state().object_pos_w - env.goal_pos_w)[:, :2].norm(dim=1)
        first[quirks] = summary["reward/target"]
        progress = 0.0 if quirks else float((distance - after).mean())
        assert first[quirks] == pytest.approx(0.65 * progress - 0.00325 * float(after.mean()), abs=1e-5)
    assert first[False] != first[True]


@pytest.mark.parametrize("quirks", (False, True))
def test_quirks_first_observation_after_an_end_has_a_stale_yaw(quirks):
    """With upstream's quirks the first observation of an episode uses the old heading; without, the new one."""
    env = make_env(upstream_quirks=quirks, seed=3)
    env.reset()
    env.step(rest())
    put_robots_together(env, 2)
    old_yaw = yaw_of(env.simulator.state().robot_quat_w)
    transition = env.step(rest())
    state = env.simulator.state()
    new_yaw = yaw_of(state.robot_quat_w)
    expected_yaw = new_yaw.clone()
    if quirks:
        expected_yaw[2] = old_yaw[2]
    assert float(wrap(new_yaw[2] - old_yaw[2]).abs().min()) > 1e-3
    expected = observations.actor_obs(state, expected_yaw, env.goal_pos_w)
    torch.testing.assert_close(transition.observation.obs, expected)
    following = env.step(rest()).observation.obs
    state = env.simulator.state()
    torch.testing.assert_close(following, observations.actor_obs(state, yaw_of(state.robot_quat_w), env.goal_pos_w))


def test_quirks_second_reset_before_the_first_step_shows_the_new_yaw():
    """Upstream's heading is left over only from a step; a second reset without one shows the new heading."""
    env = make_env(upstream_quirks=True)
    env.reset()
    obs = env.reset().obs
    state = env.simulator.state()
    expected = observations.actor_obs(state, yaw_of(state.robot_quat_w), env.goal_pos_w)
    assert torch.equal(obs, expected)
    env.step(rest())
    obs = env.reset().obs
    state = env.simulator.state()
    assert not torch.allclose(obs, observations.actor_obs(state, yaw_of(state.robot_quat_w), env.goal_pos_w))


def test_quirks_non_finite_state_becomes_zero_and_costs():
    """With upstream's quirks a NaN is shown as 0, costs an exception, and does not end the episode."""
    env = make_env(upstream_quirks=True, seed=3)
    env.reset()
    env.step(rest())
    position = env.simulator.state().robot_pos_w
    position[3, 1, 0] = math.nan
    env.simulator.place(robot_pos_w=position)
    transition = env.step(rest())
    assert not transition.done.any()
    assert bool(transition.observation.obs.isfinite().all())
    assert bool(transition.reward.isfinite().all())
    assert float(transition.observation.obs[3, 1, :4].abs().max()) == 0.0
    assert float(transition.reward[3].max()) < -4.9
    assert float(transition.reward[[0, 1, 2, 4]].min()) > -1.0
