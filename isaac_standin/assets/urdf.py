"""Reads URDF files.

MuJoCo's own reader is not used: it merges a free base into the world, keeps the order of declaration, and refuses files
without `<inertia>`, all of which Isaac Gym treats differently.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from isaac_standin.errors import NotSupported, StandinError

from .asset import Asset
from .collapse import collapse
from .elements import attribute, parse_file
from .load_options import LoadOptions
from .pose import NO_MOVE
from .tree import Link, depth_first, to_bodies
from .urdf_joints import connect
from .urdf_links import read_colors, read_link


def load_urdf(path: Path, options: LoadOptions) -> Asset:
    """Return the robot or object of a URDF file.

    Raises:
      StandinError: the file is wrong; the message says where.
      NotSupported: it uses a part of URDF that the stand-in lacks.
    """
    root = parse_file(path)
    if root.tag != "robot":
        raise StandinError("not a URDF file", where=str(path), got=f"<{root.tag}>", expected="<robot> as its root")
    links = _read_links(root, path, options)
    for element in root.findall("joint"):
        connect(element, links, str(path), options)
    _drop_world(links, str(path))
    ordered = _check_tree(links, str(path))
    if options.collapse_fixed_joints:
        ordered = depth_first(collapse(ordered), by_joint_name=True)
    return Asset(
        name=root.get("name", path.stem),
        source=str(path),
        bodies=to_bodies(ordered, str(path)),
        fixed_base=options.fix_base_link,
        gravity=not options.disable_gravity,
    )


def _read_links(root: ElementTree.Element, path: Path, options: LoadOptions) -> dict[str, Link]:
    colors = read_colors(root, str(path))
    links: dict[str, Link] = {}
    for element in root.findall("link"):
        name = attribute(element, "name", str(path))
        if name in links:
            raise StandinError("two links have the same name", where=str(path), got=name)
        links[name] = read_link(element, name, path, colors, options)
    if not links:
        raise StandinError("the file has no links", where=str(path))
    return links


def _drop_world(links: dict[str, Link], where: str) -> None:
    """Remove the empty root to which a floating joint connects the robot: the robot's pose is that of its actor."""
    for child in list(links.values()):
        if not child.floats or child.parent is None:
            continue
        world = links[child.parent]
        children = sum(link.parent == world.name for link in links.values())
        is_empty = world.inertia.mass == 0 and not world.shapes and not world.visuals
        if world.parent is not None or children > 1 or not is_empty:
            raise NotSupported(
                "a floating joint below the root",
                where=f"{where}, joint {child.joint_name!r}",
                expected="floating joints only between an empty root link and the robot",
                fix="load the parts as assets of their own",
            )
        del links[world.name]
        child.parent, child.joint_name, child.pose = None, "", NO_MOVE


def _check_tree(links: dict[str, Link], where: str) -> list[Link]:
    """Return the links in order.

    Raises:
      StandinError: they are not one tree.
    """
    roots = [link.name for link in links.values() if link.parent is None]
    if len(roots) > 1:
        raise StandinError(
            "the file has more than one root link",
            where=where,
            got=", ".join(roots),
            expected="all links but one are the child of a joint",
        )
    ordered: list[Link] = []
    if roots:
        ordered = depth_first(list(links.values()), by_joint_name=True)
    if len(ordered) < len(links):
        in_order = {link.name for link in ordered}
        lost = [name for name in links if name not in in_order]
        raise StandinError("the joints form a loop", where=where, got=" -> ".join(lost))
    return ordered
