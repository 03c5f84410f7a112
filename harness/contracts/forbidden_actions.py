"""The contract that `step` does not write into actions, for those that the mask forbids.

HARL draws no such actions. An environment may refuse them, but must not replace them in the array that it is given.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.values import actions_untouched_step
from harness.interface.drivers import ActionDriver, drive
from harness.interface.moment import Moment
from harness.interface.player import as_harl_does
from harness.interface.spaces import Sizes

NAME = "actions-untouched"
STEPS_BEFORE = 5
MOST_STEPS = 10  # in which forbidden actions are taken


@contract(NAME)
def actions_untouched(subject: EnvUnderTest) -> None:
    """`step` does not write into the actions that it is given."""
    subject.long_run()
    if not subject.sizes.maskable or subject.errors.of(NAME) is not None:
        return
    player = subject.player(watch=False)
    try:
        drive(player, ActionDriver(subject.sizes, subject.seed), STEPS_BEFORE)
        _take_forbidden_actions(player.env, player.seen[-1].available, subject.sizes)
    finally:
        close_quietly(player.env)


def _take_forbidden_actions(env: Any, available: Any, sizes: Sizes) -> None:
    """Take forbidden actions wherever there are any, until the environment refuses them.

    Raises:
      ContractError: it replaces them in the array.
    """
    for step in range(STEPS_BEFORE + 1, STEPS_BEFORE + MOST_STEPS + 1):
        if available is None:
            return
        actions = np.asarray(available).argmin(axis=-1)[..., None]
        given = as_harl_does(actions, discrete=True)
        try:
            available = env.step(given)[-1]
        except Exception:
            return
        parts = {"actions": given, "actions_before": as_harl_does(actions, discrete=True)}
        actions_untouched_step(Moment(parts, sizes, step, collections.deque()))
