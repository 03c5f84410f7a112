"""One step of an environment as the step checks see it, and where they record what they find."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface import infos
from harness.interface.harl_forms import JudgedFor
from harness.interface.spaces import Sizes

SHAPES = {
    "obs": ("num_envs", "num_agents", "obs_dim"),
    "share_obs": ("num_envs", "num_agents", "share_obs_dim"),
    "rewards": ("num_envs", "num_agents", "one"),
    "dones": ("num_envs", "num_agents"),
}
INDEX_NAMES = ("env", "agent", "entry")


def place_of(step: int) -> str:
    """Return a step in words."""
    if step == 0:
        return "reset"
    return f"step {step}"


def place_in_words(indices: Sequence[int]) -> str:
    """Return as many of env, agent and entry as are given, in words."""
    return ", ".join(f"{name} {index}" for name, index in zip(INDEX_NAMES, indices))


@dataclasses.dataclass
class KeptStep:
    """What an earlier step returned, with copies, to find out whether it changes later.

    Attributes:
      step: the number of the step.
      arrays: name, the array itself, and its copy.
      infos: env, agent, the dict itself, and a copy of its items.
    """

    step: int
    arrays: List[Tuple[str, np.ndarray, np.ndarray]]
    infos: List[Tuple[int, int, Any, Dict[Any, Any]]]

    def ended(self, env: int) -> bool:
        """Return whether an episode of this env ended in the step; True where `dones` does not say it."""
        for name, _, dones in self.arrays:
            if name == "dones" and env < len(dones):
                return bool(np.any(dones[env]))
        return True

    @classmethod
    def of(cls, parts: Dict[str, Any], step: int) -> KeptStep:
        """Keep the parts of a step."""
        arrays = []
        for name in (*SHAPES, "available_actions"):
            value = parts.get(name)
            if isinstance(value, np.ndarray):
                arrays.append((name, value, value.copy()))
        dicts = []
        for env, agent, info in infos.leaves(parts.get("infos")):
            if hasattr(info, "keys"):
                dicts.append((env, agent, info, infos.copy_of_items(info)))
        return cls(step, arrays, dicts)


@dataclasses.dataclass
class Moment:
    """Everything that a step check may look at.

    Attributes:
      parts: what the step returned, by name; after a step also `actions` and `actions_before`.
      sizes: sizes of the environment.
      step: the step since the reset, counted from 1; 0 is the reset.
      kept: what the last few steps returned.
      judged_for: the HARL that the environment is judged for, and where notes are left.
    """

    parts: Dict[str, Any]
    sizes: Sizes
    step: int
    kept: Deque[KeptStep]
    judged_for: JudgedFor = dataclasses.field(default_factory=JudgedFor)

    def at(self, *indices: int) -> str:
        """Return a place in words: the step, then as many of env, agent and entry as are given."""
        if not indices:
            return place_of(self.step)
        return f"{place_of(self.step)}, {place_in_words(indices)}"

    def error(self, what: str, where: Optional[str] = None, **details: Optional[str]) -> ContractError:
        """Return a broken contract at this step."""
        return ContractError(what, step=self.step, where=where or self.at(), **details)


class StepCheck(NamedTuple):
    """A check that a player makes at every step.

    Attributes:
      contract: name of the contract that the check belongs to.
      check: raises `ContractError` if the contract is broken.
      at_reset: whether the check also applies to what `reset` returns.
    """

    contract: str
    check: Callable[[Moment], None]
    at_reset: bool


def _nothing(contract: str, error: ContractError) -> None:
    pass


class StepErrors:
    """The first error of each contract that was broken at some step.

    Players record errors. `check_env` reports them, unless the contract withdraws its own.

    Args:
      judged_for: the HARL that the environment is judged for.

    Attributes:
      on_first: called with the first error of each contract, at once.
    """

    def __init__(self, judged_for: Optional[JudgedFor] = None) -> None:
        self.judged_for = judged_for or JudgedFor()
        self.on_first: Callable[[str, ContractError], Any] = _nothing
        self._first: Dict[str, ContractError] = {}

    def record(self, contract: str, error: ContractError) -> None:
        """Keep an error if it is the first of its contract."""
        if contract not in self._first:
            self._first[contract] = error
            self.on_first(contract, error)

    def of(self, contract: str) -> Optional[ContractError]:
        """Return the error of a contract, or None."""
        return self._first.get(contract)

    def withdraw(self, contract: str) -> None:
        """Forget the error of a contract that cannot be judged."""
        self._first.pop(contract, None)

    def by_contract(self) -> Dict[str, ContractError]:
        """Return the errors by the name of their contract, in the order in which they were recorded."""
        return dict(self._first)
