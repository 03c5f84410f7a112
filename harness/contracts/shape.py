"""Contracts of what a factory builds, of its spaces, and of the form of what `reset` and `step` return.

The player raises or records a wrong form by itself, so these contracts only drive it: with a reset in mid-episode, in
environments of other sizes, through the long run, and through a search for short sequences of actions that break the
form.
"""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver, Block, actions_of, drive, shortest_failure
from harness.interface.far_env import of_env, player_of
from harness.interface.moment import StepErrors
from harness.interface.spaces import SPACES, Sizes, read_sizes

OTHER_SIZES = ({"num_envs": 7, "num_agents": 3}, {"num_envs": 8, "num_agents": 4}, {"num_envs": 3})
SHORT_RUN_STEPS = 30
SHORT_RUN_SHARE = 0.02  # of the budget
MIN_SEARCHES = 5  # with fewer sequences of actions a search is not worth its time
SEARCH_STEPS = 20  # about as long is a sequence that is tried
SEARCH_SHARE = 0.05  # of the budget
USUAL_RANGE = (0.05, 20.0)  # of the largest action; HARL's noise has a standard deviation of 0.37 to 0.5


@contract("factory")
def factory(subject: EnvUnderTest) -> None:
    """The factory builds any number of environments with HARL's interface, in the sizes that it is asked for."""
    sizes = subject.sizes
    envs = [subject.build(), subject.build(subject.seed + 1)]
    for env in envs:
        close_quietly(env)
    for wanted in OTHER_SIZES:
        varied = {name: count for name, count in wanted.items() if name in subject.varied}
        if varied and varied.get("num_envs") != sizes.num_envs:
            _short_run(subject, varied)


def _short_run(subject: EnvUnderTest, varied: Dict[str, int]) -> None:
    """Drive an environment of other sizes; a factory may refuse a different number of agents."""
    try:
        env = subject.build(**varied)
    except ContractError:
        if "num_agents" not in varied:
            raise
        subject.notes.append(f"the factory refuses num_agents {varied['num_agents']}")
        return
    sizes = of_env(env, read_sizes, varied.get("num_envs"))
    if sizes.num_agents != varied.get("num_agents", sizes.num_agents):
        raise ContractError(f"the factory was asked for {varied['num_agents']} agents and made {sizes.num_agents}")
    try:
        player = player_of(env, sizes, subject.errors, subject.step_checks())
        player.reset()
        driver = ActionDriver(sizes, subject.seed)
        drive(player, driver, SHORT_RUN_STEPS, SHORT_RUN_SHARE * subject.budget_s)
    finally:
        close_quietly(env)


@contract("spaces")
def spaces(subject: EnvUnderTest) -> None:
    """HARL can read the spaces of each agent, they are equal where HARL assumes so, and actions have a usual range."""
    sizes, env = subject.sizes, subject.player().env
    for name in SPACES:
        _require_equal_spaces(name, getattr(env, name), sizes.num_agents)
    if sizes.obs_dim == 1:
        raise ContractError("an observation of one number carries no information", cause="HARL normalises it to 0")
    if not sizes.discrete:
        _require_usual_actions(sizes)


def _require_equal_spaces(name: str, agents_spaces: Any, num_agents: int) -> None:
    if len(agents_spaces) != num_agents:
        raise ContractError(f"{name} has {len(agents_spaces)} entries for {num_agents} agents")
    kinds = set()
    for space in agents_spaces:
        shape = tuple(np.shape(getattr(space, "low", ())))
        kinds.add((type(space).__name__, shape))
    if len(kinds) > 1:
        raise ContractError(
            f"{name} differs between the agents",
            got=str(sorted(kinds)),
            expected="one kind and shape for all: HARL stacks what the agents see and do",
        )


def _require_usual_actions(sizes: Sizes) -> None:
    if (sizes.low >= sizes.high).any():
        raise ContractError("action_space is empty", got=f"low {sizes.low}, high {sizes.high}")
    largest = np.maximum(abs(sizes.low), abs(sizes.high))
    too_small, too_large = largest < USUAL_RANGE[0], largest > USUAL_RANGE[1]
    unusual = np.isfinite(largest) & (too_small | too_large)
    if unusual.any():
        raise ContractError(
            f"actions range up to {largest[unusual][0]:g}, far from 1",
            cause="HARL never reads the bounds: its actions have a standard deviation of 0.37 at first, 0.5 at most",
            fix="let the action_space be [-1, 1] and scale in step",
        )


@contract("reset-form")
def reset_form(subject: EnvUnderTest) -> None:
    """`reset` returns (obs, share_obs, available_actions) in HARL's shapes, at the start and in mid-episode."""
    player = subject.player()
    drive(player, ActionDriver(subject.sizes, subject.seed), 3)
    player.reset()


@contract("step-form")
def step_form(subject: EnvUnderTest) -> None:
    """`step` returns six parts in HARL's shapes and types, whatever the actions and however long it runs."""
    subject.long_run()
    search(subject)


def search(subject: EnvUnderTest) -> None:
    """Look for a short sequence of actions that breaks a contract that a player checks.

    Raises:
      ContractError: a sequence breaks a contract that the runs so far did not break.
    """
    if subject.sizes.discrete:
        return
    cost_s = subject.build_s + SEARCH_STEPS * subject.step_s + 1e-6
    runs = int(np.clip(subject.time_for(SEARCH_SHARE) / cost_s, 0, subject.effort.max_searches))
    if runs < MIN_SEARCHES:
        return
    try:
        found = shortest_failure(lambda sequence: _try_sequence(subject, sequence), subject.seed, runs)
    except ImportError:
        subject.notes.append("hypothesis is not installed: no search for short sequences")
        return
    if found is not None:
        raise found[0]


def _try_sequence(subject: EnvUnderTest, sequence: List[Block]) -> None:
    """Play a sequence of actions in a new environment.

    Raises:
      ContractError: it breaks a contract that the runs so far did not break.
    """
    errors = StepErrors(subject.errors.judged_for)
    player = player_of(subject.build(), subject.sizes, errors, subject.step_checks())
    try:
        player.reset()
        for actions in actions_of(sequence, subject.sizes):
            player.step(actions)
    finally:
        close_quietly(player.env)
    for name, error in errors.by_contract().items():
        if subject.errors.of(name) is None:
            error.contract = name
            raise error
