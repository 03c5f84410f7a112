"""Reads the joints of URDF files."""

from __future__ import annotations

import difflib
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from isaac_standin.errors import NotSupported, StandinError

from .asset import Joint
from .elements import attribute, number, numbers, origin
from .load_options import LoadOptions
from .pose import vector
from .tree import Link

MOVING: dict[str, Literal["revolute", "prismatic"]] = {
    "revolute": "revolute",
    "continuous": "revolute",
    "prismatic": "prismatic",
}
"""The kind of `Joint` for each type of joint that moves."""


def connect(element: ElementTree.Element, links: dict[str, Link], source: str, options: LoadOptions) -> None:
    """Let a `<joint>` connect two of the links, which must exist.

    Raises:
      StandinError: it is wrong.
      NotSupported: its type is one that the stand-in lacks.
    """
    name = attribute(element, "name", source)
    where = f"{source}, joint {name!r}"
    parent = _end(element, "parent", links, where)
    child = _end(element, "child", links, where)
    if child.parent is not None:
        raise StandinError(
            "a link has two parents", where=where, got=f"{child.name!r} below {child.parent!r} and {parent.name!r}"
        )
    child.parent, child.joint_name, child.pose = parent.name, name, origin(element, where)
    kind = attribute(element, "type", where)
    if element.find("mimic") is not None:
        raise NotSupported(
            "a joint that mimics another one", where=where, fix="remove <mimic>, and drive both joints from the program"
        )
    match kind:
        case "fixed":
            child.keep = element.get("dont_collapse", "").lower() in ("true", "1")
        case "revolute" | "continuous" | "prismatic":
            child.joints = (_read_joint(element, name, kind, where, options),)
        case "floating":
            child.floats = True
        case "planar" | "ball" | "spherical":
            raise NotSupported(f"a {kind} joint", where=where, fix="use several revolute or prismatic joints")
        case _:
            raise StandinError(f"unknown type of joint {kind!r}", where=where, expected="one of " + ", ".join(MOVING))


def _end(element: ElementTree.Element, tag: str, links: dict[str, Link], where: str) -> Link:
    """Return the link that a joint names as its parent or its child."""
    found = element.find(tag)
    if found is None:
        raise StandinError(f"the joint has no <{tag}>", where=where)
    name = attribute(found, "link", where)
    if name not in links:
        hint = ""
        closest = difflib.get_close_matches(name, links, n=1)
        if closest:
            hint = f"; did you mean {closest[0]!r}?"
        raise StandinError(f"unknown link {name!r}{hint}", where=where)
    return links[name]


def _read_joint(element: ElementTree.Element, name: str, kind: str, where: str, options: LoadOptions) -> Joint:
    dynamics = element.find("dynamics")
    limit = element.find("limit")
    lower, upper = -np.inf, np.inf
    if kind != "continuous":
        lower, upper = _read_range(limit, where)
    joint = Joint(
        name=name,
        kind=MOVING[kind],
        axis=_read_axis(element, where),
        lower=lower,
        upper=upper,
        effort=number(limit, "effort", np.inf, where),
        velocity=number(limit, "velocity", np.inf, where),
        damping=number(dynamics, "damping", 0.0, where),
        friction=number(dynamics, "friction", 0.0, where),
        armature=options.armature,
    )
    for field in ("effort", "velocity", "damping", "friction"):
        if getattr(joint, field) < 0:
            raise StandinError(f"the {field} of a joint is negative", where=where, got=str(getattr(joint, field)))
    return joint


def _read_axis(element: ElementTree.Element, where: str) -> tuple[float, float, float]:
    found = element.find("axis")
    if found is None:
        return (1.0, 0.0, 0.0)
    axis = numbers(found.get("xyz", "1 0 0"), 3, where)
    length = float(np.linalg.norm(axis))
    if length == 0:
        raise StandinError("the axis of a joint has no direction", where=where, got="0 0 0")
    return vector(axis / length)


def _read_range(limit: ElementTree.Element | None, where: str) -> tuple[float, float]:
    """Return the limits of a position; without `lower` and `upper` there are none, and one of them missing is 0."""
    if limit is None or (limit.get("lower") is None and limit.get("upper") is None):
        return -np.inf, np.inf
    lower = number(limit, "lower", 0.0, where)
    upper = number(limit, "upper", 0.0, where)
    if lower >= upper:
        raise StandinError(
            "the limits of a joint leave it no room",
            where=where,
            got=f"lower {lower:g}, upper {upper:g}",
            expected="lower < upper",
            fix="exchange them, or give the joint the type fixed",
        )
    return lower, upper
