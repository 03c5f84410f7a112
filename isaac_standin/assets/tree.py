"""Links while a file is read: they know their parents by name, so they can be merged and put in order."""

from __future__ import annotations

import dataclasses

from .asset import Body, Joint, Shape
from .inertia import Inertia, least, made_positive
from .pose import NO_MOVE, Pose, vector


@dataclasses.dataclass
class Link:
    """A link and what connects it with its parent.

    Attributes:
      name: its name, which no other link of the file has.
      inertia: in its own frame.
      shapes: what can collide.
      visuals: what is seen; a shape that also collides is in both.
      parent: name of its parent; None for the root.
      joint_name: name of the joint to its parent, which may be a fixed one.
      joints: the joints that move it; none for the root, and for a link that is fixed to its parent.
      pose: of its frame in its parent's.
      floats: a floating joint connects it with its parent.
      keep: it stays a body of its own although it is fixed to its parent.
    """

    name: str
    inertia: Inertia
    shapes: tuple[Shape, ...] = ()
    visuals: tuple[Shape, ...] = ()
    parent: str | None = None
    joint_name: str = ""
    joints: tuple[Joint, ...] = ()
    pose: Pose = NO_MOVE
    floats: bool = False
    keep: bool = False


def depth_first(links: list[Link], by_joint_name: bool) -> list[Link]:
    """Return the links that can be reached from the root, each directly before its children.

    Args:
      links: all links; exactly one has no parent.
      by_joint_name: put siblings in the order of their joints' names, as Isaac Gym does with URDF files; otherwise
        they stay in the order of `links`.
    """
    children: dict[str | None, list[Link]] = {}
    for link in links:
        children.setdefault(link.parent, []).append(link)
    if by_joint_name:
        for siblings in children.values():
            siblings.sort(key=lambda link: link.joint_name)
    found: list[Link] = []
    waiting = children[None][:1]
    while waiting:
        link = waiting.pop()
        found.append(link)
        waiting += reversed(children.get(link.name, []))
    return found


def to_bodies(links: list[Link], source: str) -> tuple[Body, ...]:
    """Return links, which are in their final order, as bodies; those without mass get the least inertia."""
    index = {link.name: i for i, link in enumerate(links)}
    bodies = []
    for link in links:
        parent = -1
        if link.parent is not None:
            parent = index[link.parent]
        inertia = least()
        if link.inertia.mass > 0:
            inertia = made_positive(link.inertia, f"{source}, link {link.name!r}")
        first = None
        if link.joints:
            first = link.joints[0]
        body = Body(
            name=link.name,
            parent=parent,
            pos=link.pose[0],
            quat=link.pose[1],
            joint=first,
            mass=inertia.mass,
            com=vector(inertia.com),
            inertia=inertia.tensor,
            shapes=link.shapes,
            visuals=link.visuals,
            more_joints=link.joints[1:],
        )
        bodies.append(body)
    return tuple(bodies)
