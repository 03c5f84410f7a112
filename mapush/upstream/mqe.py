"""The pushing task as MQE computes it, on Isaac Gym: MAPush's own environment behind `VecEnv`.

Source: MAPush@0e61e1b, `mqe/envs/wrappers/go1_push_mid_wrapper.py` (rewards and observations),
`mqe/envs/npc/go1_object.py` (endings) and `mqe/envs/base/legged_robot.py` (initial states and time limit).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple

import torch

from mapush.config import TaskConfig
from mapush.env import observations
from mapush.env.judgement import COLLABORATION_DISTANCE, OUTCOMES
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.env.views import OneTeamView
from mapush.errors import ConfigError, MapushError, NonFiniteError, SimulatorError
from mapush.sim.geometry import rotate_inverse, yaw_of
from mapush.sim.physics import STEP_DT, State
from mapush.spec import TensorSpec
from mapush.upstream.mqe_upstream import make_upstream

REWARD_TERMS = {  # upstream's sum of a reward term: our name, and what upstream adds it up over
    "distance_to_target_reward": ("target", "env"),
    "push_reward": ("push", "env"),
    "reach_target_reward": ("reach_target", "env"),
    "exception_punishment": ("exception", "env"),
    "approach_to_box_reward": ("approach", "robot"),
    "collision_punishment": ("collision", "pair"),
    "ocb_reward": ("ocb", "robot"),
}


@dataclasses.dataclass(frozen=True)
class _JudgedState:
    """Upstream's state after an env step, before any reset.

    Attributes:
      roots: of robots, object and goal: position [m], quaternion xyzw, velocities [m/s, rad/s], (E, A + 2, 13).
      length: env steps of the episode, (E,) int64.
      success: the object is at the goal, (E,) bool.
      exception: a robot fell or robots collided, (E,) bool.
      collision: two robots are too close to each other, (E,) bool.
      timeout: the time limit is reached, (E,) bool.
    """

    roots: torch.Tensor
    length: torch.Tensor
    success: torch.Tensor
    exception: torch.Tensor
    collision: torch.Tensor
    timeout: torch.Tensor

    @property
    def terminated(self) -> torch.Tensor:
        """Whether the task ends the episode, (E,) bool."""
        return self.success | self.exception

    @property
    def done(self) -> torch.Tensor:
        """Whether the episode ends, (E,) bool."""
        return self.terminated | self.timeout


class MqeEnv(VecEnv):
    """`num_envs` teams that each push one object to a goal, as MQE computes it.

    Walking, physics, initial states, endings and rewards are upstream's. Actions, observations and `Transition.outcome`
    have the same meaning and form as in `PushEnv`. Without `task.upstream_quirks`, an env whose episode ended is reset
    after its reward was computed, so that neither rewards nor headings mix two episodes; with it, upstream resets it
    before.

    Isaac Gym allows one simulation per process.

    Args:
      task: what to push and how it is rewarded.
      num_envs: number of parallel envs.
      seed: seeds upstream's initial states.
      contact_pairs: size of the contact pair buffer on the GPU; see `mapush.upstream.contact_pairs`.
      window: open Isaac Gym's viewer.
      camera: make a camera, for `record`.

    Raises:
      ConfigError: upstream lacks this object, or quirks are combined with held actions.
      SimulatorError: this process has already had a simulation, or upstream failed.
    """

    simulator_name = "Isaac Gym"
    once_per_process = True
    not_finite = (
        "PhysX diverged, or contacts were dropped because their buffer was too small",
        "--sim.contact-pairs 2 doubles the buffer",
    )
    """The likely cause of a state that is not finite, and what to do about it."""
    _used = False

    def __init__(
        self,
        task: TaskConfig,
        num_envs: int,
        seed: int,
        contact_pairs: int,
        window: bool = False,
        camera: bool = False,
    ) -> None:
        _require_possible(task, MqeEnv._used and self.once_per_process)
        MqeEnv._used = True
        self.task = task
        self._wrapper = make_upstream(task, num_envs, seed, contact_pairs, window, camera, self.uses_gpu())
        self._upstream = self._wrapper.env
        self.num_envs = num_envs
        self.num_agents = int(self._upstream.num_agents)
        self.device = torch.device(self._upstream.device)
        self.max_episode_length = int(self._upstream.max_episode_length)
        self.steps_per_decision = task.steps_per_decision
        view = OneTeamView(self.num_agents)
        self.obs_spec = view.obs_spec(num_envs, self.num_agents)
        self.share_obs_spec = view.share_obs_spec(num_envs)
        dims, shape = ("num_envs", "num_agents", "action_dim"), (num_envs, self.num_agents, 3)
        self.action_spec = TensorSpec("actions", dims, shape, low=-1.0, high=1.0)
        self._unbounded_action_spec = TensorSpec("actions", dims, shape)
        self.metrics = EpisodeMetrics(OUTCOMES, num_envs, self.device)
        self._steps_together = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._return = torch.zeros(num_envs, device=self.device)
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._judged: Optional[_JudgedState] = None
        self._env_step = 0
        self._started = False
        self._closed = False

    @classmethod
    def uses_gpu(cls) -> bool:
        """Return whether physics and tensors are on a GPU."""
        return torch.cuda.is_available()

    def reset(self) -> Observation:
        """Start a new episode in every env."""
        self._upstream.on_judged, self._upstream.resets_itself = None, True
        obs = self._wrapper.reset()
        self._started = True
        self._steps_together = torch.zeros_like(self._steps_together)
        self._return = torch.zeros_like(self._return)
        if not self.task.upstream_quirks:
            self._wrapper.last_box_state = self._npcs()[:, 0].clone()
        return self._present(obs)

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`.

        Raises:
          SpecError: `actions` has a different shape or type.
          NonFiniteError: an action or the new state is NaN or infinite; on a GPU, `check` raises it.
          MapushError: `reset` was not called yet.
        """
        commands = self._commands(actions)
        self._upstream.on_judged = self._keep_judged_state
        self._upstream.resets_itself = self.task.upstream_quirks
        obs, step_reward, seen = self._env_step_with(commands)
        reward = torch.zeros_like(step_reward) + step_reward  # upstream may overwrite its own tensor
        self._steps_together += self._together(seen.roots)
        for _ in range(self.steps_per_decision - 1):
            live = ~seen.done
            obs, step_reward, now = self._env_step_with(commands)
            seen = _merge(live, now, seen)
            reward = reward + step_reward * live.unsqueeze(1)
            self._steps_together += self._together(seen.roots) & live
        return self._finish(seen, reward, obs)

    def _env_step_with(self, commands: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, _JudgedState]:
        """Take one env step; return upstream's observation, its reward, and its state before any reset."""
        obs, reward, _, _ = self._wrapper.step(commands)
        self._env_step += 1
        assert self._judged is not None, "upstream's step calls on_judged"
        return obs, reward, self._judged

    def check(self) -> Dict[str, float]:
        """Raise the error that occurred on the device since the last call; see `VecEnv.check`."""
        if not bool(self._finite):
            self._finite = torch.ones_like(self._finite)
            cause, fix = self.not_finite
            where = f"one of the env steps up to {self._env_step}"
            raise NonFiniteError("MQE's state is not finite", where=where, cause=cause, fix=fix)
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """Return the statistics; Isaac Gym cannot continue from the middle of an episode."""
        return {"metrics": self.metrics.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restore the statistics; the episodes are those that the last `reset` started."""
        self.metrics.load_state_dict(state["metrics"])

    def record(self) -> None:
        """Record the next episode of env 0."""
        self._upstream.start_recording()

    def film(self) -> Any:
        """Return the frames of the episode that ended last, one for each env step, each (H, W, 4) uint8."""
        return self._upstream.get_complete_frames()

    def close(self) -> None:
        """Destroy the simulation; further calls do nothing. On Isaac Gym, a process cannot make a second one."""
        if self._closed:
            return
        self._closed = True
        gym = self._upstream.gym
        viewer = getattr(self._upstream, "viewer", None)
        if viewer is not None:
            gym.destroy_viewer(viewer)
        gym.destroy_sim(self._upstream.sim)

    def _commands(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the commands for upstream's wrapper, which clips them at 1 and halves them [m/s, m/s, rad/s]."""
        if not self._started:
            raise MapushError("step before reset", where="MqeEnv.step", fix="call reset() once before the first step")
        where = f"MqeEnv.step at env step {self._env_step}"
        if self.device.type == "cpu":
            self._unbounded_action_spec.validate(actions, where)
        else:  # `check` finds a non-finite action by the state that it causes
            self._unbounded_action_spec.validate_form(actions, where)
        scale = 1.0
        if self.task.upstream_quirks:
            scale = 0.5
        return scale * actions

    def _keep_judged_state(self) -> None:
        upstream = self._upstream
        self._judged = _JudgedState(
            roots=self._roots(),
            length=upstream.episode_length_buf.clone(),
            success=upstream.finished_buf.clone(),
            exception=upstream.exception_buf.clone(),
            collision=upstream.collision_term_buff.clone(),
            timeout=upstream.time_out_buf.clone(),
        )

    def _finish(self, seen: _JudgedState, reward: torch.Tensor, obs: torch.Tensor) -> Transition:
        """Reset the envs whose episode ended, and return the transition.

        Args:
          seen: for each env, the state at the end of its episode or of the decision.
          reward: of the decision, (E, A).
          obs: upstream's observation after the last env step, (E, A, D).
        """
        final = self._observe(seen.roots, seen.length, None)
        if not self.task.upstream_quirks:
            self._finite = self._finite & final.share_obs.isfinite().all() & reward.isfinite().all()
            self._reset_envs(seen.done.nonzero(as_tuple=False).flatten())
        if self.device.type == "cpu":
            self.check()
        observation, outcome = self._present(obs), self._outcome(seen)
        outcome["return"] = self._return + reward.mean(dim=1)
        self._return = outcome["return"].masked_fill(seen.done, 0.0)
        self._steps_together = self._steps_together.masked_fill(seen.done, 0)
        self.metrics.add_step(self._terms())
        self.metrics.add_episodes(seen.done, outcome)
        truncated = seen.done & ~seen.terminated
        terms = {"total": reward}  # upstream adds its terms up over all envs
        return Transition(observation, reward, seen.terminated, truncated, final, outcome, terms)

    def _reset_envs(self, env_ids: torch.Tensor) -> None:
        if len(env_ids) == 0:
            return
        self._upstream.on_judged, self._upstream.resets_itself = None, True
        self._upstream.reset_idx(env_ids)
        self._upstream.compute_observations()
        self._wrapper.last_box_state[env_ids] = self._npcs()[env_ids, 0]

    def _outcome(self, seen: _JudgedState) -> Dict[str, torch.Tensor]:
        success = seen.success
        collision = seen.collision & ~success
        counted = torch.where(success, seen.length, torch.full_like(seen.length, self.max_episode_length))
        return {
            "success": success,
            "collision": collision,
            "fall": seen.exception & ~success & ~collision,
            "timeout": seen.timeout & ~seen.terminated,
            "length": seen.length,
            "finished_time": counted * STEP_DT,
            "collaboration": self._steps_together / seen.length,
            "collision_degree": torch.zeros_like(self._return),
        }

    def _terms(self) -> Dict[str, torch.Tensor]:
        """Return each reward term of the last decision as its mean over robots and envs, and clear upstream's sums."""
        sums = self._wrapper.reward_buffer
        weight = {"env": 1.0 / self.num_envs, "robot": 1.0 / (self.num_envs * self.num_agents)}
        weight["pair"] = 2.0 * weight["robot"]
        terms = {}
        for upstream_name, (name, kind) in REWARD_TERMS.items():
            mean = torch.as_tensor(float(sums[upstream_name]) * weight[kind])
            terms[name] = mean.to(self.device)
        for upstream_name in sums:
            sums[upstream_name] = 0
        return terms

    def _npcs(self) -> torch.Tensor:
        return self._upstream.root_states_npc.view(self.num_envs, -1, 13)

    def _roots(self) -> torch.Tensor:
        """Return a copy of the present root states, relative to each env's origin; see `_JudgedState`."""
        robots = self._upstream.root_states.view(self.num_envs, -1, 13)
        roots = torch.cat((robots, self._npcs()[:, :2]), dim=1)
        roots[..., :3] -= self._upstream.env_origins.unsqueeze(1)
        return roots

    def _present(self, upstream_obs: torch.Tensor) -> Observation:
        """Return the present observation of all envs.

        Args:
          upstream_obs: upstream's own version, (E, A, D), which is used with upstream's quirks.
        """
        obs: Optional[torch.Tensor] = None
        if self.task.upstream_quirks:
            obs = upstream_obs
        return self._observe(self._roots(), self._upstream.episode_length_buf, obs)

    def _observe(self, roots: torch.Tensor, length: torch.Tensor, obs: Optional[torch.Tensor]) -> Observation:
        state, goal = _state(roots)
        remaining_time = 1.0 - length / (self.max_episode_length + 1)
        if obs is None:
            obs = observations.actor_obs(state, yaw_of(state.robot_quat_w), goal)
        share_obs = observations.critic_obs(state, goal, remaining_time)
        if self.task.upstream_quirks:
            obs = obs.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            share_obs = share_obs.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return Observation(obs, share_obs)

    def _together(self, roots: torch.Tensor) -> torch.Tensor:
        """Return whether all robots are near the object, (E,) bool."""
        robots, pushed = roots[:, : self.num_agents, :2], roots[:, self.num_agents, :2]
        distance = (robots - pushed.unsqueeze(1)).norm(dim=-1)
        return (distance < COLLABORATION_DISTANCE).all(dim=1)


def _require_possible(task: TaskConfig, used_up: bool) -> None:
    if used_up:
        raise SimulatorError(
            "Isaac Gym allows one simulation in a process, and this process has already had it",
            cause="a second environment was made, perhaps after the first one was closed",
            fix="make it in a child process (multiprocessing.get_context('spawn')), or start one process for each",
        )
    if task.upstream_quirks and task.steps_per_decision != 1:
        raise ConfigError(
            "upstream has no held actions",
            got=f"--task.upstream-quirks with --task.steps-per-decision {task.steps_per_decision}",
            fix="--task.steps-per-decision 1, or leave out --task.upstream-quirks",
        )


def _state(roots: torch.Tensor) -> Tuple[State, torch.Tensor]:
    """Split root states.

    Args:
      roots: see `_JudgedState`, (E, A + 2, 13).

    Returns:
      The state of robots and object, without joints; and the goal [m], (E, 3).
    """
    position, quat_xyzw, lin_vel, ang_vel = roots.split((3, 4, 3, 3), dim=-1)
    quat = torch.cat((quat_xyzw[..., 3:], quat_xyzw[..., :3]), dim=-1)
    ang_vel_b = rotate_inverse(quat, ang_vel)
    no_joints = roots[:, :-2, :0]
    state = State(
        robot_pos_w=position[:, :-2],
        robot_quat_w=quat[:, :-2],
        robot_lin_vel_w=lin_vel[:, :-2],
        robot_ang_vel_b=ang_vel_b[:, :-2],
        joint_pos=no_joints,
        joint_vel=no_joints,
        object_pos_w=position[:, -2],
        object_quat_w=quat[:, -2],
        object_lin_vel_w=lin_vel[:, -2],
        object_ang_vel_b=ang_vel_b[:, -2],
    )
    return state, position[:, -1]


def _merge(live: torch.Tensor, now: _JudgedState, before: _JudgedState) -> _JudgedState:
    """Return `now` for the envs in `live`, (E,) bool, and `before` for those whose episode has ended."""
    merged = {}
    for field in dataclasses.fields(_JudgedState):
        new, old = getattr(now, field.name), getattr(before, field.name)
        live_rows = live.reshape((-1,) + (1,) * (new.dim() - 1))
        merged[field.name] = torch.where(live_rows, new, old)
    return _JudgedState(**merged)
