"""Contracts of the reward terms, against a slow derivation in float64 from upstream's formulas."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from fakes import make_env, random_actions

from mapush.config import RewardConfig
from mapush.env import rewards
from mapush.env.resets import GOAL_DISTANCE
from mapush.env.rewards import RewardInputs
from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.objects import CYLINDER, OBJECTS
from mapush.presets import preset

pytestmark = pytest.mark.contracts

NUM_ENVS = 257
WEIGHTS = RewardConfig()
OBJECT_NAMES = sorted(OBJECTS)


def random_inputs(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    agents = OBJECTS[name].num_agents
    object_pos = torch.randn(NUM_ENVS, 3, generator=generator)
    angle = 2.0 * math.pi * torch.rand(NUM_ENVS, generator=generator)
    goal_distance = 0.5 + 3.0 * torch.rand(NUM_ENVS, 1, generator=generator)
    goal = object_pos + goal_distance * torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)), dim=1)
    return RewardInputs(
        robot_pos_w=object_pos.unsqueeze(1) + 1.5 * torch.randn(NUM_ENVS, agents, 3, generator=generator),
        object_pos_w=object_pos,
        object_yaw=6.3 * torch.rand(NUM_ENVS, generator=generator),
        object_lin_vel_w=0.1 * torch.randn(NUM_ENVS, 3, generator=generator),
        previous_object_xy=object_pos[:, :2] + 0.02 * torch.randn(NUM_ENVS, 2, generator=generator),
        goal_pos_w=goal,
        success=torch.rand(NUM_ENVS, generator=generator) < 0.3,
        exception=torch.rand(NUM_ENVS, generator=generator) < 0.3,
    )


def terms_of(inputs, name, weights=WEIGHTS):
    return rewards.compute(inputs, torch.tensor(OBJECTS[name].vertices), weights)


def turned(vector, angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def slow_normal(point, polygon):
    """Return the inward normal of the polygon's edge nearest to `point`, edge by edge."""
    best = (math.inf, None)
    for index, start in enumerate(polygon):
        end = polygon[(index + 1) % len(polygon)]
        edge = end - start
        share = np.dot(point - start, edge) / np.dot(edge, edge)
        distance = min(np.linalg.norm(point - start), np.linalg.norm(point - end))
        if 0.0 <= share <= 1.0:
            distance = min(distance, np.linalg.norm(point - (start + share * edge)))
        if distance < best[0] - 1e-9:
            best = (distance, np.array([-edge[1], edge[0]]) / np.linalg.norm(edge))
    return best[1]


def slow_terms(inputs, env, agent, name, weights):
    """Return the terms of one agent in one env."""
    rows = {field.name: getattr(inputs, field.name)[env].double().numpy() for field in dataclasses.fields(inputs)}
    goal, body, yaw = rows["goal_pos_w"], rows["object_pos_w"], float(rows["object_yaw"])
    robots = rows["robot_pos_w"]
    before = math.dist(rows["previous_object_xy"], goal[:2])
    now = math.dist(body[:2], goal[:2])
    way = goal[:2] - body[:2]
    if weights.expanded_ocb:
        way = way / np.linalg.norm(way + np.array([0.01, 0.01]))
        gap = math.atan2(math.sin(0.0 - yaw), math.cos(0.0 - yaw))
        way = turned(way, -gap / 2.0)
    else:
        way = way / np.linalg.norm(way)
    local = turned(robots[agent][:2] - body[:2], -yaw)
    normal = turned(slow_normal(local, np.array(OBJECTS[name].vertices)), yaw)
    others = [other for index, other in enumerate(robots) if index != agent]
    return {
        "target": 100.0 * weights.target * (2.0 * (before - now) - 0.01 * now),
        "approach": -weights.approach * (math.dist(body, robots[agent]) + 0.5) ** 2,
        "collision": sum(weights.collision / (0.02 + math.dist(other, robots[agent]) / 3.0) for other in others),
        "push": weights.push if math.hypot(*rows["object_lin_vel_w"][:2]) > 0.1 else 0.0,
        "ocb": weights.ocb * float(np.dot(way, normal)),
        "reach_target": weights.reach_target if rows["success"] else 0.0,
        "exception": weights.exception if rows["exception"] else 0.0,
    }


@pytest.mark.parametrize("name", OBJECT_NAMES)
@pytest.mark.parametrize("expanded", (False, True))
def test_rewards_random_states_match_slow_derivation(name, expanded):
    """Every term equals a slow derivation of upstream's formula, for each agent."""
    weights = dataclasses.replace(WEIGHTS, expanded_ocb=expanded)
    inputs = random_inputs(name)
    fast = terms_of(inputs, name, weights)
    for env, agent in itertools.product(range(NUM_ENVS), range(OBJECTS[name].num_agents)):
        for term, value in slow_terms(inputs, env, agent, name, weights).items():
            assert fast[term].shape == (NUM_ENVS, OBJECTS[name].num_agents)
            assert fast[term].dtype == torch.float32
            assert float(fast[term][env, agent]) == pytest.approx(value, rel=2e-5, abs=2e-6), (term, env, agent)


def test_rewards_terms_have_the_names_of_their_weights():
    """There is exactly one term for each weight."""
    names = {field.name for field in dataclasses.fields(RewardConfig)} - {"expanded_ocb"}
    assert set(terms_of(random_inputs("cuboid"), "cuboid")) == names
    assert set(rewards.TERMS) == names


@pytest.mark.parametrize("distance, expected", ((0.25, -0.0242), (1.25, -0.0057)))
def test_collision_known_distance_matches_published_value(distance, expected):
    """The collision term of a pair has the value that upstream's analysis gives."""
    inputs = random_inputs("cuboid")
    robots = torch.zeros(NUM_ENVS, 2, 3)
    robots[:, 1, 1] = distance
    value = terms_of(dataclasses.replace(inputs, robot_pos_w=robots), "cuboid")["collision"]
    torch.testing.assert_close(value, torch.full_like(value, expected), atol=5e-5, rtol=0.0)


@pytest.mark.parametrize("progress, expected", ((0.1, 0.65 * 0.1 - 0.00325 * 2.0), (0.0, -0.00325 * 2.0)))
def test_target_known_progress_matches_published_form(progress, expected):
    """With upstream's weights the target term is 0.65 dD - 0.00325 D."""
    inputs = random_inputs("cuboid")
    goal = inputs.object_pos_w + torch.tensor((2.0, 0.0, 0.0))
    previous = inputs.object_pos_w[:, :2] - torch.tensor((progress, 0.0))
    value = terms_of(dataclasses.replace(inputs, goal_pos_w=goal, previous_object_xy=previous), "cuboid")["target"]
    torch.testing.assert_close(value, torch.full_like(value, expected), atol=2e-5, rtol=0.0)


@pytest.mark.parametrize("speed, pushed", ((0.099, False), (0.101, True)))
def test_push_speed_about_threshold_decides(speed, pushed):
    """The push bonus needs a planar speed above 0.1 m/s; vertical speed does not count."""
    inputs = random_inputs("cuboid")
    velocity = torch.tensor((0.6 * speed, 0.8 * speed, 3.0)).repeat(NUM_ENVS, 1)
    value = terms_of(dataclasses.replace(inputs, object_lin_vel_w=velocity), "cuboid")["push"]
    assert bool((value == (WEIGHTS.push if pushed else 0.0)).all())


@pytest.mark.parametrize("bearing, expected", ((180.0, 1.0), (0.0, -1.0), (90.0, 0.0)))
def test_occlusion_known_side_has_known_cosine(bearing, expected):
    """The occlusion term is 1 behind the object as seen from the goal, -1 in front of it, and 0 at its side."""
    inputs = random_inputs("cuboid")
    angle = math.radians(bearing)
    offset = torch.tensor((math.cos(angle), math.sin(angle), 0.0))
    inputs = dataclasses.replace(
        inputs,
        object_yaw=torch.zeros(NUM_ENVS),
        goal_pos_w=inputs.object_pos_w + torch.tensor((2.0, 0.0, 0.0)),
        robot_pos_w=(inputs.object_pos_w + offset).unsqueeze(1).repeat(1, 2, 1),
    )
    value = rewards.occlusion(inputs, torch.tensor(OBJECTS["cuboid"].vertices), expanded=False)
    torch.testing.assert_close(value, torch.full_like(value, expected), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", OBJECT_NAMES)
def test_rewards_agents_swapped_permutes_terms(name):
    """Agents are interchangeable: swapping them only permutes the terms."""
    inputs = random_inputs(name)
    swapped = dataclasses.replace(inputs, robot_pos_w=inputs.robot_pos_w.flip(1))
    for term, value in terms_of(swapped, name).items():
        torch.testing.assert_close(value.flip(1), terms_of(inputs, name)[term])


@pytest.mark.parametrize("name", OBJECT_NAMES)
def test_rewards_world_reflected_is_unchanged(name):
    """Mirroring the world gives the same reward, because each object is symmetric in x."""

    def mirror(vector):
        return vector * torch.tensor((-1.0, 1.0, 1.0))[: vector.shape[-1]]

    inputs = random_inputs(name)
    mirrored = {
        field: mirror(getattr(inputs, field))
        for field in ("robot_pos_w", "object_pos_w", "object_lin_vel_w", "previous_object_xy", "goal_pos_w")
    }
    reflected = terms_of(dataclasses.replace(inputs, object_yaw=-inputs.object_yaw, **mirrored), name)
    alone = beside_an_edge(inputs, name)  # beyond a corner the tie of its two edges is broken by their order
    assert 0.3 < float(alone.double().mean()) < 1.0
    for term, value in terms_of(inputs, name).items():
        torch.testing.assert_close(reflected[term][alone], value[alone], atol=1e-5, rtol=1e-4)


def beside_an_edge(inputs, name):
    """Return where the nearest point of the outline is not a corner, (E, A)."""
    polygon = np.array(OBJECTS[name].vertices)
    rows = []
    for robots, body, yaw in zip(inputs.robot_pos_w.numpy(), inputs.object_pos_w.numpy(), inputs.object_yaw.numpy()):
        points = [turned(robot[:2] - body[:2], -float(yaw)) for robot in robots]
        rows.append([nearest_is_inside_an_edge(point, polygon) for point in points])
    return torch.tensor(rows)


def nearest_is_inside_an_edge(point, polygon):
    to_corner = np.linalg.norm(polygon - point, axis=1).min()
    distances = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0)):
        share = np.clip(np.dot(point - start, end - start) / np.dot(end - start, end - start), 0.0, 1.0)
        distances.append(np.linalg.norm(point - (start + share * (end - start))))
    distances.sort()
    return bool(distances[0] < to_corner - 1e-4 and distances[1] - distances[0] > 1e-4)


def test_rewards_of_turned_world_are_unchanged():
    """Turning the world about the vertical changes neither reward nor observation."""
    envs = [make_env(seed=3) for _ in range(2)]
    for env in envs:
        env.reset()
    turn_world(envs[1], 2.0)
    outcomes = [env.step(random_actions()) for env in envs]
    torch.testing.assert_close(outcomes[0].reward, outcomes[1].reward, atol=1e-5, rtol=1e-5)
    shares = [outcome.observation.share_obs for outcome in outcomes]
    torch.testing.assert_close(*shares, atol=1e-5, rtol=1e-5)


def test_cylinder_preset_failure_costs_more_than_going_on():
    """Robots touch the cylinder on three sides, the goal is at its mean distance: a complete episode costs less."""
    config = preset("cylinder", "gpu")
    inputs = touching_from_all_sides(CYLINDER, goal_distance=sum(GOAL_DISTANCE) / 2.0)
    hold = config.task.steps_per_decision
    cost_of_a_decision = -hold * float(sum(terms_of(inputs, "cylinder", config.task.reward).values()).mean())
    cost_of_an_episode = 0.0
    for decision in range(MAX_EPISODE_LENGTH // hold):
        cost_of_an_episode += config.happo.gamma**decision * cost_of_a_decision
    assert cost_of_an_episode > 0.0
    assert -config.task.reward.exception > cost_of_an_episode


def touching_from_all_sides(item, goal_distance):
    """Return the inputs of one env whose robots stand evenly around an object at rest, 0.3 m from its surface."""
    bearing = torch.arange(item.num_agents) * (2.0 * math.pi / item.num_agents)
    radius = item.parts[0].half_size[0] + 0.3
    robots = radius * torch.stack((bearing.cos(), bearing.sin(), torch.zeros_like(bearing)), dim=-1)
    origin = torch.zeros(1, 3)
    nothing = torch.zeros(1, dtype=torch.bool)
    return RewardInputs(
        robot_pos_w=robots.unsqueeze(0),
        object_pos_w=origin,
        object_yaw=torch.zeros(1),
        object_lin_vel_w=origin,
        previous_object_xy=origin[:, :2],
        goal_pos_w=torch.tensor([[goal_distance, 0.0, 0.0]]),
        success=nothing,
        exception=nothing,
    )


def turn_world(env, angle):
    """Turn robots, object and goals about the vertical."""
    state = env.simulator.state()
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))
    w, z = math.cos(angle / 2.0), math.sin(angle / 2.0)
    product = torch.tensor(((w, 0.0, 0.0, -z), (0.0, w, -z, 0.0), (0.0, z, w, 0.0), (z, 0.0, 0.0, w)))
    turned = {name: getattr(state, name) @ turn.T for name in ("robot_pos_w", "object_pos_w", "robot_lin_vel_w")}
    turned.update({name: getattr(state, name) @ product.T for name in ("robot_quat_w", "object_quat_w")})
    env.simulator.place(**turned)
    env.goal_pos_w = env.goal_pos_w @ turn.T
