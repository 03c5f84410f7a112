"""Write text into the corner of a picture."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Sequence, cast

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FONT_SIZE = 22  # [pixels]
MARGIN = 8  # between the edge of the picture and the box [pixels]
PADDING = 8  # between the edge of the box and the text [pixels]
WIDTH_STEP = 40  # the width of the box is a multiple of this, so that it does not flicker with its text [pixels]
SHADE = 0.6  # how much darker the box is than the picture, in [0, 1]


def write_text(picture: np.ndarray, lines: Sequence[str], scale: float = 1.0) -> None:
    """Write `lines` into the upper left corner of `picture`.

    Only the box around the text is touched, and rendered lines are cached: the text costs little time.

    Args:
      picture: shape (H, W, 3), uint8; changed in place.
      lines: from top to bottom; without any, the picture does not change.
      scale: factor on all sizes.
    """
    if not lines:
        return
    margin, padding, width_step = round(scale * MARGIN), round(scale * PADDING), round(scale * WIDTH_STEP)
    font_size = round(scale * FONT_SIZE)
    masks = [_mask_of(line, font_size) for line in lines]
    width = 2 * padding + max(mask.shape[1] for mask in masks)
    height = 2 * padding + sum(mask.shape[0] for mask in masks)
    width = math.ceil(width / width_step) * width_step
    box = picture[margin : margin + height, margin : margin + width]  # smaller if the picture ends before
    box[:] = box * np.uint16(256 * (1.0 - SHADE)) >> 8
    top = padding
    for mask in masks:
        place = box[top : top + mask.shape[0], padding : padding + mask.shape[1]]
        np.maximum(place, mask[: place.shape[0], : place.shape[1]], out=place)
        top += mask.shape[0]


@functools.lru_cache(maxsize=64)
def _mask_of(line: str, font_size: int) -> np.ndarray:
    """Return `line` in white on black, shape (h, w, 1), uint8; h is the same for all lines."""
    from PIL import Image, ImageDraw

    font = _font_of(font_size)
    image = Image.new("L", (int(font.getlength(line)) + 1, sum(font.getmetrics())))
    ImageDraw.Draw(image).text((0, 0), line, font=font, fill=255)
    return np.asarray(image)[..., None]


@functools.lru_cache(maxsize=4)
def _font_of(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return cast("FreeTypeFont", ImageFont.load_default(size))
