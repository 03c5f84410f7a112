"""Kernels that add in a fixed order, where MuJoCo Warp's own kernels add in the order in which threads arrive.

MuJoCo Warp 4.0.0 appends contacts and constraint rows by atomic counters, and its solver adds floats by atomic
additions. Both depend on the timing of the threads. Its `m.opt.deterministic` does not help: the functions behind the
bits CONTACTS and CONSTRAINT are empty, and ATOMICS reserves more memory than a GPU has.

Here every row gets a place that depends only on what the row stands for, and every sum is computed by one thread, row
after row. The kernels of the solver take the arguments of those that they replace; see `mapush.device.ordered_sums`.

Source of the arguments and formulas: google-deepmind/mujoco_warp 4.0.0, `_src/constraint.py` and `_src/solver.py`,
Apache-2.0.
"""

# ruff: noqa: UP018, because in a kernel `float(0.0)` is a variable and `0.0` a constant
from __future__ import annotations

import warp
from mujoco_warp._src.types import ConstraintState, vec5

QUADRATIC = int(ConstraintState.QUADRATIC)


@warp.func
def stored_rows(nefc: warp.array[int], world: int, capacity: int) -> int:
    """Return how many constraint rows of a world there are: `nefc` counts those, too, for which there was no room."""
    return warp.min(nefc[world], capacity)


@warp.kernel(enable_backward=False)
def row_velocities(
    nefc: warp.array[int],
    first_contact_row: warp.array[int],
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    colind: warp.array3d[int],
    jacobian: warp.array3d[float],
    qvel: warp.array2d[float],
    velocity: warp.array2d[float],
):
    """Compute the velocity of each contact's row, J qvel."""
    world, row = warp.tid()
    if row < first_contact_row[world] or row >= nefc[world]:
        return
    start = rowadr[world, row]
    total = float(0.0)
    for entry in range(start, start + rownnz[world, row]):
        total += jacobian[world, 0, entry] * qvel[world, colind[world, 0, entry]]
    velocity[world, row] = total


@warp.kernel(enable_backward=False)
def row_keys(
    num_geoms: int,
    nefc: warp.array[int],
    first_contact_row: warp.array[int],
    efc_id: warp.array2d[int],
    contact_geom: warp.array[warp.vec2i],
    keys: warp.array2d[warp.int64],
):
    """Compute by what the rows are sorted.

    For a joint limit it is the joint. For a contact it is the pair of geoms, and then the contact: one thread finds all
    contacts of a pair, so among them the order in which they were appended is fixed.
    """
    world, row = warp.tid()
    if row >= nefc[world]:
        return
    identifier = efc_id[world, row]
    if row < first_contact_row[world]:
        keys[world, row] = warp.int64(identifier)
        return
    geoms = contact_geom[identifier]
    pair = warp.int64(geoms[0] * num_geoms + geoms[1] + 1)
    keys[world, row] = pair * warp.int64(4294967296) + warp.int64(identifier)


@warp.kernel(enable_backward=False)
def row_ranks(
    nefc: warp.array[int],
    keys: warp.array2d[warp.int64],
    ranks: warp.array2d[int],
):
    """Compute the place of each row; the rows of one contact keep their order."""
    world, row = warp.tid()
    if row >= nefc[world]:
        return
    key = keys[world, row]
    rank = int(0)
    for other in range(stored_rows(nefc, world, keys.shape[1])):
        other_key = keys[world, other]
        if other_key < key or (other_key == key and other < row):
            rank += 1
    ranks[world, row] = rank


@warp.kernel(enable_backward=False)
def scatter_rows(
    nefc: warp.array[int],
    ranks: warp.array2d[int],
    integers: warp.array3d[int],
    floats: warp.array3d[float],
    efc_type: warp.array2d[int],
    efc_id: warp.array2d[int],
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    pos: warp.array2d[float],
    margin: warp.array2d[float],
    weight: warp.array2d[float],
    vel: warp.array2d[float],
    aref: warp.array2d[float],
    frictionloss: warp.array2d[float],
):
    """Copy each row to its place in `integers` (E, njmax, 4) and `floats` (E, njmax, 6)."""
    world, row = warp.tid()
    if row >= nefc[world]:
        return
    rank = ranks[world, row]
    integers[world, rank, 0] = efc_type[world, row]
    integers[world, rank, 1] = efc_id[world, row]
    integers[world, rank, 2] = rownnz[world, row]
    integers[world, rank, 3] = rowadr[world, row]
    floats[world, rank, 0] = pos[world, row]
    floats[world, rank, 1] = margin[world, row]
    floats[world, rank, 2] = weight[world, row]
    floats[world, rank, 3] = vel[world, row]
    floats[world, rank, 4] = aref[world, row]
    floats[world, rank, 5] = frictionloss[world, row]


@warp.kernel(enable_backward=False)
def gather_rows(
    nefc: warp.array[int],
    integers: warp.array3d[int],
    floats: warp.array3d[float],
    efc_type: warp.array2d[int],
    efc_id: warp.array2d[int],
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    pos: warp.array2d[float],
    margin: warp.array2d[float],
    weight: warp.array2d[float],
    vel: warp.array2d[float],
    aref: warp.array2d[float],
    frictionloss: warp.array2d[float],
):
    """Copy the sorted rows back."""
    world, row = warp.tid()
    if row >= nefc[world]:
        return
    efc_type[world, row] = integers[world, row, 0]
    efc_id[world, row] = integers[world, row, 1]
    rownnz[world, row] = integers[world, row, 2]
    rowadr[world, row] = integers[world, row, 3]
    pos[world, row] = floats[world, row, 0]
    margin[world, row] = floats[world, row, 1]
    weight[world, row] = floats[world, row, 2]
    vel[world, row] = floats[world, row, 3]
    aref[world, row] = floats[world, row, 4]
    frictionloss[world, row] = floats[world, row, 5]


@warp.kernel(enable_backward=False)
def move_contacts(
    nacon: warp.array[int],
    worldid: warp.array[int],
    ranks: warp.array2d[int],
    efc_address: warp.array2d[int],
):
    """Write the new places of the rows of each contact."""
    contact, dim = warp.tid()
    if contact >= nacon[0]:
        return
    row = efc_address[contact, dim]
    if row >= 0:
        efc_address[contact, dim] = ranks[worldid[contact], row]


@warp.kernel(enable_backward=False)
def scatter_blocks(
    num_blocks: warp.array[int],
    ranks: warp.array2d[int],
    first_row: warp.array2d[int],
    num_rows: warp.array2d[int],
    blocks: warp.array3d[int],
):
    """Copy each block of rows with equal columns to its place in `blocks` (E, njmax, 2), in the order of its rows."""
    world, block = warp.tid()
    if block >= num_blocks[world]:
        return
    first = ranks[world, first_row[world, block]]
    place = int(0)
    for other in range(num_blocks[world]):
        if ranks[world, first_row[world, other]] < first:
            place += 1
    blocks[world, place, 0] = first
    blocks[world, place, 1] = num_rows[world, block]


@warp.kernel(enable_backward=False)
def gather_blocks(
    num_blocks: warp.array[int],
    blocks: warp.array3d[int],
    first_row: warp.array2d[int],
    num_rows: warp.array2d[int],
):
    """Copy the sorted blocks back."""
    world, block = warp.tid()
    if block >= num_blocks[world]:
        return
    first_row[world, block] = blocks[world, block, 0]
    num_rows[world, block] = blocks[world, block, 1]


@warp.func
def place_of_column(
    colind: warp.array3d[int],
    world: int,
    start: int,
    count: int,
    column: int,
) -> int:
    """Return where `column` is among the columns of a row, which descend; -1 if it is not there."""
    for place in range(count):
        found = colind[world, 0, start + place]
        if found == column:
            return place
        if found < column:
            return -1
    return -1


@warp.kernel(module="unique", enable_backward=False)
def constraint_force(
    nefc: warp.array[int],
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    colind: warp.array3d[int],
    jacobian: warp.array3d[float],
    force: warp.array2d[float],
    dof_cdof: warp.array2d[int],
    state_changed_count: warp.array[int],
    done: warp.array[bool],
    qfrc_constraint: warp.array2d[float],
):
    """Compute the force of the constraints on each degree of freedom, J^T force."""
    world, thread = warp.tid()
    if done[world] or state_changed_count[world] == 0:
        return
    for dof in range(thread, qfrc_constraint.shape[1], force.shape[1]):
        total = float(0.0)
        for row in range(stored_rows(nefc, world, force.shape[1])):
            of_row = force[world, row]
            if of_row != 0.0:
                start = rowadr[world, row]
                place = place_of_column(colind, world, start, rownnz[world, row], dof)
                if place >= 0:
                    total += jacobian[world, 0, start + place] * of_row
        qfrc_constraint[world, dof] = total


@warp.kernel(module="unique", enable_backward=False)
def hessian(
    impratio_invsqrt: warp.array[float],
    contact_friction: warp.array[vec5],
    contact_dim: warp.array[int],
    efc_id: warp.array2d[int],
    first_row: warp.array2d[int],
    num_rows: warp.array2d[int],
    num_blocks: warp.array[int],
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    colind: warp.array3d[int],
    jacobian: warp.array3d[float],
    weight: warp.array2d[float],
    state: warp.array2d[int],
    dof_cdof: warp.array2d[int],
    jaref: warp.array2d[float],
    done: warp.array[bool],
    groups_per_world: int,
    h: warp.array3d[float],
):
    """Add J^T D J of the active rows to the upper triangle of `h`; each thread adds to columns of its own."""
    world, group, lane = warp.tid()
    if done[world]:
        return
    for column in range(group * 32 + lane, h.shape[2], groups_per_world * 32):
        for block in range(num_blocks[world]):
            head = first_row[world, block]
            start = rowadr[world, head]
            count = rownnz[world, head]
            place = place_of_column(colind, world, start, count, column)
            if place >= 0:
                for other in range(place, count):
                    total = float(0.0)
                    for row in range(head, head + num_rows[world, block]):
                        if state[world, row] == QUADRATIC:
                            adr = rowadr[world, row]
                            one = jacobian[world, 0, adr + place]
                            total += one * weight[world, row] * jacobian[world, 0, adr + other]
                    h[world, colind[world, 0, start + other], column] += total


@warp.func
def next_changed(changed: warp.array2d[int], world: int, count: int, after: int) -> int:
    """Return the smallest of the first `count` rows in `changed` that is greater than `after`."""
    smallest = int(2147483647)
    for index in range(count):
        row = changed[world, index]
        if row > after and row < smallest:
            smallest = row
    return smallest


@warp.kernel(module="unique", enable_backward=False)
def hessian_change(
    rownnz: warp.array2d[int],
    rowadr: warp.array2d[int],
    colind: warp.array3d[int],
    jacobian: warp.array3d[float],
    weight: warp.array2d[float],
    state: warp.array2d[int],
    dof_cdof: warp.array2d[int],
    changed: warp.array2d[int],
    changed_count: warp.array[int],
    groups_per_world: int,
    h: warp.array3d[float],
):
    """Add the rows that have become active to the upper triangle of `h`, and subtract those that are no longer so."""
    world, group, lane = warp.tid()
    count_changed = changed_count[world]
    if count_changed == 0:
        return
    for column in range(group * 32 + lane, h.shape[2], groups_per_world * 32):
        row = int(-1)
        for _ in range(count_changed):
            row = next_changed(changed, world, count_changed, row)
            start = rowadr[world, row]
            count = rownnz[world, row]
            place = place_of_column(colind, world, start, count, column)
            if place >= 0:
                scale = weight[world, row]
                if state[world, row] != QUADRATIC:
                    scale = -scale
                scale = scale * jacobian[world, 0, start + place]
                for other in range(place, count):
                    h[world, colind[world, 0, start + other], column] += scale * jacobian[world, 0, start + other]


@warp.func
def squared_norm(
    qfrc_smooth: warp.array2d[float],
    qfrc_constraint: warp.array2d[float],
    inertia_force: warp.array2d[float],
    world: int,
) -> float:
    """Return the squared norm of the gradient of one world."""
    total = float(0.0)
    for dof in range(qfrc_constraint.shape[1]):
        value = inertia_force[world, dof] - qfrc_smooth[world, dof] - qfrc_constraint[world, dof]
        total += value * value
    return total


@warp.kernel(module="unique", enable_backward=False)
def gradient(
    qfrc_smooth: warp.array2d[float],
    qfrc_constraint: warp.array2d[float],
    inertia_force: warp.array2d[float],
    state_changed_count: warp.array[int],
    done: warp.array[bool],
    grad: warp.array2d[float],
    grad_dot: warp.array[float],
):
    """Compute the gradient of every world that is not done, and its squared norm in the thread of the first dof."""
    world, dof = warp.tid()
    if done[world]:
        return
    grad[world, dof] = inertia_force[world, dof] - qfrc_smooth[world, dof] - qfrc_constraint[world, dof]
    if dof == 0:
        grad_dot[world] = squared_norm(qfrc_smooth, qfrc_constraint, inertia_force, world)


@warp.kernel(module="unique", enable_backward=False)
def changed_gradient(
    qfrc_smooth: warp.array2d[float],
    qfrc_constraint: warp.array2d[float],
    inertia_force: warp.array2d[float],
    state_changed_count: warp.array[int],
    done: warp.array[bool],
    grad: warp.array2d[float],
    grad_dot: warp.array[float],
):
    """Do the same where a constraint has changed its state; elsewhere the gradient has only been scaled."""
    world, dof = warp.tid()
    if done[world] or state_changed_count[world] == 0:
        return
    grad[world, dof] = inertia_force[world, dof] - qfrc_smooth[world, dof] - qfrc_constraint[world, dof]
    if dof == 0:
        grad_dot[world] = squared_norm(qfrc_smooth, qfrc_constraint, inertia_force, world)
