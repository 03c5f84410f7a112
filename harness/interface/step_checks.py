"""What everything that `reset` and `step` return must look like, at every step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface import infos as infos_of

if TYPE_CHECKING:
    from harness.interface.spaces import Sizes

SPACES = ("observation_space", "share_observation_space", "action_space")
SHAPES = {
    "obs": ("num_envs", "num_agents", "obs_dim"),
    "share_obs": ("num_envs", "num_agents", "share_obs_dim"),
    "rewards": ("num_envs", "num_agents", "one"),
    "dones": ("num_envs", "num_agents"),
}


@dataclasses.dataclass
class Kept:
    """What a step returned, and copies of it, to see whether it changes later.

    Attributes:
      step: which one.
      arrays: (name, the array itself, its copy).
      infos: (env, agent, the dict itself, its items).
    """

    step: int
    arrays: List[Tuple[str, np.ndarray, np.ndarray]]
    infos: List[Tuple[int, int, Any, Dict[Any, Any]]]

    @classmethod
    def of(cls, parts: Dict[str, Any], step: int) -> Kept:
        """Keep the parts of a step."""
        numbers = [(name, parts[name]) for name in (*SHAPES, "available_actions") if name in parts]
        arrays = [(name, value, value.copy()) for name, value in numbers if isinstance(value, np.ndarray)]
        infos = []
        for env, of_env in infos_of.entries(parts.get("infos")):
            for agent, info in infos_of.leaves(of_env):
                if hasattr(info, "keys"):
                    infos.append((env, agent, info, {key: infos_of.copy_of(info[key]) for key in info.keys()}))
        return cls(step, arrays, infos)


@dataclasses.dataclass
class Moment:
    """A step under the magnifying glass.

    Attributes:
      parts: what it returned by name, and `actions`, `actions_before`.
      sizes: of the environment.
      step: since the reset, from 1; 0 is the reset.
      kept: what earlier steps returned.
    """

    parts: Dict[str, Any]
    sizes: Sizes
    step: int
    kept: Deque[Kept]

    def at(self, *indices: int) -> str:
        """Return a place in words: the step, then env, agent and entry as far as they are given."""
        named = [f"{name} {index}" for name, index in zip(("env", "agent", "entry"), indices)]
        return ", ".join([f"step {self.step}" if self.step else "reset"] + named)

    def error(self, what: str, where: Optional[str] = None, **details: Optional[str]) -> ContractError:
        """Return a broken contract at this step."""
        return ContractError(what, step=self.step, where=where or self.at(), **details)


def check_tuple(returned: Any, names: Tuple[str, ...], contract: str, place: str, step: int) -> None:
    """Raise unless a call returned one value for each name.

    Raises:
      ContractError: otherwise.
    """
    if isinstance(returned, (tuple, list)) and len(returned) == len(names):
        return
    method = "reset" if step == 0 else "step"
    got = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else type(returned).__name__
    raise ContractError(
        f"{method} returns {got}, not {len(names)} values",
        contract=contract,
        step=step,
        where=place,
        expected="({})".format(", ".join(names)),
        cause=_other_interface(returned, method),
    )


def _other_interface(returned: Any, method: str) -> Optional[str]:
    if method == "step" and isinstance(returned, tuple) and len(returned) == 5:
        return "gymnasium's or PettingZoo's interface: (obs, reward, terminated, truncated, info)"
    if method == "reset" and isinstance(returned, tuple) and len(returned) == 2:
        return "gymnasium's or PettingZoo's interface: (obs, info)"
    return "a bare observation, as in gym before 0.26" if method == "reset" else None


def check_shape(name: str, value: Any, sizes: Sizes, contract: str, step: int) -> None:
    """Raise unless `value` is a numpy array of numbers of the declared shape.

    Raises:
      ContractError: otherwise; what follows would be meaningless.
    """
    dims = SHAPES[name]
    shape = tuple(1 if dim == "one" else getattr(sizes, dim) for dim in dims)
    details = {
        "contract": contract,
        "where": f"step {step}" if step else "reset",
        "expected": "a numpy array {} ({})".format(shape, ", ".join("1" if dim == "one" else dim for dim in dims)),
    }
    if not isinstance(value, np.ndarray):
        module = type(value).__module__.split(".")[0]
        fix = f"{name}.detach().cpu().numpy().copy()" if module == "torch" else f"np.asarray({name})"
        kind = "a torch tensor" if module == "torch" else f"a {type(value).__name__}"
        raise ContractError(f"{name} is {kind}, not a numpy array", step=step, fix=fix, **details)
    if value.dtype.kind not in "fiub":
        raise ContractError(f"{name} holds {value.dtype}, not numbers", step=step, **details)
    if value.shape != shape:
        what = f"{name} has shape {value.shape}, not {shape}"
        raise ContractError(what, step=step, cause=_why_shape(value.shape, shape, dims), **details)


def _why_shape(got: Tuple[int, ...], shape: Tuple[int, ...], dims: Tuple[str, ...]) -> Optional[str]:
    if len(got) > 1 and (got[1], got[0]) + got[2:] == shape:
        return "envs and agents are transposed"
    if len(got) == len(shape) and all(a == b or a == 1 for a, b in zip(got, shape)):
        return "an axis of size 1: HARL would broadcast it over all {}".format(
            ", ".join(dim for dim, a, b in zip(dims, got, shape) if a != b)
        )
    if len(got) == len(shape):
        return "another {}".format(", ".join(dim for dim, a, b in zip(dims, got, shape) if a != b))
    if len(got) == len(shape) - 1 and got == shape[:-1]:
        return "the last axis is missing"
    return f"{len(got)} axes instead of {len(shape)}"


def check_dtype(name: str, value: np.ndarray, step: int) -> None:
    """Raise if the numbers are of a type that HARL misreads or rounds.

    Raises:
      ContractError: otherwise.
    """
    right = {"dones": value.dtype == bool, "rewards": value.dtype.kind == "f"}.get(name, value.dtype == np.float32)
    if right:
        return
    expected = {"dones": "bool", "rewards": "float32"}.get(name, "float32")
    causes = {
        "dones": "HARL tests envs for truth and agents for equality with True: they disagree on other numbers",
        "rewards": "a reward of whole numbers has lost its fraction",
    }
    raise ContractError(
        f"{name} is {value.dtype}, not {expected}",
        step=step,
        where=f"step {step}" if step else "reset",
        cause=causes.get(name, "HARL casts it without a word: large numbers become infinite or are rounded"),
        fix="{}.astype(np.{})".format(name, "bool_" if expected == "bool" else expected),
    )


def check_finite(moment: Moment) -> None:
    """Raise at the first NaN or infinity."""
    for name in ("obs", "share_obs", "rewards", "dones"):
        value = moment.parts.get(name)
        if value is None or value.dtype.kind != "f" or np.isfinite(value).all():
            continue
        bad = np.argwhere(~np.isfinite(value))
        raise moment.error(
            "{} holds {}".format(name, "NaN" if np.isnan(value).any() else "infinity"),
            moment.at(*bad[0]),
            got=f"{len(bad)} of {value.size} values",
            expected="finite values",
        )


def check_bounds(moment: Moment) -> None:
    """Raise if an observation or a global state is outside its space."""
    for name, space in (("obs", "observation_space"), ("share_obs", "share_observation_space")):
        bounds, value = getattr(moment.sizes, name + "_bounds"), moment.parts[name]
        if bounds is None or bounds[0].shape != value.shape[1:]:
            continue
        low, high = bounds
        outside = (value < low - 1e-5 * (1 + abs(low))) | (value > high + 1e-5 * (1 + abs(high)))
        if outside.any():
            env, agent, entry = np.argwhere(outside)[0]
            raise moment.error(
                f"{name} leaves its {space}",
                moment.at(env, agent, entry),
                got=f"{value[env, agent, entry]:g}",
                expected=f"within [{low[agent, entry]:g}, {high[agent, entry]:g}]",
            )


def check_share_obs_same(moment: Moment) -> None:
    """Raise if the agents of an env are given different global states or rewards."""
    for name in ("share_obs", "rewards"):
        value = moment.parts.get(name)
        if value is None or np.array_equal(value, np.broadcast_to(value[:, :1], value.shape), equal_nan=True):
            continue
        env, agent, entry = np.argwhere(value != value[:, :1])[0]
        raise moment.error(
            f"{name} differs between the agents of an env",
            moment.at(env, agent, entry),
            got=f"{value[env, agent, entry]:g} for agent {agent}, {value[env, 0, entry]:g} for agent 0",
            expected="the same for all: in HARL's EP mode only agent 0's is used",
            fix="give all agents the team's; if you train with state_type FP, pass Task(state_type='FP')",
        )


def check_available_actions(moment: Moment) -> None:
    """Raise unless `available_actions` has the one form that is legal for the action space."""
    legal, sizes = moment.parts["available_actions"], moment.sizes
    if not sizes.maskable:
        is_array = isinstance(legal, np.ndarray)
        right = isinstance(legal, (list, tuple)) or (is_array and legal.ndim == 1)
        if not (right and len(legal) == sizes.num_envs and all(one is None for one in legal)):
            raise moment.error(
                f"available_actions is {infos_of.describe(legal)}, not [None] * num_envs",
                expected=f"[None] * {sizes.num_envs}, as the actions are continuous",
                cause="HARL's runner indexes it at every step" if legal is None else None,
                fix="return [None] * self.num_envs",
            )
        return
    shape = (sizes.num_envs, sizes.num_agents, sizes.num_choices)
    if not isinstance(legal, np.ndarray) or legal.shape != shape or legal.dtype.kind not in "fiub":
        raise moment.error(
            f"available_actions is {infos_of.describe(legal)}, not an array {shape}",
            expected="ones and zeros (num_envs, num_agents, n), as the actions are Discrete",
            cause="HARL keeps the old mask, or broadcasts this one, without a word",
        )
    if not np.isin(legal, (0, 1)).all():
        raise moment.error("available_actions holds other values than 0 and 1", got=f"{np.unique(legal)[:5]}")
    blocked = np.argwhere(~legal.any(axis=-1))
    if len(blocked):
        raise moment.error(
            "no action is available to an agent",
            moment.at(*blocked[0]),
            cause="HARL then draws from all actions, illegal ones included",
        )


def check_actions_untouched(moment: Moment) -> None:
    """Raise if the environment wrote into the actions."""
    actions, before = moment.parts["actions"], moment.parts["actions_before"]
    if np.array_equal(actions, before):
        return
    env, agent, entry = np.argwhere(actions != before)[0]
    raise moment.error(
        "step writes into the actions it is given",
        moment.at(env, agent, entry),
        got=f"{actions[env, agent, entry]:g}",
        expected=f"{before[env, agent, entry]:g}, as handed over",
        cause="an operation in place, such as np.clip(out=), *= or a torch view; HARL stores these altered actions "
        "with the log-probabilities of the original ones",
        fix="work on a copy: actions = actions.copy()",
    )


def check_dones(moment: Moment) -> None:
    """Raise if the agents of an env are not done together."""
    dones = moment.parts["dones"]
    differing = np.argwhere(dones != dones[:, :1])
    if len(differing) and not np.isnan(dones.astype(float)).any():
        env, agent = differing[0]
        raise moment.error(
            "the agents of an env are not done together",
            moment.at(env, agent),
            got=f"dones {dones[env].tolist()}",
            expected="the same for all agents of an env",
            cause="HARL ends an episode only when all agents are done: it would learn across the reset",
        )


def check_aliasing(moment: Moment) -> None:
    """Raise if an array that was returned earlier changed, or is returned again."""
    for kept in moment.kept:
        for name, array, copy in kept.arrays:
            current = moment.parts.get(name)
            details = {
                "cause": "a buffer is returned instead of a copy: whoever keeps it sees later values",
                "fix": f"return {name}.copy()",
            }
            if not np.array_equal(array, copy, equal_nan=array.dtype.kind == "f"):
                what = "the {} buffer is reused: the array of step {} changed at step {}"
                raise moment.error(what.format(name, kept.step, moment.step), **details)
            if isinstance(current, np.ndarray) and np.may_share_memory(array, current) and array.size:
                what = "the {} buffer is reused: the arrays of steps {} and {} share memory"
                raise moment.error(what.format(name, kept.step, moment.step), **details)
    for name in SHAPES:
        if np.may_share_memory(moment.parts[name], moment.parts["actions"]):
            raise moment.error(f"{name} shares memory with the actions", fix=f"return {name}.copy()")


CHECKS: Dict[str, Callable[[Moment], None]] = {
    "finite": check_finite,
    "bounds": check_bounds,
    "share-obs-same": check_share_obs_same,
    "available-actions": check_available_actions,
    "actions-untouched": check_actions_untouched,
    "dones": check_dones,
    "infos": infos_of.check_infos,
    "infos-fresh": infos_of.check_infos_fresh,
    "bad-transition": infos_of.check_bad_transition,
    "aliasing": check_aliasing,
}
