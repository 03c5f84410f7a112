"""Traces: the first episode of every env of an evaluation, recorded by a wrapper around the simulator."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional

import numpy as np
import torch

from mapush.env.push import PushEnv
from mapush.evaluation.episode import Episode, Frame
from mapush.sim.physics import State
from mapush.sim.qpos_layout import rows_of
from mapush.sim.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class Trace:
    """The first episode of each of E envs with A robots.

    Attributes:
      qpos: for each env, the states from the start (row 0) to the end of its episode, (1 + length, nq) float32; see
        `Frame.qpos`.
      commands: for each env, the commands that led from each row to the next, (length, A, 3) float32; see
        `Frame.commands`.
      goals: target positions of the object in the world frame [m], (E, 2).
      outcome: the task's outcome of the episodes, each (E,); see `PushEnv`.
      goal_radius: the object has arrived when it is nearer to the goal than this [m].
    """

    qpos: List[np.ndarray]
    commands: List[np.ndarray]
    goals: np.ndarray
    outcome: Dict[str, np.ndarray]
    goal_radius: float = 1.0

    @property
    def num_agents(self) -> int:
        """Number of robots."""
        return self.commands[0].shape[1]

    def __len__(self) -> int:
        return len(self.qpos)

    def episode(self, env_id: int) -> Episode:
        """Return the episode of one env, to be shown or recorded."""
        goal = self.goals[env_id]
        frames = []
        for qpos, commands in zip(self.qpos[env_id][1:], self.commands[env_id]):
            frames.append(Frame(qpos, goal, commands))
        outcome = {name: float(values[env_id]) for name, values in self.outcome.items()}
        return Episode(number=env_id + 1, env_id=env_id, frames=frames, outcome=outcome, goal_radius=self.goal_radius)


class Tracer(Simulator):
    """A simulator that records, on the CPU, the first episode of each env.

    It replaces the simulator of `env`, which must not have been reset yet, and changes none of its numbers. An env step
    of two robots takes 212 bytes, an episode at most 212 kB.
    """

    def __init__(self, env: PushEnv) -> None:
        super().__init__(env.simulator.physics, env.simulator.walking)
        self._env = env
        self._live: Optional[np.ndarray] = None
        self._starts = self._goals = np.empty((0, 0))
        self._env_ids: List[np.ndarray] = []  # of each env step: the envs whose first episode has not ended, (n,)
        self._qpos: List[np.ndarray] = []  # their states after it, (n, nq)
        self._commands: List[np.ndarray] = []  # the commands that led there, (n, A, 3)
        env.simulator = self

    @property
    def recorded_steps(self) -> int:
        """Env steps recorded so far, summed over envs."""
        return sum(len(env_ids) for env_ids in self._env_ids)

    def reset(self, where: torch.Tensor, state: State) -> None:
        """See `Simulator.reset`; the second reset of an env means that its first episode has ended."""
        super().reset(where, state)
        if self._live is None:
            self._live = np.ones(self.num_envs, dtype=bool)
            self._starts = _qpos_of(self.state()).copy()
        else:
            self._live &= ~where.cpu().numpy()

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """See `Simulator.step`."""
        state = super().step(commands, state)
        if not self._env_ids:
            self._goals = self._env.goal_pos_w[:, :2].cpu().numpy().copy()
        assert self._live is not None, "a simulator is reset before its first step"
        env_ids = np.flatnonzero(self._live)
        self._env_ids.append(env_ids)
        self._qpos.append(_qpos_of(state)[env_ids])
        self._commands.append(commands.cpu().numpy()[env_ids])
        return state

    def trace(self, outcome: Dict[str, torch.Tensor]) -> Trace:
        """Return the first episodes.

        Args:
          outcome: of each episode, (E,); `length` is the env step within its last decision at which it ended.
        """
        lengths = outcome["length"].cpu().numpy()
        env_ids = np.concatenate(self._env_ids)
        commands = _rows_by_env(np.concatenate(self._commands), env_ids, lengths)
        states = _rows_by_env(np.concatenate(self._qpos), env_ids, lengths)
        qpos = []
        for start, rows in zip(self._starts, states):
            qpos.append(np.concatenate((start[None], rows)))
        plain = {name: values.cpu().numpy() for name, values in outcome.items()}
        return Trace(qpos, commands, self._goals, plain, self._env.item.goal_radius)


def _qpos_of(state: State) -> np.ndarray:
    return rows_of(state)[0].cpu().numpy()


def _rows_by_env(rows: np.ndarray, env_ids: np.ndarray, lengths: np.ndarray) -> List[np.ndarray]:
    """Sort rows by env, and cut those of each env at the length of its episode.

    Args:
      rows: in the order of the env steps, (n, ...).
      env_ids: the env of each row, (n,).
      lengths: of each env's episode, (E,).
    """
    order = np.argsort(env_ids, kind="stable")
    ends = np.cumsum(np.bincount(env_ids, minlength=len(lengths)))
    of_envs = np.split(rows[order], ends[:-1])
    return [part[:length] for part, length in zip(of_envs, lengths)]
