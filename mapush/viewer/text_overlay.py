"""Text in the corner of a picture, at little cost: only its box is touched, and a line that was there is kept."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Sequence, cast

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FONT_SIZE, MARGIN, PADDING = 22, 8, 8  # [pixels]
SHADE = 0.6  # how dark the box is
WIDTH_STEP = 40  # in which the box grows with its text, not to flicker [pixels]


def write_text(picture: np.ndarray, lines: Sequence[str], scale: float = 1.0) -> None:
    """Write `lines` into the upper left corner of `picture`.

    Args:
      picture: (H, W, 3) uint8; its box is changed.
      lines: from top to bottom.
      scale: how much larger than usual.
    """
    if not lines:
        return
    margin, padding, step = (round(scale * size) for size in (MARGIN, PADDING, WIDTH_STEP))
    inks = [_ink_of(line, round(scale * FONT_SIZE)) for line in lines]
    width = 2 * padding + max(ink.shape[1] for ink in inks)
    height = 2 * padding + sum(map(len, inks))
    box = picture[margin : margin + height, margin : margin + -(-width // step) * step]
    box[:] = box * np.uint16(256 * (1.0 - SHADE)) >> 8
    top = padding
    for ink in inks:
        place = box[top : top + len(ink), padding : padding + ink.shape[1]]
        np.maximum(place, ink[: len(place), : place.shape[1]], out=place)
        top += len(ink)


@functools.lru_cache(maxsize=64)
def _ink_of(line: str, size: int) -> np.ndarray:
    """Return how white `line` makes a dark box, (h, w, 1) uint8; h is the same for all lines."""
    from PIL import Image, ImageDraw

    font = _font_of(size)
    ink = Image.new("L", (int(font.getlength(line)) + 1, sum(font.getmetrics())))
    ImageDraw.Draw(ink).text((0, 0), line, font=font, fill=255)
    return np.asarray(ink)[..., None]


@functools.lru_cache(maxsize=4)
def _font_of(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return cast("FreeTypeFont", ImageFont.load_default(size))
