"""The pushing task: a team of robots brings an object to a goal, as in MAPush's `go1push_mid`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Optional, Tuple

import torch

from mapush.config import TaskConfig
from mapush.device.cuda_graphs import Captured, map_tensors
from mapush.env import rewards, terminations
from mapush.env.finite import all_finite, non_finite_error
from mapush.env.judgement import OUTCOMES, DecisionTally, Judgement, choose, outcome_of, together
from mapush.env.metrics import EpisodeMetrics
from mapush.env.own_terms import OwnTerms
from mapush.env.pushed_object import object_for, object_of
from mapush.env.resets import SPAWN_MARGIN, Spawner
from mapush.env.rewards import RewardInputs
from mapush.env.terminations import MAX_EPISODE_LENGTH, Endings
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.env.views import view_of
from mapush.errors import ConfigError, MapushError, NonFiniteError
from mapush.sim.geometry import constant, yaw_of
from mapush.sim.physics import State
from mapush.sim.simulator import Simulator
from mapush.spec import TensorSpec

COMMAND_SCALE = 0.5  # velocity of an action of 1 [m/s, m/s, rad/s]
_EPISODE_ATTRIBUTES = {
    "goal_pos_w": "goal_pos_w",
    "previous_object_xy": "_previous_object_xy",
    "length": "_length",
    "steps_together": "_steps_together",
    "return": "_return",
}
"""What an episode has added up so far: the name in `state_dict`, and the attribute."""


class PushEnv(VecEnv):
    """`num_envs` teams that each push one object to a goal, without upstream's errors; see `QuirkyPushEnv`.

    An action is a velocity command in the robot's own frame: v_x, v_y, omega_z, where 1 means 0.5 m/s or 0.5 rad/s.
    It is held for `task.steps_per_decision` env steps of `STEP_DT`. Rewards and endings are judged after every env
    step; rewards add up until the episode ends. Envs whose episode ended are reset at the end of the decision.
    For E envs of A robots, actions are (E, A, 3), and reward is (E, A); `views` has the observations.

    `Transition.outcome` holds, for each ended episode, exactly one of `success`, `collision`, `fall` and `timeout`;
    `length` [env steps]; `finished_time` [s] (of a failure: the longest episode's); `collaboration` and
    `collision_degree` (shares of its steps); and `return` (mean over the team). `Transition.terms` holds the terms of
    `rewards.TERMS` and of `task.reward_terms`, summed over the env steps of the decision.

    Source: MAPush@0e61e1b, `Go1PushMidWrapper` and `Go1Object`; docs/deviations.md lists every deviation.

    Args:
      simulator: robots that follow velocity commands, and the object of `task`.
      task: what to push and how it is rewarded.
      seed: seeds the initial states and the goals.

    Attributes:
      goal_pos_w: position of each goal [m], (E, 3).
      item: the object that is pushed, with the team of the task.

    Raises:
      ConfigError: `task` names an unknown object, does not fit the simulator's team, or asks for upstream's errors.
    """

    upstream_quirks = False

    def __init__(self, simulator: Simulator, task: TaskConfig, seed: int) -> None:
        self._require_possible(task)
        self.simulator = simulator
        self.task = task
        self.num_envs = simulator.num_envs
        self.num_agents = simulator.num_agents
        self.device = simulator.device
        self.simulator_name = simulator.name
        self.max_episode_length = MAX_EPISODE_LENGTH
        self.steps_per_decision = task.steps_per_decision
        self.item = object_for(task, self.num_agents)
        self._vertices = constant(self.item.vertices, self.device)
        self._own_terms = OwnTerms(task.reward_terms, self.device)
        self._terms = rewards.TERMS + self._own_terms.names
        self._declare_specs()
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        self._spawner = Spawner(self.item, self.num_envs, self._generator, self._min_separation())
        self.metrics = EpisodeMetrics(OUTCOMES, self.num_envs, self.device)
        self._allocate()
        self._judge = Captured(self._judge_step)

    def _require_possible(self, task: TaskConfig) -> None:
        if task.steps_per_decision < 1:
            raise ConfigError(
                "task.steps_per_decision is out of range", got=str(task.steps_per_decision), expected="at least 1"
            )
        if task.upstream_quirks != self.upstream_quirks:
            raise ConfigError(
                "this environment is not the one that the task asks for",
                where="task.upstream_quirks",
                got=f"{type(self).__name__} for upstream_quirks={task.upstream_quirks}",
                fix="call mapush.assembly.make_env, or choose the class by push_quirks.push_env_class(task)",
            )

    def _declare_specs(self) -> None:
        self._view = view_of(self.task, self.item, self.device)
        self.obs_spec = self._view.obs_spec(self.num_envs, self.num_agents)
        self.share_obs_spec = self._view.share_obs_spec(self.num_envs)
        dims = ("num_envs", "num_agents", "action_dim")
        shape = (self.num_envs, self.num_agents, 3)
        self.action_spec = TensorSpec("actions", dims, shape, low=-1.0, high=1.0)
        self._unbounded_action_spec = TensorSpec("actions", dims, shape)

    def _allocate(self) -> None:
        self.goal_pos_w = torch.zeros((self.num_envs, 3), device=self.device)
        self._state: Optional[State] = None
        self._previous_object_xy = torch.full((self.num_envs, 2), math.nan, device=self.device)
        self._length = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._steps_together = torch.zeros_like(self._length)
        self._return = torch.zeros(self.num_envs, device=self.device)
        self._env_step = 0
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)

    # -- the interface -----------------------------------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start a new episode in every env; see `VecEnv.reset`."""
        observation = self._respawn(self._every_env())
        self._return = torch.zeros_like(self._return)
        self._previous_object_xy = self._object_xy_before_first_step(self._present_state())
        self._own_terms.validate(self._present_state(), self.goal_pos_w)
        return observation

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`.

        Args:
          actions: (E, A, 3) float32, clipped to [-1, 1]; never modified.

        Raises:
          SpecError: `actions` has a different shape or type.
          NonFiniteError: an action or the new state is NaN or infinite; on a GPU, `check` raises it.
          MapushError: `reset` has not been called yet.
        """
        seen = self._present_state()
        commands = self._commands(actions)
        tally = self._new_tally()
        for _ in range(self.steps_per_decision):
            self._state = self.simulator.step(commands, self._state)
            self._env_step += 1
            seen, tally, endings = self._judge(self._state, seen, tally, self.goal_pos_w)
            if self.device.type == "cpu":
                self._require_finite(seen)
            if _is_known_empty(tally.live):
                break
        # The next call of the recorded function overwrites its results; these have to outlive it.
        return self._finish(seen, map_tensors(torch.clone, endings), map_tensors(torch.clone, tally))

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""
        state = {
            "simulator": self.simulator.state_dict(),
            "generator": self._generator.get_state(),
            "metrics": self.metrics.state_dict(),
        }
        for name, attribute in _EPISODE_ATTRIBUTES.items():
            state[name] = getattr(self, attribute).clone()
        state["env_step"] = self._env_step
        return state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.simulator.load_state_dict(state["simulator"])
        self._generator.set_state(state["generator"].cpu())
        self.metrics.load_state_dict(state["metrics"])
        for name, attribute in _EPISODE_ATTRIBUTES.items():
            setattr(self, attribute, state[name].to(self.device, copy=True))
        self._env_step = state["env_step"]
        self._state = self.simulator.state()

    def moment(self) -> Dict[str, torch.Tensor]:
        """Return the physical state and what the present episodes have added up; see `VecEnv.moment`."""
        state = self._present_state()
        moment = {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}
        moment["memory"] = self.simulator.memory
        for attribute in _EPISODE_ATTRIBUTES.values():
            moment[attribute] = getattr(self, attribute)
        return moment

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """Put every env where it was at `moment`; see `VecEnv.place`."""
        state = State(**{field.name: moment[field.name] for field in dataclasses.fields(State)})
        self.simulator.reset(self._every_env(), state)
        self.simulator.memory = moment["memory"]
        for attribute in _EPISODE_ATTRIBUTES.values():
            setattr(self, attribute, moment[attribute])
        self._state = self.simulator.state()

    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; see `VecEnv.check`."""
        try:
            self._require_finite(self._present_state())
        except NonFiniteError:
            self._finite.fill_(True)
            self._own_terms.forget()
            raise
        return self.simulator.check()

    def _require_finite(self, state: State) -> None:
        """Raise an error if a state or a reward term was not finite; `state` is the last one."""
        if not bool(self._finite):
            raise non_finite_error(state, self._env_step)
        self._own_terms.require_finite(self._env_step)

    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
        self.simulator.close()

    # -- one decision ------------------------------------------------------------------------------------------------

    def _every_env(self) -> torch.Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def _present_state(self) -> State:
        if self._state is None:
            raise MapushError("step before reset", where="PushEnv.step", fix="call reset() once before the first step")
        return self._state

    def _commands(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the velocity commands (E, A, 3) [m/s, m/s, rad/s] of valid actions."""
        where = f"PushEnv.step at env step {self._env_step}"
        if self.device.type == "cpu":
            self._unbounded_action_spec.validate(actions, where)
        else:  # an action that is not finite makes the state so, which `check` finds
            self._unbounded_action_spec.validate_form(actions, where)
        return COMMAND_SCALE * self._bounded(actions)

    def _new_tally(self) -> DecisionTally:
        return DecisionTally(
            live=self._every_env(),
            length=self._length,
            steps_together=self._steps_together,
            previous_object_xy=self._previous_object_xy,
            terms=torch.zeros((len(self._terms), self.num_envs, self.num_agents), device=self.device),
        )

    def _judge_step(self, state: State, seen: State, tally: DecisionTally, goal_pos_w: torch.Tensor) -> Judgement:
        """Judge what one env step has led to; on the GPU this is replayed, so it must not branch on values.

        Args:
          state: the state after the env step.
          seen: the state last seen in each episode.
          tally: the sums before the env step.
          goal_pos_w: (E, 3) [m].
        """
        if self.steps_per_decision == 1:
            seen = state
        else:
            seen = choose(tally.live, state, seen)
        self._note_whether_finite(seen)
        length = tally.length + tally.live
        steps_together = tally.steps_together + (tally.live & together(seen))
        endings = terminations.compute(seen, goal_pos_w, length, self.item)
        rewarded = self._rewarded_now(tally.live, endings)
        terms, object_xy = self._reward_terms(seen, endings, rewarded, tally.previous_object_xy, goal_pos_w)
        tally = DecisionTally(~endings.done, length, steps_together, object_xy, tally.terms + terms)
        return Judgement(seen, tally, endings)

    def _reward_terms(
        self,
        state: State,
        endings: Endings,
        rewarded: torch.Tensor,
        previous_xy: torch.Tensor,
        goal_pos_w: torch.Tensor,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return the reward terms of one env step, and where the object is now.

        Args:
          state: the state to reward.
          endings: which limits the episode has reached.
          rewarded: envs in which this env step counts, (E,) bool.
          previous_xy: where the object was one env step ago, NaN if that is not known, (E, 2) [m].
          goal_pos_w: (E, 3) [m].

        Returns:
          Terms (N, E, A), zero in the envs that are not `rewarded`; positions (E, 2) [m], unchanged in those.
        """
        thing = object_of(state)
        object_xy = thing.pos_w[:, :2]
        inputs = RewardInputs(
            robot_pos_w=state.robot_pos_w,
            object_pos_w=thing.pos_w,
            object_yaw=yaw_of(thing.quat_w),
            object_lin_vel_w=thing.lin_vel_w,
            previous_object_xy=torch.where(previous_xy.isnan(), object_xy, previous_xy),
            goal_pos_w=goal_pos_w,
            success=endings.success,
            exception=endings.exception,
        )
        by_name = rewards.compute(inputs, self._vertices, self.task.reward)
        by_name.update(self._own_terms.compute(inputs, state))
        terms = torch.stack([by_name[name] for name in self._terms])
        rewarded = rewarded.unsqueeze(1)
        return terms * rewarded, torch.where(rewarded, object_xy, previous_xy)

    def _finish(self, seen: State, endings: Endings, tally: DecisionTally) -> Transition:
        """Reset the envs that ended, and return the transition.

        Args:
          seen: the last state of each episode in this decision.
          endings: which limits it has reached.
          tally: the sums of the decision.
        """
        self._length, self._steps_together = tally.length, tally.steps_together
        done = endings.done
        outcome = outcome_of(endings, tally, MAX_EPISODE_LENGTH)
        final = observation = self._observe(seen, yaw_of(seen.robot_quat_w))
        if not _is_known_empty(done):
            observation = self._respawn(done)
        terms = self._terms_of_decision(tally, endings, observation)
        self._previous_object_xy = object_of(self._present_state()).pos_w[:, :2]
        reward = terms.sum(dim=0)
        outcome["return"] = self._return + reward.mean(dim=1)
        self._return = outcome["return"].masked_fill(done, 0.0)
        terms_by_name = dict(zip(self._terms, terms))
        self.metrics.add_step(terms_by_name)
        self.metrics.add_episodes(done, outcome)
        return Transition(
            observation=self._shown(observation),
            reward=reward,
            terminated=endings.terminated,
            truncated=done & ~endings.terminated,
            final_observation=self._shown(final),
            outcome=outcome,
            terms=terms_by_name,
        )

    def _respawn(self, where: torch.Tensor) -> Observation:
        """Start a new episode in the envs of the mask `where` (E,), and return the observation of all envs."""
        spawn, goal_pos_w = self._spawner.draw()
        before = self._state
        self.simulator.reset(where, spawn)
        self._state = self.simulator.state()
        self.goal_pos_w = torch.where(where.unsqueeze(1), goal_pos_w, self.goal_pos_w)
        self._length = self._length.masked_fill(where, 0)
        self._steps_together = self._steps_together.masked_fill(where, 0)
        return self._observe(self._state, self._heading_after_reset(self._state, where, before))

    def _observe(self, state: State, robot_yaw: torch.Tensor) -> Observation:
        remaining_time = 1.0 - self._length / (MAX_EPISODE_LENGTH + 1)
        return Observation(
            obs=self._view.actor_obs(state, robot_yaw, self.goal_pos_w),
            share_obs=self._view.critic_obs(state, self.goal_pos_w, remaining_time),
        )

    # -- what `QuirkyPushEnv` overrides ------------------------------------------------------------------------------

    def _min_separation(self) -> float:
        """Return the smallest distance between two robots at the start of an episode [m]."""
        return self.item.collision_distance + SPAWN_MARGIN

    def _bounded(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the actions (E, A, 3), limited to [-1, 1]."""
        return actions.clamp(-1.0, 1.0)

    def _object_xy_before_first_step(self, state: State) -> torch.Tensor:
        """Return where the object is before the first step after `reset`, (E, 2) [m]; NaN if that is not known."""
        return object_of(state).pos_w[:, :2]

    def _note_whether_finite(self, state: State) -> None:
        """Remember on the device whether every value of `state` is finite."""
        self._finite.logical_and_(all_finite(state))

    def _rewarded_now(self, live: torch.Tensor, endings: Endings) -> torch.Tensor:
        """Return in which of the `live` (E,) envs an env step is rewarded before any reset, (E,) bool."""
        return live

    def _terms_of_decision(self, tally: DecisionTally, endings: Endings, observation: Observation) -> torch.Tensor:
        """Return the reward terms of the decision (N, E, A); the ended envs have been reset to `observation`."""
        return tally.terms

    def _heading_after_reset(self, state: State, where: torch.Tensor, before: Optional[State]) -> torch.Tensor:
        """Return the yaw that each robot observes as its own, (E, A) [rad].

        Args:
          state: the present state.
          where: envs that were just reset, (E,) bool.
          before: the state before; None at the first reset.
        """
        return yaw_of(state.robot_quat_w)

    def _shown(self, observation: Observation) -> Observation:
        """Return `observation` as actors and critic get it."""
        return observation


def _is_known_empty(mask: torch.Tensor) -> bool:
    """Return whether `mask` holds nowhere; False on a GPU, which is not waited for."""
    return mask.device.type == "cpu" and not bool(mask.any())
