"""The pushing task: a team of robots brings an object to a goal, exactly as MAPush's `go1push_mid`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import torch

from mapush.config import TaskConfig
from mapush.device.cuda_graphs import Captured
from mapush.env import observations, rewards, terminations
from mapush.env.metrics import EpisodeMetrics
from mapush.env.resets import Spawner
from mapush.env.rewards import RewardInputs
from mapush.env.terminations import MAX_EPISODE_LENGTH, Endings
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.errors import ConfigError, MapushError, NonFiniteError, nearest
from mapush.objects import OBJECTS, PushObject
from mapush.sim.geometry import constant, yaw_of
from mapush.sim.physics import STEP_DT, State
from mapush.sim.simulator import Simulator
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
_OF_EPISODES = ("goal_pos_w", "_previous_object_xy", "_length", "_steps_together", "_return")


class DecisionTally(NamedTuple):
    """What a decision adds up, env step by env step.

    Attributes:
      live: the episode goes on, (E,) bool.
      length: env steps of the episode, (E,) int64.
      steps_together: those in which all robots were near the object, (E,) int64.
      previous_object_xy: where the object was one env step ago, nan if that is not known, (E, 2) [m].
      terms: of the reward, in the order of `rewards.TERMS`, (N, E, A).
    """

    live: torch.Tensor
    length: torch.Tensor
    steps_together: torch.Tensor
    previous_object_xy: torch.Tensor
    terms: torch.Tensor


class PushEnv(VecEnv):
    """`num_envs` teams that each push one object to a goal, without upstream's errors; see `QuirkyPushEnv`.

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

    upstream_quirks = False

    def __init__(self, simulator: Simulator, task: TaskConfig, seed: int) -> None:
        if task.upstream_quirks != self.upstream_quirks:
            raise ConfigError(
                "this environment is not the one that the task asks for",
                where="task.upstream_quirks",
                got=f"{type(self).__name__} for upstream_quirks={task.upstream_quirks}",
                fix="make it with mapush.assembly.make_env, or of the class push_quirks.push_env_class(task)",
            )
        self.simulator = simulator
        self.task = task
        self.num_envs, self.num_agents, self.device = simulator.num_envs, simulator.num_agents, simulator.device
        self.simulator_name = simulator.name
        self.max_episode_length = MAX_EPISODE_LENGTH
        self.steps_per_decision = task.steps_per_decision
        self._object = _object_of(task, self.num_agents)
        self._vertices = constant(self._object.vertices, self.device)
        self._declare_specs()
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        self._spawner = Spawner(self._object, self.num_envs, self._generator, self._min_separation())
        self.metrics = EpisodeMetrics(OUTCOMES, self.num_envs, self.device)
        self.goal_pos_w = torch.zeros((self.num_envs, 3), device=self.device)
        self._state: Optional[State] = None
        self._previous_object_xy = torch.full((self.num_envs, 2), math.nan, device=self.device)  # nan: not known
        self._length = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._steps_together = torch.zeros_like(self._length)
        self._return = torch.zeros(self.num_envs, device=self.device)
        self._env_step = 0
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._judge = Captured(self._judge_step)

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
        self._previous_object_xy = self._object_xy_before_first_step(self._state)
        return observation

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`.

        Raises:
          SpecError: `actions` has another shape or type.
          NonFiniteError: an action or the new state is NaN or infinite; on a GPU, `check` raises it.
          MapushError: there was no `reset` yet.
        """
        commands = self._commands(actions)
        seen, tally = self._state, self._new_tally()
        for _ in range(self.steps_per_decision):
            self._state = self.simulator.step(commands, self._state)
            self._env_step += 1
            tensors = (*_fields(self._state), *_fields(seen), *tally, self.goal_pos_w)
            fields, sums, endings = self._judge(*tensors)
            seen, tally = State(*fields), DecisionTally(*sums)
            if self.device.type == "cpu" and not bool(self._finite):
                raise _not_finite(seen, self._env_step)
            if _is_seen_empty(tally.live):
                break
        endings = Endings(*(value.clone() for value in endings))  # these outlive the next call of the recorded function
        return self._finish(seen, endings, DecisionTally(*(value.clone() for value in tally)))

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

    def moment(self) -> Dict[str, torch.Tensor]:
        """Return where everything is, in which episode; see `VecEnv.moment`."""
        values = {field.name: getattr(self._state, field.name) for field in dataclasses.fields(State)}
        return dict(values, memory=self.simulator.memory, **{name: getattr(self, name) for name in _OF_EPISODES})

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """Put every env where it was; see `VecEnv.place`."""
        state = State(**{field.name: moment[field.name] for field in dataclasses.fields(State)})
        self.simulator.reset(torch.ones(self.num_envs, dtype=torch.bool, device=self.device), state)
        self.simulator.memory = moment["memory"]
        for name in _OF_EPISODES:
            setattr(self, name, moment[name])
        self._state = self.simulator.state()

    def check(self) -> Dict[str, float]:
        """Raise what went wrong on the device since the last call; see `VecEnv.check`."""
        if not bool(self._finite):
            self._finite.fill_(True)
            raise _not_finite(self._state, self._env_step)
        return self.simulator.check()

    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
        self.simulator.close()

    def _commands(self, actions: torch.Tensor) -> torch.Tensor:
        if self._state is None:
            raise MapushError("step before reset", where="PushEnv.step", fix="call reset() once before the first step")
        where = f"PushEnv.step at env step {self._env_step}"
        if self.device.type == "cpu":
            self._unbounded_action_spec.validate(actions, where)
        else:  # what is not finite makes the state so, which `check` finds
            self._unbounded_action_spec.validate_form(actions, where)
        return COMMAND_SCALE * self._bounded(actions)

    def _new_tally(self) -> DecisionTally:
        live = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        terms = torch.zeros((len(rewards.TERMS), self.num_envs, self.num_agents), device=self.device)
        return DecisionTally(live, self._length, self._steps_together, self._previous_object_xy, terms)

    def _judge_step(self, *tensors: torch.Tensor) -> Tuple[Tuple[torch.Tensor, ...], ...]:
        """Judge what one env step has led to.

        Args:
          tensors: the fields of the present state, of the state last seen in each episode, of the tally; the goals.
        Returns:
          The fields of the state now seen, where ended episodes stand still, of the tally, and of the `Endings`.
        """
        half = len(dataclasses.fields(State))
        state, seen = State(*tensors[:half]), State(*tensors[half : 2 * half])
        tally, goal_pos_w = DecisionTally(*tensors[2 * half : -1]), tensors[-1]
        seen = state if self.steps_per_decision == 1 else _where(tally.live, state, seen)
        self._note_whether_finite(seen)
        length = tally.length + tally.live
        together = tally.steps_together + (tally.live & _together(seen))
        endings = terminations.compute(seen, goal_pos_w, length, self._object)
        rewarded = self._rewarded_now(tally.live, endings)
        terms, previous_xy = self._reward(seen, endings, rewarded, tally.previous_object_xy, goal_pos_w)
        tally = DecisionTally(~endings.done, length, together, previous_xy, tally.terms + terms)
        return _fields(seen), tuple(tally), _fields(endings)

    def _reward(
        self,
        state: State,
        endings: Endings,
        rewarded: torch.Tensor,
        previous_xy: torch.Tensor,
        goal_pos_w: torch.Tensor,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return one env step's terms (N, E, A) in the envs that are `rewarded` (E,), and the object's place (E, 2)."""
        object_xy = state.object_pos_w[:, :2]
        inputs = RewardInputs(
            robot_pos_w=state.robot_pos_w,
            object_pos_w=state.object_pos_w,
            object_yaw=yaw_of(state.object_quat_w),
            object_lin_vel_w=state.object_lin_vel_w,
            previous_object_xy=torch.where(previous_xy.isnan(), object_xy, previous_xy),
            goal_pos_w=goal_pos_w,
            success=endings.success,
            exception=endings.exception,
        )
        terms = torch.stack(tuple(rewards.compute(inputs, self._vertices, self.task.reward).values()))
        rewarded = rewarded.unsqueeze(1)
        return terms * rewarded, torch.where(rewarded, object_xy, previous_xy)

    def _finish(self, seen: State, endings: Endings, tally: DecisionTally) -> Transition:
        """Start ended envs anew and make up the transition from `seen`, the state in which they ended."""
        self._length, self._steps_together = tally.length, tally.steps_together
        done, outcome = endings.done, self._outcome(endings)
        final = observation = self._observe(seen, yaw_of(seen.robot_quat_w))
        if not _is_seen_empty(done):
            observation = self._respawn(done)
        terms = self._terms_of_decision(tally, endings, observation)
        final, observation = self._shown(final), self._shown(observation)
        self._previous_object_xy = self._state.object_pos_w[:, :2]
        by_name, reward = dict(zip(rewards.TERMS, terms)), terms.sum(dim=0)
        outcome["return"] = self._return + reward.mean(dim=1)
        self._return = outcome["return"].masked_fill(done, 0.0)
        self.metrics.add_step(by_name)
        self.metrics.add_episodes(done, outcome)
        return Transition(observation, reward, endings.terminated, done & ~endings.terminated, final, outcome, by_name)

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
        spawn, goal_pos_w = self._spawner.draw()
        before = self._state
        self.simulator.reset(where, spawn)
        self._state = self.simulator.state()
        self.goal_pos_w = torch.where(where.unsqueeze(1), goal_pos_w, self.goal_pos_w)
        self._length = self._length.masked_fill(where, 0)
        self._steps_together = self._steps_together.masked_fill(where, 0)
        return self._observe(self._state, self._heading_after_reset(where, before))

    def _observe(self, state: State, robot_yaw: torch.Tensor) -> Observation:
        remaining_time = 1.0 - self._length / (MAX_EPISODE_LENGTH + 1)
        return Observation(
            obs=observations.actor_obs(state, robot_yaw, self.goal_pos_w),
            share_obs=observations.critic_obs(state, self.goal_pos_w, remaining_time),
        )

    # -- what `QuirkyPushEnv` does as upstream does ------------------------------------------------------------------

    def _min_separation(self) -> float:
        """Return how far apart robots start at least [m]."""
        return self._object.collision_distance + SPAWN_MARGIN

    def _bounded(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the actions (E, A, 3) within [-1, 1]."""
        return actions.clamp(-1.0, 1.0)

    def _object_xy_before_first_step(self, state: State) -> torch.Tensor:
        """Return where the object is before the first step after `reset`, (E, 2) [m]; NaN if that is not known."""
        return state.object_pos_w[:, :2]

    def _note_whether_finite(self, state: State) -> None:
        """Remember on the device whether every value of `state` is finite."""
        self._finite.logical_and_(torch.stack([value.sum() for value in _fields(state)]).sum().isfinite())

    def _rewarded_now(self, live: torch.Tensor, endings: Endings) -> torch.Tensor:
        """Return which envs are rewarded for this env step before any reset, (E,) bool."""
        return live

    def _terms_of_decision(self, tally: DecisionTally, endings: Endings, observation: Observation) -> torch.Tensor:
        """Return the decision's reward terms (N, E, A), after ended envs were reset and showed `observation`."""
        return tally.terms

    def _heading_after_reset(self, where: torch.Tensor, before: Optional[State]) -> torch.Tensor:
        """Return the yaw (E, A) [rad] that each robot believes it has, after the envs of `where` were reset."""
        return yaw_of(self._state.robot_quat_w)

    def _shown(self, observation: Observation) -> Observation:
        """Return what is shown of `observation`."""
        return observation


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
            where=f"object {item.name}",
            got=f"{num_agents} robots",
            expected=f"{item.num_agents} robots",
            fix=f"make the simulator's scene from OBJECTS[{item.name!r}]",
        )
    return item


def _is_seen_empty(mask: torch.Tensor) -> bool:
    """Return whether `mask` holds nowhere, as far as can be told without waiting for a GPU."""
    return mask.device.type == "cpu" and not bool(mask.any())


def _not_finite(state: State, env_step: int) -> NonFiniteError:
    """Return the error that names the first value of `state` that is not finite."""
    error = NonFiniteError(
        "the simulator's state is not finite",
        where=f"env step {env_step}",
        cause="the physics diverged, or an action was not finite",
    )
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        for index in (~value.isfinite()).nonzero().tolist()[:1]:
            agent = f", agent {index[1]}" if field.name.startswith(("robot", "joint")) else ""
            error.where = f"env {index[0]}{agent}, {field.name}[{index[-1]}], env step {env_step}"
            error.got = f"{int((~value.isfinite()).sum())} of {value.numel()} values are nan or inf"
            return error
    return error


def _together(state: State) -> torch.Tensor:
    """Return where all robots are near the object, (E,) bool."""
    offset = state.robot_pos_w[..., :2] - state.object_pos_w[:, None, :2]
    return (offset.norm(dim=-1) < COLLABORATION_DISTANCE).all(dim=1)


def _fields(values: Union[State, Endings]) -> Tuple[torch.Tensor, ...]:
    return tuple(getattr(values, field.name) for field in dataclasses.fields(values))


def _where(mask: torch.Tensor, yes: State, no: State) -> State:
    """Take the envs of `mask` (E,) from `yes`, the others from `no`."""

    def pick(name: str) -> torch.Tensor:
        first, second = getattr(yes, name), getattr(no, name)
        return torch.where(mask.reshape((-1,) + (1,) * (first.dim() - 1)), first, second)

    return State(**{field.name: pick(field.name) for field in dataclasses.fields(State)})
