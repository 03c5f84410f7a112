"""Changes of shapes that the options ask for."""

from __future__ import annotations

import dataclasses

from .asset import Shape
from .load_options import LoadOptions


def with_caps(shape: Shape, options: LoadOptions) -> Shape:
    """Return a capsule with the radius and length of a cylinder, which makes it longer, if the options ask for it."""
    if shape.kind == "cylinder" and options.replace_cylinder_with_capsule:
        return dataclasses.replace(shape, kind="capsule")
    return shape
