"""Reads numbers and vectors from the elements of an XML file."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from isaac_standin.errors import StandinError

from .pose import NO_MOVE, Pose, from_rpy, vector


def parse_file(path: Path) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
      StandinError: the file is not well-formed.
    """
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise StandinError(
            "the file is not well-formed XML", where=f"{path}, line {line}, column {column + 1}", got=str(error)
        ) from error


def attribute(element: ElementTree.Element, name: str, where: str) -> str:
    """Return an attribute that must be there.

    Raises:
      StandinError: it is not.
    """
    value = element.get(name)
    if value is None:
        raise StandinError(f"<{element.tag}> has no attribute {name!r}", where=where)
    return value


def numbers(text: str, count: int, where: str) -> np.ndarray:
    """Return `count` finite numbers that are separated by spaces.

    Raises:
      StandinError: it is something else.
    """
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise StandinError("not the right numbers", where=where, got=repr(text), expected=f"{count} finite numbers")
    return values


def number(element: ElementTree.Element | None, name: str, default: float, where: str) -> float:
    """Return the number in an attribute, or `default` without the attribute or the element; infinity is allowed.

    Raises:
      StandinError: it is not a number.
    """
    text = None
    if element is not None:
        text = element.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise StandinError(f"the attribute {name!r} is not a number", where=where, got=repr(text))
    return value


def positive(element: ElementTree.Element, names: tuple[str, ...], where: str) -> np.ndarray:
    """Return the lengths in attributes, each of which must be there.

    Raises:
      StandinError: one is missing, or not a positive number.
    """
    values = np.zeros(len(names))
    for i, name in enumerate(names):
        values[i] = numbers(attribute(element, name, where), 1, where)[0]
    check_positive(values, where)
    return values


def check_positive(values: np.ndarray, where: str) -> None:
    """Check sizes.

    Raises:
      StandinError: one is not positive.
    """
    if (values <= 0).any():
        raise StandinError("a size is not positive", where=where, got=str(values.tolist()))


def origin(element: ElementTree.Element, where: str) -> Pose:
    """Return the pose in an element's `<origin>`; without one, the frame itself."""
    found = element.find("origin")
    if found is None:
        return NO_MOVE
    pos = numbers(found.get("xyz", "0 0 0"), 3, where)
    return vector(pos), from_rpy(numbers(found.get("rpy", "0 0 0"), 3, where))
