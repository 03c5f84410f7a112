"""Contracts of the outline that robots observe: it is that of the shapes which they collide with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mapush.objects import CUBOID, CYLINDER, TBLOCK
from mapush.own import named_code

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

HELD_OUT = Path(__file__).resolve().parents[2] / "examples" / "held_out_objects.py"
FAR = 5.0  # [m]


def objects():
    held_out = [named_code.load(f"{HELD_OUT}:{name}", "--object") for name in ("HEXAGON", "LBLOCK", "BAR")]
    return [CUBOID, TBLOCK, CYLINDER, *held_out]


@pytest.mark.parametrize("item", objects(), ids=lambda item: item.name)
def test_outline_is_where_a_ray_of_mujoco_hits_the_collision_shapes(item):
    """A ray from outside towards the origin, at half height, first hits the object where its outline ends."""
    import mujoco

    from mapush.sim.scene import Scene, build_model

    model = build_model(Scene(1, item), visuals=False)
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.qpos[:2] += 20.0  # the robot stands in no ray
    mujoco.mj_forward(model, data)
    centre = data.body("object").xpos
    angles = [2.0 * math.pi * index / 37 for index in range(37)]
    for angle, extent in zip(angles, item.extents(angles)):
        ahead = np.array((math.cos(angle), math.sin(angle), 0.0))
        group = np.array((0, 0, 0, 1, 0, 0), dtype=np.uint8)  # collision shapes
        hit = np.zeros(1, dtype=np.int32)
        distance = mujoco.mj_ray(model, data, centre + FAR * ahead, -ahead, group, 1, -1, hit, None)
        assert FAR - distance == pytest.approx(extent, rel=0.01, abs=1e-6)
