"""Text in the corner of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from mapush.viewer.films.text_overlay import write_text

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


def test_text_changes_nothing_but_its_box():
    """Only the box changes, for any size of the picture, and it has room for all lines."""
    blank = np.full((90, 160, 3), 200, dtype=np.uint8)
    for lines in (["a"], ["a", "b"], ["a line much longer than the picture is wide", "b", "c", "d", "e"]):
        picture = blank.copy()
        write_text(picture, lines)
        changed = np.argwhere((picture != blank).any(axis=2))
        assert (changed.min(axis=0) == 8).all()
        assert (picture[tuple(changed.T)] <= 255).all()
        assert picture[12, 12].tolist() == [79, 79, 79]
        assert changed.max(axis=0)[0] >= min(89, 8 + 22 * len(lines))
        assert (changed.max(axis=0) == (89, 159)).all() or changed.max(axis=0)[0] < 8 + 8 * 2 + 28 * len(lines)
    silent = blank.copy()
    write_text(silent, [])
    assert (silent == blank).all()


def test_text_is_white_on_any_picture():
    """Letters are white, and the rest of the box is darker than the picture, without integer overflow."""
    for shade in (0, 127, 255):
        picture = np.full((60, 200, 3), shade, dtype=np.uint8)
        write_text(picture, ["mmm"], 1.0)
        assert picture.max() == max(255, shade)
        assert picture[10, 10, 0] == shade * int(255 * 0.4) >> 8


def test_text_grows_with_its_scale():
    """Letters are twice as high at twice the scale."""
    heights = []
    for scale in (1.0, 2.0):
        picture = np.zeros((200, 400, 3), dtype=np.uint8)
        write_text(picture, ["mmm"], scale)
        heights.append(np.ptp(np.argwhere(picture[..., 0] > 128), axis=0)[0] + 1)
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
