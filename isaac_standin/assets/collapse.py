"""Merges links that are fixed to their parents into them, as `AssetOptions.collapse_fixed_joints` asks."""

from __future__ import annotations

import dataclasses

from .asset import Shape
from .inertia import moved, together
from .pose import Pose, compose
from .tree import Link


def collapse(links: list[Link]) -> list[Link]:
    """Return the links without those that are fixed to their parents, unless they are marked with `keep`.

    A parent keeps its name; it gets the mass, the shapes and the visuals of what is fixed to it, and the children.

    Args:
      links: each behind its parent.
    """
    kept: dict[str, Link] = {}
    merged_into: dict[str, tuple[Link, Pose]] = {}
    for original in links:
        link = dataclasses.replace(original)
        if link.parent in merged_into:
            target, pose = merged_into[link.parent]
            link.parent, link.pose = target.name, compose(pose, link.pose)
        if link.parent is None or link.joints or link.keep:
            kept[link.name] = link
            continue
        target = kept[link.parent]
        _merge(link, target)
        merged_into[link.name] = (target, link.pose)
    return list(kept.values())


def _merge(link: Link, target: Link) -> None:
    """Add what `link` has to `target`, in whose frame the pose of `link` is given."""
    target.inertia = together([target.inertia, moved(link.inertia, link.pose)])
    target.shapes += _moved_shapes(link.shapes, link.pose)
    target.visuals += _moved_shapes(link.visuals, link.pose)


def _moved_shapes(shapes: tuple[Shape, ...], pose: Pose) -> tuple[Shape, ...]:
    found = []
    for shape in shapes:
        pos, quat = compose(pose, (shape.pos, shape.quat))
        found.append(dataclasses.replace(shape, pos=pos, quat=quat))
    return tuple(found)
