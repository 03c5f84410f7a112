"""Memory that MuJoCo Warp allocates for a scene.

It is counted on Warp's CPU device, where the same arrays are allocated as on a GPU.
"""

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

FLOAT = 4  # size of a float32 [bytes]
CONVEX_CONTACT = 6556
"""Size of the polytopes and polygons for each entry of the contact buffer [bytes].

They are allocated only if the scene has a cylinder or a mesh, which need the general convex collision algorithm.
Counted in mujoco_warp 4.0.0 with its 35 iterations.
"""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Memory of one scene [bytes].

    Attributes:
      fixed: arrays whose size does not depend on the number of worlds.
      per_world: permanent arrays of each world.
      scratch_per_world: largest size of the temporary arrays of each world during a step.
    """

    fixed: int
    per_world: int
    scratch_per_world: int


@functools.lru_cache(maxsize=None)
def footprint(scene: Scene, nconmax: int, njmax: int, randomization: Optional[Randomization] = None) -> Footprint:
    """Count the memory that `WarpPhysics` allocates for `scene`.

    Args:
      scene: the content of each env.
      nconmax: size of the contact buffer, for each world.
      njmax: size of the buffer of constraint rows, for each world.
      randomization: what differs from env to env, in addition to the object's friction.
    """
    model = build_model(scene, visuals=False)
    one = data_bytes(model, 1, nconmax, njmax)
    two = data_bytes(model, 2, nconmax, njmax)
    fields = 0
    for name, values in draw_fields(model, scene, 1, 0, randomization).items():
        if (values != getattr(model, name)).any():
            fields += FLOAT * values.size
    scratch = max(_solver_bytes(model, njmax), _collision_bytes(model, nconmax))
    return Footprint(2 * one - two, two - one + fields, scratch)


def data_bytes(model: mujoco.MjModel, num_worlds: int, nconmax: int, njmax: int) -> int:
    """Return the size of all arrays of `mujoco_warp`'s data for `num_worlds` copies of `model`."""
    with warp.ScopedDevice("cpu"):
        return _bytes_of(mujoco_warp.make_data(model, nworld=num_worlds, nconmax=nconmax, njmax=njmax))


def _bytes_of(part: Any) -> int:
    if isinstance(part, warp.array):
        return part.capacity
    size = 0
    if dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            size += _bytes_of(getattr(part, field.name))
    return size


def _solver_bytes(model: mujoco.MjModel, njmax: int) -> int:
    """Return the size of the Newton solver's workspace for one world: Hessian, factor, and vectors of dofs and rows.

    Up to 32 degrees of freedom, the Hessian is factorised in registers, so there is no second matrix.
    """
    with warp.ScopedDevice("cpu"):
        padded = mujoco_warp.put_model(model).nv_pad
    hessians = 1
    if model.nv > 32:
        hessians = 2
    return FLOAT * (hessians * padded**2 + padded + 2 * model.nv + 6 * njmax + 11)


def _collision_bytes(model: mujoco.MjModel, nconmax: int) -> int:
    kinds = model.geom_type[np.concatenate((model.pair_geom1, model.pair_geom2))]
    if mujoco.mjtGeom.mjGEOM_CYLINDER in kinds or mujoco.mjtGeom.mjGEOM_MESH in kinds:
        return CONVEX_CONTACT * nconmax
    return 0
