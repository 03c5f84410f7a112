"""Whether a difference between envs is only noise that all of them draw from one generator.

If an env is reset at a different time, a generator that all envs share is ahead from then on, and so is the noise that
others draw in every step. That is legal, as `own_generators` says. So both runs are played again, with all generators
put into the same state before each step. What then still differs, in a step in which the same envs end, is no noise.
"""

from __future__ import annotations

from typing import List, Optional, Sequence

import numpy as np

from harness.contracts.comparison import Bystanders
from harness.contracts.cross_talk import DisturbedRun, PutForward, actions_of_run
from harness.contracts.early_ends import put_clocks_forward
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.own_generators import promised_generators
from harness.contracts.reseeding import Reseeder, all_states_of
from harness.interface.drivers import ActionDriver
from harness.interface.far_env import of_env
from harness.interface.player import Seen

OTHER_SEED = 6089
WATCHED_STEPS = 12  # in which an environment is watched for draws
FURTHER_STEPS = 4  # after the difference


def is_only_noise(subject: EnvUnderTest, run: DisturbedRun) -> bool:
    """Return whether what a run found is only noise from a generator that all envs may share."""
    if run.found is None or not subject.once(draws_in_steps):
        return False
    if subject.once(promised_generators) is not None:
        return False
    history = subject.long_run().seen
    further = actions_of_run(history[run.found.step : run.found.step + 1 + FURTHER_STEPS])
    one = _play(subject, [*actions_of_run(history[: run.found.step + 1]), *further], None)
    other = _play(subject, [*run.actions, *further], run.put_forward)
    bystanders = Bystanders(run.spared)
    for a, b in zip(one, other):
        difference = bystanders.difference(a, b)
        if difference is not None and np.array_equal(a.ended, b.ended):
            return False
    return True


def draws_in_steps(subject: EnvUnderTest) -> bool:
    """Return whether random numbers are drawn in steps in which no episode ends."""
    player = subject.player(watch=False)
    try:
        for seen in subject.long_run().seen[1 : WATCHED_STEPS + 1]:
            before = of_env(player.env, all_states_of)
            if not player.step(seen.actions).ended.any() and of_env(player.env, all_states_of) != before:
                return True
    finally:
        close_quietly(player.env)
    return False


def _play(subject: EnvUnderTest, actions: Sequence[np.ndarray], forward: Optional[PutForward]) -> List[Seen]:
    """Return what actions show if all generators have the same state before each step."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed)
    reseeder = Reseeder(player.env, OTHER_SEED)
    try:
        for step, one in enumerate(actions):
            if forward is not None and forward.after == step:
                put_clocks_forward(player, forward)
            reseeder.seed_again()
            player.step(driver.legal(one, player.seen[-1]))
        return player.seen[1:]
    finally:
        close_quietly(player.env)
