"""The contract that two environments in one process do not share state.

The long run is played again while a second environment with a different seed is stepped in turn. The first one must not
differ by a single bit. A shared setting that grows with every environment is looked for separately (`shared_settings`).
"""

from __future__ import annotations

import numpy as np

from harness.contracts.comparison import first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.shared_settings import require_same_settings
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver


@contract("two-environments")
def two_environments(subject: EnvUnderTest) -> None:
    """Two environments in one process do not disturb each other."""
    subject.require_several_in_a_process()
    require_same_settings(subject)
    subject.require_same_again()
    original = subject.long_run().seen
    steps = subject.steps(len(original) - 1, runs=2)
    other_seed = None
    if "seed" in subject.varied:
        other_seed = subject.seed + 1
    first = subject.player(watch=False)
    second = subject.player(other_seed, watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 5)
    every_env = np.ones(subject.sizes.num_envs, bool)
    for step in range(1, steps + 1):
        seen = first.step(original[step].actions)
        second.step(driver(second.seen[-1]))
        found = first_difference(original[step], seen, every_env)
        if found is not None:
            raise ContractError(
                "an environment behaves differently when a second one runs in the same process",
                step=step,
                where=found.where(),
                got=found.value(seen),
                expected=found.value(original[step]),
                cause="they share state: the global random generator, a module's variable, or a class attribute",
                fix="keep all state, generators included, in the environment's own attributes",
            )
    close_quietly(second.env)
    close_quietly(first.env)
