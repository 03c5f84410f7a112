"""Contracts of the colours of the page: seen from above, everything has the colour that films show."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web]

FLOOR, OBJECT, SHELL = (91, 102, 114), (235, 199, 139), (38, 104, 228)


@pytest.mark.parametrize("wanted", [FLOOR, OBJECT, SHELL, (20, 22, 24), (128, 128, 128)])
def test_colour_that_is_given_is_seen_as_the_wanted_one(wanted):
    """What three.js does to a colour is undone."""
    from mapush.viewer.web.page_colours import colour_for, seen_as

    np.testing.assert_allclose(seen_as(colour_for(wanted)), wanted, atol=2.0)


@pytest.mark.parametrize("given, seen", [((219, 189, 135), (220, 205, 169)), ((83, 91, 100), (86, 98, 110))])
def test_model_of_the_page_is_what_a_browser_showed(given, seen):
    """Pixels of a screenshot of Chromium: the object and the floor, before colours were corrected."""
    from mapush.viewer.web.page_colours import seen_as

    np.testing.assert_allclose(seen_as(given), seen, atol=3.0)


def test_colour_beyond_the_screen_is_the_nearest_one():
    """A channel that would have to be brighter than white, or darker than black, stops there."""
    from mapush.viewer.web.page_colours import colour_for

    for wanted in ((400.0, 0.0, 0.0), (0.0, 255.0, 0.0), (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)):
        given = colour_for(wanted)
        assert min(given) >= 0
        assert max(given) <= 255
