"""Reads the links of URDF files: shapes, visuals, mass."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from isaac_standin.errors import StandinError

from .asset import Shape
from .elements import attribute, check_positive, number, numbers, origin, positive
from .inertia import Inertia, least, of_shapes, overridden
from .load_options import LoadOptions
from .meshes import find_colliding, find_visual
from .pose import rotation
from .shapes import with_caps
from .tree import Link

Color = tuple[float, float, float, float]

_TENSOR_NAMES = (("ixx", "ixy", "ixz"), ("ixy", "iyy", "iyz"), ("ixz", "iyz", "izz"))


def read_colors(root: ElementTree.Element, where: str) -> dict[str, Color]:
    """Return the colours of the materials that a file defines for all of its links."""
    colors = {}
    for element in root.findall("material"):
        color = _own_color(element, where)
        if color is not None:
            colors[element.get("name", "")] = color
    return colors


def read_link(
    element: ElementTree.Element, name: str, path: Path, colors: dict[str, Color], options: LoadOptions
) -> Link:
    """Return a link, not yet connected.

    Args:
      element: the `<link>`.
      name: its name.
      path: the URDF file, next to which the meshes are.
      colors: of the materials that the file defines.
      options: density, replacement of cylinders, and what is computed although the file gives it.

    Raises:
      StandinError: the element is wrong, or a mesh that collides is missing.
    """
    where = f"{path}, link {name!r}"
    shapes = []
    for part in element.findall("collision"):
        shape = _read_shape(part, path, where, is_visual=False)
        if shape is not None:
            shapes.append(with_caps(shape, options))
    visuals = []
    for part in element.findall("visual"):
        shape = _read_shape(part, path, where, is_visual=True)
        if shape is not None:
            visuals.append(dataclasses.replace(shape, rgba=_color(part, colors, where)))
    inertia = _read_inertia(element.find("inertial"), tuple(shapes), options, where)
    return Link(name, inertia, tuple(shapes), tuple(visuals))


def _read_shape(part: ElementTree.Element, path: Path, where: str, is_visual: bool) -> Shape | None:
    """Return the shape of a `<collision>` or `<visual>`; None for a visual whose mesh cannot be had."""
    geometry = part.find("geometry")
    if geometry is None or len(geometry) != 1:
        raise StandinError(f"<{part.tag}> needs a <geometry> with one shape", where=where)
    pos, quat = origin(part, where)
    element = geometry[0]
    match element.tag:
        case "box":
            size = numbers(attribute(element, "size", where), 3, where)
            check_positive(size, where)
            return Shape("box", tuple((size / 2).tolist()), pos, quat)
        case "sphere":
            return Shape("sphere", tuple(positive(element, ("radius",), where).tolist()), pos, quat)
        case "cylinder" | "capsule" as kind:
            radius, length = positive(element, ("radius", "length"), where).tolist()
            return Shape(kind, (radius, length / 2), pos, quat)
        case "mesh":
            name = attribute(element, "filename", where)
            scale = numbers(element.get("scale", "1 1 1"), 3, where)
            if is_visual:
                mesh = find_visual(name, path.parent)
            else:
                mesh = find_colliding(name, path.parent, where)
            if mesh is None:
                return None
            return Shape("mesh", tuple(scale.tolist()), pos, quat, mesh=mesh)
        case _:
            expected = "box, sphere, cylinder, capsule or mesh"
            raise StandinError(f"unknown shape <{element.tag}>", where=where, expected=expected)


def _own_color(material: ElementTree.Element, where: str) -> Color | None:
    found = material.find("color")
    if found is None:
        return None
    red, green, blue, alpha = numbers(attribute(found, "rgba", where), 4, where).tolist()
    return (red, green, blue, alpha)


def _color(visual: ElementTree.Element, colors: dict[str, Color], where: str) -> Color | None:
    """Return the colour of a visual, from its own material or from that of the same name at the top of the file."""
    material = visual.find("material")
    if material is None:
        return None
    return _own_color(material, where) or colors.get(material.get("name", ""))


def _read_inertia(
    element: ElementTree.Element | None, shapes: tuple[Shape, ...], options: LoadOptions, where: str
) -> Inertia:
    """Return the inertia of a link, in its frame; what the file does not say is computed from `shapes`.

    Without a mass, or with a mass of 0, everything is computed from the density. A mass without `<inertia>`, or with
    one that is 0, is spread evenly over the shapes; without shapes it gets the inertia of a small ball.
    """
    mass = _read_mass(element, where)
    if element is None or mass == 0:
        return of_shapes(shapes, options.density, where)
    pos, quat = origin(element, where)
    turn = rotation(quat)
    inertia = Inertia(mass, np.array(pos), turn @ _read_tensor(element.find("inertia"), where) @ turn.T)
    if not inertia.tensor.any():
        inertia = dataclasses.replace(inertia, tensor=least().tensor * mass / least().mass)
        options = dataclasses.replace(options, override_inertia=True)
    return overridden(inertia, shapes, options, where)


def _read_mass(element: ElementTree.Element | None, where: str) -> float:
    if element is None:
        return 0.0
    mass = number(element.find("mass"), "value", 0.0, where)
    if not 0 <= mass < np.inf:
        raise StandinError("the mass of a link is negative or not finite", where=where, got=f"{mass:g}")
    return mass


def _read_tensor(element: ElementTree.Element | None, where: str) -> np.ndarray:
    tensor = np.zeros((3, 3))
    for row, names in enumerate(_TENSOR_NAMES):
        for column, name in enumerate(names):
            tensor[row, column] = number(element, name, 0.0, where)
    if not np.isfinite(tensor).all():
        raise StandinError("the inertia of a link is not finite", where=where, got=str(tensor.tolist()))
    return tensor
