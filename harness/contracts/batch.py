"""The contract of the batch: how many envs there are is nothing that one of them could notice."""

from __future__ import annotations

import dataclasses
from typing import List, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly
from harness.contracts.registry import contract
from harness.contracts.timeline import usual_change
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import Player, Seen

FIELDS = ("obs", "share_obs", "rewards")
SMALL = 1e-2  # of a usual large change in a step: less is rounding, which may depend on the size of an array
ROUNDING = 1e-5  # of a value


@contract("batch-size")
def batch_size(subject: EnvUnderTest) -> None:
    """An env that starts the same goes the same way, however many others there are.

    Only the step after a second reset is compared, for the envs may draw later noise from one generator, and only a
    difference in the first env and in most others counts, for a setting may be spread over the batch by design.
    """
    if "num_envs" not in subject.varied:
        raise NotJudgedError("the factory takes no num_envs")
    few = subject.sizes.num_envs
    one, other = _played(subject, (few, few + 1))
    if (one[0].obs == one[1].obs).all():
        raise NotJudgedError("the starts are not random")
    if not all(np.array_equal(getattr(one[1], name), getattr(other[1], name)[:few]) for name in ("obs", "share_obs")):
        raise NotJudgedError("the envs do not draw their starts by themselves, so no env is the same in both batches")
    history = subject.long_run().seen[1:]
    off = {name: _off(one[-1], other[-1], name, usual_change(history, name)) for name in FIELDS}
    envs_off = np.any([each.reshape(few, -1).any(axis=1) for each in off.values()], axis=0)
    if not (envs_off[0] and envs_off.mean() > 0.5):
        return
    name, place = next((name, tuple(np.argwhere(each)[0])) for name, each in off.items() if each.any())
    raise ContractError(
        f"an env goes another way in a batch of {few + 1} than in one of {few}",
        step=1,
        where="{} of env {}, agent {}; {} of {} envs part in the first step".format(
            name, *place[:2], envs_off.sum(), few
        ),
        got=f"{getattr(other[-1], name)[place]:g} among {few + 1} envs, {getattr(one[-1], name)[place]:g} among {few}",
        expected="the same from the same start, seed and actions",
        cause="the number of envs enters what one of them does: a mean or a sum over the batch, an index, a time step",
    )


def _played(subject: EnvUnderTest, counts: Tuple[int, int]) -> List[List[Seen]]:
    """Return what batches of these many envs show in two resets and a step with the same actions in the same envs."""
    players = []
    for count in counts:
        sizes = dataclasses.replace(subject.sizes, num_envs=count)
        players.append(Player(subject.build(num_envs=count), sizes, {}))
        players[-1].reset()
        players[-1].reset()
    actions = ActionDriver(players[-1].sizes, subject.seed, ["uniform"])(players[-1].seen[-1])
    for player in players:
        player.step(actions[: player.sizes.num_envs])
        close_quietly(player.env)
    return [player.seen for player in players]


def _off(one: Seen, other: Seen, name: str, usual: np.ndarray) -> np.ndarray:
    """Return where a field of the first envs differs by more than rounding."""
    few = getattr(one, name)
    many = getattr(other, name)[: len(few)]
    return abs(many - few) > SMALL * usual + ROUNDING * np.maximum(abs(few), 1.0)
