"""What the walking task draws at random: initial states, commands, and the pushes and kicks that disturb the robot.

Random numbers are drawn for all E envs at once, so what an env gets does not depend on what the others need.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Tuple

import torch

from mapush.config import WalkConfig
from mapush.sim.geometry import constant, rotate
from mapush.sim.physics import STEP_DT, State

ROBOT_MASS = 12.74  # [kg]
YAW_INERTIA = 0.25  # turns the change of the yaw rate by a kick into a torque [kg m^2]
KICK_STEPS = 5  # env steps
PUSH_SHARE = 0.6  # share of the disturbances that are pushes
KICK_FROM = 0.85  # the share above this are kicks; between the two nothing disturbs
DISTURBANCE_S = (0.5, 6.0)  # how long a push, or none, is held [s]
AGAINST_SHARE = 0.6  # share of the pushes that come from ahead, at the front of the trunk
AGAINST_SPREAD = 0.5  # their direction is within this of the heading's opposite [rad]
FRONT = 0.29  # of the trunk's centre [m]
PUSH_HEIGHT = 0.05  # a push acts within this above or below the trunk's centre [m]
FIRST_PUSH = 0.25  # share of the largest push at the beginning of the training


SPAWN_SPEED = 0.3  # largest velocity along or about each axis at the start [m/s, rad/s]
JOINT_SCALE = (0.7, 1.3)  # of the default joint positions at the start


class Draws:
    """Uniform random numbers for E envs, all from one generator.

    Args:
      num_envs: E.
      generator: source of randomness, on the device of the numbers.
    """

    def __init__(self, num_envs: int, generator: torch.Generator) -> None:
        self.num_envs = num_envs
        self.generator = generator
        self.device = generator.device

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Return numbers in [low, high), (E, *shape) float32."""
        size = (self.num_envs,) + shape
        return low + (high - low) * torch.rand(size, generator=self.generator, device=self.device)

    def axis(self) -> torch.Tensor:
        """Return one of three axes per env as a one-hot row, (E, 3) float32."""
        index = torch.randint(3, (self.num_envs,), generator=self.generator, device=self.device)
        return torch.nn.functional.one_hot(index, 3).float()


class Disturbance(NamedTuple):
    """An external wrench on the trunk, and how long it is held.

    Attributes:
      force_w: [N], (E, 3).
      torque_w: [N m], (E, 3).
      hold: [env steps], (E,).
    """

    force_w: torch.Tensor
    torque_w: torch.Tensor
    hold: torch.Tensor


def draw_start(draws: Draws, default_joint_pos: torch.Tensor, height: Tuple[float, float]) -> State:
    """Draw an initial state for every env: level, near the default pose and slow, facing anywhere.

    Args:
      draws: source of randomness.
      default_joint_pos: [rad], (12,).
      height: range of the trunk's height [m].
    """
    yaw = draws.uniform(-math.pi, math.pi)
    position = torch.zeros(draws.num_envs, 1, 3, device=draws.device)
    position[:, 0, 2] = draws.uniform(*height)
    quat = torch.zeros(draws.num_envs, 1, 4, device=draws.device)
    quat[:, 0, 0], quat[:, 0, 3] = torch.cos(yaw / 2), torch.sin(yaw / 2)
    joint_pos = default_joint_pos * draws.uniform(*JOINT_SCALE, 1, len(default_joint_pos))
    velocity = draws.uniform(-SPAWN_SPEED, SPAWN_SPEED, 1, 6)
    return State(
        robot_pos_w=position,
        robot_quat_w=quat,
        robot_lin_vel_w=velocity[..., :3],
        robot_ang_vel_b=velocity[..., 3:],
        joint_pos=joint_pos,
        joint_vel=torch.zeros_like(joint_pos),
    )


def draw_commands(
    draws: Draws, config: WalkConfig, parked: torch.Tensor, chatter: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Draw a command for every env, and how long it is held.

    Args:
      draws: source of randomness.
      config: range, shares and durations.
      parked: 1 in an episode that stands throughout, else 0, (E,).
      chatter: 1 in an episode whose commands change quickly, else 0, (E,).

    Returns:
      v_x [m/s], v_y [m/s], omega_z [rad/s], (E, 3); env steps, (E,).
    """
    limits = constant(tuple(config.command_range), draws.device)
    command = draws.uniform(-1.0, 1.0, 3) * limits
    kind = draws.uniform(0.0, 1.0)
    axis = draws.axis()
    is_single = kind > 1.0 - config.single_axis_share
    command = torch.where(is_single.unsqueeze(1), command * axis, command)
    walks = (kind > config.standing_share) & (parked == 0)
    command = command * walks.float().unsqueeze(1)
    slow, fast = draws.uniform(*config.hold_s), draws.uniform(*config.chatter_hold_s)
    return command, torch.where(chatter > 0, fast, slow) / STEP_DT


def draw_disturbance(
    draws: Draws, config: WalkConfig, quat: torch.Tensor, calm: torch.Tensor, age: torch.Tensor
) -> Disturbance:
    """Draw a push, a kick or nothing for every env.

    Args:
      draws: source of randomness.
      config: sizes.
      quat: orientation of the trunk, (E, 4).
      calm: 1 in an episode without disturbances, else 0, (E,).
      age: env steps since the training began, (E,).
    """
    kind = draws.uniform(0.0, 1.0)
    disturbed = calm == 0
    is_push = disturbed & (kind < PUSH_SHARE)
    is_kick = disturbed & (kind > KICK_FROM)
    push_force, push_torque = _draw_push(draws, config, quat, age)
    kick_force, kick_torque = _draw_kick(draws, config)
    force = torch.where(is_push.unsqueeze(1), push_force, kick_force * is_kick.unsqueeze(1))
    torque = torch.where(is_push.unsqueeze(1), push_torque, kick_torque * is_kick.unsqueeze(1))
    kick_hold = torch.full_like(kind, float(KICK_STEPS))
    hold = torch.where(is_kick, kick_hold, draws.uniform(*DISTURBANCE_S) / STEP_DT)
    return Disturbance(force, torque, hold)


def _draw_kick(draws: Draws, config: WalkConfig) -> Tuple[torch.Tensor, torch.Tensor]:
    """Draw the force (E, 3) [N] and torque (E, 3) [N m] that change v_x, v_y and omega_z within `KICK_STEPS`."""
    acceleration = draws.uniform(-1.0, 1.0, 3) * config.kick / (KICK_STEPS * STEP_DT)
    force_xy = acceleration[:, :2] * ROBOT_MASS
    torque_z = acceleration[:, 2:] * YAW_INERTIA
    force = torch.cat((force_xy, torch.zeros_like(torque_z)), dim=1)
    torque = torch.cat((torch.zeros_like(force_xy), torque_z), dim=1)
    return force, torque


def _draw_push(
    draws: Draws, config: WalkConfig, quat: torch.Tensor, age: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Draw a horizontal force (E, 3) [N], mostly against the heading and at the front, and its torque [N m]."""
    ahead = rotate(quat, constant((1.0, 0.0, 0.0), draws.device).expand(draws.num_envs, 3))
    heading = torch.atan2(ahead[:, 1], ahead[:, 0])
    against = draws.uniform(0.0, 1.0) < AGAINST_SHARE
    from_ahead = math.pi + draws.uniform(-AGAINST_SPREAD, AGAINST_SPREAD)
    from_anywhere = draws.uniform(-math.pi, math.pi)
    angle = heading + torch.where(against, from_ahead, from_anywhere)
    ramp = (FIRST_PUSH + (1.0 - FIRST_PUSH) * age * STEP_DT / config.push_ramp_s).clamp(max=1.0)
    size = draws.uniform(0.0, 1.0).sqrt() * config.push_force * ramp
    force = torch.stack((size * torch.cos(angle), size * torch.sin(angle), torch.zeros_like(size)), dim=1)
    point = torch.zeros(draws.num_envs, 3, device=draws.device)
    point[:, 0] = FRONT * against.float()
    point[:, 2] = draws.uniform(-PUSH_HEIGHT, PUSH_HEIGHT)
    torque = torch.cross(rotate(quat, point), force, dim=1)
    torque[:, 2] += draws.uniform(-1.0, 1.0) * config.push_torque * ramp * (size > 0)
    return force, torque
