"""The contract that an env does not notice how many others there are.

Two batches that differ by one env are built with the same seed and reset twice. If the envs draw their starts
independently, the envs that both batches have start alike. Then all take the same actions for one step, and must see
the same, up to rounding, which may depend on the size of an array. Later steps are not compared, because the envs may
draw noise from one generator. A setting may be spread over the batch by design, so a difference counts only if it shows
in the first env and in most of the others.

A batch of a single env must work as well: HARL renders in one, and its evaluation may.
"""

from __future__ import annotations

import dataclasses
from typing import List, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.timeline import usual_change
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.far_env import player_of
from harness.interface.moment import StepErrors
from harness.interface.player import Seen

FIELDS = ("obs", "share_obs", "rewards")
TOLERANCE = 1e-2  # of a usual large change in a step
ROUNDING = 1e-5  # of a value
STEPS_OF_ONE = 30  # of the batch of one env
MIN_ENVS = 0.5  # fraction of the envs in which a difference must show


@contract("batch-size")
def batch_size(subject: EnvUnderTest) -> None:
    """The trajectory of an env does not depend on the batch size."""
    if "num_envs" not in subject.varied:
        raise NotJudgedError("the factory takes no num_envs")
    size = subject.sizes.num_envs
    require_a_single_env_works(subject)
    smaller, larger = _play(subject, (size, size + 1))
    _require_equal_starts(smaller, larger)
    history = subject.long_run().seen[1:]
    last, last_in_larger = smaller[-1], larger[-1]
    envs_off = np.zeros(size, bool)
    first = None  # field and place of the first difference
    for field in FIELDS:
        off = _differs(last, last_in_larger, field, usual_change(history, field))
        envs_off |= off.reshape(size, -1).any(axis=1)
        if first is None and off.any():
            first = field, tuple(np.argwhere(off)[0])
    if first is None or not envs_off[0] or envs_off.mean() <= MIN_ENVS:
        return
    field, place = first
    values = getattr(last, field)[place], getattr(last_in_larger, field)[place]
    raise ContractError(
        f"an env behaves differently in a batch of {size + 1} than in one of {size}",
        step=1,
        where=f"{field} of env {place[0]}, agent {place[1]}; {envs_off.sum()} of {size} envs differ after one step",
        got=f"{values[1]:g} among {size + 1} envs, {values[0]:g} among {size}",
        expected="the same from the same start, seed and actions",
        cause="the number of envs affects a single env: a mean or a sum over the batch, an index, a time step",
    )


def require_a_single_env_works(subject: EnvUnderTest) -> None:
    """Raise if a batch of one env cannot be stepped, or returns other shapes; a factory may refuse to build it."""
    sizes = dataclasses.replace(subject.sizes, num_envs=1)
    try:
        env = subject.build(num_envs=1)
    except ContractError:
        subject.notes.append("batch-size: the factory builds no batch of one env, in which HARL renders")
        return
    player = player_of(env, sizes, StepErrors(subject.errors.judged_for))
    try:
        player.reset()
        drive(player, ActionDriver(sizes, subject.seed), STEPS_OF_ONE)
    except ContractError as error:
        raise ContractError(
            f"a batch of one env does not work: {error.what}",
            step=error.step,
            where=error.where,
            got=error.got,
            expected=f"what works with {subject.sizes.num_envs} envs",
            cause="an axis of length 1 is removed, as by np.squeeze without axis, or broadcast",
            fix="name the axis: np.squeeze(x, axis=-1)",
        ) from error
    finally:
        close_quietly(env)


def _play(subject: EnvUnderTest, counts: Tuple[int, int]) -> List[List[Seen]]:
    """Return what batches of these sizes show in two resets and a step with the same actions in the same envs."""
    shown: List[List[Seen]] = []
    actions = None
    for count in sorted(counts, reverse=True):  # one after the other: settings that all share have one size at a time
        sizes = dataclasses.replace(subject.sizes, num_envs=count)
        player = player_of(subject.build(num_envs=count), sizes, StepErrors(subject.errors.judged_for))
        player.reset()
        player.reset()
        if actions is None:
            actions = ActionDriver(sizes, subject.seed, ["uniform"])(player.seen[-1])
        player.step(actions[:count])
        close_quietly(player.env)
        shown.insert(0, player.seen)
    return shown


def _require_equal_starts(smaller: List[Seen], larger: List[Seen]) -> None:
    """Give up unless starts are random and the envs of both batches start alike.

    Raises:
      NotJudgedError: they do not.
    """
    first, second = smaller[0], smaller[1]
    if (first.obs == second.obs).all():
        raise NotJudgedError("the starts are not random")
    size = len(second.obs)
    same_obs = np.array_equal(second.obs, larger[1].obs[:size])
    same_share_obs = np.array_equal(second.share_obs, larger[1].share_obs[:size])
    if not (same_obs and same_share_obs):
        raise NotJudgedError("the envs do not draw their starts independently, so no env is the same in both batches")


def _differs(smaller: Seen, larger: Seen, field: str, usual: np.ndarray) -> np.ndarray:
    """Return where a field of the envs that both batches have differs by more than rounding."""
    one = getattr(smaller, field)
    other = getattr(larger, field)[: len(one)]
    return abs(other - one) > TOLERANCE * usual + ROUNDING * np.maximum(abs(one), 1.0)
