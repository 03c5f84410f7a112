"""What the first episode of every env of an evaluation did, gathered by watching the simulator."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch

from mapush.env.push import PushEnv
from mapush.evaluation.episode import Episode, Frame
from mapush.sim.physics import State
from mapush.sim.qpos_layout import rows_of
from mapush.sim.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class Trace:
    """The first episode of each env.

    Attributes:
      qpos: of each env, from the start (row 0) to the end of its episode, (1 + length, nq) float32; see `Frame.qpos`.
      commands: of each env, that led from each row to the next, (length, A, 3) float32; see `Frame.commands`.
      goals: in the world frame, (E, 2) [m].
      outcome: what the task says of the episodes, each (E,); see `PushEnv`.
    """

    qpos: List[np.ndarray]
    commands: List[np.ndarray]
    goals: np.ndarray
    outcome: Dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.qpos)

    def episode(self, env_id: int) -> Episode:
        """Return the episode of one env, to be shown or filmed."""
        goal = self.goals[env_id]
        steps = zip(self.qpos[env_id][1:], self.commands[env_id])
        frames = [Frame(qpos, goal, commands) for qpos, commands in steps]
        outcome = {name: float(values[env_id]) for name, values in self.outcome.items()}
        return Episode(env_id + 1, env_id, frames, outcome)


class Tracer(Simulator):
    """A simulator that keeps what it did until the first episode of each env has ended, on the CPU.

    It takes the place of the one in `env`, which has not been reset yet, and changes none of its numbers. An env step
    of two robots takes 212 bytes, an episode at most 212 kB.
    """

    def __init__(self, env: PushEnv) -> None:
        super().__init__(env.simulator.physics, env.simulator.walking)
        self._env = env
        self._live: Optional[np.ndarray] = None
        self._starts = self._goals = np.empty((0, 0))
        self._steps: List[Tuple[np.ndarray, ...]] = []
        env.simulator = self

    def reset(self, where: torch.Tensor, state: State) -> None:
        """See `Simulator.reset`; a second one in an env means that its first episode has ended."""
        super().reset(where, state)
        if self._live is None:
            self._live = np.ones(self.num_envs, dtype=bool)
            self._starts = rows_of(self.state())[0].cpu().numpy().copy()
        else:
            self._live &= ~where.cpu().numpy()

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """See `Simulator.step`."""
        state = super().step(commands, state)
        if not self._steps:
            self._goals = self._env.goal_pos_w[:, :2].cpu().numpy().copy()
        live = np.flatnonzero(self._live)
        self._steps.append((live, rows_of(state)[0].cpu().numpy()[live], commands.cpu().numpy()[live]))
        return state

    def trace(self, outcome: Dict[str, torch.Tensor]) -> Trace:
        """Return the first episodes.

        Args:
          outcome: of each, (E,); `length` says where it ended within its last decision.
        """
        env_ids, qpos, commands = (np.concatenate(part) for part in zip(*self._steps))
        order = np.argsort(env_ids, kind="stable")
        ends = np.cumsum(np.bincount(env_ids, minlength=self.num_envs))[:-1]
        lengths = outcome["length"].cpu().numpy()

        def by_env(rows: np.ndarray) -> List[np.ndarray]:
            return [part[:length] for part, length in zip(np.split(rows[order], ends), lengths)]

        positions = [np.concatenate((start[None], rows)) for start, rows in zip(self._starts, by_env(qpos))]
        plain = {name: values.cpu().numpy() for name, values in outcome.items()}
        return Trace(positions, by_env(commands), self._goals, plain)
