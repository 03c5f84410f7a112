"""MJCF, MuJoCo's model description, as elements of an XML tree."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, SubElement


def add(parent: Element, tag: str, **attributes: Any) -> Element:
    """Append an element and return it.

    Args:
      parent: where.
      tag: MJCF name of the element.
      attributes: strings, numbers, or sequences of numbers, which are written without loss. A trailing underscore
        is dropped, for the names that Python keeps for itself.
    """
    return SubElement(parent, tag, {name.rstrip("_"): _text(value) for name, value in attributes.items()})


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(_text(item) for item in value)
    return value if isinstance(value, str) else repr(value)
