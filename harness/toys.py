"""Small environments with HARL's interface: what the contracts and the planted bugs are tried on.

`make_pointmass` is a black box as a user's own environment is one: plain numpy, no more than the interface.
`make_push` is the pushing task itself, on MuJoCo.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List, Tuple, Union

import numpy as np

from mapush.env.harl_view import Box, HarlView
from mapush.errors import ConfigError, SpecError

DT = 0.2  # [s]
SCALE = (1.0, 1.0, 2.0)  # of an action of 1: forward, to the left [m/s], turn [rad/s]
ARENA = 3.0  # nothing leaves the square of this half width [m]
CONTACT_DISTANCE = 0.5  # between the centres of a robot and the disc [m]
COLLISION_DISTANCE = 0.25  # between two robots [m]
SUCCESS_DISTANCE = 0.2  # between disc and goal [m]
MAX_AGENTS = 8  # with more, robots would start in each other
APPROACH_WEIGHT = 0.01  # of the mean distance between robots and disc in the reward
KEPT_EPISODES = 100
STEPS_PER_DECISION = 25  # of the pushing task: an episode is 41 decisions, so that checks see many
MOVES = np.array(  # of the discrete variant: rest, forward, backward, turn left, turn right
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
)


class Discrete:
    """The integers from 0 to n - 1; HARL recognises it by its name."""

    shape = ()
    dtype = np.dtype(np.int64)

    def __init__(self, n: int) -> None:
        self.n = n

    def contains(self, value: Any) -> bool:
        """Return whether `value` is one of them."""
        return np.asarray(value).dtype.kind in "iu" and np.ndim(value) == 0 and 0 <= int(value) < self.n

    def __repr__(self) -> str:
        return f"Discrete({self.n})"


class PointMass:
    """Robots on a plane that push a disc to a goal by touching it, in N envs of A agents.

    A robot is a point with a heading. Its action (v_x, v_y, turn rate), clipped to [-1, 1], is in its own frame.
    An env ends with the disc at the goal or with two robots in each other, or it is truncated after `horizon` steps;
    it then starts anew within the step. Each env draws its starts from a generator of its own, so that no env depends
    on another by one bit, nor on how many there are.

    Points of the plane are complex numbers, so that turning by an angle is multiplying by exp(i angle).

    Attributes:
      recent_returns: of the latest episodes.
    """

    def __init__(self, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        _require_at_least_one(num_envs=num_envs, num_agents=num_agents, horizon=horizon)
        if num_agents > MAX_AGENTS:
            most = f"at most {MAX_AGENTS}"
            raise ConfigError("num_agents is out of range", got=str(num_agents), expected=most)
        self.num_envs, self.n_agents, self.horizon = num_envs, num_agents, horizon
        self.observation_space = [Box(-3.0 * ARENA, 3.0 * ARENA, (3 + 2 * num_agents,)) for _ in range(num_agents)]
        self.share_observation_space = [Box(-ARENA, ARENA, (5 + 4 * num_agents,)) for _ in range(num_agents)]
        self.action_space: List[Union[Box, Discrete]] = [Box(-1.0, 1.0, (3,)) for _ in range(num_agents)]
        self.recent_returns: Deque[float] = deque(maxlen=KEPT_EPISODES)
        self._generators = [np.random.default_rng([seed, env_id]) for env_id in range(num_envs)]
        self._robots = np.zeros((num_envs, num_agents), np.complex128)  # [m]
        self._yaw = np.zeros((num_envs, num_agents))  # [rad]
        self._disc = np.zeros(num_envs, np.complex128)  # [m]
        self._goal = np.zeros(num_envs, np.complex128)  # [m]
        self._age = np.zeros(num_envs, np.int64)  # [steps]
        self._return = np.zeros(num_envs)

    # -- the interface ---------------------------------------------------------------------------------------------

    def reset(self) -> Tuple[Any, ...]:
        """Start a new episode in every env; return obs (N, A, D), share_obs (N, A, S) and available_actions."""
        for env_id in range(self.num_envs):
            self._start(env_id)
        return (*self._observe(), self._available_actions())

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Act for `DT`; return obs, share_obs, rewards (N, A, 1), dones (N, A), infos [N][A], available_actions."""
        distance_before = abs(self._goal - self._disc)
        self._move(self._commands(actions))
        self._push()
        self._age += 1
        success = abs(self._goal - self._disc) < SUCCESS_DISTANCE
        collision = self._robots_collide() & ~success
        truncated = (self._age >= self.horizon) & ~success & ~collision
        progress = distance_before - abs(self._goal - self._disc)
        away = abs(self._robots - self._disc[:, None]).mean(axis=1)
        reward = progress - APPROACH_WEIGHT * away + 1.0 * success - 1.0 * collision
        self._return += reward
        outcome = {"success": success, "collision": collision, "timeout": truncated}
        done = success | collision | truncated
        ended = np.flatnonzero(done).tolist()
        infos = self._infos(ended, outcome)
        for env_id in ended:
            self.recent_returns.append(float(self._return[env_id]))
            self._start(env_id)
        rewards = self._per_agent(reward)[..., None].astype(np.float32)
        return (*self._observe(), rewards, self._per_agent(done), infos, self._available_actions())

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    # -- the world -------------------------------------------------------------------------------------------------

    def _start(self, env_id: int) -> None:
        """Put disc, goal and robots of one env in new places, the robots around the disc."""
        generator, agents = self._generators[env_id], self.n_agents
        disc = complex(*generator.uniform(-0.2, 0.2, 2))
        slots = np.arange(agents) + generator.uniform(-0.2, 0.2, agents) + generator.uniform(0.0, agents)
        distances = generator.uniform(0.6, 0.9, agents)
        self._disc[env_id] = disc
        self._goal[env_id] = disc + generator.uniform(0.35, 0.7) * np.exp(1j * generator.uniform(-np.pi, np.pi))
        self._robots[env_id] = disc + distances * np.exp(2j * np.pi * slots / agents)
        self._yaw[env_id] = generator.uniform(-np.pi, np.pi, agents)
        self._age[env_id] = 0
        self._return[env_id] = 0.0

    def _commands(self, actions: np.ndarray) -> np.ndarray:
        """Return commands (N, A, 3) in [-1, 1] for actions (N, A, 3)."""
        return np.clip(self._checked(actions, 3, "f"), -1.0, 1.0)

    def _checked(self, actions: np.ndarray, width: int, kind: str) -> np.ndarray:
        """Return `actions` if they are (N, A, width), of this kind of number, and no NaN."""
        shape = (self.num_envs, self.n_agents, width)
        where = "actions[num_envs={}, num_agents={}, action_dim={}]".format(*shape)
        if not isinstance(actions, np.ndarray) or actions.shape != shape or actions.dtype.kind != kind:
            got = "{} of shape {}".format(getattr(actions, "dtype", type(actions).__name__), np.shape(actions))
            expected = "{} numbers".format({"f": "floating-point", "i": "integer"}[kind])
            raise SpecError("actions have the wrong form", where=where, got=got, expected=expected)
        if np.isnan(actions).any():
            raise SpecError("an action is nan", where=where, got=f"nan at {np.argwhere(np.isnan(actions))[0]}")
        return actions

    def _move(self, commands: np.ndarray) -> None:
        steps = DT * np.array(SCALE) * commands
        self._robots = _inside(self._robots + (steps[..., 0] + 1j * steps[..., 1]) * np.exp(1j * self._yaw))
        self._yaw = self._yaw + steps[..., 2]

    def _push(self) -> None:
        """Move the disc out of the robots that touch it, by as much as each overlaps."""
        offset = self._disc[:, None] - self._robots
        distance = np.maximum(abs(offset), 1e-6)
        overlap = np.maximum(CONTACT_DISTANCE - distance, 0.0)
        self._disc = _inside(self._disc + (overlap * offset / distance).sum(axis=1))

    def _robots_collide(self) -> np.ndarray:
        """Return in which envs two robots are too close, (N,) bool."""
        first, second = np.triu_indices(self.n_agents, k=1)
        distance = abs(self._robots[:, first] - self._robots[:, second])
        return np.any(distance < COLLISION_DISTANCE, axis=1)

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _observe(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, A, D) in each robot's frame, and share_obs (N, A, S) in the world's, float32.

        obs: offsets of disc, goal and the other robots (the next agent first), and the share of the time that is left.
        share_obs: disc, goal, robots, their headings (cos, sin), and the share of the time that is left.
        """
        others = [np.roll(self._robots, -shift, axis=1) for shift in range(1, self.n_agents)]
        points = [self._per_agent(self._disc), self._per_agent(self._goal)] + others
        seen = np.stack(points, axis=-1) - self._robots[..., None]
        left = 1.0 - self._age[:, None] / self.horizon
        obs = [_real(seen * np.exp(-1j * self._yaw)[..., None]), self._per_agent(left)]
        world = [self._disc[:, None], self._goal[:, None], self._robots, np.exp(1j * self._yaw)]
        share_obs = np.concatenate([_real(each) for each in world] + [left], axis=-1)
        return np.concatenate(obs, axis=-1).astype(np.float32), self._per_agent(share_obs.astype(np.float32))

    def _infos(self, ended: List[int], outcome: Dict[str, np.ndarray]) -> List[List[Dict[str, Any]]]:
        """Return new infos [N][A], with the keys of `HarlView` where an episode has `ended`."""
        infos: List[List[Dict[str, Any]]] = [[{} for _ in range(self.n_agents)] for _ in range(self.num_envs)]
        obs, share_obs = self._observe()
        for env_id in ended:
            for agent, info in enumerate(infos[env_id]):
                info["outcome"] = {name: bool(flags[env_id]) for name, flags in outcome.items()}
                info["final_obs"] = obs[env_id, agent]
                info["final_share_obs"] = share_obs[env_id, agent]
                if outcome["timeout"][env_id]:
                    info["bad_transition"] = True
        return infos

    def _available_actions(self) -> Any:
        return [None] * self.num_envs

    def _per_agent(self, values: np.ndarray) -> np.ndarray:
        """Repeat values (N, ...) for every agent: (N, A, ...)."""
        return np.repeat(values[:, None], self.n_agents, axis=1)


class DiscretePointMass(PointMass):
    """The same with one of `MOVES` as an action, (N, A, 1) int64; a move out of the arena is not available."""

    def __init__(self, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        super().__init__(num_envs, num_agents, seed, horizon)
        self.action_space = [Discrete(len(MOVES)) for _ in range(num_agents)]

    def _commands(self, actions: np.ndarray) -> np.ndarray:
        moves = self._checked(actions, 1, "i")[..., 0]
        if ((moves < 0) | (moves >= len(MOVES))).any():
            expected = f"0 to {len(MOVES) - 1}"
            raise SpecError("an action is out of range", got=str(moves.tolist()), expected=expected)
        return MOVES[moves]

    def _available_actions(self) -> np.ndarray:
        """Return which moves stay in the arena, (N, A, n) float32; to rest and to turn always do."""
        ahead = DT * SCALE[0] * np.exp(1j * self._yaw)[..., None] * MOVES[:, 0]
        there = self._robots[..., None] + ahead
        return (there == _inside(there)).astype(np.float32)


def make_pointmass(
    num_envs: int = 6, num_agents: int = 2, seed: int = 0, horizon: int = 20, discrete: bool = False
) -> PointMass:
    """Make `PointMass` or, if `discrete`, `DiscretePointMass`; its sizes are N=6, A=2, D=7, S=13, K=3.

    Raises:
      ConfigError: a size is out of range.
    """
    kind = DiscretePointMass if discrete else PointMass
    return kind(num_envs, num_agents, seed, horizon)


def make_push(
    num_envs: int = 5, seed: int = 0, object: str = "cuboid", steps_per_decision: int = STEPS_PER_DECISION
) -> HarlView:
    """Make the pushing task on MuJoCo, on one thread; its sizes are N=5, A=2, D=8, S=20, K=3.

    Raises:
      ConfigError: there is no such object, or a size is out of range.
      SimulatorError: MuJoCo cannot be loaded.
    """
    from mapush.assembly import make_env
    from mapush.config import PushRunConfig, SimConfig, TaskConfig

    task = TaskConfig(object=object, steps_per_decision=steps_per_decision)
    sim = SimConfig(backend="mujoco", threads=1)
    return HarlView(make_env(PushRunConfig(num_envs=num_envs, seed=seed, sim=sim, task=task)))


def _require_at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} is out of range", got=repr(size), expected="at least 1")


def _inside(points: np.ndarray) -> np.ndarray:
    """Move points to the nearest place in the arena."""
    return np.clip(points.real, -ARENA, ARENA) + 1j * np.clip(points.imag, -ARENA, ARENA)


def _real(points: np.ndarray) -> np.ndarray:
    """Return x and y of points (..., k), one after the other: (..., 2 k)."""
    return np.stack((points.real, points.imag), axis=-1).reshape(points.shape[:-1] + (-1,))
