"""Contracts of teams of any size: what robots see, how they start, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fakes import NUM_ENVS, make_env, put_robots_together, random_actions

from mapush.config import TaskConfig, pushed_object, team_size
from mapush.env.push import SPAWN_MARGIN
from mapush.env.resets import require_room
from mapush.errors import ConfigError
from mapush.objects import CUBOID, CYLINDER, team_of
from mapush.sim.geometry import pairwise_distance

pytestmark = pytest.mark.contracts

TEAMS = (1, 3, 4, 7)


@pytest.mark.parametrize("agents", TEAMS)
@pytest.mark.parametrize("quirks", [False, True])
def test_team_of_any_size_acts_and_is_rewarded(agents, quirks):
    """Observations, rewards and terms follow the size of the team."""
    env = make_env(num_agents=agents, upstream_quirks=quirks)
    observation = env.reset()
    transition = env.step(random_actions(num_agents=agents))
    for seen in (observation, transition.observation):
        env.obs_spec.validate(seen.obs, "test")
        env.share_obs_spec.validate(seen.share_obs, "test")
    assert env.obs_spec.shape == (NUM_ENVS, agents, 2 + 3 * agents)
    assert env.share_obs_spec.shape == (NUM_ENVS, 6 + 7 * agents)
    assert transition.reward.shape == (NUM_ENVS, agents)
    assert all(term.shape == (NUM_ENVS, agents) for term in transition.terms.values())
    assert env.item.num_agents == agents


@pytest.mark.parametrize("agents", TEAMS)
def test_team_of_any_size_starts_apart_and_around_the_object(agents):
    """No two robots start in a collision, and all stand within the range of distances from the object."""
    env = make_env(num_envs=61, num_agents=agents)
    env.reset()
    robots = env.simulator.state().robot_pos_w
    low, high = CUBOID.agent_distance
    radius = robots[..., :2].norm(dim=-1)
    assert float(radius.min()) >= low - 1e-5
    assert float(radius.max()) <= high + 1e-5
    separation = CUBOID.collision_distance + SPAWN_MARGIN
    assert float(pairwise_distance(robots[..., :2]).min()) >= separation - 1e-5


def test_single_robot_neither_collides_nor_pays_for_it():
    """A team of one has no team mate: the collision term is 0 and no episode ends in a collision."""
    env = make_env(num_agents=1)
    env.reset()
    transition = env.step(random_actions(num_agents=1))
    assert not transition.terms["collision"].any()
    assert not transition.outcome["collision"].any()


def test_any_two_of_four_robots_can_collide():
    """A collision of any pair ends the episode."""
    env = make_env(num_agents=4)
    env.reset()
    put_robots_together(env, 2)
    transition = env.step(torch.zeros(NUM_ENVS, 4, 3))
    assert bool(transition.outcome["collision"][2])


def test_own_size_of_an_object_changes_nothing():
    """Naming the size that an object has anyway gives the same numbers, bit for bit."""
    one, other = make_env(seed=3), make_env(seed=3, num_agents=2)
    assert torch.equal(one.reset().obs, other.reset().obs)
    actions = random_actions(seed=5)
    assert torch.equal(one.step(actions).reward, other.step(actions).reward)


def test_team_that_has_no_room_is_refused():
    """The largest team is the one that stands evenly spread without a collision."""
    separation = CYLINDER.collision_distance + SPAWN_MARGIN
    largest = 1
    while 2.0 * CYLINDER.agent_distance[0] * math.sin(math.pi / (largest + 1)) >= separation:
        largest += 1
    require_room(dataclasses.replace(CYLINDER, num_agents=largest))
    with pytest.raises(ConfigError, match="no room") as caught:
        require_room(dataclasses.replace(CYLINDER, num_agents=largest + 1))
    assert f"at most {largest}" in caught.value.expected


def test_object_of_a_task_has_the_team_of_the_task():
    """The object is the same in all but the size of its team."""
    task = TaskConfig(object="tblock", num_agents=5)
    assert pushed_object(task) == dataclasses.replace(team_of("tblock"), num_agents=5)
    assert team_size(TaskConfig(object="cylinder")) == 3
