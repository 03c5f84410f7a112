"""Tests of outcomes in infos that stay set, on runs that are written down."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts.sticking_flags import require_no_sticking_flags
from harness.findings import ContractError
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

AGENTS = 2


def flags_at_ends(values):
    """Return a run of two envs in which every step is an end; `values` are those of each env."""
    obs = np.zeros((len(values), AGENTS, 3))
    history = [Seen(obs, obs)]
    for step in range(len(values[0])):
        infos = [[{"is_success": of_env[step], "ever_solved": of_env[step]}] * AGENTS for of_env in values]
        dones = np.ones((len(values), AGENTS), bool)
        history.append(Seen(obs, obs, None, obs, np.ones((len(values), AGENTS)), dones, dones & False, infos))
    return history


def test_outcome_that_stays_set_is_found():
    """Once it was set in an env, it is at all of its later ends; booleans and numbers are alike."""
    stuck = [[False] * 6 + [True] * 6, [0.0] * 3 + [1.0] * 9]
    with pytest.raises(ContractError, match="is_success in infos stays set once it was set in an env"):
        require_no_sticking_flags(flags_at_ends(stuck))


@pytest.mark.parametrize(
    "values",
    [
        [[0] * 6 + [1] * 6, [0] * 3 + [1] * 8 + [0]],  # once, it is not set again
        [[0] * 12, [0] * 3 + [1] * 9],  # one env only
        [[0] * 9 + [1] * 3, [0] * 8 + [1] * 4],  # few ends after
        [[0] * 3 + [1] * 9, [0] * 4 + [1] * 8],  # few ends before: it may be usual
    ],
)
def test_outcome_that_may_be_usual_holds(values):
    """It must have been rare before, and often set after, in several envs."""
    require_no_sticking_flags(flags_at_ends(values))
