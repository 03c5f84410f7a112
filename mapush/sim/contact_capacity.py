"""Sizes of the contact buffers on a GPU for each scene, as `python -m mapush.size` measured them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Tuple

from mapush.objects import OBJECTS

if TYPE_CHECKING:
    from mapush.sim.scene import Scene

CONTACT_SIZES: Dict[str, Tuple[int, int]] = {"cuboid": (48, 192), "tblock": (48, 192), "cylinder": (72, 288)}
"""For each object: contacts per env, averaged over the envs, and constraint rows of one env.

Each is at least 2.5 times the measured demand: 9.4 and 60, 13.4 and 75, 20.1 and 92
(`python -m mapush.size OBJECT --num-envs 4096` on one H100).
"""
ROBOT_SIZES = (16, 64)  # contacts and rows for each robot of any other scene
OBJECT_SIZES = (16, 64)  # contacts and rows for each part of the object of any other scene


def buffer_sizes(scene: Scene, nconmax: int = 0, njmax: int = 0) -> Tuple[int, int]:
    """Return the contacts per env, averaged over the envs, and the constraint rows of one env to allocate.

    Args:
      scene: the content of each env.
      nconmax: number of contacts to use instead of the measured one; 0 uses the measured one.
      njmax: number of rows to use instead of the measured one; 0 uses the measured one.
    """
    contacts, rows = _measured_sizes(scene)
    return nconmax or contacts, njmax or rows


def _measured_sizes(scene: Scene) -> Tuple[int, int]:
    if scene.object is not None and scene.object.name in CONTACT_SIZES:
        contacts, rows = CONTACT_SIZES[scene.object.name]
        more = max(scene.num_agents - OBJECTS[scene.object.name].num_agents, 0)  # robots than were measured
        return contacts + more * ROBOT_SIZES[0], rows + more * ROBOT_SIZES[1]
    contacts = scene.num_agents * ROBOT_SIZES[0]
    rows = scene.num_agents * ROBOT_SIZES[1]
    if scene.object is None:
        return contacts, rows
    parts = len(scene.object.parts)
    return contacts + parts * OBJECT_SIZES[0], rows + parts * OBJECT_SIZES[1]
