"""The shortest sequence of actions that breaks a contract.

A defect that a player finds shows again after a reset and the same actions, so sequences can be tried one after the
other. The method is greedy: keep only the last steps, replace actions by the neutral one, and leave out steps, always
as long as the defect still shows, and the largest reductions first.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import step_checks
from harness.findings import ContractError, Finding
from harness.interface.drivers import neutral
from harness.interface.far_env import of_env, player_of
from harness.interface.moment import StepErrors
from harness.interface.sequence import pack
from harness.interface.spaces import read_sizes

SHRINK_SHARE = 0.05  # of the budget, for all findings together
MAX_NUMBERS = 300_000  # in the actions of a finding

Shows = Callable[[np.ndarray], bool]


def shorten(
    subject: EnvUnderTest, findings: Sequence[Finding], share: float = SHRINK_SHARE, max_numbers: int = MAX_NUMBERS
) -> List[Finding]:
    """Replace the actions that led to each finding by the shortest sequence that shows it.

    Actions that do not show the finding by themselves are dropped; it depends on a seed, on sizes or on a comparison.

    Args:
      subject: the environment.
      findings: the findings, with all actions since the reset.
      share: share of the budget for all findings together.
      max_numbers: drop actions that hold more numbers than this.
    """
    deadline = time.perf_counter() + share * subject.budget_s
    shortened = []
    for finding in findings:
        actions = None
        if finding.actions and np.size(finding.actions) <= max_numbers:
            actions = _shortened(subject, finding, np.stack(finding.actions), deadline)
        shortened.append(dataclasses.replace(finding, actions=actions))
    return shortened


def broken_by(subject: EnvUnderTest, actions: Sequence[np.ndarray]) -> Dict[str, ContractError]:
    """Reset a new environment, take the actions (N, A, K), and return the errors of the contracts that this breaks.

    The environment has the sizes of the actions.
    """
    errors = StepErrors(subject.errors.judged_for)
    num_envs, num_agents, _ = np.shape(actions[0])
    broken: Dict[str, ContractError] = {}
    env = None
    try:
        env = subject.build(num_envs=num_envs, num_agents=num_agents)
        player = player_of(env, of_env(env, read_sizes, num_envs), errors, step_checks())
        player.reset()
        for action in actions:
            player.step(action)
    except ContractError as error:
        broken[error.contract or "step-form"] = error
    finally:
        close_quietly(env)
    return {**errors.by_contract(), **broken}


def _shortened(subject: EnvUnderTest, finding: Finding, actions: np.ndarray, deadline: float) -> Optional[List[Any]]:
    """Return the shortest sequence that shows a finding, packed; None if its actions do not show it."""

    def shows(candidate: np.ndarray) -> bool:
        if time.perf_counter() >= deadline:
            return False
        error = broken_by(subject, list(candidate)).get(finding.contract)
        return error is not None and _without_numbers(error.what) == _without_numbers(finding.what)

    if not shows(actions):
        return None
    return pack(list(shortest(actions, shows, neutral(subject.sizes))))


def _without_numbers(what: str) -> str:
    """Return a defect without its numbers, which may differ in a shorter sequence."""
    return re.sub(r"[-+.\d]+(e[-+]\d+)?", "#", what)


def shortest(actions: np.ndarray, shows: Shows, rest: np.ndarray) -> np.ndarray:
    """Make a sequence shorter and calmer as long as the defect still shows.

    Args:
      actions: actions that show the defect, (T, N, A, K).
      shows: returns whether a sequence shows the defect.
      rest: the neutral action, (K,).
    """
    actions = _last_steps(actions, shows)
    at_rest = np.broadcast_to(rest, actions.shape).astype(actions.dtype)
    at_rest_before = np.concatenate([at_rest[:-1], actions[-1:]])
    if shows(at_rest):
        actions = at_rest
    elif shows(at_rest_before):
        actions = at_rest_before
    actions = _calmer(actions, at_rest, shows)
    return _without_steps(actions, shows)


def _last_steps(actions: np.ndarray, shows: Shows) -> np.ndarray:
    """Return the last step if it shows the defect, else the last two, four, eight and so on."""
    length = 1
    while length < len(actions):
        if shows(actions[-length:]):
            return actions[-length:]
        length *= 2
    return actions


def _calmer(actions: np.ndarray, at_rest: np.ndarray, shows: Shows) -> np.ndarray:
    """Let each env, agent and entry rest that does not matter."""
    for axis in (1, 2, 3):
        for index in range(actions.shape[axis]):
            part = (slice(None),) * axis + (index,)
            calmer = actions.copy()
            calmer[part] = at_rest[part]
            if not np.array_equal(calmer, actions) and shows(calmer):
                actions = calmer
    return actions


def _without_steps(actions: np.ndarray, shows: Shows) -> np.ndarray:
    """Leave out steps that do not matter, first half of them, then ever smaller parts."""
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
