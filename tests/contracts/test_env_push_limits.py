"""Limits of the pushing task, each checked from both sides."""

from __future__ import annotations

import pytest
import torch
from fakes import NUM_ENVS, make_env, rest

pytestmark = pytest.mark.contracts


def test_team_is_together_if_all_robots_are_within_a_metre_of_the_object():
    """A team with one robot at 1.01 m is not together; heights do not count."""
    env = make_env()
    env.reset()
    state = env.simulator.state()
    position = state.robot_pos_w
    position[..., :2] = state.object_pos_w[:, None, :2]
    position[:, 0, 0] += torch.tensor((0.99, 1.01, 0.6, -0.99, 0.6))
    position[:, 1, 1] += torch.tensor((0.6, 0.6, -1.01, 0.99, -0.6))
    env.simulator.place(robot_pos_w=position)
    transition = env.step(rest())
    assert not transition.done.any()
    env.simulator.place(robot_pos_w=position)
    env.step(rest())
    assert env._length.tolist() == [2] * NUM_ENVS
    assert env._steps_together.tolist() == [2, 0, 0, 2, 2]
