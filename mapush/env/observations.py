"""What actors and critic see: pure functions of the state.

Source: MAPush@0e61e1b, `Go1PushMidWrapper`, for the actor's observation. The critic's global state is ours: upstream
has none.
"""

from __future__ import annotations

from typing import Dict

import torch

from mapush.sim.geometry import positive_angle, rotate, rotate_xy, yaw_of
from mapush.sim.physics import State
from mapush.spec import TensorSpec


def obs_blocks(num_agents: int) -> Dict[str, int]:
    """Return name and width of each part of the actor's observation, in order."""
    others = {f"other_{k}": 3 for k in range(1, num_agents)}
    return dict({"goal_xy": 2, "object_xy_yaw": 3}, **others)


def share_obs_blocks(num_agents: int) -> Dict[str, int]:
    """Return name and width of each part of the critic's global state, in order."""
    blocks = {"goal_xy": 2, "object_velocity_xy": 2, "object_yaw_rate": 1}
    for agent in range(num_agents):
        robot = {"xy": 2, "sin_cos_yaw": 2, "velocity_xy": 2, "yaw_rate": 1}
        blocks.update({f"robot_{agent}_{name}": width for name, width in robot.items()})
    return dict(blocks, remaining_time=1)


def obs_dim(num_agents: int) -> int:
    """Return the width of the actor's observation."""
    return sum(obs_blocks(num_agents).values())


def share_obs_dim(num_agents: int) -> int:
    """Return the width of the critic's global state."""
    return sum(share_obs_blocks(num_agents).values())


def obs_spec(num_envs: int, num_agents: int) -> TensorSpec:
    """Return the spec of `actor_obs`."""
    return TensorSpec("obs", ("num_envs", "num_agents", "obs_dim"), (num_envs, num_agents, obs_dim(num_agents)))


def share_obs_spec(num_envs: int, num_agents: int) -> TensorSpec:
    """Return the spec of `critic_obs`."""
    return TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (num_envs, share_obs_dim(num_agents)))


def actor_obs(state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor) -> torch.Tensor:
    """Return what each robot sees, (E, A, 2 + 3 A): goal, object and team mates in its own yaw frame.

    Angles lie in [0, 2 pi) and jump at zero, as upstream's do. Block k of the team mates is robot (i - k) mod A.

    Args:
      state: of E envs.
      robot_yaw: the heading that each robot believes it has [rad], (E, A).
      goal_pos_w: (E, 3) [m].
    """
    robot_xy = state.robot_pos_w[..., :2]
    envs, agents = robot_yaw.shape
    agent = torch.arange(agents, device=robot_yaw.device)
    mate = (agent.unsqueeze(1) - agent[1:]) % agents
    goal = goal_pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    body = state.object_pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    points = torch.cat((goal, body, robot_xy[:, mate]), dim=2)
    seen = rotate_xy(points - robot_xy.unsqueeze(2), -robot_yaw.unsqueeze(2))
    object_yaw = yaw_of(state.object_quat_w)[:, None, None].expand(envs, agents, 1)
    headings = torch.cat((object_yaw, robot_yaw[:, mate]), dim=2)
    angles = positive_angle(headings - robot_yaw.unsqueeze(2))
    poses = torch.cat((seen[:, :, 1:], angles.unsqueeze(-1)), dim=-1)
    return torch.cat((seen[:, :, 0], poses.flatten(2)), dim=-1)


def critic_obs(state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor) -> torch.Tensor:
    """Return the global state (E, share_obs_dim): goal and robots in the object's yaw frame, with velocities.

    Args:
      state: of E envs.
      goal_pos_w: (E, 3) [m].
      remaining_time: share of the episode that is left, (E,).
    """
    robot_yaw, object_yaw = yaw_of(state.robot_quat_w), yaw_of(state.object_quat_w)
    object_xy = state.object_pos_w[:, :2]
    planar = torch.cat(
        (
            (goal_pos_w[:, :2] - object_xy).unsqueeze(1),
            state.object_lin_vel_w[:, None, :2],
            state.robot_pos_w[..., :2] - object_xy.unsqueeze(1),
            state.robot_lin_vel_w[..., :2],
        ),
        dim=1,
    )
    planar = rotate_xy(planar, -object_yaw.unsqueeze(1))
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
    object_yaw_rate = rotate(state.object_quat_w, state.object_ang_vel_b)[:, 2:]
    return torch.cat((planar[:, :2].flatten(1), object_yaw_rate, robots.flatten(1), remaining_time.unsqueeze(1)), dim=1)
