"""Make MuJoCo Warp add in a fixed order, so that a GPU computes the same bits twice."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import mujoco
import mujoco_warp
import warp
from mujoco_warp._src import constraint, solver

from mapush.device import ordered_kernels
from mapush.errors import ConfigError

SUPPORTED = "4.0.0"
"""The version of MuJoCo Warp whose kernels are replaced here."""


def require_orderable(model: mujoco.MjModel) -> None:
    """Check that a step of `model` contains no sum but those that are replaced here.

    Raises:
      ConfigError: a different version of MuJoCo Warp, or a model with equalities, tendons, flexes, frictional joints or
        elliptic friction cones.
    """
    what = "--deterministic cannot be kept"
    if mujoco_warp.__version__ != SUPPORTED:
        cause = "the kernels that add in a fixed order replace those of one version of MuJoCo Warp"
        raise ConfigError(what, got=f"mujoco-warp {mujoco_warp.__version__}", expected=SUPPORTED, cause=cause)
    unordered = []
    for name in ("neq", "ntendon", "nflex"):
        if getattr(model, name) > 0:
            unordered.append(f"{name} {getattr(model, name)}")
    if model.dof_frictionloss.any():
        unordered.append("joints with dry friction")
    if model.opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL:
        unordered.append("elliptic friction cones")
    if unordered:
        cause = "the order of their sums on a GPU is not fixed"
        raise ConfigError(what, where="the simulated scene", got=", ".join(unordered), cause=cause)


def order(model: mujoco.MjModel, on_device: Any) -> None:
    """Ask for ordered sums in the steps of a model on the device, each of which `ordered_sums` has to surround.

    Args:
      model: what was uploaded, with a sparse Jacobian; see `require_orderable`.
      on_device: MuJoCo Warp's model.
    """
    require_orderable(model)
    assert on_device.is_sparse, "put_model was called with a dense Jacobian"
    wanted = mujoco_warp.DeterminismType.CONTACTS | mujoco_warp.DeterminismType.CONSTRAINT
    on_device.opt.deterministic = int(wanted)


@contextlib.contextmanager
def ordered_sums() -> Iterator[None]:
    """Let MuJoCo Warp launch the kernels of `ordered_kernels` in place of its own."""
    replacements = (
        (constraint, "_sort_constraints", _sort_rows),
        (solver, "_update_constraint_init_qfrc_constraint_sparse", _constraint_force),
        (solver, "_update_gradient_grad", _gradient),
        (solver, "_JTDACJ_sparse", _hessian),
        (solver, "_update_gradient_h_incremental_sparse", _hessian_change),
    )
    with contextlib.ExitStack() as restore:
        for module, name, replacement in replacements:
            restore.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, replacement)
        yield


def _constraint_force(compact: bool, nv: int, deterministic: bool = False) -> warp.Kernel:
    return ordered_kernels.constraint_force


def _gradient(stable_fast: bool, deterministic: bool = False) -> warp.Kernel:
    if stable_fast:
        return ordered_kernels.changed_gradient
    return ordered_kernels.gradient


def _hessian(compact: bool, cone: Any, max_condim: int, block_dim: int = 0, *_: Any) -> warp.Kernel:
    return ordered_kernels.hessian


def _hessian_change(compact: bool, *_: Any) -> warp.Kernel:
    return ordered_kernels.hessian_change


def _sort_rows(model: Any, data: Any) -> None:
    """Sort the constraint rows of each world by what they stand for, after their velocities were added up in order."""
    efc, worlds = data.efc, data.nworld
    rows = (worlds, data.njmax)
    rownnz, rowadr = efc.J_rownnz, efc.J_rowadr
    inputs = [data.nefc, data.nl, rownnz, rowadr, efc.J_colind, efc.J, data.qvel]
    warp.launch(ordered_kernels.row_velocities, rows, inputs, [efc.Jqvel])
    _update_contact_rows(model, data)

    keys = warp.empty(rows, dtype=warp.int64)
    ranks = warp.empty(rows, dtype=int)
    integers = warp.empty(rows + (4,), dtype=int)
    floats = warp.empty(rows + (6,), dtype=float)
    inputs = [model.ngeom, data.nefc, data.nl, efc.id, data.contact.geom]
    warp.launch(ordered_kernels.row_keys, rows, inputs, [keys])
    warp.launch(ordered_kernels.row_ranks, rows, [data.nefc, keys], [ranks])
    fields = [efc.type, efc.id, rownnz, rowadr, efc.pos, efc.margin, efc.D, efc.vel, efc.aref, efc.frictionloss]
    warp.launch(ordered_kernels.scatter_rows, rows, [data.nefc, ranks, integers, floats] + fields)
    warp.launch(ordered_kernels.gather_rows, rows, [data.nefc, integers, floats] + fields)

    address = data.contact.efc_address
    inputs = [data.nacon, data.contact.worldid, ranks]
    warp.launch(ordered_kernels.move_contacts, address.shape, inputs, [address])
    blocks = warp.empty(rows + (2,), dtype=int)
    of_blocks = [efc.jtdaj_adr, efc.jtdaj_nrow]
    warp.launch(ordered_kernels.scatter_blocks, rows, [efc.jtdaj_nblock, ranks] + of_blocks, [blocks])
    warp.launch(ordered_kernels.gather_blocks, rows, [efc.jtdaj_nblock, blocks], of_blocks)


def _update_contact_rows(model: Any, data: Any) -> None:
    """Compute again what the rows of contacts derive from their velocities, as `make_constraint` does."""
    contact, efc = data.contact, data.efc
    kernel = constraint._efc_contact_update(model.opt.cone, model.flg_adhesion, False)
    inputs = [
        model.opt.timestep,
        model.opt.disableflags,
        model.opt.impratio_invsqrt,
        model.body_invweight0,
        model.geom_bodyid,
        contact.efc_address,
        efc.Jqvel,
        data.nacon,
        contact.dist,
        contact.dim,
        contact.includemargin,
        contact.worldid,
        contact.geom,
        contact.friction,
        contact.solref,
        contact.solreffriction,
        contact.solimp,
        contact.adhesion,
        contact.type,
    ]
    outputs = [efc.type, efc.id, efc.pos, efc.margin, efc.D, efc.vel, efc.aref, efc.frictionloss]
    warp.launch(kernel, (data.naconmax, int(model.nmaxpyramid)), inputs, outputs)
