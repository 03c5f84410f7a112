"""Objects that the task `any` does not train with, for `mapush evaluate --object examples/held_out_objects.py:HEXAGON`.

They have mass, height and friction of the same order as the objects that it trains with.
"""

from __future__ import annotations

import math

from mapush.objects import Part, PushObject

SIDE = 0.8  # of the hexagon [m]
HEIGHT = 0.5  # of all three [m]
ACROSS = math.sqrt(3.0) * SIDE  # distance of two opposite sides of the hexagon [m]

HEXAGON = PushObject(
    name="hexagon",
    parts=(  # the rectangles between its three pairs of opposite sides cover it exactly
        Part.box((SIDE, ACROSS, HEIGHT), mass=1.5),
        Part.box((SIDE, ACROSS, HEIGHT), mass=1.5, rpy=(0.0, 0.0, math.pi / 3.0)),
        Part.box((SIDE, ACROSS, HEIGHT), mass=1.5, rpy=(0.0, 0.0, 2.0 * math.pi / 3.0)),
    ),
)

LBLOCK = PushObject(
    name="lblock",  # an L; its origin is where the legs meet, because the goal is reached by the origin
    parts=(
        Part.box((1.2, 0.4, HEIGHT), mass=2.0, offset=(0.3, 0.0, 0.0)),
        Part.box((0.4, 0.8, HEIGHT), mass=1.5, offset=(-0.1, 0.6, 0.0)),
    ),
)

BAR = PushObject(name="bar", parts=(Part.box((2.4, 0.4, HEIGHT), mass=4.0),))
