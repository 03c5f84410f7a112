"""Cap velocities in MuJoCo Warp, after each physics step."""

from __future__ import annotations

import warp


@warp.kernel
def cap_speeds(limits: warp.array2d[float], qvel: warp.array2d[float]):
    """Cap each velocity at its limit; one that is not a number stays so."""
    world, dof = warp.tid()  # type: ignore[misc]  # of a launch in two dimensions
    limit = limits[world, dof]
    if qvel[world, dof] > limit:
        qvel[world, dof] = limit
    elif qvel[world, dof] < -limit:
        qvel[world, dof] = -limit
