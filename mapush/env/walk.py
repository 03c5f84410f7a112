"""The walking task: one robot follows velocity commands while it is pushed, kicked and loaded.

What it trains becomes the frozen low level of the pushing task, so it asks what pushing asks: commands that change at
every step, sustained forces at the front of the trunk, standing still on a zero command, and a level trunk.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Tuple

import torch

from mapush.config import WalkConfig
from mapush.device.cuda_graphs import Captured, map_tensors
from mapush.env import walk_draws, walk_rewards
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.env.walk_draws import Draws
from mapush.env.walk_rewards import CONTACT_HEIGHT, WalkMotion
from mapush.env.walk_step import Begun, Buffers, Ended, foot_positions_w, has_fallen
from mapush.sim.geometry import constant, gravity_b, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import STEP_DT, Physics, State
from mapush.sim.walking import (
    ACTION_LIMIT,
    MEMORY_DIM,
    NUM_JOINTS,
    OBS_DIM,
    PHASE,
    joint_targets,
    remember,
    settle,
    walking_obs,
)
from mapush.spec import TensorSpec

EPISODE_STEPS = 1000  # [env steps], 20 s
SPAWN_HEIGHT = (0.30, 0.43)  # of the trunk [m]
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
    first_phase: Tuple[float, float] = (0.0, 1.0)  # range of the phase of the gait at the start of an episode
    kept_buffers: Tuple[str, ...] = ("age",)  # what a reset leaves as it is
    recorded = True  # whether a GPU replays the env step as CUDA graphs

    def __init__(self, physics: Physics, config: WalkConfig, seed: int) -> None:
        self.physics = physics
        self.config = config
        self.num_envs = physics.num_envs
        self.num_agents = 1
        self.device = physics.device
        self.simulator_name = physics.name
        self._declare_specs()
        self.metrics = EpisodeMetrics(OUTCOMES, self.num_envs, self.device, recorded=self.recorded)
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        self._draws = Draws(self.num_envs, self._generator)
        self._default = constant(DEFAULT_JOINT_POS, self.device)
        self._kp = constant(tuple(servo.stiffness for servo in JOINT_SERVOS), self.device)
        self._kd = constant(tuple(servo.damping for servo in JOINT_SERVOS), self.device)
        self._effort = constant(tuple(servo.effort for servo in JOINT_SERVOS), self.device)
        self._allocate()
        self._record()

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
        self.physics.reset(self._every_env(), self._new_episodes(self._every_env()))
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
        begun, self._buffers = self._begin(actions.detach(), self.physics.state().robot_quat_w, self._buffers)
        self.physics.push(begun.force_w, begun.torque_w)
        state = self.physics.step(begun.targets)
        terms, results, self._buffers = self._end(state, begun, self._buffers)
        self.metrics.add_step(terms)
        # The next call of the recorded function overwrites its results; these have to outlive it.
        ended = self._kept(results)
        done = ended.terminated | ended.truncated
        self.metrics.add_episodes(done, ended.outcome)
        observation = ended.observation
        if self.device.type != "cpu" or bool(done.any()):  # reading `done` would make the host wait for a GPU
            start, self._buffers = self._restart(done, self._buffers)
            self.physics.reset(done, start)
            shown, self._buffers = self._look(self.physics.state(), self._buffers)
            observation = self._kept(shown)
        return Transition(
            observation=observation,
            reward=ended.reward,
            terminated=ended.terminated,
            truncated=ended.truncated,
            final_observation=ended.observation,
            outcome=ended.outcome,
            terms=dict(zip(terms, ended.earned)),
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

    # -- one env step, which a GPU replays in four pieces; each takes all buffers and returns them ---------------------

    def _record(self) -> None:
        """Make the pieces of an env step."""
        generators = (self._generator,)
        self._begin = self._piece(self._begin_step, generators)
        self._end = self._piece(self._end_step, generators)
        self._restart = self._piece(self._restart_where, generators)
        self._look = self._piece(self._look_at, ())

    def _piece(self, function: Callable[..., Any], generators: Tuple[torch.Generator, ...]) -> Callable[..., Any]:
        if not self.recorded:
            return function
        return Captured(function, generators=generators)

    def _kept(self, results: Any) -> Any:
        if self.device.type == "cpu":
            return results
        return map_tensors(torch.clone, results)

    def _begin_step(self, actions: torch.Tensor, quat: torch.Tensor, buffers: Buffers) -> Tuple[Begun, Buffers]:
        """Disturb the robots, whose orientation is `quat` (E, 1, 4), and turn actions (E, 1, 12) into joint targets."""
        self._buffers = buffers
        action = actions.clamp(-ACTION_LIMIT, ACTION_LIMIT)
        self._disturb(quat[:, 0])
        targets = self._targets(action)
        return Begun(action, targets, buffers["force_w"], buffers["torque_w"]), buffers

    def _end_step(self, state: State, begun: Begun, buffers: Buffers) -> Tuple[Dict[str, torch.Tensor], Ended, Buffers]:
        """Reward the step that led to `state`, end episodes, and draw new commands.

        Returns:
          Weighted reward terms by name [1/s], (E, 1) each; what the step led to; the buffers.
        """
        self._buffers = buffers
        buffers["age"] += 1
        buffers["length"] += 1
        terms = self._rewards(state, begun.action, begun.targets)
        reward = functools.reduce(torch.add, terms.values()) * STEP_DT
        buffers["return"] += reward
        self._remember(begun.action)
        terminated = has_fallen(state)
        truncated = (buffers["length"] >= EPISODE_STEPS) & ~terminated
        outcome = self._outcome(terminated)
        buffers["command_left"] -= 1
        self._recommand(buffers["command_left"] <= 0)
        buffers["memory"] = settle(state, buffers["command"].unsqueeze(1), buffers["memory"])
        ended = Ended(
            earned=walk_rewards.earned_in_a_step(terms),
            reward=reward.unsqueeze(1),
            terminated=terminated,
            truncated=truncated,
            outcome=outcome,
            observation=self._observe(state),
        )
        return {name: term.unsqueeze(1) for name, term in terms.items()}, ended, buffers

    def _restart_where(self, done: torch.Tensor, buffers: Buffers) -> Tuple[State, Buffers]:
        """Begin a new episode in the envs of the mask `done` (E,), and return where it starts."""
        self._buffers = buffers
        return self._new_episodes(done), buffers

    def _look_at(self, state: State, buffers: Buffers) -> Tuple[Observation, Buffers]:
        self._buffers = buffers
        return self._observe(state), buffers

    # -- resets, commands, disturbances ------------------------------------------------------------------------------

    def _every_env(self) -> torch.Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _require_valid(self, actions: torch.Tensor) -> None:
        if self.device.type == "cpu":
            self.action_spec.validate(actions, "WalkEnv.step")
        else:  # an action that is not finite makes the physics so, which `check` finds
            self.action_spec.validate_form(actions, "WalkEnv.step")

    def _new_episodes(self, done: torch.Tensor) -> State:
        """Start a new episode in the envs of the mask `done` (E,), and return their initial states among E."""
        buffers = self._buffers
        state = walk_draws.draw_start(self._draws, self._default, self.spawn_height)
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
        buffers["foot_pos_w"] = torch.where(each, foot_positions_w(state), buffers["foot_pos_w"])
        self._recommand(done)
        buffers["memory"][..., PHASE] += done.float().view(-1, 1, 1) * self._draws.uniform(*self.first_phase, 1, 1)
        settled = settle(state, buffers["command"].unsqueeze(1), buffers["memory"])
        buffers["memory"] = torch.where(each, settled, buffers["memory"])
        return state

    def _recommand(self, expired: torch.Tensor) -> None:
        """Draw a new command, and how long it is held, in the envs of the mask `expired` (E,)."""
        buffers = self._buffers
        command, hold = walk_draws.draw_commands(self._draws, self.config, buffers["parked"], buffers["chatter"])
        buffers["command"] = torch.where(expired.unsqueeze(1), command, buffers["command"])
        buffers["command_left"] = torch.where(expired, hold, buffers["command_left"])

    def _disturb(self, quat: torch.Tensor) -> None:
        """Draw a new disturbance where the last one has expired, for trunks of the orientation `quat` (E, 4)."""
        buffers = self._buffers
        buffers["disturbance_left"] -= 1
        expired = buffers["disturbance_left"] <= 0
        drawn = walk_draws.draw_disturbance(self._draws, self.config, quat, buffers["calm"], buffers["age"])
        renew = expired.view(-1, 1, 1)
        buffers["force_w"] = torch.where(renew, drawn.force_w.unsqueeze(1), buffers["force_w"])
        buffers["torque_w"] = torch.where(renew, drawn.torque_w.unsqueeze(1), buffers["torque_w"])
        buffers["disturbance_left"] = torch.where(expired, drawn.hold, buffers["disturbance_left"])

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
            foot_pos_w=foot_positions_w(state),
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
