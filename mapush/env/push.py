"""The pushing task: a team of robots brings an object to a goal, exactly as MAPush's `go1push_mid`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Optional

import torch

from mapush.config import TaskConfig
from mapush.env import observations, rewards, terminations
from mapush.env.base import Observation, Transition, VecEnv
from mapush.env.metrics import EpisodeMetrics
from mapush.env.resets import Spawner
from mapush.env.rewards import RewardInputs
from mapush.env.terminations import MAX_EPISODE_LENGTH, Endings
from mapush.errors import ConfigError, MapushError, NonFiniteError, nearest
from mapush.geometry import yaw_of
from mapush.objects import OBJECTS, PushObject
from mapush.sim.base import STEP_DT, Simulator, State
from mapush.spec import TensorSpec

COMMAND_SCALE = 0.5  # of an action of 1 [m/s, m/s, rad/s]
COLLABORATION_DISTANCE = 1.0  # planar, between robot and object [m]
SPAWN_MARGIN = 0.35  # robots start this much farther apart than a collision [m]
OUTCOMES = (
    "success",
    "collision",
    "fall",
    "timeout",
    "length",
    "finished_time",
    "collaboration",
    "collision_degree",
    "return",
)


class PushEnv(VecEnv):
    """`num_envs` teams that each push one object to a goal.

    An action is a velocity command in the robot's own frame: v_x, v_y, omega_z, where 1 means 0.5 m/s or 0.5 rad/s.
    It is held for `task.steps_per_decision` env steps. Rewards and endings are judged after every env step, and add up
    until the episode ends; envs whose episode ended start a new one at the end of the decision.

    `Transition.outcome` holds, for each ended episode, the first that holds of `success`, `collision`, `fall` and
    `timeout`, `length` [env steps], `finished_time` [s] (of a failure: the longest episode's), `collaboration` and
    `collision_degree` (shares of its steps), and `return` (mean over the team).

    Args:
      simulator: robots that walk as told, and an object.
      task: what to push and how it is rewarded.
      seed: of the starts.

    Attributes:
      goal_pos_w: where each goal is, (E, 3) [m].
    """

    def __init__(self, simulator: Simulator, task: TaskConfig, seed: int) -> None:
        self.simulator = simulator
        self.task = task
        self.num_envs, self.num_agents, self.device = simulator.num_envs, simulator.num_agents, simulator.device
        self.simulator_name = simulator.name
        self.max_episode_length = MAX_EPISODE_LENGTH
        self.steps_per_decision = task.steps_per_decision
        self._object = _object_of(task, self.num_agents)
        self._vertices = torch.tensor(self._object.vertices, device=self.device)
        self._declare_specs()
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        separation = 0.0 if task.upstream_quirks else self._object.collision_distance + SPAWN_MARGIN
        self._spawner = Spawner(self._object, self.num_envs, self._generator, separation)
        self.metrics = EpisodeMetrics(OUTCOMES, self.num_envs, self.device)
        self.goal_pos_w = torch.zeros((self.num_envs, 3), device=self.device)
        self._state: Optional[State] = None
        self._previous_object_xy = torch.full((self.num_envs, 2), math.nan, device=self.device)  # nan: not known
        self._length = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._steps_together = torch.zeros_like(self._length)
        self._return = torch.zeros(self.num_envs, device=self.device)
        self._env_step = 0

    def _declare_specs(self) -> None:
        self.obs_spec = observations.obs_spec(self.num_envs, self.num_agents)
        self.share_obs_spec = observations.share_obs_spec(self.num_envs, self.num_agents)
        dims, shape = ("num_envs", "num_agents", "action_dim"), (self.num_envs, self.num_agents, 3)
        self.action_spec = TensorSpec("actions", dims, shape, low=-1.0, high=1.0)
        self._unbounded_action_spec = TensorSpec("actions", dims, shape)

    def reset(self) -> Observation:
        """Start a new episode in every env."""
        observation = self._respawn(torch.ones(self.num_envs, dtype=torch.bool, device=self.device))
        self._return = torch.zeros_like(self._return)
        self._previous_object_xy = self._state.object_pos_w[:, :2]
        if self.task.upstream_quirks:
            self._previous_object_xy = torch.full_like(self._previous_object_xy, math.nan)
        return observation

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`.

        Raises:
          SpecError: `actions` has another shape or type.
          NonFiniteError: an action or the new state is NaN or infinite.
          MapushError: there was no `reset` yet.
        """
        commands = self._commands(actions)
        live = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        seen = self._state
        terms: Dict[str, torch.Tensor] = {}
        for _ in range(self.steps_per_decision):
            self._state = self.simulator.step(commands, self._state)
            self._env_step += 1
            seen = self._state if self.steps_per_decision == 1 else _where(live, self._state, seen)
            self._require_finite(seen)
            self._length = self._length + live
            self._steps_together = self._steps_together + (live & _together(seen))
            endings = terminations.compute(seen, self.goal_pos_w, self._length, self._object)
            rewarded = live & ~endings.done if self.task.upstream_quirks else live
            self._add_rewards(terms, seen, endings, rewarded)
            live = ~endings.done
            if not bool(live.any()):
                break
        return self._finish(seen, endings, terms)

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""
        return {
            "simulator": self.simulator.state_dict(),
            "generator": self._generator.get_state(),
            "metrics": self.metrics.state_dict(),
            "goal_pos_w": self.goal_pos_w.clone(),
            "previous_object_xy": self._previous_object_xy.clone(),
            "length": self._length.clone(),
            "steps_together": self._steps_together.clone(),
            "return": self._return.clone(),
            "env_step": self._env_step,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.simulator.load_state_dict(state["simulator"])
        self._generator.set_state(state["generator"].cpu())
        self.metrics.load_state_dict(state["metrics"])
        for name in ("goal_pos_w", "previous_object_xy", "length", "steps_together", "return"):
            attribute = name if hasattr(self, name) else "_" + name
            setattr(self, attribute, state[name].to(self.device, copy=True))
        self._env_step = state["env_step"]
        self._state = self.simulator.state()

    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
        self.simulator.close()

    def _commands(self, actions: torch.Tensor) -> torch.Tensor:
        if self._state is None:
            raise MapushError("step before reset", where="PushEnv.step", fix="call reset() once before the first step")
        self._unbounded_action_spec.validate(actions, "PushEnv.step at env step {}".format(self._env_step))
        scale = 0.5 if self.task.upstream_quirks else 1.0
        return COMMAND_SCALE * (scale * actions).clamp(-1.0, 1.0)

    def _require_finite(self, state: State) -> None:
        values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
        if self.task.upstream_quirks or bool(sum(value.sum() for value in values.values()).isfinite()):
            return
        for name, value in values.items():
            for index in (~value.isfinite()).nonzero().tolist()[:1]:
                agent = ", agent {}".format(index[1]) if name.startswith(("robot", "joint")) else ""
                raise NonFiniteError(
                    "the simulator's state is not finite",
                    where="env {}{}, {}[{}], env step {}".format(index[0], agent, name, index[-1], self._env_step),
                    got="{} of {} values are nan or inf".format(int((~value.isfinite()).sum()), value.numel()),
                    cause="the physics diverged",
                )

    def _add_rewards(
        self, terms: Dict[str, torch.Tensor], state: State, endings: Endings, rewarded: torch.Tensor
    ) -> None:
        """Add one env step's terms to `terms`, in the envs that are `rewarded` (E,)."""
        if self.task.upstream_quirks:
            state = _finite_state(state)
        object_xy = state.object_pos_w[:, :2]
        previous_xy = torch.where(self._previous_object_xy.isnan(), object_xy, self._previous_object_xy)
        inputs = RewardInputs(
            robot_pos_w=state.robot_pos_w,
            object_pos_w=state.object_pos_w,
            object_yaw=yaw_of(state.object_quat_w),
            object_lin_vel_w=state.object_lin_vel_w,
            previous_object_xy=previous_xy,
            goal_pos_w=self.goal_pos_w,
            success=endings.success,
            exception=endings.exception,
        )
        rewarded = rewarded.unsqueeze(1)
        for name, value in rewards.compute(inputs, self._vertices, self.task.reward).items():
            terms[name] = terms.get(name, 0.0) + value * rewarded
        self._previous_object_xy = torch.where(rewarded, object_xy, self._previous_object_xy)

    def _finish(self, seen: State, endings: Endings, terms: Dict[str, torch.Tensor]) -> Transition:
        """Start ended envs anew and make up the transition from `seen`, the state in which they ended."""
        done, outcome = endings.done, self._outcome(endings)
        final = observation = self._observe(seen, yaw_of(seen.robot_quat_w))
        if bool(done.any()):
            observation = self._respawn(done)
        if self.task.upstream_quirks:
            self._add_rewards(terms, self._state, endings, done)
            broken = ~observation.obs.isfinite().flatten(1).all(dim=1, keepdim=True)
            terms["exception"] = terms["exception"] + self.task.reward.exception * broken
            final, observation = _finite_observation(final), _finite_observation(observation)
        self._previous_object_xy = self._state.object_pos_w[:, :2]
        reward = torch.stack(tuple(terms.values())).sum(dim=0)
        outcome["return"] = self._return + reward.mean(dim=1)
        self._return = outcome["return"].masked_fill(done, 0.0)
        self.metrics.add_step(terms)
        self.metrics.add_episodes(done, outcome)
        return Transition(observation, reward, endings.terminated, done & ~endings.terminated, final, outcome)

    def _outcome(self, endings: Endings) -> Dict[str, torch.Tensor]:
        success, collision = endings.success, endings.collision & ~endings.success
        counted = torch.where(success, self._length, torch.full_like(self._length, MAX_EPISODE_LENGTH))
        return {
            "success": success,
            "collision": collision,
            "fall": endings.exception & ~success & ~collision,
            "timeout": endings.timeout & ~endings.terminated,
            "length": self._length,
            "finished_time": counted * STEP_DT,
            "collaboration": self._steps_together / self._length,
            "collision_degree": torch.zeros_like(self._return),
        }

    def _respawn(self, where: torch.Tensor) -> Observation:
        """Start a new episode in the envs of the mask `where` (E,) and return what all envs show."""
        env_ids = where.nonzero().squeeze(1)
        spawn, goal_pos_w = self._spawner.draw(env_ids)
        before = self._state
        self.simulator.reset(env_ids, spawn)
        self._state = self.simulator.state()
        self.goal_pos_w = self.goal_pos_w.index_copy(0, env_ids, goal_pos_w)
        self._length = self._length.masked_fill(where, 0)
        self._steps_together = self._steps_together.masked_fill(where, 0)
        robot_yaw = yaw_of(self._state.robot_quat_w)
        if self.task.upstream_quirks and before is not None:
            robot_yaw = torch.where(where.unsqueeze(1), yaw_of(before.robot_quat_w), robot_yaw)
        return self._observe(self._state, robot_yaw)

    def _observe(self, state: State, robot_yaw: torch.Tensor) -> Observation:
        remaining_time = 1.0 - self._length / (MAX_EPISODE_LENGTH + 1)
        return Observation(
            obs=observations.actor_obs(state, robot_yaw, self.goal_pos_w),
            share_obs=observations.critic_obs(state, self.goal_pos_w, remaining_time),
        )


def _object_of(task: TaskConfig, num_agents: int) -> PushObject:
    """Return what `task` names, or say why it cannot be pushed by `num_agents` robots."""
    if task.object not in OBJECTS:
        raise ConfigError(
            "there is no such object", where="task.object", got=repr(task.object), fix=nearest(task.object, OBJECTS)
        )
    if task.steps_per_decision < 1:
        raise ConfigError("task.steps_per_decision is out of range", got=str(task.steps_per_decision), expected=">= 1")
    item = OBJECTS[task.object]
    if num_agents != item.num_agents:
        raise ConfigError(
            "the simulator has another team than the task",
            where="object {}".format(item.name),
            got="{} robots".format(num_agents),
            expected="{} robots".format(item.num_agents),
            fix="make the simulator's scene from OBJECTS[{!r}]".format(item.name),
        )
    return item


def _together(state: State) -> torch.Tensor:
    """Return where all robots are near the object, (E,) bool."""
    offset = state.robot_pos_w[..., :2] - state.object_pos_w[:, None, :2]
    return (offset.norm(dim=-1) < COLLABORATION_DISTANCE).all(dim=1)


def _where(mask: torch.Tensor, yes: State, no: State) -> State:
    """Take the envs of `mask` (E,) from `yes`, the others from `no`."""

    def pick(name: str) -> torch.Tensor:
        first, second = getattr(yes, name), getattr(no, name)
        return torch.where(mask.reshape((-1,) + (1,) * (first.dim() - 1)), first, second)

    return State(**{field.name: pick(field.name) for field in dataclasses.fields(State)})


def _finite(value: torch.Tensor) -> torch.Tensor:
    return value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _finite_state(state: State) -> State:
    return State(**{field.name: _finite(getattr(state, field.name)) for field in dataclasses.fields(State)})


def _finite_observation(observation: Observation) -> Observation:
    return Observation(_finite(observation.obs), _finite(observation.share_obs))
