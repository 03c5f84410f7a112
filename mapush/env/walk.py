"""The walking task: one robot follows velocity commands while it is pushed, kicked and loaded.

What it trains becomes the frozen low level of the pushing task, so it asks what pushing asks: commands that change at
every step, sustained forces at the front of the trunk, standing still on a zero command, and a level trunk.
Reward terms and weights are chosen from those of mjlab 1.6 and MuJoCo Playground for the same robot.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, Tuple

import torch

from mapush.config import WalkConfig
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.sim.gait import foot_positions_b
from mapush.sim.geometry import constant, gravity_b, rotate, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import STEP_DT, Physics, State
from mapush.sim.walking import (
    ACTION_LIMIT,
    MEMORY_DIM,
    NUM_JOINTS,
    OBS_DIM,
    joint_targets,
    remember,
    settle,
    walking_obs,
)
from mapush.spec import TensorSpec

EPISODE_STEPS = 1000  # 20 s
CONTACT_HEIGHT = 0.03  # a foot's centre below this touches the floor [m]
FALL_TILT = math.cos(math.radians(70.0))
FALL_HEIGHT = 0.15  # [m]
HEIGHT = 0.28  # of a walking trunk [m]
ROBOT_MASS = 12.74  # [kg]
KICK_STEPS = 5
PRIVILEGED_DIM = 3 + 3 + 4 + 4  # force, torque, foot heights, foot contacts

JOINT_SERVOS = tuple(SERVOS[joint] for joint in ("hip", "thigh", "calf")) * 4

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
_OF_ROBOT = ("robot_pos_w", "robot_quat_w", "robot_lin_vel_w", "robot_ang_vel_b", "joint_pos", "joint_vel")


class WalkEnv(VecEnv):
    """One robot per env on a flat floor; see the module's docstring.

    Args:
      physics: one robot per env, no object.
      config: commands and disturbances.
      seed: of commands, disturbances and resets.
    """

    steps_per_decision = 1
    max_episode_length = EPISODE_STEPS

    def __init__(self, physics: Physics, config: WalkConfig, seed: int) -> None:
        self.physics = physics
        self.config = config
        self.num_envs, self.num_agents, self.device = physics.num_envs, 1, physics.device
        self.simulator_name = physics.name
        dims = (self.num_envs, 1)
        axes = ("num_envs", "num_agents")
        self.obs_spec = TensorSpec("obs", axes + ("obs_dim",), dims + (OBS_DIM,))
        share_dim = OBS_DIM + PRIVILEGED_DIM
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (self.num_envs, share_dim))
        self.action_spec = TensorSpec("actions", axes + ("joints",), dims + (12,))
        names = ("fall", "length", "return", "linear_error", "yaw_error")
        self.metrics = EpisodeMetrics(names, self.num_envs, self.device)
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        self._default = constant(DEFAULT_JOINT_POS, self.device)
        self._kp = constant(tuple(servo.stiffness for servo in JOINT_SERVOS), self.device)
        self._kd = constant(tuple(servo.damping for servo in JOINT_SERVOS), self.device)
        self._effort = constant(tuple(servo.effort for servo in JOINT_SERVOS), self.device)
        self._allocate()

    def _allocate(self) -> None:
        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros((self.num_envs,) + shape, device=self.device)

        self._buffers = {
            "age": zeros(),  # env steps since the training began
            "length": zeros(),
            "return": zeros(),
            "linear_error": zeros(),
            "yaw_error": zeros(),
            "drift": zeros(3),  # mean error of v_x, v_y, omega_z over about the last second
            "command": zeros(3),
            "command_left": zeros(),
            "chatter": zeros(),  # 1 in an episode of chatter, as the next two
            "parked": zeros(),
            "calm": zeros(),
            "force_w": zeros(1, 3),
            "torque_w": zeros(1, 3),
            "disturbance_left": zeros(),
            "memory": zeros(1, MEMORY_DIM),
            "foot_pos_w": zeros(4, 3),
        }

    # -- the interface ---------------------------------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start a new episode in every env, at different ages so that they do not end together."""
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reset(everyone)
        self._buffers["length"] = torch.floor(self._uniform(0.0, EPISODE_STEPS - 1.0))
        return self._observe(self.physics.state())

    def step(self, actions: torch.Tensor) -> Transition:
        """Servo the joints towards `actions` (E, 1, 12) for one env step; see `VecEnv.step`."""
        if self.device.type == "cpu":
            self.action_spec.validate(actions, "WalkEnv.step")
        else:  # what is not finite makes the physics so, which `check` finds
            self.action_spec.validate_form(actions, "WalkEnv.step")
        buffers = self._buffers
        action = actions.detach().clamp(-ACTION_LIMIT, ACTION_LIMIT)
        self._disturb()
        targets = joint_targets(action, buffers["command"].unsqueeze(1), buffers["memory"])
        state = self.physics.step(targets)
        buffers["age"] += 1
        buffers["length"] += 1
        terms = self._rewards(state, action, targets)
        reward = functools.reduce(torch.add, terms.values()) * STEP_DT
        buffers["return"] += reward
        buffers["memory"] = remember(action, buffers["memory"])
        terminated = (gravity_b(state.robot_quat_w)[:, 0, 2] > -FALL_TILT) | (state.robot_pos_w[:, 0, 2] < FALL_HEIGHT)
        truncated = (buffers["length"] >= EPISODE_STEPS) & ~terminated
        done = terminated | truncated
        outcome = self._outcome(terminated)
        self.metrics.add_step({name: term.unsqueeze(1) for name, term in terms.items()})
        self.metrics.add_episodes(done, outcome)
        buffers["command_left"] -= 1
        self._recommand(buffers["command_left"] <= 0)
        buffers["memory"] = settle(state, buffers["command"].unsqueeze(1), buffers["memory"])
        final = self._observe(state)
        observation = final
        if self.device.type != "cpu" or bool(done.any()):  # a GPU is not asked, because the host would wait
            self._reset(done)
            observation = self._observe(self.physics.state())
        return Transition(
            observation=observation,
            reward=reward.unsqueeze(1),
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
            outcome=outcome,
            terms=_earned_in_a_step(terms),
        )

    def state_dict(self) -> Dict[str, Any]:
        """See `VecEnv.state_dict`."""
        return {
            "physics": self.physics.state_dict(),
            "buffers": {name: value.clone() for name, value in self._buffers.items()},
            "generator": self._generator.get_state(),
            "metrics": self.metrics.state_dict(),
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """See `VecEnv.load_state_dict`."""
        self.physics.load_state_dict(state["physics"])
        self._buffers = {name: value.to(self.device, copy=True) for name, value in state["buffers"].items()}
        self._generator.set_state(state["generator"].cpu())
        self.metrics.load_state_dict(state["metrics"])

    def moment(self) -> Dict[str, torch.Tensor]:
        """See `VecEnv.moment`."""
        state = self.physics.state()
        values = {name: getattr(state, name) for name in _OF_ROBOT}
        return dict(values, **{"buffer/" + name: value for name, value in self._buffers.items()})

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """See `VecEnv.place`."""
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.physics.reset(everyone, State(*(moment[name] for name in _OF_ROBOT)))
        self._buffers = {name: moment["buffer/" + name].clone() for name in self._buffers}
        self.physics.push(self._buffers["force_w"], self._buffers["torque_w"])

    def check(self) -> Dict[str, float]:
        """See `VecEnv.check`."""
        return self.physics.check()

    def close(self) -> None:
        """See `VecEnv.close`."""
        self.physics.close()

    # -- resets, commands, disturbances ----------------------------------------------------------------------------

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        size = (self.num_envs,) + shape
        return low + (high - low) * torch.rand(size, generator=self._generator, device=self.device)

    def _reset(self, done: torch.Tensor) -> None:
        yaw = self._uniform(-math.pi, math.pi)
        position = torch.zeros(self.num_envs, 1, 3, device=self.device)
        position[:, 0, 2] = self._uniform(0.30, 0.43)
        quat = torch.zeros(self.num_envs, 1, 4, device=self.device)
        quat[:, 0, 0], quat[:, 0, 3] = torch.cos(yaw / 2), torch.sin(yaw / 2)
        joint_pos = self._default * self._uniform(0.7, 1.3, 1, 12)
        velocity = self._uniform(-0.3, 0.3, 1, 6)
        state = State(position, quat, velocity[..., :3], velocity[..., 3:], joint_pos, torch.zeros_like(joint_pos))
        self.physics.reset(done, state)
        keep = (~done).float()
        for name, value in self._buffers.items():
            if name != "age":
                value.mul_(keep.view((-1,) + (1,) * (value.dim() - 1)))
        for kind in ("chatter", "parked", "calm"):
            drawn = (self._uniform(0.0, 1.0) < getattr(self.config, kind + "_share")).float()
            self._buffers[kind] = torch.where(done, drawn, self._buffers[kind])
        each = done.view(-1, 1, 1)
        self._buffers["foot_pos_w"] = torch.where(each, self._foot_positions_w(state), self._buffers["foot_pos_w"])
        self._recommand(done)
        command, memory = self._buffers["command"].unsqueeze(1), self._buffers["memory"]
        self._buffers["memory"] = torch.where(each, settle(state, command, memory), memory)

    def _recommand(self, expired: torch.Tensor) -> None:
        """Draw a new command, and for how long to hold it, where the old one has `expired` (E,)."""
        config, buffers = self.config, self._buffers
        limits = constant(tuple(config.command_range), self.device)
        command = self._uniform(-1.0, 1.0, 3) * limits
        kind = self._uniform(0.0, 1.0)
        axis = torch.randint(3, (self.num_envs,), generator=self._generator, device=self.device)
        single = torch.nn.functional.one_hot(axis, 3).float()
        is_single = kind > 1.0 - config.single_axis_share
        command = torch.where(is_single.unsqueeze(1), command * single, command)
        walks = (kind > config.standing_share) & (buffers["parked"] == 0)
        command = command * walks.float().unsqueeze(1)
        slow, fast = self._uniform(*config.hold_s), self._uniform(*config.chatter_hold_s)
        hold = torch.where(buffers["chatter"] > 0, fast, slow) / STEP_DT
        buffers["command"] = torch.where(expired.unsqueeze(1), command, buffers["command"])
        buffers["command_left"] = torch.where(expired, hold, buffers["command_left"])

    def _disturb(self) -> None:
        buffers = self._buffers
        buffers["disturbance_left"] -= 1
        expired = buffers["disturbance_left"] <= 0
        kind = self._uniform(0.0, 1.0)
        disturbed = buffers["calm"] == 0
        is_push, is_kick = disturbed & (kind < 0.6), disturbed & (kind > 0.85)
        push_force, push_torque = self._draw_push()
        kick = self._uniform(-1.0, 1.0, 3) * self.config.kick / (KICK_STEPS * STEP_DT)
        kick_force = torch.cat((kick[:, :2] * ROBOT_MASS, torch.zeros_like(kick[:, :1])), dim=1)
        kick_torque = torch.cat((torch.zeros_like(kick[:, :2]), kick[:, 2:] * 0.25), dim=1)
        force = torch.where(is_push.unsqueeze(1), push_force, kick_force * is_kick.unsqueeze(1))
        torque = torch.where(is_push.unsqueeze(1), push_torque, kick_torque * is_kick.unsqueeze(1))
        hold = torch.where(is_kick, torch.full_like(kind, float(KICK_STEPS)), self._uniform(0.5, 6.0) / STEP_DT)
        renew = expired.view(-1, 1, 1)
        buffers["force_w"] = torch.where(renew, force.unsqueeze(1), buffers["force_w"])
        buffers["torque_w"] = torch.where(renew, torque.unsqueeze(1), buffers["torque_w"])
        buffers["disturbance_left"] = torch.where(expired, hold, buffers["disturbance_left"])
        self.physics.push(buffers["force_w"], buffers["torque_w"])

    def _draw_push(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """Draw a horizontal force, mostly against the heading and at the front, and its torque (world frame)."""
        quat = self.physics.state().robot_quat_w[:, 0]
        ahead = rotate(quat, constant((1.0, 0.0, 0.0), self.device).expand(self.num_envs, 3))
        heading = torch.atan2(ahead[:, 1], ahead[:, 0])
        against = self._uniform(0.0, 1.0) < 0.6
        angle = heading + torch.where(against, math.pi + self._uniform(-0.5, 0.5), self._uniform(-math.pi, math.pi))
        ramp = (0.25 + 0.75 * self._buffers["age"] * STEP_DT / self.config.push_ramp_s).clamp(max=1.0)
        size = self._uniform(0.0, 1.0).sqrt() * self.config.push_force * ramp
        force = torch.stack((size * torch.cos(angle), size * torch.sin(angle), torch.zeros_like(size)), dim=1)
        point = torch.zeros(self.num_envs, 3, device=self.device)
        point[:, 0] = 0.29 * against.float()
        point[:, 2] = self._uniform(-0.05, 0.05)
        torque = torch.cross(rotate(quat, point), force, dim=1)
        torque[:, 2] += self._uniform(-1.0, 1.0) * self.config.push_torque * ramp * (size > 0)
        return force, torque

    # -- what is seen and earned -----------------------------------------------------------------------------------

    def _foot_positions_w(self, state: State) -> torch.Tensor:
        feet = foot_positions_b(state.joint_pos[:, 0])
        quat = state.robot_quat_w.expand(-1, 4, 4)
        return rotate(quat, feet) + state.robot_pos_w

    def _observe(self, state: State) -> Observation:
        buffers = self._buffers
        obs = walking_obs(state, buffers["command"].unsqueeze(1), buffers["memory"])
        height = buffers["foot_pos_w"][..., 2]
        quat = state.robot_quat_w[:, 0]
        privileged = (
            rotate_inverse(quat, buffers["force_w"][:, 0]) / 20.0,
            rotate_inverse(quat, buffers["torque_w"][:, 0]) / 5.0,
            height * 10.0,
            (height < CONTACT_HEIGHT).float(),
        )
        return Observation(obs, torch.cat((obs[:, 0],) + privileged, dim=1))

    def _outcome(self, terminated: torch.Tensor) -> Dict[str, torch.Tensor]:
        buffers = self._buffers
        return {
            "fall": terminated,
            "length": buffers["length"].clone(),
            "return": buffers["return"].clone(),
            "linear_error": buffers["linear_error"] / buffers["length"],
            "yaw_error": buffers["yaw_error"] / buffers["length"],
        }

    def _rewards(self, state: State, action: torch.Tensor, targets: torch.Tensor) -> Dict[str, torch.Tensor]:
        """Return the weighted terms of this step, each (E,), and update what they remember."""
        buffers, command = self._buffers, self._buffers["command"]
        velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[:, 0]
        spin = state.robot_ang_vel_b[:, 0]
        linear_error = self._linear_error(state, velocity)
        yaw_error = (command[:, 2] - spin[:, 2]).abs()
        drift = command - torch.cat((velocity[:, :2], spin[:, 2:]), dim=1)
        buffers["drift"] += STEP_DT * (drift - buffers["drift"])
        buffers["linear_error"] += (command[:, :2] - velocity[:, :2]).norm(dim=1)
        buffers["yaw_error"] += yaw_error
        moving = (command.abs().sum(dim=1) > 0.05).float()
        joint_pos, joint_vel = state.joint_pos[:, 0], state.joint_vel[:, 0]
        torque = (targets[:, 0] - joint_pos) * self._kp - joint_vel * self._kd
        torque = torch.minimum(torch.maximum(torque, -self._effort), self._effort)
        terms = {
            "linear_tracking": torch.exp(-linear_error.square() / 0.25),
            "linear_precision": torch.exp(-linear_error.square() / 0.01),
            "yaw_tracking": torch.exp(-yaw_error.square() / 0.25),
            "yaw_precision": torch.exp(-yaw_error.square() / 0.02),
            "heading_drift": buffers["drift"][:, 2].abs(),
            "stand_drift": torch.exp(-buffers["drift"].square().sum(dim=1) / 5e-4) * (1.0 - moving),
            "upright": torch.exp(-gravity_b(state.robot_quat_w)[:, 0, :2].square().sum(dim=1) / 0.05),
            "height": (state.robot_pos_w[:, 0, 2] - HEIGHT).square(),
            "stand_still": torch.exp(-joint_vel.square().mean(dim=1) / 2.0) * (1.0 - moving),
            "vertical_velocity": velocity[:, 2].square(),
            "tilt_rate": spin[:, :2].square().sum(dim=1),
            "correction": action[:, 0].square().sum(dim=1),
            "action_rate": (action - buffers["memory"][..., :NUM_JOINTS])[:, 0].square().sum(dim=1),
            "torque": torque.square().sum(dim=1),
        }
        terms["foot_slip"] = self._slip(state)
        return {name: REWARD_WEIGHTS[name] * term for name, term in terms.items()}

    def _linear_error(self, state: State, velocity: torch.Tensor) -> torch.Tensor:
        """Return |commanded - actual| planar velocity [m/s], (E,), less what a strong push excuses."""
        error = self._buffers["command"][:, :2] - velocity[:, :2]
        force = rotate_inverse(state.robot_quat_w, self._buffers["force_w"])[:, 0, :2]
        size = force.norm(dim=1, keepdim=True)
        along = force / size.clamp(min=1e-6)
        carried = -(error * along).sum(dim=1, keepdim=True)
        excused = torch.minimum(carried.clamp(min=0.0), 0.3 * ((size - 20.0) / 20.0).clamp(0.0, 1.0))
        return (error + excused * along).norm(dim=1)

    def _slip(self, state: State) -> torch.Tensor:
        """Return the squared planar speed of the feet on the floor [m^2/s^2], summed, (E,)."""
        feet = self._foot_positions_w(state)
        speed = (feet - self._buffers["foot_pos_w"])[..., :2].norm(dim=-1) / STEP_DT
        contact = feet[..., 2] < CONTACT_HEIGHT
        self._buffers["foot_pos_w"] = feet
        return (speed.square().clamp(max=4.0) * contact).sum(dim=1)


def _earned_in_a_step(terms: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Return what each term (E,), a rate [1/s], adds to the reward of one env step, (E, 1)."""
    earned = torch.stack(tuple(terms.values())) * STEP_DT
    return dict(zip(terms, earned.unsqueeze(2)))
