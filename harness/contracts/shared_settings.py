"""Settings that are changed in place whenever an environment is made.

A run shows no difference then, as all environments have the same settings. So the numbers that several new environments
are set to are compared: a number that is multiplied by the same factor each time is a shared setting.
"""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.findings import ContractError
from harness.object_graph import settings

NUM_BUILDS = 3  # to see whether a setting changes with each
BUILD_SHARE = 0.1  # of the budget that they may take
SAME_RATIO = 1e-9  # relative difference up to which two ratios are equal
MIN_GROWTH = 1e-3  # by which a ratio must differ from 1


def require_same_settings(subject: EnvUnderTest) -> None:
    """Raise if a setting is multiplied whenever an environment is made."""
    if NUM_BUILDS * subject.build_s > BUILD_SHARE * subject.budget_s:
        return
    made: List[Dict[str, float]] = []
    for _ in range(NUM_BUILDS):
        env = subject.build()
        made.append(settings(env))
        close_quietly(env)
    in_all = set(made[0]).intersection(*made[1:])
    for path in sorted(in_all, key=len):
        values = [of_env[path] for of_env in made]
        ratios = np.divide(values[1:], values[:-1])
        is_steady = np.ptp(ratios) <= SAME_RATIO * abs(ratios[0])
        if is_steady and abs(ratios[0] - 1.0) > MIN_GROWTH:
            raise ContractError(
                f"{path} is multiplied by {ratios[0]:g} with every environment that is made",
                contract="two-environments",
                got=", ".join(f"{value:g}" for value in values),
                expected="the same in each, as all are made with the same arguments",
                cause="a settings object that all share is changed in place",
                fix="copy.deepcopy the settings before changing them",
            )
