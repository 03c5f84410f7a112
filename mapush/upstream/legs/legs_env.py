"""The walking task on MAPush's Go1, whose policy sees only what MAPush's low level shows it."""

from __future__ import annotations

import math

import torch

from mapush.config import WalkConfig
from mapush.env import walk
from mapush.env.walk import WalkEnv
from mapush.sim.geometry import constant, gravity_b, rotate_inverse
from mapush.sim.physics import Randomization, State
from mapush.upstream.legs import legs_body as body
from mapush.upstream.legs.legs_physics import LegsPhysics

VELOCITY_GAIN, SPIN_GAIN = 2.0, 0.5  # bring what the critic sees to order 1
_FOOT_PHASES = (0.5, 0.0, 0.0, 0.5)  # of FL, FR, RL and RR in a trot


class LegsEnv(WalkEnv):
    """One of MAPush's robots per env on a flat floor.

    An action corrects the trot of `legs_body`. The policy sees the frames of MAPush's low level, with the flaws of the
    first ones after a reset: clocks and actions of the episode before. The critic also sees velocities, the external
    wrench and the feet.

    Shapes, for E envs: actions (E, 1, 12); obs (E, 1, OBS_DIM); reward (E, 1).

    Args:
      physics: the robots.
      config: commands and disturbances.
      seed: seeds commands, disturbances and initial states.
    """

    obs_dim = body.OBS_DIM
    privileged_dim = walk.PRIVILEGED_DIM + 6
    spawn_height = (0.36, 0.46)
    walking_height = 0.30
    first_phase = (0.0, 0.0)
    kept_buffers = ("age", "clock", "actions")
    recorded = False  # the reward reads the torques of the physics, which are new tensors after each step

    physics: LegsPhysics

    def __init__(self, physics: LegsPhysics, config: WalkConfig, seed: int) -> None:
        super().__init__(physics, config, seed)
        self._default = constant(tuple(body.DEFAULT_JOINT_POS[joint] for joint in body.OTHER_ORDER), self.device)

    def _allocate(self) -> None:
        super()._allocate()

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros((self.num_envs,) + shape, device=self.device)

        self._buffers["frames"] = zeros(body.NUM_FRAMES, body.FRAME_DIM)
        self._buffers["clock"] = zeros()  # phase of the gait that the clocks show
        self._buffers["actions"] = zeros(2, body.NUM_JOINTS)  # the last and the one before, in MAPush's units

    def _targets(self, action: torch.Tensor) -> torch.Tensor:
        actions = self._buffers["actions"]
        acted = body.act(self._buffers["frames"], action[:, 0])
        self._buffers["actions"] = torch.stack((acted, actions[:, 0]), dim=1)
        return body.joint_targets(acted).unsqueeze(1)

    def _remember(self, action: torch.Tensor) -> None:
        super()._remember(action)
        buffers = self._buffers
        buffers["clock"] = buffers["memory"][:, 0, walk.NUM_JOINTS].clone()
        buffers["frames"] = buffers["frames"].roll(-1, dims=1)

    def _policy_obs(self, state: State) -> torch.Tensor:
        frames = self._buffers["frames"]
        frames[:, -1] = self.frame(state)
        return body.observe(frames).unsqueeze(1)

    def frame(self, state: State) -> torch.Tensor:
        """Return what MAPush's low level sees of the present step, (E, 70)."""
        buffers, device = self._buffers, self.device
        feet = buffers["clock"].unsqueeze(1) + constant(_FOOT_PHASES, device)
        order = body.other_order(device)
        joint_pos = state.joint_pos[:, 0, order] - constant(body.DEFAULT_JOINT_POS, device)
        return torch.cat(
            (
                gravity_b(state.robot_quat_w)[:, 0],
                buffers["command"] * constant(body.COMMAND_SCALE, device),
                constant(body.SETTINGS, device).expand(self.num_envs, -1),
                joint_pos,
                state.joint_vel[:, 0, order] * body.JOINT_VEL_SCALE,
                buffers["actions"].flatten(1),
                torch.sin(2.0 * math.pi * feet),
            ),
            dim=1,
        )

    def _privileged(self, state: State) -> torch.Tensor:
        velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[:, 0] * VELOCITY_GAIN
        spin = state.robot_ang_vel_b[:, 0] * SPIN_GAIN
        return torch.cat((super()._privileged(state), velocity, spin), dim=1)

    def _servo_torque(self, state: State, targets: torch.Tensor) -> torch.Tensor:
        return self.physics.torques


def randomization_of(config: WalkConfig) -> Randomization:
    """Return what differs from env to env."""
    return Randomization(config.foot_friction, config.payload, config.com_shift, config.motor_strength)
