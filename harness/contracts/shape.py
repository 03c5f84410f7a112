"""Contracts of what is there and what it looks like; the player checks most of it at every step."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly, drive
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, actions_of, shortest_failure
from harness.interface.player import Player, Seen, step_checks
from harness.interface.spaces import read_sizes

OTHER_SIZES = ({"num_envs": 7, "num_agents": 3}, {"num_envs": 8, "num_agents": 4}, {"num_envs": 3})
SEARCHES = 25  # sequences of actions, at most
SEARCH_SHARE = 0.05  # of the budget
FEW = 2  # exact zeros that a number may show for each of them to be an exception
WHOLE_ENV = 0.5  # of the steps of one env that may show nothing but zeros before this counts as normal
REST = 1e-3  # of a number's standard deviation, within which it may rest at 0
TORN = 5  # states that come with different masks, before this is no accident
USUAL_RANGE = (0.05, 20.0)  # of the largest action; HARL's noise has a standard deviation of 0.37 to 0.5


@contract("factory")
def factory(subject: EnvUnderTest) -> None:
    """The factory builds as many environments of HARL's interface as it is asked for, in the sizes it is asked for."""
    sizes = subject.sizes
    for env in [subject.build(), subject.build(subject.seed + 1)]:
        close_quietly(env)
    for wanted in OTHER_SIZES:
        varied = {name: count for name, count in wanted.items() if name in subject.varied}
        if varied and varied.get("num_envs") != sizes.num_envs:
            _short_run(subject, varied)


def _short_run(subject: EnvUnderTest, varied: dict) -> None:
    """Drive an environment of other sizes; a team of another size may be refused."""
    try:
        env = subject.build(**varied)
    except ContractError:
        if "num_agents" not in varied:
            raise
        subject.notes.append("the factory refuses num_agents {}".format(varied["num_agents"]))
        return
    sizes = read_sizes(env, varied.get("num_envs"))
    if sizes.num_agents != varied.get("num_agents", sizes.num_agents):
        raise ContractError(
            "the factory was asked for {} agents and made {}".format(varied["num_agents"], sizes.num_agents)
        )
    try:
        player = Player(env, sizes, subject.violations)
        player.reset()
        drive(player, ActionDriver(sizes, subject.seed), 30, 0.02 * subject.budget_s)
    finally:
        close_quietly(env)


@contract("spaces")
def spaces(subject: EnvUnderTest) -> None:
    """Each agent has spaces that HARL can read, alike where HARL takes them to be, and of a usual range."""
    sizes, env = subject.sizes, subject.player().env
    for name in step_checks.SPACES:
        kinds = {(type(space).__name__, tuple(np.shape(getattr(space, "low", ())))) for space in getattr(env, name)}
        if len(getattr(env, name)) != sizes.num_agents:
            raise ContractError(f"{name} has {len(getattr(env, name))} entries for {sizes.num_agents} agents")
        if len(kinds) > 1:
            raise ContractError(
                f"{name} differs between the agents",
                got=str(sorted(kinds)),
                expected="one kind and shape for all: HARL stacks what the agents see and do",
            )
    if sizes.obs_dim == 1:
        raise ContractError("an observation of one number carries no information", cause="HARL normalises it to 0")
    if (sizes.low >= sizes.high).any() and not sizes.discrete:
        raise ContractError("action_space is empty", got=f"low {sizes.low}, high {sizes.high}")
    largest = np.maximum(abs(sizes.low), abs(sizes.high))
    unusual = np.isfinite(largest) & ((largest < USUAL_RANGE[0]) | (largest > USUAL_RANGE[1]))
    if unusual.any() and not sizes.discrete:
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
    _search(subject)


@contract("finite")
def finite(subject: EnvUnderTest) -> None:
    """Nothing that is returned is NaN or infinite, nor a zero put where it was."""
    history = subject.long_run().seen
    for name in ("obs", "share_obs"):
        values = np.stack([getattr(seen, name) for seen in history])
        dropped = _isolated_zeros(values, np.stack([seen.ended for seen in history[1:]]))
        if len(dropped):
            step, env, agent, entry = dropped[0]
            raise ContractError(
                f"{name} drops to exactly 0",
                step=int(step),
                where=f"step {step}, env {env}, agent {agent}, entry {entry}",
                got=f"{values[step - 1, env, agent, entry]:g}, 0, {values[step + 1, env, agent, entry]:g}",
                cause="a NaN or an infinity was replaced by 0, as np.nan_to_num does",
                fix="find where the NaN comes from; do not hide it",
            )


def _isolated_zeros(values: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Return where a zero cannot be a measurement, (count, 4): step, env, agent, entry.

    That is where a number that is hardly ever 0, nor the same twice, is exactly 0 beside a value of its episode that is
    clearly another one, or between values of either sign (nothing that is clipped at 0 gets there) neither of which is
    all but 0, as what rests is, or where all that an agent sees is 0, though it hardly ever is.

    Args:
      values: (T + 1, N, A, D).
      ended: (T, N) bool.
    """
    if len(values) < 20:
        return np.zeros((0, 4), int)
    begins, goes_on = ended[:-1, :, None, None], ~ended[1:, :, None, None]
    before, here, after = values[:-2], values[1:-1], values[2:]
    zero = here == 0.0
    flat = values.reshape((-1,) + values.shape[2:])
    distinct = (np.diff(np.sort(flat, axis=0), axis=0) != 0.0).mean(axis=0) > 0.5
    rare = zero.sum(axis=(0, 1)) <= FEW + 1e-3 * len(flat)
    nearer, spread = np.minimum(abs(before), abs(after)), flat.std(axis=0)
    clear = np.maximum(0.25 * spread, 2.0 * np.median(abs(np.diff(values, axis=0)), axis=(0, 1)))
    within = ~begins & goes_on & (nearer > np.where(before * after < 0, REST, 0.25) * spread)
    zero_starts = (zero & begins).sum(axis=(0, 1)) + (values[0] == 0.0).sum(axis=0)
    at_start = begins & goes_on & (abs(after) > clear) & (ended.sum() > 4 * zero_starts)
    at_last = ~begins & ~goes_on & (abs(before) > clear)
    whole = zero.all(axis=-1, keepdims=True) & (values.shape[-1] > 2)
    seldom = whole.mean(axis=(0, 1)) < WHOLE_ENV / values.shape[1]
    found = (zero & distinct & rare & (within | at_start | at_last)) | (zero & whole & seldom)
    return np.argwhere(found) + np.array([1, 0, 0, 0])


def _search(subject: EnvUnderTest) -> None:
    """Look for a short sequence of actions that breaks the form of what is returned."""
    runs = int(np.clip(subject.time_for(SEARCH_SHARE) / (subject.build_s + 20 * subject.step_s + 1e-6), 0, SEARCHES))
    if runs < 5:
        return

    def run(sequence: list) -> None:
        violations = dict(subject.violations)
        player = Player(subject.build(), subject.sizes, violations)
        try:
            player.reset()
            for actions in actions_of(sequence, subject.sizes):
                player.step(actions)
        finally:
            close_quietly(player.env)
        for name, error in violations.items():
            if name not in subject.violations:
                error.contract = name
                raise error

    try:
        found = None if subject.sizes.discrete else shortest_failure(run, subject.seed, runs)
    except ImportError:
        subject.notes.append("hypothesis is not installed: no search for short sequences")
        return
    if found is not None:
        raise found[0]


def _seen_in_long_run(name: str, promise: str) -> None:
    def check(subject: EnvUnderTest) -> None:
        subject.long_run()

    check.__doc__ = promise
    contract(name)(check)


_seen_in_long_run("bounds", "An observation stays within its space.")
_seen_in_long_run("actions-untouched", "`step` does not write into the actions it is given.")
_seen_in_long_run("infos", "`infos` has an entry for each env, and in it a dict under each agent's number.")
_seen_in_long_run("infos-fresh", "Each env, agent and step has an info dict of its own, which never changes later.")
_seen_in_long_run("dones", "`dones` is bool, and the agents of an env are done together.")


@contract("share-obs-same")
def share_obs_same(subject: EnvUnderTest) -> None:
    """In HARL's EP mode, all agents of an env are given the same global state and the same reward."""
    if getattr(subject.task, "state_type", "EP") != "EP":
        subject.violations.pop("share-obs-same", None)
        raise NotJudgedError(f"the task is trained with state_type {subject.task.state_type}")
    subject.long_run()


@contract("available-actions")
def available_actions(subject: EnvUnderTest) -> None:
    """`available_actions` is [None] * num_envs for Box; a mask of ones and zeros for Discrete, one for each state."""
    _require_one_mask_for_each_state(subject.long_run().seen)


def _require_one_mask_for_each_state(history: List[Seen]) -> None:
    """Raise if an agent is shown the same thing several times, with the same shared state, and another mask."""
    if history[0].available is None:
        return
    first: Dict[Tuple[int, bytes, bytes], Tuple[int, int, np.ndarray]] = {}
    torn: Dict[Tuple[int, bytes, bytes], Tuple[int, int, np.ndarray, Any]] = {}
    for step, seen in enumerate(history):
        for env, agent in np.ndindex(seen.available.shape[:2]):
            state = (agent, seen.obs[env, agent].tobytes(), seen.share_obs[env, agent].tobytes())
            mask = seen.available[env, agent]
            known = first.setdefault(state, (step, env, mask))
            if (known[2] != mask).any():
                torn.setdefault(state, (step, env, mask, known))
    if len(torn) >= TORN:
        (agent, _, _), (step, env, mask, (before, other, usual)) = next(iter(torn.items()))
        raise ContractError(
            "the same state comes with different available_actions",
            step=step,
            where=f"env {env}, agent {agent}, step {step}; it was seen in env {other} at step {before}",
            got=f"{mask.astype(int).tolist()}, in {len(torn)} states",
            expected=f"{usual.astype(int).tolist()}, as before",
            cause="the mask is that of another moment: of the step before, or of the episode that has ended",
            fix="compute it from the state that is shown, after the reset; or show what it depends on in share_obs",
        )
