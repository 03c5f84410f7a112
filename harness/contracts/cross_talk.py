"""What a run with different actions in some envs shows of the others, and the error for an env that was changed."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from harness.contracts.clocks import Clock
from harness.contracts.comparison import Difference
from harness.contracts.own_generators import RedrawnStart
from harness.contracts.shared_numbers import Changed
from harness.findings import ContractError
from harness.interface.player import Seen


class CrossTalk(NamedTuple):
    """A difference in an env that was not disturbed.

    Attributes:
      step: step at which it showed.
      difference: field and place.
      original: what was seen in the long run at that step.
      seen: what was seen in the disturbed run.
    """

    step: int
    difference: Difference
    original: Seen
    seen: Seen


class PutForward(NamedTuple):
    """An env whose clocks were put forward in a run.

    Attributes:
      env: the env.
      after: number of steps before.
      clocks: its clocks.
      age: what they then showed [steps].
    """

    env: int
    after: int
    clocks: Sequence[Clock]
    age: int


class DisturbedRun(NamedTuple):
    """The long run played again with different actions in some envs, or with the clock of one put forward.

    Attributes:
      found: the first difference in an env that was not disturbed, or None.
      ended_differently: whether an episode had ended at a different time than in the long run by then.
      disturbed: the disturbed envs in words.
      redrawn: a start that was drawn differently although its env took the same actions, or None.
      spared: the envs that were not disturbed, (N,) bool.
      actions: what was done, (N, A, K) for each step.
      put_forward: whose clock was put forward, or None.
      changed: what infos say differently of episodes of envs that were not disturbed.
    """

    found: Optional[CrossTalk]
    ended_differently: bool
    disturbed: str
    redrawn: Optional[RedrawnStart] = None
    spared: np.ndarray = np.zeros(0, bool)
    actions: Sequence[np.ndarray] = ()
    put_forward: Optional[PutForward] = None
    changed: Sequence[Changed] = ()


def actions_of_run(seen: List[Seen]) -> List[np.ndarray]:
    """Return the actions of each step of a run."""
    return [one.actions for one in seen[1:]]


def cross_talk(what: str, found: CrossTalk, disturbed: str, usual_cause: str) -> ContractError:
    """Return the error for a difference in an env that was not disturbed.

    Args:
      what: what the difference is a consequence of.
      found: the difference.
      disturbed: what was disturbed, in words.
      usual_cause: the most likely cause if the field does not suggest a different one.
    """
    difference = found.difference
    causes = {
        "dones": "the end of one env's episode is written to another",
        "rewards": "rewards mix envs",
    }
    return ContractError(
        f"{what}: {difference.field} of env {difference.env}",
        step=found.step,
        where=f"step {found.step}, {difference.where()}; {disturbed}",
        got=difference.value(found.seen),
        expected=difference.value(found.original),
        cause=causes.get(difference.field, usual_cause),
    )


def envs_in_words(which: np.ndarray) -> str:
    """Return in words which envs (N,) bool are meant."""
    return f"envs {np.flatnonzero(which).tolist()}"
