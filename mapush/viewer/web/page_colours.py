"""Which colour to give to the page so that it shows the colour of films.

three.js lights colours in linear space and then compresses them by ACES filmic tone mapping, which makes bright colours
paler; MuJoCo does neither. This module inverts both for a face that looks up.

Source: three.js r169, `ACESFilmicToneMapping` (after Stephen Hill); its sRGB transfer functions.
"""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

Colour = Tuple[int, int, int]

TO_ACES = np.array(((0.59719, 0.35458, 0.04823), (0.07600, 0.90834, 0.01566), (0.02840, 0.13383, 0.83777)))
FROM_ACES = np.array(((1.60475, -0.53108, -0.07367), (-0.10208, 1.10813, -0.00605), (-0.00327, -0.07276, 1.07602)))
EXPOSURE = 1.0 / 0.6  # three.js divides by 0.6
CURVE = (0.0245786, -0.000090537, 0.983729, 0.4329510, 0.238081)  # (v (v + a) + b) / (v (c v + d) + e)
LIGHT_ON_TOP = 1.13  # what the lights of viser and ours give to a face that looks up; measured in Chromium
FILM_GAIN = 1.06  # what MuJoCo's lights make of a material there


def as_in_films(material: Sequence[float]) -> Colour:
    """Return the colour to give to the page for a material.

    Args:
      material: its colour in the model, each channel 0 to 1.
    """
    red, green, blue = material[:3]
    return colour_for((255.0 * FILM_GAIN * red, 255.0 * FILM_GAIN * green, 255.0 * FILM_GAIN * blue))


def colour_for(wanted: Sequence[float]) -> Colour:
    """Return the colour to give to the page so that a face that looks up has a colour.

    Args:
      wanted: each channel 0 to 255; larger values count as 255.
    """
    compressed = np.linalg.solve(FROM_ACES, _linear(np.clip(np.asarray(wanted), 0.0, 255.0) / 255.0))
    lit = np.linalg.solve(TO_ACES, _uncompressed(compressed))
    channels = np.round(255.0 * _srgb(lit / (EXPOSURE * LIGHT_ON_TOP))).astype(int).tolist()
    return channels[0], channels[1], channels[2]


def seen_as(given: Sequence[float]) -> np.ndarray:
    """Return the colour (0 to 255) that a face that looks up has on the page; the inverse of `colour_for`."""
    lit = TO_ACES @ (_linear(np.asarray(given) / 255.0) * EXPOSURE * LIGHT_ON_TOP)
    a, b, c, d, e = CURVE
    compressed = (lit * (lit + a) + b) / (lit * (c * lit + d) + e)
    return 255.0 * _srgb(FROM_ACES @ compressed)


def _uncompressed(compressed: np.ndarray) -> np.ndarray:
    """Return the light that the curve makes `compressed` of: the positive root of a quadratic equation."""
    a, b, c, d, e = CURVE
    y = np.clip(compressed, 0.0, 0.99)  # the curve reaches 1 / c = 1.017 at infinity
    square, linear, constant = 1.0 - c * y, a - d * y, b - e * y
    return (-linear + np.sqrt(linear**2 - 4.0 * square * constant)) / (2.0 * square)


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _srgb(linear: np.ndarray) -> np.ndarray:
    clipped = np.clip(linear, 0.0, 1.0)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
