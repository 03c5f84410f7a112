"""Small environments with HARL's interface, on which contracts and planted bugs are tried.

`make_pointmass` is a black box, as a user's own environment is: plain numpy, and nothing but the interface.
`make_push` is the pushing task itself, on MuJoCo.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Tuple

import numpy as np

from harness.contracts.task import Task
from harness.interface.player import Seen
from mapush.errors import ConfigError, SpecError

if TYPE_CHECKING:
    from mapush.env.harl_view import HarlView

DT = 0.2  # [s]
SCALE = (1.0, 1.0, 2.0)  # of an action of 1: forward, to the left [m/s], turn [rad/s]
STEP = DT * np.array(SCALE)  # [m], [m], [rad]
ARENA = 3.0  # nothing leaves the square of this half width [m]
CONTACT_DISTANCE = 0.5  # between the centres of a robot and the disc [m]
COLLISION_DISTANCE = 0.25  # between two robots [m]
SUCCESS_DISTANCE = 0.2  # between disc and goal [m]
MAX_AGENTS = 8  # with more, robots would start inside each other
APPROACH_WEIGHT = 0.01  # of the mean distance between robots and disc in the reward
KEPT_EPISODES = 100
STEPS_PER_DECISION = 25  # of the pushing task: an episode is 41 decisions, so that checks see many
MIN_PUSH = 0.01  # by an object in a decision [m]; if it moves less, other terms of the reward dominate
MOVES = np.array(  # of the discrete variant: rest, forward, backward, turn left, turn right
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
)


# -- factories -------------------------------------------------------------------------------------------------------


def make_pointmass(
    num_envs: int = 6, num_agents: int = 2, seed: int = 0, horizon: int = 20, discrete: bool = False
) -> PointMass:
    """Make `PointMass` or, if `discrete`, `DiscretePointMass`.

    Args:
      num_envs: N.
      num_agents: A, at most `MAX_AGENTS`.
      seed: seeds the initial states.
      horizon: time limit of an episode [steps].
      discrete: whether an action is one of `MOVES`.

    Returns:
      An environment with obs (N, A, 3 + 2 A), share_obs (N, A, 5 + 4 A) and actions (N, A, 3), or (N, A, 1) if
      discrete.

    Raises:
      ConfigError: a size is out of range.
    """
    kind = PointMass
    if discrete:
        kind = DiscretePointMass
    return kind(num_envs, num_agents, seed, horizon)


def make_push(
    num_envs: int = 5, seed: int = 0, object: str = "cuboid", steps_per_decision: int = STEPS_PER_DECISION
) -> HarlView:
    """Make the pushing task on MuJoCo, on one thread.

    Args:
      num_envs: N.
      seed: seeds the initial states.
      object: name of the object that is pushed.
      steps_per_decision: env steps of 0.02 s for which an action is held.

    Returns:
      An environment of two robots, with obs (N, 2, 8), share_obs (N, 2, 20) and actions (N, 2, 3).

    Raises:
      ConfigError: the object is unknown, or a size is out of range.
      SimulatorError: MuJoCo cannot be loaded.
    """
    from mapush.assembly import make_env
    from mapush.config import PushRunConfig, SimConfig, TaskConfig
    from mapush.env.harl_view import HarlView

    task = TaskConfig(object=object, steps_per_decision=steps_per_decision)
    sim = SimConfig(backend="mujoco", threads=1)
    return HarlView(make_env(PushRunConfig(num_envs=num_envs, seed=seed, sim=sim, task=task)))


# -- tasks: what the rewards are for ---------------------------------------------------------------------------------


class PointmassTask(Task):
    """The task of `PointMass`: the reward rises with the progress of the disc towards the goal.

    A robot observes the disc in its own frame, so driving forward brings the disc nearer, and so does driving to the
    left.
    """

    def reward(self, previous: Seen, current: Seen) -> np.ndarray:
        """Return by how much the distance between disc and goal shrank, (N,) [m]."""
        return _distance_to_goal(previous) - _distance_to_goal(current)

    def effect(self, agent: int, axis: int) -> Optional[Tuple[int, float]]:
        """Return the coordinate of the disc that a velocity lowers, and the sign; None for a turn."""
        if axis < 2:
            return axis, -1.0
        return None


def _distance_to_goal(seen: Seen) -> np.ndarray:
    disc = seen.share_obs[:, 0, :2]
    goal = seen.share_obs[:, 0, 2:4]
    return np.linalg.norm(goal - disc, axis=1)


class PushTask(Task):
    """The pushing task: while the object moves, the reward rises with its progress towards the target."""

    def reward(self, previous: Seen, current: Seen) -> np.ndarray:
        """Return by how much the distance between object and target shrank, (N,) [m]; NaN if less than `MIN_PUSH`."""
        before = np.linalg.norm(previous.share_obs[:, 0, :2], axis=1)
        after = np.linalg.norm(current.share_obs[:, 0, :2], axis=1)
        progress = before - after
        return np.where(abs(progress) > MIN_PUSH, progress, np.nan)


# -- the toy ---------------------------------------------------------------------------------------------------------


class Discrete:
    """The integers from 0 to n - 1; HARL recognises it by its name."""

    shape = ()
    dtype = np.dtype(np.int64)

    def __init__(self, n: int) -> None:
        self.n = n

    def contains(self, value: Any) -> bool:
        """Return whether `value` is one of the integers."""
        return np.asarray(value).dtype.kind in "iu" and np.ndim(value) == 0 and 0 <= int(value) < self.n

    def __repr__(self) -> str:
        return f"Discrete({self.n})"


class PointMass:
    """Robots on a plane that push a disc to a goal by touching it, in N envs of A agents.

    A robot is a point with a heading. Its action (v_x, v_y, turn rate), clipped to [-1, 1], is in its own frame.
    An episode ends with the disc at the goal or with a collision of two robots, or it is truncated after `horizon`
    steps; the next one starts within the same step. Each env draws its initial states from its own generator, so its
    trajectory is bit for bit the same whatever the other envs do, and however many there are.

    Points of the plane are complex numbers, so turning by an angle is multiplying by exp(i angle).

    Args:
      num_envs: N.
      num_agents: A.
      seed: seeds the initial states.
      horizon: time limit of an episode [steps].

    Attributes:
      recent_returns: of the latest episodes.
    """

    def __init__(self, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        from mapush.env.harl_view import Box

        _require_at_least_one(num_envs=num_envs, num_agents=num_agents, horizon=horizon)
        if num_agents > MAX_AGENTS:
            raise ConfigError("num_agents is out of range", got=str(num_agents), expected=f"at most {MAX_AGENTS}")
        self.num_envs, self.n_agents, self.horizon = num_envs, num_agents, horizon
        self.observation_space = [Box(-3.0 * ARENA, 3.0 * ARENA, (3 + 2 * num_agents,)) for _ in range(num_agents)]
        self.share_observation_space = [Box(-ARENA, ARENA, (5 + 4 * num_agents,)) for _ in range(num_agents)]
        self.action_space: List[Any] = [Box(-1.0, 1.0, (3,)) for _ in range(num_agents)]
        self.recent_returns: Deque[float] = deque(maxlen=KEPT_EPISODES)
        self._generators = [np.random.default_rng([seed, env_id]) for env_id in range(num_envs)]
        self._pairs = np.triu_indices(num_agents, k=1)
        self._others = (np.arange(num_agents)[:, None] + np.arange(1, num_agents)) % num_agents  # the next agent first
        self._robots = np.zeros((num_envs, num_agents), np.complex128)  # [m]
        self._yaw = np.zeros((num_envs, num_agents))  # [rad]
        self._disc = np.zeros(num_envs, np.complex128)  # [m]
        self._goal = np.zeros(num_envs, np.complex128)  # [m]
        self._age = np.zeros(num_envs, np.int64)  # [steps]
        self._return = np.zeros(num_envs)

    # -- the interface -----------------------------------------------------------------------------------------------

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
        distance = abs(self._goal - self._disc)
        success = distance < SUCCESS_DISTANCE
        collision = self._robots_collide() & ~success
        truncated = (self._age >= self.horizon) & ~success & ~collision
        robots_to_disc = abs(self._robots - self._disc[:, None]).sum(axis=1) / self.n_agents
        reward = (distance_before - distance) - APPROACH_WEIGHT * robots_to_disc + 1.0 * success - 1.0 * collision
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

    # -- the world ---------------------------------------------------------------------------------------------------

    def _start(self, env_id: int) -> None:
        """Put disc, goal and robots of one env in new places, the robots around the disc."""
        generator = self._generators[env_id]
        agents = self.n_agents
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
        return self._checked(actions, width=3, kind="f").clip(-1.0, 1.0)

    def _checked(self, actions: np.ndarray, width: int, kind: str) -> np.ndarray:
        """Return `actions` if they are (N, A, width), numbers of this kind, and not NaN.

        Raises:
          SpecError: they are not.
        """
        shape = (self.num_envs, self.n_agents, width)
        where = f"actions[num_envs={self.num_envs}, num_agents={self.n_agents}, action_dim={width}]"
        if not isinstance(actions, np.ndarray) or actions.shape != shape or actions.dtype.kind != kind:
            numbers = {"f": "floating-point numbers", "i": "integer numbers"}
            got = f"{getattr(actions, 'dtype', type(actions).__name__)} of shape {np.shape(actions)}"
            raise SpecError("actions have the wrong form", where=where, got=got, expected=numbers[kind])
        if np.isnan(actions).any():
            raise SpecError("an action is nan", where=where, got=f"nan at {np.argwhere(np.isnan(actions))[0]}")
        return actions

    def _move(self, commands: np.ndarray) -> None:
        steps = STEP * commands
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
        first, second = self._pairs
        distance = abs(self._robots[:, first] - self._robots[:, second])
        return np.any(distance < COLLISION_DISTANCE, axis=1)

    # -- what is observed --------------------------------------------------------------------------------------------

    def _observe(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, A, D) in each robot's frame, and share_obs (N, A, S) in the world's, float32.

        obs: offsets of disc, goal and the other robots (the next agent first), and the share of the time that is left.
        share_obs: disc, goal, robots, their headings (cos, sin), and the share of the time that is left.
        """
        offsets = np.empty((self.num_envs, self.n_agents, 1 + self.n_agents), np.complex128)
        offsets[..., 0] = self._disc[:, None]
        offsets[..., 1] = self._goal[:, None]
        offsets[..., 2:] = self._robots[:, self._others]
        offsets -= self._robots[..., None]
        offsets *= np.exp(-1j * self._yaw)[..., None]
        time_left = 1.0 - self._age[:, None] / self.horizon
        obs = np.concatenate([_coordinates(offsets), self._per_agent(time_left)], axis=-1)
        world = [self._disc[:, None], self._goal[:, None], self._robots, np.exp(1j * self._yaw)]
        share_obs = np.concatenate([_coordinates(np.concatenate(world, axis=-1)), time_left], axis=-1)
        return obs.astype(np.float32), self._per_agent(share_obs.astype(np.float32))

    def _infos(self, ended: List[int], outcome: Dict[str, np.ndarray]) -> List[List[Dict[str, Any]]]:
        """Return new infos [N][A], with the keys of `HarlView` in the envs whose episode has `ended`."""
        infos: List[List[Dict[str, Any]]] = []
        for _ in range(self.num_envs):
            infos.append([{} for _ in range(self.n_agents)])
        if not ended:
            return infos
        obs, share_obs = self._observe()
        for env_id in ended:
            for agent, info in enumerate(infos[env_id]):
                info["outcome"] = {name: bool(flags[env_id]) for name, flags in outcome.items()}
                info["episode"] = {"return": float(self._return[env_id]), "length": int(self._age[env_id])}
                info["final_obs"] = obs[env_id, agent]
                info["final_share_obs"] = share_obs[env_id, agent]
                if outcome["timeout"][env_id]:
                    info["bad_transition"] = True
        return infos

    def _available_actions(self) -> Any:
        return [None] * self.num_envs

    def _per_agent(self, values: np.ndarray) -> np.ndarray:
        """Repeat values (N, ...) for every agent: (N, A, ...)."""
        return values[:, None].repeat(self.n_agents, axis=1)


class DiscretePointMass(PointMass):
    """`PointMass` with one of `MOVES` as an action, (N, A, 1) int64; a move out of the arena is not available."""

    def __init__(self, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        super().__init__(num_envs, num_agents, seed, horizon)
        self.action_space = [Discrete(len(MOVES)) for _ in range(num_agents)]

    def _commands(self, actions: np.ndarray) -> np.ndarray:
        moves = self._checked(actions, width=1, kind="i")[..., 0]
        if ((moves < 0) | (moves >= len(MOVES))).any():
            expected = f"0 to {len(MOVES) - 1}"
            raise SpecError("an action is out of range", got=str(moves.tolist()), expected=expected)
        return MOVES[moves]

    def _available_actions(self) -> np.ndarray:
        """Return which moves stay in the arena, (N, A, n) float32; resting and turning always do."""
        ahead = DT * SCALE[0] * np.exp(1j * self._yaw)[..., None] * MOVES[:, 0]
        there = self._robots[..., None] + ahead
        return (there == _inside(there)).astype(np.float32)


def _require_at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} is out of range", got=repr(size), expected="at least 1")


def _inside(points: np.ndarray) -> np.ndarray:
    """Move contiguous points to the nearest place in the arena."""
    return _coordinates(points).clip(-ARENA, ARENA).view(np.complex128)


def _coordinates(points: np.ndarray) -> np.ndarray:
    """Return x and y of contiguous points (..., k), one after the other: (..., 2 k)."""
    return points.view(np.float64)
