"""The walking task's reward, term by term.

Terms and weights are chosen from those of mjlab 1.6 and MuJoCo Playground for the same robot.
"""

from __future__ import annotations

import dataclasses
from typing import Dict

import torch

from mapush.sim.physics import STEP_DT

HEIGHT = 0.28  # height of a walking trunk [m]
CONTACT_HEIGHT = 0.03  # a foot whose centre is below this touches the floor [m]
STANDING_COMMAND = 0.05  # a command with a smaller |v_x| + |v_y| + |omega_z| means to stand
EXCUSING_FORCE = 20.0  # a push excuses errors from this size on, and fully at twice the size [N]
MAX_EXCUSED_SPEED = 0.3  # [m/s]
MAX_SLIP = 4.0  # largest squared speed of one foot that counts [m^2/s^2]

REWARD_WEIGHTS = {
    "linear_tracking": 1.5,
    "linear_precision": 1.0,
    "yaw_tracking": 0.75,
    "yaw_precision": 1.0,
    "heading_drift": -1.5,
    "stand_drift": 1.0,
    "upright": 0.5,
    "height": -100.0,
    "stand_still": 0.5,
    "vertical_velocity": -1.0,
    "tilt_rate": -0.04,
    "correction": -0.005,
    "action_rate": -0.01,
    "torque": -1e-4,
    "foot_slip": -0.1,
}


@dataclasses.dataclass(frozen=True)
class WalkMotion:
    """What the reward of one env step depends on, for E robots. The robot's frame is that of its trunk.

    Attributes:
      command: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (E, 3).
      velocity: of the trunk, in the robot's frame [m/s], (E, 3).
      spin: angular velocity of the trunk, in the robot's frame [rad/s], (E, 3).
      drift: mean error of v_x, v_y, omega_z over about the last second, (E, 3).
      gravity: direction of gravity in the robot's frame, (E, 3).
      height: of the trunk [m], (E,).
      joint_vel: [rad/s], (E, 12).
      torque: of the servos [N m], (E, 12).
      action: (E, 12).
      action_change: since the step before, (E, 12).
      push_xy: external force in the robot's frame [N], (E, 2).
      foot_pos_w: [m], (E, 4, 3).
      previous_foot_pos_w: one env step ago [m], (E, 4, 3).
      wanted_height: of the trunk [m].
    """

    command: torch.Tensor
    velocity: torch.Tensor
    spin: torch.Tensor
    drift: torch.Tensor
    gravity: torch.Tensor
    height: torch.Tensor
    joint_vel: torch.Tensor
    torque: torch.Tensor
    action: torch.Tensor
    action_change: torch.Tensor
    push_xy: torch.Tensor
    foot_pos_w: torch.Tensor
    previous_foot_pos_w: torch.Tensor
    wanted_height: float = HEIGHT


def compute(motion: WalkMotion) -> Dict[str, torch.Tensor]:
    """Return the weighted reward terms as rates [1/s], (E,) each, in the order of `REWARD_WEIGHTS`."""
    linear_error = _linear_error(motion)
    yaw_error = (motion.command[:, 2] - motion.spin[:, 2]).abs()
    stands = 1.0 - (motion.command.abs().sum(dim=1) > STANDING_COMMAND).float()
    terms = {
        "linear_tracking": torch.exp(-linear_error.square() / 0.25),
        "linear_precision": torch.exp(-linear_error.square() / 0.01),
        "yaw_tracking": torch.exp(-yaw_error.square() / 0.25),
        "yaw_precision": torch.exp(-yaw_error.square() / 0.02),
        "heading_drift": motion.drift[:, 2].abs(),
        "stand_drift": torch.exp(-motion.drift.square().sum(dim=1) / 5e-4) * stands,
        "upright": torch.exp(-motion.gravity[:, :2].square().sum(dim=1) / 0.05),
        "height": (motion.height - motion.wanted_height).square(),
        "stand_still": torch.exp(-motion.joint_vel.square().mean(dim=1) / 2.0) * stands,
        "vertical_velocity": motion.velocity[:, 2].square(),
        "tilt_rate": motion.spin[:, :2].square().sum(dim=1),
        "correction": motion.action.square().sum(dim=1),
        "action_rate": motion.action_change.square().sum(dim=1),
        "torque": motion.torque.square().sum(dim=1),
        "foot_slip": _slip(motion),
    }
    return {name: REWARD_WEIGHTS[name] * term for name, term in terms.items()}


def earned_in_a_step(terms: Dict[str, torch.Tensor]) -> torch.Tensor:
    """Return what each of N terms (E,), a rate [1/s], adds to the reward of one env step, (N, E, 1)."""
    earned = torch.stack(tuple(terms.values())) * STEP_DT
    return earned.unsqueeze(2)


def _linear_error(motion: WalkMotion) -> torch.Tensor:
    """Return |commanded - actual| planar velocity [m/s], (E,), less what a strong push excuses.

    A strong push excuses being carried along it: the part of the error that points against the force is taken out, up
    to a speed that grows with the force.
    """
    error = motion.command[:, :2] - motion.velocity[:, :2]
    size = motion.push_xy.norm(dim=1, keepdim=True)
    along = motion.push_xy / size.clamp(min=1e-6)
    carried = -(error * along).sum(dim=1, keepdim=True)
    strength = ((size - EXCUSING_FORCE) / EXCUSING_FORCE).clamp(0.0, 1.0)
    excused = torch.minimum(carried.clamp(min=0.0), MAX_EXCUSED_SPEED * strength)
    return (error + excused * along).norm(dim=1)


def _slip(motion: WalkMotion) -> torch.Tensor:
    """Return the squared planar speed of the feet on the floor [m^2/s^2], summed, (E,)."""
    shift = (motion.foot_pos_w - motion.previous_foot_pos_w)[..., :2]
    speed = shift.norm(dim=-1) / STEP_DT
    contact = motion.foot_pos_w[..., 2] < CONTACT_HEIGHT
    return (speed.square().clamp(max=MAX_SLIP) * contact).sum(dim=1)
