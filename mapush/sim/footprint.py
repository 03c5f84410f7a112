"""How much memory MuJoCo Warp takes for a scene, counted on its CPU device, where the same arrays are made."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Optional

import mujoco
import mujoco_warp
import numpy as np
import warp

from mapush.sim.physics import Randomization
from mapush.sim.qpos_layout import draw_fields
from mapush.sim.scene import Scene, build_model

warp.config.quiet = True

warp.config.log_level = warp.LOG_WARNING

FLOAT = 4  # [bytes]
CONVEX_CONTACT = 6556
"""Bytes of polytopes and polygons for each contact buffer entry, where a cylinder needs the general convex algorithm.

Counted in mujoco_warp 4.0.0 with its 35 iterations.
"""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Memory of one scene [bytes].

    Attributes:
      fixed: whatever the number of worlds.
      per_world: arrays that stay.
      scratch_per_world: arrays that live during a step, at most.
    """

    fixed: int
    per_world: int
    scratch_per_world: int


@functools.lru_cache(maxsize=None)
def footprint(scene: Scene, nconmax: int, njmax: int, randomization: Optional[Randomization] = None) -> Footprint:
    """Count what `WarpPhysics` allocates for `scene`.

    Args:
      scene: what stands in each env.
      nconmax: contacts that each world has room for.
      njmax: constraint rows that each world has room for.
      randomization: what differs from env to env, besides the object's friction.
    """
    model = build_model(scene, visuals=False)
    one, two = (data_bytes(model, worlds, nconmax, njmax) for worlds in (1, 2))
    drawn = draw_fields(model, scene, 1, 0, randomization)
    fields = sum(FLOAT * values.size for name, values in drawn.items() if (values != getattr(model, name)).any())
    scratch = max(_solver_bytes(model, njmax), _collision_bytes(model, nconmax))
    return Footprint(2 * one - two, two - one + fields, scratch)


def data_bytes(model: mujoco.MjModel, num_worlds: int, nconmax: int, njmax: int) -> int:
    """Return the size of all arrays of `mujoco_warp`'s data for `num_worlds` copies of `model`."""
    with warp.ScopedDevice("cpu"):
        return _bytes_of(mujoco_warp.make_data(model, nworld=num_worlds, nconmax=nconmax, njmax=njmax))


def _bytes_of(part: Any) -> int:
    if isinstance(part, warp.array):
        return part.capacity
    if dataclasses.is_dataclass(part):
        return sum(_bytes_of(getattr(part, field.name)) for field in dataclasses.fields(part))
    return 0


def _solver_bytes(model: mujoco.MjModel, njmax: int) -> int:
    """Return the size of the Newton solver's workspace for one world: Hessian, factor, and vectors of dofs and rows."""
    with warp.ScopedDevice("cpu"):
        padded = mujoco_warp.put_model(model).nv_pad
    hessians = 2 if model.nv > 32 else 1  # a small system is factorised in registers
    return FLOAT * (hessians * padded**2 + padded + 2 * model.nv + 6 * njmax + 11)


def _collision_bytes(model: mujoco.MjModel, nconmax: int) -> int:
    kinds = model.geom_type[np.concatenate((model.pair_geom1, model.pair_geom2))]
    return CONVEX_CONTACT * nconmax if mujoco.mjtGeom.mjGEOM_CYLINDER in kinds else 0
