"""The model that is drawn: that of the simulation, with light, a sky, and colours that may differ from env to env."""

from __future__ import annotations

from typing import Sequence

import mujoco
import numpy as np

from isaac_standin.scene.actor import Actor
from isaac_standin.scene.layout import Layout
from isaac_standin.scene.model import COLLISION_GROUP, VISUAL_GROUP, Built

INSTEAD_GROUP = 1  # collision shapes of bodies that have nothing else to show
DOT = 0.25  # visual shapes below this share of the size of the collision shapes do not count
EXTENT = 10.0  # size of a scene, for the light and the size of the ground [m]

_SOIL = (0.40, 0.44, 0.49)
_TILE = (0.36, 0.40, 0.45)
_EDGE = (0.46, 0.50, 0.55)


class Look:
    """How the envs of a simulation look.

    Args:
      built: the simulation's model.
      layout: where its bodies are.

    Attributes:
      model: the model to draw; it has the positions and bodies of the simulation's.
    """

    def __init__(self, built: Built, layout: Layout) -> None:
        spec = built.spec.copy()
        _add_surroundings(spec)
        self.model: mujoco.MjModel = spec.compile()
        self._layout = layout
        self._geom_body = _bodies_of_geoms(self.model, layout)
        self._show_solids()
        self._colors = self.model.geom_rgba.copy()

    def _show_solids(self) -> None:
        """Show the collision shapes of bodies that have no visual ones, or next to none.

        The mesh of a robot's trunk may be missing, and what remains of its looks be the dot of a sensor.
        """
        group, size = self.model.geom_group, self.model.geom_rbound
        for body in range(self._layout.num_bodies):
            own = self._geom_body == body
            solid = own & (group == COLLISION_GROUP)
            visual = own & (group == VISUAL_GROUP)
            if size[visual].max(initial=0.0) < DOT * size[solid].max(initial=0.0):
                group[solid] = INSTEAD_GROUP

    def _geoms_of(self, actor: int) -> np.ndarray:
        """Return which geoms belong to an actor."""
        owner = np.append(self._layout.body_actor, -1)  # -1: of the ground
        return owner[self._geom_body] == actor

    def groups(self, collision: bool) -> list[int]:
        """Return which groups of geoms are visible: 1 for each that is."""
        shown = [0] * mujoco.mjNGROUP
        shown[0] = shown[INSTEAD_GROUP] = 1
        shown[COLLISION_GROUP if collision else VISUAL_GROUP] = 1
        return shown

    def paint(self, actors: Sequence[Actor]) -> None:
        """Give all bodies the colours that they have in an env."""
        self.model.geom_rgba[:] = self._colors
        for index, actor in enumerate(actors):
            for body, color in actor.colors.items():
                painted = self._geom_body == self._layout.first_body[index] + body
                self.model.geom_rgba[painted, :3] = color

    def segments(self, actors: Sequence[Actor]) -> np.ndarray:
        """Return the segmentation id of each geom, and 0 at the end, for what is no geom, uint32."""
        found = np.zeros(self.model.ngeom + 1, dtype=np.uint32)
        for index, actor in enumerate(actors):
            found[:-1][self._geoms_of(index)] = actor.segmentation
            for body, value in actor.body_segmentation.items():
                found[:-1][self._geom_body == self._layout.first_body[index] + body] = value
        return found


def _bodies_of_geoms(model: mujoco.MjModel, layout: Layout) -> np.ndarray:
    """Return the index of each geom's body in the env; -1 for the ground."""
    index = np.full(model.nbody, -1, dtype=np.int64)
    index[layout.bodies] = np.arange(layout.num_bodies)
    return index[model.geom_bodyid]


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    """Add light, sky and the tiles of the ground, and choose what is quick to draw on a CPU."""
    visual = spec.visual
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = (0.4,) * 3, (0.2,) * 3, (0.0,) * 3
    visual.quality.offsamples = visual.quality.shadowsize = 0
    visual.map.zfar = 50.0
    spec.stat.extent, spec.stat.center = EXTENT, (0.0, 0.0, 0.0)
    sun = spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
    sun.pos, sun.dir = (-2.5, -3.5, 8.0), (2.5, 3.5, -8.0)
    sun.diffuse, sun.specular = (0.4,) * 3, (0.1,) * 3
    sky = spec.add_texture(name="standin/sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=128, height=128)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.rgb1, sky.rgb2 = (0.55, 0.66, 0.78), (0.92, 0.94, 0.96)
    tiles = spec.add_texture(name="standin/tiles", type=mujoco.mjtTexture.mjTEXTURE_2D, width=256, height=256)
    tiles.builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    tiles.rgb1, tiles.rgb2 = _TILE, _SOIL
    tiles.mark, tiles.markrgb = mujoco.mjtMark.mjMARK_EDGE, _EDGE
    ground = spec.add_material(name="standin/ground", texuniform=True, texrepeat=(1, 1), specular=0.1)
    ground.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "standin/tiles"
    for geom in spec.worldbody.geoms:
        geom.material = "standin/ground"
        geom.group = 0
