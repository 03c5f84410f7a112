"""HARL's vectorised interface as data, and a player that uses an environment exactly as HARL's runner does.

Source: HARL@d539bad, `on_policy_base_runner.py`. N envs, A agents, D numbers in an observation, S in the shared one, K
in an action.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness import form
from harness.findings import ContractError
from harness.infos import truncation_flags
from mapush.errors import nearest

RESET_PARTS = ("obs", "share_obs", "available_actions")
STEP_PARTS = ("obs", "share_obs", "rewards", "dones", "infos", "available_actions")
COMPARED = ("obs", "share_obs", "rewards", "dones", "truncated", "available")
KEPT_STEPS = 4  # whose arrays are watched for later changes


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What an environment's spaces say.

    Attributes:
      num_envs: N.
      num_agents: A.
      obs_dim: D.
      share_obs_dim: S.
      action_dim: K; 1 for Discrete.
      low: of an action, (K,); may be infinite.
      high: of an action, (K,); for discrete spaces the largest index.
      discrete: whether actions are indices.
      maskable: whether `available_actions` says which of them are legal: Discrete, not MultiDiscrete.
      obs_low: of an observation, (D,), or None where the space says nothing.
      obs_high: of an observation, (D,), or None.
    """

    num_envs: int
    num_agents: int
    obs_dim: int
    share_obs_dim: int
    action_dim: int
    low: np.ndarray
    high: np.ndarray
    discrete: bool = False
    maskable: bool = False
    obs_low: Optional[np.ndarray] = None
    obs_high: Optional[np.ndarray] = None

    @property
    def action_shape(self) -> Tuple[int, int, int]:
        """(N, A, K)."""
        return self.num_envs, self.num_agents, self.action_dim

    @property
    def num_choices(self) -> int:
        """How many actions a Discrete space has."""
        return int(self.high[0]) + 1

    def __str__(self) -> str:
        values = (self.num_envs, self.num_agents, self.obs_dim, self.share_obs_dim, self.action_dim)
        return "num_envs {}, num_agents {}, obs_dim {}, share_obs_dim {}, action_dim {}".format(*values)

    def alike(self) -> List[str]:
        """Return the pairs of sizes that are equal, or one, so that a swapped axis or a broadcast could hide there."""
        values = dict(N=self.num_envs, A=self.num_agents, D=self.obs_dim, S=self.share_obs_dim, K=self.action_dim)
        names = sorted(values)
        pairs = [(a, b) for a in names for b in names if a < b and values[a] == values[b]]
        return ["{} = {} = {}".format(a, b, values[a]) for a, b in pairs] + [
            "{} = 1".format(name) for name in names if values[name] == 1 and not (name == "K" and self.discrete)
        ]


@dataclasses.dataclass
class Seen:
    """Copies of what one `reset` or `step` returned.

    Attributes:
      obs: (N, A, D).
      share_obs: (N, A, S).
      available: (N, A, n) where the actions are Discrete, else None.
      actions: what was handed over, (N, A, K); None at a reset, as are the rest.
      rewards: (N, A).
      dones: (N, A) bool.
      truncated: (N, A) bool, the flag `bad_transition`.
      infos: as they came, not copied.
    """

    obs: np.ndarray
    share_obs: np.ndarray
    available: Optional[np.ndarray] = None
    actions: Optional[np.ndarray] = None
    rewards: Optional[np.ndarray] = None
    dones: Optional[np.ndarray] = None
    truncated: Optional[np.ndarray] = None
    infos: Any = None

    @property
    def ended(self) -> np.ndarray:
        """(N,) bool: the env's episode ended, which for HARL is when all of its agents are done."""
        return np.asarray(self.dones.all(axis=1))


class Player:
    """Resets and steps an environment as HARL does, and checks the form of everything that it returns.

    A broken form that can be lived with is kept under its contract's name in `violations`, the first of each; one that
    makes the rest meaningless is raised.

    Args:
      env: the environment.
      sizes: what its spaces say.
      violations: where broken contracts are collected; it may be shared by several players.
      scribble: overwrite everything that the environment returned, once it is copied.
      watch: check more than the shapes; not needed where a watched run is played again.
    """

    def __init__(
        self,
        env: Any,
        sizes: Sizes,
        violations: Dict[str, ContractError],
        scribble: bool = False,
        watch: bool = True,
    ) -> None:
        self.env, self.sizes, self.violations, self._scribble, self._watch = env, sizes, violations, scribble, watch
        self.step_count = 0
        self.seen: List[Seen] = []
        self._kept: Deque[form.Kept] = collections.deque(maxlen=KEPT_STEPS)

    def reset(self) -> Seen:
        """Start anew.

        Raises:
          ContractError: `reset` raised, or what it returned cannot be used.
        """
        self.step_count = 0
        parts = self._call("reset-form", "reset", RESET_PARTS)
        self._check_arrays("reset-form", parts)
        self._check(parts, ("finite", "bounds", "share-obs-same", "available-actions"))
        return self._keep(parts, Seen(parts["obs"].copy(), parts["share_obs"].copy(), self._available(parts)))

    def step(self, actions: np.ndarray) -> Seen:
        """Act.

        Args:
          actions: (N, A, K); the environment gets a copy in HARL's memory layout.
        Raises:
          ContractError: `step` raised, or what it returned cannot be used.
        """
        self.step_count += 1
        handed_over = as_harl_does(actions, self.sizes.discrete)
        before = handed_over.copy()
        parts = self._call("step-form", "step", STEP_PARTS, handed_over)
        self._check_arrays("step-form", parts)
        parts["actions"], parts["actions_before"] = handed_over, before
        self._check(parts, tuple(form.CHECKS))
        truncated = truncation_flags(parts["infos"], self.sizes)
        rewards = np.array(parts["rewards"][..., 0], np.float64)
        dones = np.array(parts["dones"], bool)
        obs, share_obs = parts["obs"].copy(), parts["share_obs"].copy()
        seen = Seen(obs, share_obs, self._available(parts), before, rewards, dones, truncated, parts["infos"])
        return self._keep(parts, seen)

    def replay(self, recorded: Sequence[Seen]) -> None:
        """Take the actions of recorded steps again."""
        for seen in recorded:
            self.step(seen.actions)

    def _call(self, contract: str, method: str, names: Tuple[str, ...], *arguments: Any) -> Dict[str, Any]:
        """Return what a method gave, part by part."""
        place = "step {}".format(self.step_count) if arguments else "reset"
        if not callable(getattr(self.env, method, None)):
            raise ContractError("the environment has no method {}".format(method), contract=contract)
        try:
            returned = getattr(self.env, method)(*arguments)
        except Exception as error:
            raise ContractError(
                "{} raised {}: {}".format(method, type(error).__name__, first_line(error)),
                contract=contract,
                step=self.step_count,
                where="{}, {}".format(place, innermost_line(error)),
                expected="any action is accepted" if arguments else "a reset at any time",
                got="actions {} in [{:g}, {:g}]".format(arguments[0].shape, arguments[0].min(), arguments[0].max())
                if arguments
                else None,
            ) from error
        form.check_tuple(returned, names, contract, place, self.step_count)
        return dict(zip(names, returned))

    def _check_arrays(self, contract: str, parts: Dict[str, Any]) -> None:
        """Raise what makes the arrays meaningless; keep what can be lived with, such as another type of number."""
        for name in [name for name in form.SHAPES if name in parts]:
            form.check_shape(name, parts[name], self.sizes, contract, self.step_count)
            self._collect(form.check_dtype, contract, name, parts[name], self.step_count)

    def _check(self, parts: Dict[str, Any], names: Tuple[str, ...]) -> None:
        if not self._watch:
            return
        moment = form.Moment(parts, self.sizes, self.step_count, self._kept)
        for name in names:
            if name not in self.violations:
                self._collect(form.CHECKS[name], name, moment)

    def _collect(self, check: Any, contract: str, *arguments: Any) -> None:
        try:
            check(*arguments)
        except ContractError as error:
            self.violations.setdefault(error.contract or contract, error)

    def _available(self, parts: Dict[str, Any]) -> Optional[np.ndarray]:
        legal = parts["available_actions"]
        shape = (self.sizes.num_envs, self.sizes.num_agents, self.sizes.num_choices) if self.sizes.maskable else None
        return np.array(legal, np.float32) if shape and np.shape(legal) == shape else None

    def _keep(self, parts: Dict[str, Any], seen: Seen) -> Seen:
        self.seen.append(seen)
        if self._scribble:
            scribble(parts)
        elif self._watch:
            self._kept.append(form.Kept.of(parts, self.step_count))
        return seen


def as_harl_does(actions: np.ndarray, discrete: bool = False) -> np.ndarray:
    """Return the actions as HARL hands them over: writeable, a transposed view of an agent-major array.

    Args:
      actions: (N, A, K).
      discrete: whether they are indices; then int64, else float32.
    """
    agent_major = np.array(actions.transpose(1, 0, 2), np.int64 if discrete else np.float32, order="C")
    return agent_major.transpose(1, 0, 2)


def scribble(parts: Dict[str, Any]) -> None:
    """Overwrite every array of numbers that an environment returned, as far as it can be written to."""
    for value in parts.values():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fb" and value.flags.writeable:
            value[...] = 1 if value.dtype.kind == "b" else -7.7e7


def read_sizes(env: Any, num_envs: Optional[int] = None) -> Sizes:
    """Return the sizes that an environment's spaces state.

    Args:
      env: the environment.
      num_envs: how many envs were asked for, or None: then what the environment says, or its first observation has.
    Raises:
      ContractError: of the contract "spaces": HARL cannot read them.
    """
    count = getattr(env, "n_agents", getattr(env, "num_agents", None))
    spaces = {name: _per_agent(env, name, count) for name in form.SPACES}
    num_agents = len(spaces["action_space"])
    if count is not None and int(count) != num_agents:
        raise ContractError(
            "the environment says {} agents, but has {} action spaces".format(count, num_agents), contract="spaces"
        )
    action = spaces["action_space"][0]
    low, high, discrete = _action_range(action)
    obs = spaces["observation_space"][0]
    bounded = type(obs).__name__ == "Box" and getattr(obs, "low", None) is not None
    return Sizes(
        num_envs=num_envs or _num_envs(env),
        num_agents=num_agents,
        obs_dim=_width("observation_space", obs),
        share_obs_dim=_width("share_observation_space", spaces["share_observation_space"][0]),
        action_dim=len(low),
        low=low,
        high=high,
        discrete=discrete,
        maskable=type(action).__name__ == "Discrete",
        obs_low=np.asarray(obs.low, np.float64) if bounded else None,
        obs_high=np.asarray(obs.high, np.float64) if bounded else None,
    )


def _per_agent(env: Any, name: str, count: Optional[int]) -> List[Any]:
    space = getattr(env, name, None)
    expected = "a list or tuple with one space for each agent"
    if space is None:
        raise ContractError("the environment has no {}".format(name), contract="spaces", expected=expected)
    is_plain = isinstance(space, list) and space and all(isinstance(size, (int, np.integer)) for size in space)
    if is_plain or not hasattr(space, "__getitem__") or not hasattr(space, "__len__"):
        raise ContractError(
            "{} is one space, not one for each agent".format(name),
            contract="spaces",
            got=repr(space),
            expected=expected,
            fix="return [space] * n_agents",
        )
    return [space[agent] for agent in range(len(space))]


def _width(name: str, space: Any) -> int:
    """Return the length of the vectors of an observation space."""
    kind = type(space).__name__
    shape = space if kind == "list" else getattr(space, "shape", None)
    if kind not in ("Box", "list") or shape is None or len(shape) != 1:
        raise ContractError(
            "{} is not a vector that HARL can read".format(name),
            contract="spaces",
            got="{} of shape {}".format(kind, shape),
            expected="a class named Box (HARL goes by the name) with shape (dim,), or a list such as [8]",
        )
    return int(shape[0])


def _action_range(space: Any) -> Tuple[np.ndarray, np.ndarray, bool]:
    kind = type(space).__name__
    if kind == "Box" and len(space.shape) == 1:
        ones = np.ones(space.shape)
        low, high = getattr(space, "low", -np.inf), getattr(space, "high", np.inf)
        return np.asarray(low, np.float64) * ones, np.asarray(high, np.float64) * ones, False
    if kind == "Discrete":
        return np.zeros(1), np.array([float(space.n) - 1.0]), True
    if kind == "MultiDiscrete":
        sizes = np.asarray(getattr(space, "nvec", None) if hasattr(space, "nvec") else space.high, np.float64)
        return np.zeros(len(sizes)), sizes - 1.0, True
    raise ContractError(
        "action_space is not one that HARL can read",
        contract="spaces",
        got="{} of shape {}".format(kind, getattr(space, "shape", None)),
        expected="a class named Box with shape (action_dim,), Discrete or MultiDiscrete (HARL goes by the name)",
        cause="HARL uses shape[0] alone" if kind == "Box" else None,
    )


def _num_envs(env: Any) -> int:
    for name in ("num_envs", "n_rollout_threads", "n_envs"):
        value = getattr(env, name, None)
        if isinstance(value, (int, np.integer)):
            return int(value)
    returned = env.reset()
    obs = returned[0] if isinstance(returned, (tuple, list)) and returned else returned
    return int(np.shape(obs)[0]) if np.ndim(obs) else 1


def load_factory(name: str) -> Callable[..., Any]:
    """Return the factory that `package.module:factory` names.

    Raises:
      ContractError: of the contract "factory": there is none of that name.
    """
    module_name, _, path = name.partition(":")
    if not path:
        raise ContractError("{!r} names no factory".format(name), contract="factory", expected="package.module:factory")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ContractError(
            "importing {} raises {}: {}".format(module_name, type(error).__name__, first_line(error)),
            contract="factory",
            where=innermost_line(error),
            fix="run from the folder of the package, or put it on PYTHONPATH",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            here = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise ContractError("{} has no {}".format(module_name, path), contract="factory", fix=nearest(part, here))
        found = getattr(found, part)
    if not callable(found):
        raise ContractError("{} is not callable".format(name), contract="factory", got=type(found).__name__)
    return found


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip().splitlines() or [""])[0]


def innermost_line(error: BaseException) -> str:
    """Return file and line where an error was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "{}:{}".format(frame.tb_frame.f_code.co_filename, frame.tb_lineno) if frame else "unknown line"
