"""The contract that an agent that has left its episode changes nothing more.

An agent may be done before its env is. HARL then leaves it out of the policy's loss, but still draws an action for it
in every step. So the long run is played again, and agents that have left are given other actions. Rewards, ends and
masks must be the same in each of these steps, bit for bit.

What is seen may show the last actions of all agents, which harms nobody. So other actions are only given in some steps,
and obs and share_obs are compared once the recorded actions have been taken again for a while.
"""

from __future__ import annotations

from typing import List, Sequence

import numpy as np

from harness.contracts.comparison import Difference, first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import COMPARED_FIELDS, Seen

MIN_OTHER_ACTIONS = 8  # that were given to agents that had left
OTHER_STEPS, SAME_STEPS = 2, 2  # with other actions and with the recorded ones, in turn
ALWAYS_COMPARED = ("rewards", "dones", "truncated", "available")
SHARE = 0.1  # of the budget


@contract("left-agents")
def left_agents(subject: EnvUnderTest) -> None:
    """An agent that is done before its env is changes nothing more, whatever actions it is given."""
    subject.require_same_again()
    history = subject.long_run().seen
    if subject.errors.of("dones") is not None:
        raise NotJudgedError("dones is broken, so nobody knows which agents have left")
    left = agents_that_had_left(history)
    steps = np.flatnonzero(left.any(axis=(1, 2)))
    if not len(steps):
        raise NotJudgedError("no agent is done before its env is")
    affordable = subject.steps(int(steps[-1]), runs=1, share=SHARE)
    num_others = _play(subject, history[: min(affordable, int(steps[-1])) + 1], left)
    if num_others < MIN_OTHER_ACTIONS:
        raise subject.too_few("other actions of agents that had left", num_others, MIN_OTHER_ACTIONS)


def agents_that_had_left(history: List[Seen]) -> np.ndarray:
    """Return which agents of which envs were done before each step of a run, while their env was not, (T, N, A)."""
    left = np.zeros((len(history), *history[1].dones.shape), bool)
    for step, seen in enumerate(history[1:-1], start=2):
        left[step] = seen.dones.astype(bool) & ~seen.ended[:, None]
    return left


def _play(subject: EnvUnderTest, history: List[Seen], left: np.ndarray) -> int:
    """Play a run again with other actions of agents that had left; return how many of their actions were different.

    Raises:
      ContractError: something differs.
    """
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 83, ("uniform",))
    num_others = 0
    try:
        for step, recorded in enumerate(history[1:], start=1):
            turn = step % (OTHER_STEPS + SAME_STEPS)
            actions = recorded.actions
            if turn < OTHER_STEPS and left[step].any():
                actions = np.where(left[step][..., None], driver(player.seen[-1]), actions)
                num_others += int((actions != recorded.actions).any(axis=2).sum())
            seen = player.step(actions)
            fields: Sequence[str] = ALWAYS_COMPARED
            if turn == OTHER_STEPS + SAME_STEPS - 1:
                fields = COMPARED_FIELDS
            found = first_difference(recorded, seen, np.ones(len(seen.obs), bool), fields)
            if found is not None:
                raise _still_acts(step, found, left[: step + 1], recorded, seen)
    finally:
        close_quietly(player.env)
    return num_others


def _still_acts(step: int, found: Difference, left: np.ndarray, recorded: Seen, seen: Seen) -> ContractError:
    """Return the error for a difference; `left` (T, N, A) says which agents had left until then."""
    lately = left[-OTHER_STEPS - SAME_STEPS :, found.env].any(axis=0)
    gone = np.flatnonzero(lately).tolist()
    return ContractError(
        f"an agent that is done still acts: its actions change {found.field}",
        step=step,
        where=f"step {step}, {found.where()}; other actions of agents {gone}, which were done",
        got=found.value(seen),
        expected=found.value(recorded),
        cause="the actions of all agents are applied or added up, also of those that have left",
        fix="set the actions of agents that are done to zero before anything uses them",
    )
