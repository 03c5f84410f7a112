"""A grid of heights is cut into the boxes and the height field that cover it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from isaac_standin.scene.terrain_pieces import pieces
from isaac_standin.scene.terrain_types import Box, Field, Grid

pytestmark = pytest.mark.mujoco

CELL = (0.1, 0.15)
ORIGIN = (-1.0, 2.0, 0.5)


def grid(heights, wall=None):
    """Return a grid whose cells are not square and whose origin has three different coordinates."""
    return Grid(np.asarray(heights, dtype=float), CELL, ORIGIN, 0.6, wall)


def top(found, x, y):
    """Return the height of the highest box over a point."""
    heights = []
    for box in found:
        if box.lower[0] <= x <= box.upper[0] and box.lower[1] <= y <= box.upper[1]:
            heights.append(box.upper[2])
    return max(heights)


def test_flat_ground_is_one_box():
    """A flat grid is a box of its extent, whose top is at its height and whose bottom is below it."""
    (box,) = pieces(grid(np.full((21, 11), 0.25)))
    assert box.lower == pytest.approx((-1.0, 2.0, -0.25))
    assert box.upper == pytest.approx((1.0, 3.5, 0.75))
    assert box.friction == 0.6


def test_floor_reaches_below_what_stands_on_it():
    """A floor with two separate blocks is three boxes, and each wall stands at the nodes of its block."""
    heights = np.zeros((21, 31))
    heights[3:7, 4:9] = 1.0
    heights[10:12, 20:28] = 2.0
    found = pieces(grid(heights))
    assert len(found) == 3
    assert found[1].lower[:2] == pytest.approx((-0.7, 2.6))
    assert found[1].upper == pytest.approx((-0.4, 3.2, 1.5))


def test_pit_is_surrounded_by_four_boxes():
    """A pit in a floor is a box of its depth, wider by a cell as walls stand at the higher nodes, and a frame."""
    heights = np.zeros((21, 31))
    heights[8:15, 10:25] = -1.0
    found = pieces(grid(heights))
    assert len(found) == 5
    assert top(found, -1.0 + 0.69, 2.0 + 20 * 0.15) == pytest.approx(0.5)
    assert top(found, -1.0 + 0.71, 2.0 + 20 * 0.15) == pytest.approx(-0.5)


def test_boxes_cover_stairs_exactly():
    """On stairs around a platform the highest box over the middle of each cell has the height of the cell."""
    heights = np.zeros((41, 37))
    for step in range(1, 6):
        heights[3 * step : -3 * step, 3 * step : -3 * step] = 0.2 * step
    found = pieces(grid(heights, wall=0.75))
    assert len(found) == 6
    lowest = np.minimum(heights[:-1], heights[1:])
    lowest = np.minimum(lowest[:, :-1], lowest[:, 1:])
    for i in range(0, 40, 3):
        for j in range(0, 36, 2):
            x, y = ORIGIN[0] + (i + 0.5) * CELL[0], ORIGIN[1] + (j + 0.5) * CELL[1]
            assert top(found, x, y) == pytest.approx(ORIGIN[2] + lowest[i, j])


def test_slope_is_a_height_field():
    """A slope has no flat cell, so all of it is a height field."""
    heights = 0.05 * np.arange(12)[:, None] + np.zeros(9)
    (field,) = pieces(grid(heights))
    assert isinstance(field, Field)
    assert (field.heights == heights).all()
    assert field.origin == ORIGIN


def test_slope_in_a_floor_is_both():
    """A floor with a mound is a box, and a height field only where the mound is."""
    heights = np.zeros((41, 31))
    heights[20:25, 10:16] = np.arange(1, 6)[:, None] * 0.02 + np.arange(6) * 0.01
    box, field = pieces(grid(heights))
    assert isinstance(box, Box)
    assert field.origin == pytest.approx((-1.0 + 19 * 0.1, 2.0 + 9 * 0.15, 0.5))
    assert field.heights == pytest.approx(heights[19:26, 9:17])


def test_height_field_is_buried_below_boxes():
    """Between two separate slopes, where only boxes are needed, the height field lies below everything."""
    heights = np.zeros((41, 31))
    heights[:6] = np.arange(5, -1, -1)[:, None] * 0.03
    heights[35:] = np.arange(6)[:, None] * 0.03
    box, field = pieces(grid(heights))
    assert isinstance(box, Box)
    assert field.heights[:6] == pytest.approx(heights[:6])
    assert (field.heights[6:35] == -1.0).all()


def test_gentle_step_is_no_wall_without_correction():
    """A step of 0.2 m over 0.1 m is a ramp, unless the program asked for walls above a slope of 0.75."""
    heights = np.zeros((41, 31))
    heights[20:] = 0.2
    assert [type(piece) for piece in pieces(grid(heights))] == [Box, Box, Field]
    assert [type(piece) for piece in pieces(grid(heights, wall=0.75))] == [Box, Box]


def test_ridge_of_one_node_is_not_lost():
    """A ridge of one row of nodes becomes a wall that is one cell thick; it is not left out."""
    heights = np.zeros((41, 31))
    heights[20] = 1.0
    floor, wall = pieces(grid(heights))
    assert floor.upper == pytest.approx((3.0, 6.5, 0.5))
    assert wall.lower[:2] == pytest.approx((0.9, 2.0))
    assert wall.upper == pytest.approx((1.0, 6.5, 1.5))


def test_too_many_boxes_become_a_height_field():
    """Above the limit the complete grid is one height field, so that all of its steps behave alike."""
    heights = np.repeat(np.arange(8), 5)[:, None] + np.zeros(13)
    assert len(pieces(grid(heights), max_boxes=8)) == 8
    (field,) = pieces(grid(heights), max_boxes=7)
    assert isinstance(field, Field)
    assert field.heights.shape == heights.shape


@pytest.mark.parametrize("turned", [False, True])
def test_axes_are_not_swapped(turned):
    """A terrace along x is a box along x, and one along y is a box along y."""
    heights = np.zeros((25, 13))
    if turned:
        heights[:, 10:] = 3.0
    else:
        heights[18:] = 3.0
    _, box = pieces(dataclasses.replace(grid(heights), origin=(0.0, 0.0, 0.0)))
    expected = (1.8, 0.0)
    if turned:
        expected = (0.0, 1.5)
    assert box.lower[:2] == pytest.approx(expected)
