"""What actors and critic see: pure functions of the state.

Source: MAPush@0e61e1b, `Go1PushMidWrapper`, for the actor's observation. Upstream has no global state for the critic;
`critic_obs` defines one.
"""

from __future__ import annotations

from typing import Dict

import torch

from mapush.env.pushed_object import object_of
from mapush.sim.geometry import positive_angle, rotate, rotate_xy, yaw_of
from mapush.sim.physics import State


def obs_blocks(num_agents: int) -> Dict[str, int]:
    """Return the name and width of each part of the actor's observation, in order."""
    blocks = {"goal_xy": 2, "object_xy_yaw": 3}
    for k in range(1, num_agents):
        blocks[f"other_{k}"] = 3
    return blocks


def share_obs_blocks(num_agents: int) -> Dict[str, int]:
    """Return the name and width of each part of the critic's global state, in order."""
    blocks = {"goal_xy": 2, "object_velocity_xy": 2, "object_yaw_rate": 1}
    robot = {"xy": 2, "sin_cos_yaw": 2, "velocity_xy": 2, "yaw_rate": 1}
    for agent in range(num_agents):
        for name, width in robot.items():
            blocks[f"robot_{agent}_{name}"] = width
    blocks["remaining_time"] = 1
    return blocks


def actor_obs(state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor) -> torch.Tensor:
    """Return what each robot sees: goal, object and team mates in its own yaw frame.

    Angles lie in [0, 2 pi) and jump at zero, as upstream's do. Block k of the team mates is robot (i - k) mod A.

    Args:
      state: the state of E envs.
      robot_yaw: the heading that each robot observes as its own [rad], (E, A).
      goal_pos_w: (E, 3) [m].

    Returns:
      (E, A, 2 + 3 A) float32, in [m] and [rad]; `obs_blocks` names the parts.
    """
    envs, agents = robot_yaw.shape
    thing = object_of(state)
    robot_xy = state.robot_pos_w[..., :2]
    agent = torch.arange(agents, device=robot_yaw.device)
    mates = (agent.unsqueeze(1) - agent[1:]) % agents  # (A, A - 1), row i: the team mates of robot i
    # Everything that robot i sees becomes a list of points and a list of headings, turned into its frame at once.
    goal = goal_pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    body = thing.pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    points = torch.cat((goal, body, robot_xy[:, mates]), dim=2)
    seen = rotate_xy(points - robot_xy.unsqueeze(2), -robot_yaw.unsqueeze(2))
    object_yaw = yaw_of(thing.quat_w)[:, None, None].expand(envs, agents, 1)
    headings = torch.cat((object_yaw, robot_yaw[:, mates]), dim=2)
    angles = positive_angle(headings - robot_yaw.unsqueeze(2))
    goal_xy, poses_xy = seen[:, :, 0], seen[:, :, 1:]
    poses = torch.cat((poses_xy, angles.unsqueeze(-1)), dim=-1)
    return torch.cat((goal_xy, poses.flatten(2)), dim=-1)


def critic_obs(state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor) -> torch.Tensor:
    """Return the global state: goal and robots in the object's yaw frame, with velocities.

    Args:
      state: the state of E envs.
      goal_pos_w: (E, 3) [m].
      remaining_time: share of the episode that is left, (E,), in [0, 1].

    Returns:
      (E, 6 + 7 A) float32, in [m], [m/s] and [rad/s]; `share_obs_blocks` names the parts.
    """
    thing = object_of(state)
    object_xy, object_yaw = thing.pos_w[:, :2], yaw_of(thing.quat_w)
    # One rotation for all planar vectors: goal, object's velocity, robots' positions, robots' velocities.
    goal_offset = (goal_pos_w[:, :2] - object_xy).unsqueeze(1)
    object_velocity = thing.lin_vel_w[:, None, :2]
    robot_offset = state.robot_pos_w[..., :2] - object_xy.unsqueeze(1)
    robot_velocity = state.robot_lin_vel_w[..., :2]
    planar = torch.cat((goal_offset, object_velocity, robot_offset, robot_velocity), dim=1)
    planar = rotate_xy(planar, -object_yaw.unsqueeze(1))
    robot_yaw = yaw_of(state.robot_quat_w)
    agents = robot_yaw.shape[1]
    relative_yaw = robot_yaw - object_yaw.unsqueeze(1)
    robots = torch.cat(
        (
            planar[:, 2 : 2 + agents],
            torch.sin(relative_yaw).unsqueeze(-1),
            torch.cos(relative_yaw).unsqueeze(-1),
            planar[:, 2 + agents :],
            rotate(state.robot_quat_w, state.robot_ang_vel_b)[..., 2:],
        ),
        dim=-1,
    )
    goal_and_object = planar[:, :2].flatten(1)
    object_yaw_rate = rotate(thing.quat_w, thing.ang_vel_b)[:, 2:]
    return torch.cat((goal_and_object, object_yaw_rate, robots.flatten(1), remaining_time.unsqueeze(1)), dim=1)
