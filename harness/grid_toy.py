"""A small environment with masks, on which contracts and planted bugs of masks are tried: robots on a grid."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np

from harness.toys import Discrete

ROWS, COLUMNS = 4, 6
STAY, UP, DOWN, LEFT, RIGHT, CLEAR = range(6)
MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])  # rows and columns of the first five actions
SIDES = MOVES[1:].tolist()  # numbers of Python: single cells are read faster with them
NUM_WALLS, NUM_BOXES = 4, 3
TIME_COST, CLEARED = 0.01, 0.1  # in the reward, for a step and for a box


def make_grid(num_envs: int = 5, num_agents: int = 3, seed: int = 0, horizon: int = 18) -> GridTeam:
    """Make `GridTeam`.

    Args:
      num_envs: N.
      num_agents: A.
      seed: seeds the initial states.
      horizon: time limit of an episode [steps].

    Returns:
      An environment with obs (N, A, 7 + 2 A), share_obs (N, A, 51 + 2 A), and actions (N, A, 1) with masks.
    """
    return GridTeam(num_envs, num_agents, seed, horizon)


class GridTeam:
    """Robots that walk to an exit over a grid with walls, and clear boxes next to them out of the way.

    An action is to stay, one of four moves, or to clear the boxes next to the robot. What does nothing is not
    available: moves into walls, boxes and over the edge, and clearing where there is no box. An episode ends when all
    robots are at the exit, or it is truncated after `horizon` steps.

    Args:
      num_envs: N.
      num_agents: A.
      seed: seeds the initial states.
      horizon: time limit of an episode [steps].
    """

    def __init__(self, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        from mapush.env.harl_view import Box

        self.num_envs, self.n_agents, self.horizon = num_envs, num_agents, horizon
        size = float(max(ROWS, COLUMNS))
        obs_dim, share_obs_dim = 7 + 2 * num_agents, 2 * ROWS * COLUMNS + 3 + 2 * num_agents
        self.observation_space = [Box(-size, size, (obs_dim,)) for _ in range(num_agents)]
        self.share_observation_space = [Box(-size, size, (share_obs_dim,)) for _ in range(num_agents)]
        self.action_space = [Discrete(6) for _ in range(num_agents)]
        self._generators = [np.random.default_rng([seed, env_id]) for env_id in range(num_envs)]
        self._walls = np.zeros((num_envs, ROWS, COLUMNS), bool)
        self._boxes = np.zeros((num_envs, ROWS, COLUMNS), bool)
        self._robots = np.zeros((num_envs, num_agents, 2), np.int64)
        self._exit = np.zeros((num_envs, 2), np.int64)
        self._age = np.zeros(num_envs, np.int64)

    def reset(self) -> Tuple[Any, ...]:
        """Start a new episode in every env."""
        for env_id in range(self.num_envs):
            self._start(env_id)
        return (*self._observe(), self._available_actions())

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Act once; return obs, share_obs, rewards (N, A, 1), dones (N, A), infos [N][A], available_actions."""
        allowed = self._available_actions()
        rewards = np.full(self.num_envs, -TIME_COST)
        for env_id in range(self.num_envs):
            for agent in range(self.n_agents):
                choice = int(actions[env_id, agent, 0])
                if allowed[env_id, agent, choice]:
                    rewards[env_id] += CLEARED * self._act(env_id, agent, choice)
        self._age += 1
        success = (self._robots == self._exit[:, None]).all(axis=(1, 2))
        timeout = (self._age >= self.horizon) & ~success
        rewards += success
        infos: List[List[Dict[str, Any]]] = []
        for env_id in range(self.num_envs):
            infos.append([{} for _ in range(self.n_agents)])
            for info in infos[-1]:
                if timeout[env_id]:
                    info["bad_transition"] = True
        done = success | timeout
        for env_id in np.flatnonzero(done).tolist():
            self._start(env_id)
        given = np.tile(rewards[:, None, None], (1, self.n_agents, 1)).astype(np.float32)
        return (*self._observe(), given, np.tile(done[:, None], self.n_agents), infos, self._available_actions())

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _start(self, env_id: int) -> None:
        """Put walls, boxes, exit and robots of one env in new places."""
        cells = self._generators[env_id].permutation(ROWS * COLUMNS)
        places = np.stack(np.unravel_index(cells, (ROWS, COLUMNS)), axis=-1)
        self._walls[env_id] = self._boxes[env_id] = False
        walls, boxes, rest = np.split(places, [NUM_WALLS, NUM_WALLS + NUM_BOXES])
        self._walls[env_id][tuple(walls.T)] = True
        self._boxes[env_id][tuple(boxes.T)] = True
        self._exit[env_id] = rest[0]
        self._robots[env_id] = rest[1 : self.n_agents + 1]
        self._age[env_id] = 0

    def _act(self, env_id: int, agent: int, choice: int) -> int:
        """Let one robot act; return how many boxes it cleared."""
        row, column = self._robots[env_id, agent].tolist()
        if choice < CLEAR:
            there = row + int(MOVES[choice, 0]), column + int(MOVES[choice, 1])
            if self._is_free(env_id, *there):
                self._robots[env_id, agent] = there
            return 0
        near = self._near_boxes(env_id, row, column)
        for cell in near:
            self._boxes[env_id][cell] = False
        return len(near)

    def _is_free(self, env_id: int, row: int, column: int) -> bool:
        """Return whether a robot can be at a place."""
        inside = 0 <= row < ROWS and 0 <= column < COLUMNS
        return inside and not (self._walls[env_id, row, column] or self._boxes[env_id, row, column])

    def _near_boxes(self, env_id: int, row: int, column: int) -> List[Tuple[int, int]]:
        """Return the places next to a place that have a box."""
        found = []
        for down, right in SIDES:
            cell = (row + down, column + right)
            if 0 <= cell[0] < ROWS and 0 <= cell[1] < COLUMNS and self._boxes[(env_id, *cell)]:
                found.append(cell)
        return found

    def _available_actions(self) -> np.ndarray:
        """Return which actions do something, (N, A, 6) float32; to stay is always available."""
        available = np.zeros((self.num_envs, self.n_agents, 6), np.float32)
        available[..., STAY] = 1.0
        for env_id, agent in np.ndindex(self.num_envs, self.n_agents):
            available[env_id, agent, UP:] = self._mask(env_id, agent)
        return available

    def _mask(self, env_id: int, agent: int) -> List[bool]:
        """Return whether each action but `STAY` does something for a robot."""
        row, column = self._robots[env_id, agent].tolist()
        mask = [self._is_free(env_id, row + down, column + right) for down, right in SIDES]
        return [*mask, bool(self._near_boxes(env_id, row, column))]

    def _observe(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, A, 7 + 2 A) and share_obs (N, A, 51 + 2 A), float32.

        obs: the robot's place, the offsets of the others and of the exit, whether the four places next to it are
        blocked, and the share of the time that is left. share_obs: walls, boxes, robots, exit, and that share.
        """
        time_left = 1.0 - self._age / self.horizon
        grids = np.concatenate([self._walls, self._boxes], axis=1).reshape(self.num_envs, -1)
        state = np.concatenate(
            [grids, self._robots.reshape(self.num_envs, -1), self._exit, time_left[:, None]], axis=1, dtype=np.float32
        )
        obs = np.zeros((self.num_envs, self.n_agents, 7 + 2 * self.n_agents), np.float32)
        for env_id, agent in np.ndindex(self.num_envs, self.n_agents):
            own = self._robots[env_id, agent]
            others = self._seen_robots(env_id, agent) - own
            row, column = own.tolist()
            blocked = [not self._is_free(env_id, row + down, column + right) for down, right in SIDES]
            offset = self._exit[env_id] - own
            seen = [row, column, *others.ravel().tolist(), *offset.tolist(), *blocked, time_left[env_id]]
            obs[env_id, agent] = seen
        return obs, np.tile(state[:, None], (1, self.n_agents, 1))

    def _seen_robots(self, env_id: int, agent: int) -> np.ndarray:
        """Return where a robot sees the others, (A - 1, 2)."""
        return np.delete(self._robots[env_id], agent, axis=0)
