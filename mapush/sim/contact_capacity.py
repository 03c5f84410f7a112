"""Room for contacts on a GPU: how much each scene needs, as `python -m mapush.size` measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Tuple

if TYPE_CHECKING:
    from mapush.sim.scene import Scene

CONTACT_SIZES: Dict[str, Tuple[int, int]] = {"cuboid": (48, 192), "tblock": (48, 192), "cylinder": (72, 288)}
"""Contacts in the mean over the envs and constraint rows of one env, by object: at least 2.5 times what was needed.

Needed were 9.4 and 60, 13.4 and 75, 20.1 and 92 (`python -m mapush.size OBJECT --num-envs 4096` on one H100).
"""
ROBOT_SIZES = (16, 64)  # of a robot in any other scene
OBJECT_SIZES = (16, 64)  # of the object there


def buffer_sizes(scene: Scene, nconmax: int = 0, njmax: int = 0) -> Tuple[int, int]:
    """Return for how many contacts, in the mean over the envs, and for how many rows of each env to make room.

    Args:
      scene: what stands in each env.
      nconmax: contacts, if not the measured number.
      njmax: rows, if not the measured number.
    """
    if scene.object is not None and scene.object.name in CONTACT_SIZES:
        contacts, rows = CONTACT_SIZES[scene.object.name]
    else:
        contacts, rows = (scene.num_agents * size for size in ROBOT_SIZES)
        if scene.object is not None:
            contacts, rows = contacts + OBJECT_SIZES[0], rows + OBJECT_SIZES[1]
    return nconmax or contacts, njmax or rows
