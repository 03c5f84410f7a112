"""Which shapes of an env can touch, by Isaac Gym's groups and filters."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from isaac_standin.assets.asset import Asset
from isaac_standin.scene.actor import COLLIDE_WITH_ALL, Actor


class ShapeId(NamedTuple):
    """A shape of an actor.

    Attributes:
      actor: index of the actor in its env.
      body: index of the body in its asset.
      shape: index of the shape among all shapes of the asset.
    """

    actor: int
    body: int
    shape: int

    @property
    def geom(self) -> str:
        """Name of the shape in the MuJoCo model."""
        return f"{self.actor}/shape{self.shape}"


def shapes_of(actors: Sequence[Actor]) -> list[ShapeId]:
    """Return every shape of an env."""
    found = []
    for index, actor in enumerate(actors):
        shape = 0
        for body_index, body in enumerate(actor.asset.bodies):
            for _ in body.shapes:
                found.append(ShapeId(index, body_index, shape))
                shape += 1
    return found


def touching(actors: Sequence[Actor]) -> list[tuple[ShapeId, ShapeId]]:
    """Return the pairs of shapes that can touch.

    Two shapes touch unless they belong to one body or to two that a joint connects, unless neither can move, and unless
    their groups or filters forbid it.
    """
    movable = [_movable(actor.asset) for actor in actors]
    shapes = shapes_of(actors)
    pairs = []
    for index, one in enumerate(shapes):
        for other in shapes[index + 1 :]:
            moves = movable[one.actor][one.body] or movable[other.actor][other.body]
            if moves and _allowed(actors, one, other):
                pairs.append((one, other))
    return pairs


def touching_ground(actors: Sequence[Actor]) -> list[ShapeId]:
    """Return the shapes that can touch the ground: all that can move."""
    movable = [_movable(actor.asset) for actor in actors]
    return [shape for shape in shapes_of(actors) if movable[shape.actor][shape.body]]


def _allowed(actors: Sequence[Actor], one: ShapeId, other: ShapeId) -> bool:
    first, second = actors[one.actor], actors[other.actor]
    if one.actor == other.actor and _connected(first.asset, one.body, other.body):
        return False
    groups = {first.group, second.group}
    if len(groups) > 1 and COLLIDE_WITH_ALL not in groups:
        return False
    return first.shape_filter(one.shape) & second.shape_filter(other.shape) == 0


def _connected(asset: Asset, one: int, other: int) -> bool:
    """Return whether two bodies are the same, or one is the parent of the other."""
    return one == other or asset.bodies[one].parent == other or asset.bodies[other].parent == one


def _movable(asset: Asset) -> list[bool]:
    """Return for each body whether it can move relative to the world; a fixed base moves only when it is teleported."""
    movable: list[bool] = []
    for body in asset.bodies:
        if body.parent < 0:
            movable.append(not asset.fixed_base)
        else:
            movable.append(movable[body.parent] or body.joint is not None)
    return movable
