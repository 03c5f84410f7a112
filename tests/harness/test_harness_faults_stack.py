"""Contracts of the bug zoo in the pushing task, and in learner, logger, configuration and checkpoint."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import torch

from harness.contracts import check_env, names
from harness.faults import FAULTS, find
from harness.faults.fault_matrix import run_matrix
from harness.stack.check_stack import GROUP, RANKS_GROUP
from harness.toys import make_push

pytestmark = [pytest.mark.harness, pytest.mark.mujoco]

OF_STACK = [fault for fault in FAULTS.values() if fault.of_stack]
ONE_OF_EACH_KIND = list({fault.kind: fault for fault in OF_STACK}.values())
IN_PUSH = ["reset-touches-neighbour", "one-end-resets-all", "no-auto-reset", "clock-not-reset", "seed-ignored"]


ON_PUSH = [  # one of each class that an environment can have
    "rewards-without-last-axis",
    "rare-infinity",
    "agents-swapped",
    "actions-clipped-in-place",
    "infos-shared",
    "timeout-as-termination",
    "available-actions-none",
    "obs-buffer-reused",
    "missing-argument",
    "dones-one-step-late",
    "terminal-observation-lost",
    "no-auto-reset",
    "reset-touches-neighbour",
    "config-multiplied-in-place",
    "seed-ignored",
    "reward-of-wrong-sign",
]


@pytest.fixture
def short_episodes(monkeypatch):
    """Limit episodes of the pushing task to 5 env steps."""
    monkeypatch.setattr("mapush.env.terminations.MAX_EPISODE_LENGTH", 5)


def life_of_push():
    """Return, as bytes, everything that the pushing task returns in two and a half episodes."""
    env = make_push(num_envs=5, seed=1, steps_per_decision=1)
    random = np.random.default_rng(0)
    seen = [env.reset()]
    env.env._length += torch.arange(5)  # the envs end one after the other
    for _ in range(8):
        seen.append(env.step(random.standard_normal((5, 2, 3)).astype(np.float32)))
    env.close()
    return pickle.dumps(seen)


@pytest.mark.parametrize("name", IN_PUSH)
def test_fault_planted_changes_the_pushing_task_too(name, short_episodes):
    """A bug inside an environment is planted in the pushing task as it is in the toy."""
    clean = life_of_push()
    with find(name).inject(1):
        assert life_of_push() != clean
    assert life_of_push() == clean


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_PUSH)
def test_fault_in_the_pushing_task_is_caught(name):
    """The contracts that catch a bug in the light toy catch it in physics, too, where steps are much slower."""
    (row,) = run_matrix([find(name)], world="push")
    assert row.caught, row.diagnosis


@pytest.mark.slow
def test_statistics_of_every_step_are_found_in_the_pushing_task():
    """Growth shows after a thousand steps, so a decision has to be short: one env step."""
    with find("statistics-of-every-step").inject():
        make = functools.partial(make_push, steps_per_decision=1)
        report = check_env(make, contracts=["bounded-statistics"], budget_s=120.0)
    (finding,) = report.findings
    assert "grows without bound" in finding.what


@pytest.mark.parametrize("group", [GROUP, RANKS_GROUP])
def test_every_contract_of_the_stack_has_a_fault(group):
    """Every contract of the stack, and of several ranks, has a bug that it must catch."""
    named = set()
    for fault in OF_STACK:
        if fault.group == group:
            named.update(fault.contracts)
    assert named == set(names(group))


@pytest.mark.parametrize("fault", ONE_OF_EACH_KIND, ids=lambda fault: fault.name)
def test_contract_of_the_stack_catches_its_fault(fault):
    """The contract that a bug of the stack names is broken by it."""
    (row,) = run_matrix([fault])
    assert row.caught, fault.about
