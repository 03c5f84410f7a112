"""Which forms a HARL accepts, of those that a continuous environment returns and that differ between copies of HARL.

What the copy of the user accepts is probed on it (`harness.harl.probe`); `UPSTREAM` is what was measured on upstream's.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, List, Tuple

import numpy as np

ONE_NONE_EACH = "[None] * num_envs"
PLAIN_NONE = "None"
NESTED_NONES = "nested lists of None"
ARRAY_OF_NONES = "an array (num_envs, num_agents) of None"
ARRAY_OF_NUMBERS = "an array of numbers"
OTHER_FORM = "another form"
"""Forms of `available_actions`."""

KEYS_OF_TRUNCATION = ("bad_transition", "TimeLimit.truncated", "truncated", "time_out", "time_outs")
"""Keys under which environments flag a time limit."""


@dataclasses.dataclass(frozen=True)
class HarlForms:
    """What a HARL accepts.

    Attributes:
      name: which HARL, in words.
      in_training: forms of `available_actions` that its training accepts from `step` if actions are continuous.
      in_evaluation: the same of its evaluation.
      agent_0_is_enough: whether its EP mode accepts infos with no other agent than agent 0.
      truncation_keys: keys of an info that it reads as a time limit.
    """

    name: str
    in_training: Tuple[str, ...] = (ONE_NONE_EACH,)
    in_evaluation: Tuple[str, ...] = (ONE_NONE_EACH,)
    agent_0_is_enough: bool = True
    truncation_keys: Tuple[str, ...] = ("bad_transition",)


UPSTREAM = HarlForms("upstream HARL (PKU-MARL/HARL at d539bad)")


def upstream() -> HarlForms:
    """Return what upstream's HARL accepts."""
    return UPSTREAM


@dataclasses.dataclass
class JudgedFor:
    """What an environment is judged for.

    Attributes:
      forms: returns what the HARL accepts; it is asked only where the answer matters, because probing takes seconds.
      state_type: HARL's setting: "EP" or "FP".
      notes: what the reader of the report should know.
    """

    forms: Callable[[], HarlForms] = upstream
    state_type: str = "EP"
    notes: List[str] = dataclasses.field(default_factory=list)

    @property
    def per_agent(self) -> bool:
        """Whether HARL reads the info of every agent."""
        return self.state_type == "FP"

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)


def form_of(value: Any, num_envs: int) -> str:
    """Return the form of `available_actions` that an environment with continuous actions returned."""
    if value is None:
        return PLAIN_NONE
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return _form_of_array(value)
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != num_envs:
        return OTHER_FORM
    if all(entry is None for entry in value):
        return ONE_NONE_EACH
    if all(isinstance(entry, (list, tuple)) and set(entry) == {None} for entry in value):
        return NESTED_NONES
    return OTHER_FORM


def _form_of_array(value: np.ndarray) -> str:
    if value.dtype != object:
        return ARRAY_OF_NUMBERS
    if all(entry is None for entry in value.ravel()):
        return ARRAY_OF_NONES
    return OTHER_FORM
