"""The shortest sequence of actions that breaks a contract: what is not needed is left out.

What a player finds needs no more than a reset and actions to be seen again, so it can be tried again and again.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly
from harness.findings import ContractError, Finding
from harness.interface.drivers import neutral
from harness.interface.player import Player
from harness.interface.sequence import pack
from harness.interface.spaces import read_sizes

SHARE = 0.05  # of the budget, for all findings together
LARGEST = 300_000  # numbers in the actions that are kept


def shorten(subject: EnvUnderTest, findings: Sequence[Finding]) -> List[Finding]:
    """Replace the actions that led to each finding by the shortest sequence that is found to show it.

    Actions that do not show it by themselves are dropped: it takes another seed, other sizes or more than form.
    """
    deadline = time.perf_counter() + SHARE * subject.budget_s
    return [dataclasses.replace(one, actions=_shortened(subject, one, deadline)) for one in findings]


def broken_by(subject: EnvUnderTest, actions: Sequence[np.ndarray]) -> Dict[str, ContractError]:
    """Reset a new environment, take the actions (N, A, K), and return the contracts of form that this breaks.

    The sizes of the environment are those of the actions.
    """
    violations: Dict[str, ContractError] = {}
    num_envs, num_agents, _ = np.shape(actions[0])
    env = None
    try:
        env = subject.build(num_envs=num_envs, num_agents=num_agents)
        player = Player(env, read_sizes(env, num_envs), violations)
        player.reset()
        for action in actions:
            player.step(action)
    except ContractError as error:
        violations[error.contract or "step-form"] = error
    finally:
        close_quietly(env)
    return violations


def _shortened(subject: EnvUnderTest, finding: Finding, deadline: float) -> Optional[List[Any]]:
    if not finding.actions or np.size(finding.actions) > LARGEST:
        return None

    def shows(actions: np.ndarray) -> bool:
        error = broken_by(subject, list(actions)).get(finding.contract) if time.perf_counter() < deadline else None
        return error is not None and _kind(error.what) == _kind(finding.what)

    actions = np.stack(finding.actions)
    return pack(list(shortest(actions, shows, neutral(subject.sizes)))) if shows(actions) else None


def _kind(what: str) -> str:
    """Return a defect without its numbers."""
    return re.sub(r"[-+.\d]+(e[-+]\d+)?", "#", what)


def shortest(actions: np.ndarray, shows: Callable[[np.ndarray], bool], rest: np.ndarray) -> np.ndarray:
    """Make a sequence shorter and calmer while the defect still shows, what promises most first.

    Args:
      actions: (T, N, A, K), which show it.
      shows: tells whether a sequence does.
      rest: the action that does the least, (K,).
    """
    actions = _tail(actions, shows)
    at_rest = np.broadcast_to(rest, actions.shape).astype(actions.dtype)
    calm_before = np.concatenate([at_rest[:-1], actions[-1:]])
    actions = next((one for one in (at_rest, calm_before) if shows(one)), actions)
    return _without_steps(_calmer(actions, at_rest, shows), shows)


def _tail(actions: np.ndarray, shows: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Return the last step, two, four or more."""
    lengths = (2**power for power in range(len(actions).bit_length()) if 2**power < len(actions))
    return next((actions[-length:] for length in lengths if shows(actions[-length:])), actions)


def _calmer(actions: np.ndarray, at_rest: np.ndarray, shows: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Let envs, agents and entries rest of whose actions nothing depends."""
    for axis in (1, 2, 3):
        for index in range(actions.shape[axis]):
            part = (slice(None),) * axis + (index,)
            calmer = actions.copy()
            calmer[part] = at_rest[part]
            if not np.array_equal(calmer, actions) and shows(calmer):
                actions = calmer
    return actions


def _without_steps(actions: np.ndarray, shows: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Leave out steps on which nothing depends, in ever smaller parts."""
    size = len(actions) // 2
    while size:
        start = 0
        while start < len(actions):
            shorter = np.delete(actions, slice(start, start + size), axis=0)
            if len(shorter) and shows(shorter):
                actions = shorter
            else:
                start += size
        size //= 2
    return actions
