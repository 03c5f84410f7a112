"""The walking task: one robot follows velocity commands while it is pushed, kicked and loaded.

What it trains becomes the frozen low level of the pushing task, so it asks what pushing asks: commands that change at
every step, sustained forces at the front of the trunk, standing still on a zero command, and a level trunk.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, Tuple

import torch

from mapush.config import WalkConfig
from mapush.env import walk_draws, walk_rewards
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.env.walk_draws import Draws
from mapush.env.walk_rewards import CONTACT_HEIGHT, WalkMotion
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

EPISODE_STEPS = 1000  # [env steps], 20 s
FALL_TILT = math.cos(math.radians(70.0))  # cosine of the tilt beyond which a robot has fallen
FALL_HEIGHT = 0.15  # a robot whose trunk is lower has fallen [m]
SPAWN_HEIGHT = (0.30, 0.43)  # of the trunk [m]
SPAWN_SPEED = 0.3  # largest velocity along or about each axis [m/s, rad/s]
JOINT_SCALE = (0.7, 1.3)  # of the default joint positions
PRIVILEGED_DIM = 3 + 3 + 4 + 4  # force, torque, foot heights, foot contacts
FORCE_SCALE, TORQUE_SCALE = 20.0, 5.0  # the critic sees the wrench in these units [N, N m]
FOOT_HEIGHT_GAIN = 10.0  # and the heights of the feet times this [1/m]
OUTCOMES = ("fall", "length", "return", "linear_error", "yaw_error")

JOINT_SERVOS = tuple(SERVOS[joint] for joint in ("hip", "thigh", "calf")) * 4
_ROBOT_FIELDS = ("robot_pos_w", "robot_quat_w", "robot_lin_vel_w", "robot_ang_vel_b", "joint_pos", "joint_vel")


class WalkEnv(VecEnv):
    """One robot per env on a flat floor; see the module's docstring.

    An action corrects the joint targets of a trot; `mapush.sim.walking` defines action and observation, because the
    trained policy acts through them. The critic also sees the external wrench and the feet.

    Shapes, for E envs: actions (E, 1, 12); obs (E, 1, 50); share_obs (E, 64); reward (E, 1).

    `Transition.outcome` holds, for each ended episode, `fall`, `length` [env steps], `return`, and the mean
    `linear_error` [m/s] and `yaw_error` [rad/s].

    Args:
      physics: one robot per env, no object.
      config: commands and disturbances.
      seed: seeds commands, disturbances and initial states.
    """

    steps_per_decision = 1
    max_episode_length = EPISODE_STEPS
    obs_dim = OBS_DIM
    privileged_dim = PRIVILEGED_DIM
    spawn_height = SPAWN_HEIGHT
    walking_height = walk_rewards.HEIGHT
    kept_buffers: Tuple[str, ...] = ("age",)  # what a reset leaves as it is

    def __init__(self, physics: Physics, config: WalkConfig, seed: int) -> None:
        self.physics = physics
        self.config = config
        self.num_envs = physics.num_envs
        self.num_agents = 1
        self.device = physics.device
        self.simulator_name = physics.name
        self._declare_specs()
        self.metrics = EpisodeMetrics(OUTCOMES, self.num_envs, self.device)
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        self._draws = Draws(self.num_envs, self._generator)
        self._default = constant(DEFAULT_JOINT_POS, self.device)
        self._kp = constant(tuple(servo.stiffness for servo in JOINT_SERVOS), self.device)
        self._kd = constant(tuple(servo.damping for servo in JOINT_SERVOS), self.device)
        self._effort = constant(tuple(servo.effort for servo in JOINT_SERVOS), self.device)
        self._allocate()

    def _declare_specs(self) -> None:
        axes, sizes = ("num_envs", "num_agents"), (self.num_envs, 1)
        self.obs_spec = TensorSpec("obs", axes + ("obs_dim",), sizes + (self.obs_dim,))
        share_sizes = (self.num_envs, self.obs_dim + self.privileged_dim)
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), share_sizes)
        self.action_spec = TensorSpec("actions", axes + ("joints",), sizes + (NUM_JOINTS,))

    def _allocate(self) -> None:
        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros((self.num_envs,) + shape, device=self.device)

        self._buffers = {
            "age": zeros(),  # env steps since the training began
            "length": zeros(),  # env steps of the episode
            "return": zeros(),
            "linear_error": zeros(),  # summed over the episode [m/s]
            "yaw_error": zeros(),  # summed over the episode [rad/s]
            "drift": zeros(3),  # mean error of v_x, v_y, omega_z over about the last second
            "command": zeros(3),  # v_x [m/s], v_y [m/s], omega_z [rad/s]
            "command_left": zeros(),  # env steps until the next command
            "chatter": zeros(),  # 1 in an episode whose commands change quickly, else 0
            "parked": zeros(),  # 1 in an episode that stands throughout, else 0
            "calm": zeros(),  # 1 in an episode without disturbances, else 0
            "force_w": zeros(1, 3),  # [N]
            "torque_w": zeros(1, 3),  # [N m]
            "disturbance_left": zeros(),  # env steps until the next disturbance
            "memory": zeros(1, MEMORY_DIM),  # of the walking policy
            "foot_pos_w": zeros(4, 3),  # one env step ago [m]
        }

    # -- the interface -----------------------------------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start a new episode in every env, at different ages so that they do not end together; see `VecEnv.reset`."""
        self._reset(self._every_env())
        self._buffers["length"] = torch.floor(self._draws.uniform(0.0, EPISODE_STEPS - 1.0))
        return self._observe(self.physics.state())

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for one env step; see `VecEnv.step`.

        Args:
          actions: corrections of the joint targets, (E, 1, 12) float32, clipped to plus or minus 6; never modified.

        Raises:
          SpecError: `actions` has a different shape or type.
          NonFiniteError: an action is NaN or infinite.
          SimulatorError: the physics of an env diverged; on a GPU, `check` raises it.
        """
        self._require_valid(actions)
        buffers = self._buffers
        action = actions.detach().clamp(-ACTION_LIMIT, ACTION_LIMIT)
        self._disturb()
        targets = self._targets(action)
        state = self.physics.step(targets)
        buffers["age"] += 1
        buffers["length"] += 1
        terms = self._rewards(state, action, targets)
        reward = functools.reduce(torch.add, terms.values()) * STEP_DT
        buffers["return"] += reward
        self._remember(action)
        terminated = _has_fallen(state)
        truncated = (buffers["length"] >= EPISODE_STEPS) & ~terminated
        done = terminated | truncated
        outcome = self._outcome(terminated)
        self.metrics.add_step({name: term.unsqueeze(1) for name, term in terms.items()})
        self.metrics.add_episodes(done, outcome)
        buffers["command_left"] -= 1
        self._recommand(buffers["command_left"] <= 0)
        buffers["memory"] = settle(state, buffers["command"].unsqueeze(1), buffers["memory"])
        final = observation = self._observe(state)
        if self.device.type != "cpu" or bool(done.any()):  # reading `done` would make the host wait for a GPU
            self._reset(done)
            observation = self._observe(self.physics.state())
        return Transition(
            observation=observation,
            reward=reward.unsqueeze(1),
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
            outcome=outcome,
            terms=walk_rewards.earned_in_a_step(terms),
        )

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs; see `VecEnv.state_dict`."""
        return {
            "physics": self.physics.state_dict(),
            "buffers": {name: value.clone() for name, value in self._buffers.items()},
            "generator": self._generator.get_state(),
            "metrics": self.metrics.state_dict(),
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.physics.load_state_dict(state["physics"])
        self._buffers = {name: value.to(self.device, copy=True) for name, value in state["buffers"].items()}
        self._generator.set_state(state["generator"].cpu())
        self.metrics.load_state_dict(state["metrics"])

    def moment(self) -> Dict[str, torch.Tensor]:
        """Return the physical state and what the present episodes have added up; see `VecEnv.moment`."""
        state = self.physics.state()
        moment = {name: getattr(state, name) for name in _ROBOT_FIELDS}
        for name, value in self._buffers.items():
            moment["buffer/" + name] = value
        return moment

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """Put every env where it was at `moment`; see `VecEnv.place`."""
        state = State(**{name: moment[name] for name in _ROBOT_FIELDS})
        self.physics.reset(self._every_env(), state)
        self._buffers = {name: moment["buffer/" + name].clone() for name in self._buffers}
        self.physics.push(self._buffers["force_w"], self._buffers["torque_w"])

    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; see `VecEnv.check`."""
        return self.physics.check()

    def close(self) -> None:
        """Release the physics; further calls do nothing."""
        self.physics.close()

    # -- resets, commands, disturbances ------------------------------------------------------------------------------

    def _every_env(self) -> torch.Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _require_valid(self, actions: torch.Tensor) -> None:
        if self.device.type == "cpu":
            self.action_spec.validate(actions, "WalkEnv.step")
        else:  # an action that is not finite makes the physics so, which `check` finds
            self.action_spec.validate_form(actions, "WalkEnv.step")

    def _reset(self, done: torch.Tensor) -> None:
        """Start a new episode in the envs of the mask `done` (E,)."""
        buffers = self._buffers
        state = self._draw_start()
        self.physics.reset(done, state)
        keep = (~done).float()
        for name, value in buffers.items():
            if name not in self.kept_buffers:
                value.mul_(keep.view((-1,) + (1,) * (value.dim() - 1)))
        config = self.config
        for kind, share in (
            ("chatter", config.chatter_share),
            ("parked", config.parked_share),
            ("calm", config.calm_share),
        ):
            drawn = (self._draws.uniform(0.0, 1.0) < share).float()
            buffers[kind] = torch.where(done, drawn, buffers[kind])
        each = done.view(-1, 1, 1)
        buffers["foot_pos_w"] = torch.where(each, _foot_positions_w(state), buffers["foot_pos_w"])
        self._recommand(done)
        settled = settle(state, buffers["command"].unsqueeze(1), buffers["memory"])
        buffers["memory"] = torch.where(each, settled, buffers["memory"])

    def _draw_start(self) -> State:
        """Draw an initial state for every env: level, near the default pose and slow, facing anywhere."""
        draws = self._draws
        yaw = draws.uniform(-math.pi, math.pi)
        position = torch.zeros(self.num_envs, 1, 3, device=self.device)
        position[:, 0, 2] = draws.uniform(*self.spawn_height)
        quat = torch.zeros(self.num_envs, 1, 4, device=self.device)
        quat[:, 0, 0], quat[:, 0, 3] = torch.cos(yaw / 2), torch.sin(yaw / 2)
        joint_pos = self._default * draws.uniform(*JOINT_SCALE, 1, NUM_JOINTS)
        velocity = draws.uniform(-SPAWN_SPEED, SPAWN_SPEED, 1, 6)
        return State(
            robot_pos_w=position,
            robot_quat_w=quat,
            robot_lin_vel_w=velocity[..., :3],
            robot_ang_vel_b=velocity[..., 3:],
            joint_pos=joint_pos,
            joint_vel=torch.zeros_like(joint_pos),
        )

    def _recommand(self, expired: torch.Tensor) -> None:
        """Draw a new command, and how long it is held, in the envs of the mask `expired` (E,)."""
        buffers = self._buffers
        command, hold = walk_draws.draw_commands(self._draws, self.config, buffers["parked"], buffers["chatter"])
        buffers["command"] = torch.where(expired.unsqueeze(1), command, buffers["command"])
        buffers["command_left"] = torch.where(expired, hold, buffers["command_left"])

    def _disturb(self) -> None:
        """Draw a new disturbance where the last one has expired, and apply all of them."""
        buffers = self._buffers
        buffers["disturbance_left"] -= 1
        expired = buffers["disturbance_left"] <= 0
        quat = self.physics.state().robot_quat_w[:, 0]
        drawn = walk_draws.draw_disturbance(self._draws, self.config, quat, buffers["calm"], buffers["age"])
        renew = expired.view(-1, 1, 1)
        buffers["force_w"] = torch.where(renew, drawn.force_w.unsqueeze(1), buffers["force_w"])
        buffers["torque_w"] = torch.where(renew, drawn.torque_w.unsqueeze(1), buffers["torque_w"])
        buffers["disturbance_left"] = torch.where(expired, drawn.hold, buffers["disturbance_left"])
        self.physics.push(buffers["force_w"], buffers["torque_w"])

    def _targets(self, action: torch.Tensor) -> torch.Tensor:
        """Return the set points of the servos [rad], (E, 1, 12), for the clipped `action` (E, 1, 12)."""
        return joint_targets(action, self._buffers["command"].unsqueeze(1), self._buffers["memory"])

    def _remember(self, action: torch.Tensor) -> None:
        """Keep the clipped `action` (E, 1, 12) of the step that was taken."""
        self._buffers["memory"] = remember(action, self._buffers["memory"])

    # -- observation, outcome and reward -----------------------------------------------------------------------------

    def _observe(self, state: State) -> Observation:
        obs = self._policy_obs(state)
        return Observation(obs, torch.cat((obs[:, 0], self._privileged(state)), dim=1))

    def _policy_obs(self, state: State) -> torch.Tensor:
        """Return what the policy sees, (E, 1, obs_dim)."""
        return walking_obs(state, self._buffers["command"].unsqueeze(1), self._buffers["memory"])

    def _privileged(self, state: State) -> torch.Tensor:
        """Return what only the critic sees, (E, privileged_dim)."""
        buffers = self._buffers
        foot_height = buffers["foot_pos_w"][..., 2]
        quat = state.robot_quat_w[:, 0]
        force = rotate_inverse(quat, buffers["force_w"][:, 0]) / FORCE_SCALE
        torque = rotate_inverse(quat, buffers["torque_w"][:, 0]) / TORQUE_SCALE
        contact = (foot_height < CONTACT_HEIGHT).float()
        return torch.cat((force, torque, foot_height * FOOT_HEIGHT_GAIN, contact), dim=1)

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
        """Return the weighted reward terms of this step as rates [1/s], (E,) each, and update the errors so far.

        Args:
          state: the state after the step.
          action: the clipped action, (E, 1, 12).
          targets: set points of the servos [rad], (E, 1, 12).
        """
        buffers, command = self._buffers, self._buffers["command"]
        velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[:, 0]
        spin = state.robot_ang_vel_b[:, 0]
        error = command - torch.cat((velocity[:, :2], spin[:, 2:]), dim=1)
        buffers["drift"] += STEP_DT * (error - buffers["drift"])
        buffers["linear_error"] += (command[:, :2] - velocity[:, :2]).norm(dim=1)
        buffers["yaw_error"] += (command[:, 2] - spin[:, 2]).abs()
        motion = WalkMotion(
            command=command,
            velocity=velocity,
            spin=spin,
            drift=buffers["drift"],
            gravity=gravity_b(state.robot_quat_w)[:, 0],
            height=state.robot_pos_w[:, 0, 2],
            joint_vel=state.joint_vel[:, 0],
            torque=self._servo_torque(state, targets),
            action=action[:, 0],
            action_change=(action - buffers["memory"][..., :NUM_JOINTS])[:, 0],
            push_xy=rotate_inverse(state.robot_quat_w, buffers["force_w"])[:, 0, :2],
            foot_pos_w=_foot_positions_w(state),
            previous_foot_pos_w=buffers["foot_pos_w"],
            wanted_height=self.walking_height,
        )
        buffers["foot_pos_w"] = motion.foot_pos_w
        return walk_rewards.compute(motion)

    def _servo_torque(self, state: State, targets: torch.Tensor) -> torch.Tensor:
        """Return the torque of each servo, a spring and damper limited to its effort, (E, 12) [N m]."""
        stretch = targets[:, 0] - state.joint_pos[:, 0]
        torque = stretch * self._kp - state.joint_vel[:, 0] * self._kd
        return torch.minimum(torch.maximum(torque, -self._effort), self._effort)


def _has_fallen(state: State) -> torch.Tensor:
    """Return where the robot is tilted too far or too low, (E,) bool."""
    tilted = gravity_b(state.robot_quat_w)[:, 0, 2] > -FALL_TILT
    low = state.robot_pos_w[:, 0, 2] < FALL_HEIGHT
    return tilted | low


def _foot_positions_w(state: State) -> torch.Tensor:
    """Return where the feet of the one robot of each env are [m], (E, 4, 3)."""
    feet = foot_positions_b(state.joint_pos[:, 0])
    quat = state.robot_quat_w.expand(-1, 4, 4)
    return rotate(quat, feet) + state.robot_pos_w
