"""Contacts and constraint rows of MuJoCo Warp in an order of the test's own, as the threads of a GPU leave them."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np
import pytest
from mujoco_warp._src import constraint, solver

from mapush.device import ordered_sums

ROW_FIELDS = ("type", "id", "J_rownnz", "J_rowadr", "pos", "margin", "D", "vel", "aref", "frictionloss", "Jqvel")
NOISE = 1e-5
"""Relative error of the rows' velocities, as if they had been added in a different order."""


@contextlib.contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Shuffle, in every step on Warp's CPU device, contacts, limits, blocks and what the solver finds changed."""
    rng = np.random.default_rng(seed)
    make_constraint, sort_rows = constraint.make_constraint, ordered_sums._sort_rows
    update_gradient = solver._update_gradient_incremental

    def make_shuffled(model: Any, data: Any) -> None:
        shuffle_contacts(data, rng)
        make_constraint(model, data)

    def sort_shuffled(model: Any, data: Any) -> None:
        shuffle_limits(data, rng)
        shuffle_blocks(data, rng)
        blur_velocities(data, rng)
        sort_rows(model, data)

    def update_shuffled(model: Any, data: Any, context: Any, stable_fast: bool = False) -> None:
        shuffle_changes(context, rng)
        update_gradient(model, data, context, stable_fast)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint, "make_constraint", make_shuffled)
        patch.setattr(ordered_sums, "_sort_rows", sort_shuffled)
        patch.setattr(solver, "_update_gradient_incremental", update_shuffled)
        yield


def shuffle_contacts(data: Any, rng: np.random.Generator) -> None:
    """Shuffle the contacts of all worlds; those of one pair of geoms in one world keep their order."""
    count = int(data.nacon.numpy()[0])
    if count == 0:
        return
    contact = data.contact
    world, geom = contact.worldid.numpy()[:count], contact.geom.numpy()[:count]
    pairs = np.unique(np.column_stack((world, geom)), axis=0, return_inverse=True)[1].reshape(-1)
    turns = rng.permutation(pairs.max() + 1)
    order = np.argsort(turns[pairs], kind="stable")
    for name in vars(contact):
        values = getattr(contact, name)
        if hasattr(values, "numpy") and values.shape[0] >= count:
            rows = values.numpy()
            rows[:count] = rows[:count][order]


def shuffle_limits(data: Any, rng: np.random.Generator) -> None:
    """Shuffle the rows of the joint limits of each world, which come first."""
    blocks, first = data.efc.jtdaj_nblock.numpy(), data.efc.jtdaj_adr.numpy()
    for world, count in enumerate(data.nl.numpy()):
        order = rng.permutation(count)
        for name in ROW_FIELDS:
            rows = getattr(data.efc, name).numpy()[world]
            rows[:count] = rows[:count][order]
        place = np.argsort(order)
        for block in range(blocks[world]):
            if first[world, block] < count:
                first[world, block] = place[first[world, block]]


def shuffle_blocks(data: Any, rng: np.random.Generator) -> None:
    """Shuffle the list of the blocks of rows of each world."""
    first, rows = data.efc.jtdaj_adr.numpy(), data.efc.jtdaj_nrow.numpy()
    for world, count in enumerate(data.efc.jtdaj_nblock.numpy()):
        order = rng.permutation(count)
        first[world, :count] = first[world, :count][order]
        rows[world, :count] = rows[world, :count][order]


def blur_velocities(data: Any, rng: np.random.Generator) -> None:
    """Add to the velocities of the contacts' rows, and to what is derived from them, what a different order would."""
    for world, first in enumerate(data.nl.numpy()):
        for name in ("Jqvel", "vel", "aref"):
            rows = getattr(data.efc, name).numpy()[world, first:]
            rows *= 1.0 + rng.uniform(-NOISE, NOISE, rows.shape)


def shuffle_changes(context: Any, rng: np.random.Generator) -> None:
    """Shuffle the list of the rows that have become active, or are no longer so."""
    changed = context.quad_changed_ids.numpy()
    for world, count in enumerate(context.quad_changed_count.numpy()):
        changed[world, :count] = rng.permutation(changed[world, :count])
