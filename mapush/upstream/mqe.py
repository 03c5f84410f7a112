"""The pushing task on Isaac Gym: MAPush's own environment behind `VecEnv`."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple

import torch

from mapush.config import TaskConfig
from mapush.env import observations
from mapush.env.metrics import EpisodeMetrics
from mapush.env.push import COLLABORATION_DISTANCE, OUTCOMES
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.errors import ConfigError, MapushError, NonFiniteError, SimulatorError
from mapush.sim.geometry import rotate_inverse, yaw_of
from mapush.sim.physics import STEP_DT, State
from mapush.spec import TensorSpec
from mapush.upstream.mqe_upstream import make_upstream

TERMS = {  # upstream's sums of reward terms: our name, and how often each counts in the mean over the team
    "distance_to_target_reward": ("target", "env"),
    "push_reward": ("push", "env"),
    "reach_target_reward": ("reach_target", "env"),
    "exception_punishment": ("exception", "env"),
    "approach_to_box_reward": ("approach", "robot"),
    "collision_punishment": ("collision", "pair"),
    "ocb_reward": ("ocb", "robot"),
}


@dataclasses.dataclass(frozen=True)
class _Moment:
    """What upstream knows after an env step, before any reset.

    Attributes:
      roots: of robots, object and goal: position, quaternion xyzw, velocities, (E, A + 2, 13).
      length: env steps of the episode, (E,) int64.
      success: the object is at the goal, (E,) bool.
      exception: a fault of the robots, (E,) bool.
      collision: the fault that two robots are too close, (E,) bool.
      timeout: the time is up, (E,) bool.
    """

    roots: torch.Tensor
    length: torch.Tensor
    success: torch.Tensor
    exception: torch.Tensor
    collision: torch.Tensor
    timeout: torch.Tensor

    @property
    def terminated(self) -> torch.Tensor:
        """(E,) bool: the task ends the episode."""
        return self.success | self.exception

    @property
    def done(self) -> torch.Tensor:
        """(E,) bool: the episode ends."""
        return self.terminated | self.timeout


class MqeEnv(VecEnv):
    """`num_envs` teams that each push one object to a goal, as MQE computes it.

    Walking, physics, starts, endings and rewards are upstream's. Actions mean the same as in `PushEnv`, observations
    have the same form, and `Transition.outcome` the same entries. Without `task.upstream_quirks` ended envs start anew
    after their reward was computed, so that neither rewards nor headings mix two episodes; with it they do as upstream.

    Isaac Gym allows one simulation in a process.

    Args:
      task: what to push and how it is rewarded.
      num_envs: parallel envs.
      seed: of upstream's starts.
      contact_pairs: room for contacts on the GPU; see `mapush.upstream.contact_pairs`.
      window: open Isaac Gym's viewer.
      camera: make a camera, for `record`.
    Raises:
      ConfigError: upstream lacks this object, or has no held actions to be quirky about.
      SimulatorError: this process has had its simulation, or upstream failed.
    """

    simulator_name = "Isaac Gym"
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
        _require_possible(task)
        MqeEnv._used = True
        self.task = task
        self._wrapper = make_upstream(task, num_envs, seed, contact_pairs, window, camera)
        self._upstream = self._wrapper.env
        self.num_envs, self.num_agents = num_envs, int(self._upstream.num_agents)
        self.device = torch.device(self._upstream.device)
        self.max_episode_length = int(self._upstream.max_episode_length)
        self.steps_per_decision = task.steps_per_decision
        self.obs_spec = observations.obs_spec(num_envs, self.num_agents)
        self.share_obs_spec = observations.share_obs_spec(num_envs, self.num_agents)
        dims, shape = ("num_envs", "num_agents", "action_dim"), (num_envs, self.num_agents, 3)
        self.action_spec = TensorSpec("actions", dims, shape, low=-1.0, high=1.0)
        self._unbounded_action_spec = TensorSpec("actions", dims, shape)
        self.metrics = EpisodeMetrics(OUTCOMES, num_envs, self.device)
        self._steps_together = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._return = torch.zeros(num_envs, device=self.device)
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._moment: Optional[_Moment] = None
        self._env_step = 0
        self._started = self._closed = False

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
          SpecError: `actions` has another shape or type.
          NonFiniteError: an action or the new state is NaN or infinite; on a GPU, `check` raises it.
          MapushError: there was no `reset` yet.
        """
        commands = self._commands(actions)
        self._upstream.on_judged, self._upstream.resets_itself = self._look, self.task.upstream_quirks
        seen, reward, live = None, torch.zeros(commands.shape[:2], device=self.device), None
        for _ in range(self.steps_per_decision):
            obs, step_reward, _, _ = self._wrapper.step(commands)
            self._env_step += 1
            seen = self._moment if seen is None else _merge(live, self._moment, seen)
            reward = reward + (step_reward if live is None else step_reward * live.unsqueeze(1))
            together = self._together(seen.roots)
            self._steps_together += together if live is None else together & live
            live = ~seen.done
        return self._finish(seen, reward, obs)

    def check(self) -> Dict[str, float]:
        """Raise what went wrong on the device since the last call; see `VecEnv.check`."""
        if not bool(self._finite):
            self._finite = torch.ones_like(self._finite)
            raise NonFiniteError(
                "MQE's state is not finite",
                where=f"one of the env steps up to {self._env_step}",
                cause="PhysX diverged, or contacts were dropped because their buffer was too small",
                fix="--sim.contact-pairs 2 gives room for twice as many",
            )
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """Return the statistics; Isaac Gym cannot be taken up in the midst of an episode."""
        return {"metrics": self.metrics.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue the statistics; the episodes are those that the last `reset` began."""
        self.metrics.load_state_dict(state["metrics"])

    def record(self) -> None:
        """Film the next episode of env 0."""
        self._upstream.start_recording()

    def film(self) -> Any:
        """Return the frames (H, W, 4) uint8 of the episode that ended last, one for each env step."""
        return self._upstream.get_complete_frames()

    def close(self) -> None:
        """Release the simulation; further calls do nothing, and another cannot be made in this process."""
        if not self._closed:
            self._closed = True
            gym, viewer = self._upstream.gym, getattr(self._upstream, "viewer", None)
            if viewer is not None:
                gym.destroy_viewer(viewer)
            gym.destroy_sim(self._upstream.sim)

    def _commands(self, actions: torch.Tensor) -> torch.Tensor:
        """Return what upstream's wrapper clips at 1 and halves [m/s, m/s, rad/s]."""
        if not self._started:
            raise MapushError("step before reset", where="MqeEnv.step", fix="call reset() once before the first step")
        where = f"MqeEnv.step at env step {self._env_step}"
        if self.device.type == "cpu":
            self._unbounded_action_spec.validate(actions, where)
        else:  # what is not finite makes the state so, which `check` finds
            self._unbounded_action_spec.validate_form(actions, where)
        return (0.5 if self.task.upstream_quirks else 1.0) * actions

    def _look(self) -> None:
        """Keep what upstream knows before it resets anything."""
        upstream = self._upstream
        self._moment = _Moment(
            roots=self._roots(),
            length=upstream.episode_length_buf.clone(),
            success=upstream.finished_buf.clone(),
            exception=upstream.exception_buf.clone(),
            collision=upstream.collision_term_buff.clone(),
            timeout=upstream.time_out_buf.clone(),
        )

    def _finish(self, seen: _Moment, reward: torch.Tensor, obs: torch.Tensor) -> Transition:
        """Start ended envs anew and make up the transition from the moment in which each ended."""
        final = self._observe(seen.roots, seen.length, None)
        if not self.task.upstream_quirks:
            self._finite = self._finite & final.share_obs.isfinite().all() & reward.isfinite().all()
            self._start_anew(seen.done.nonzero(as_tuple=False).flatten())
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

    def _start_anew(self, env_ids: torch.Tensor) -> None:
        if len(env_ids):
            self._upstream.on_judged, self._upstream.resets_itself = None, True
            self._upstream.reset_idx(env_ids)
            self._upstream.compute_observations()
            self._wrapper.last_box_state[env_ids] = self._npcs()[env_ids, 0]

    def _outcome(self, seen: _Moment) -> Dict[str, torch.Tensor]:
        success, collision = seen.success, seen.collision & ~seen.success
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
        """Return upstream's reward terms of the last decision as means over the team, and clear its sums."""
        sums = self._wrapper.reward_buffer
        share = {"env": 1.0 / self.num_envs, "robot": 1.0 / (self.num_envs * self.num_agents)}
        share["pair"] = 2.0 * share["robot"]
        terms = {ours: torch.as_tensor(float(sums[name]) * share[kind]) for name, (ours, kind) in TERMS.items()}
        sums.update(dict.fromkeys(sums, 0))
        return {name: value.to(self.device) for name, value in terms.items()}

    def _npcs(self) -> torch.Tensor:
        return self._upstream.root_states_npc.view(self.num_envs, -1, 13)

    def _roots(self) -> torch.Tensor:
        """Return a copy of where everything is now, (E, A + 2, 13), relative to the track."""
        robots = self._upstream.root_states.view(self.num_envs, -1, 13)
        roots = torch.cat((robots, self._npcs()[:, :2]), dim=1)
        roots[..., :3] -= self._upstream.env_origins.unsqueeze(1)
        return roots

    def _present(self, obs: torch.Tensor) -> Observation:
        """Return what all envs show now, of which `obs` (E, A, D) is upstream's version."""
        obs = obs if self.task.upstream_quirks else None
        return self._observe(self._roots(), self._upstream.episode_length_buf, obs)

    def _observe(self, roots: torch.Tensor, length: torch.Tensor, obs: Optional[torch.Tensor]) -> Observation:
        state, goal = _state(roots)
        remaining_time = 1.0 - length / (self.max_episode_length + 1)
        obs = observations.actor_obs(state, yaw_of(state.robot_quat_w), goal) if obs is None else obs
        share_obs = observations.critic_obs(state, goal, remaining_time)
        if self.task.upstream_quirks:
            obs, share_obs = (value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) for value in (obs, share_obs))
        return Observation(obs, share_obs)

    def _together(self, roots: torch.Tensor) -> torch.Tensor:
        """Return where all robots are near the object, (E,) bool."""
        robots, thing = roots[:, : self.num_agents, :2], roots[:, self.num_agents, :2]
        return ((robots - thing.unsqueeze(1)).norm(dim=-1) < COLLABORATION_DISTANCE).all(dim=1)


def _require_possible(task: TaskConfig) -> None:
    if MqeEnv._used:
        raise SimulatorError(
            "Isaac Gym allows one simulation in a process, and this one has had it",
            cause="a second environment was made, perhaps after the first was closed",
            fix="make it in a child process: multiprocessing.get_context('spawn'), or run one process for each",
        )
    if task.upstream_quirks and task.steps_per_decision != 1:
        raise ConfigError(
            "upstream has no held actions",
            got=f"--task.upstream-quirks with --task.steps-per-decision {task.steps_per_decision}",
            fix="--task.steps-per-decision 1, or leave out --task.upstream-quirks",
        )


def _state(roots: torch.Tensor) -> Tuple[State, torch.Tensor]:
    """Return robots and object of `roots` (E, A + 2, 13), without joints, and the goal (E, 3) [m]."""
    pos, xyzw, lin_vel, ang_vel = roots.split((3, 4, 3, 3), dim=-1)
    quat = torch.cat((xyzw[..., 3:], xyzw[..., :3]), dim=-1)
    ang_vel_b, no_joints = rotate_inverse(quat, ang_vel), roots[:, :-2, :0]
    state = State(
        robot_pos_w=pos[:, :-2],
        robot_quat_w=quat[:, :-2],
        robot_lin_vel_w=lin_vel[:, :-2],
        robot_ang_vel_b=ang_vel_b[:, :-2],
        joint_pos=no_joints,
        joint_vel=no_joints,
        object_pos_w=pos[:, -2],
        object_quat_w=quat[:, -2],
        object_lin_vel_w=lin_vel[:, -2],
        object_ang_vel_b=ang_vel_b[:, -2],
    )
    return state, pos[:, -1]


def _merge(live: torch.Tensor, now: _Moment, before: _Moment) -> _Moment:
    """Take the envs of `live` (E,) bool from `now`, and those whose episode has ended from `before`."""

    def pick(name: str) -> torch.Tensor:
        new, old = getattr(now, name), getattr(before, name)
        return torch.where(live.reshape((-1,) + (1,) * (new.dim() - 1)), new, old)

    return _Moment(**{field.name: pick(field.name) for field in dataclasses.fields(_Moment)})
