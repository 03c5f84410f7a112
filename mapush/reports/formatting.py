"""How numbers and names look, in pages and in the terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

UNKNOWN = "–"
RATE_DECIMALS = 3
TIME_DECIMALS = 1  # of seconds
DISTANCE_DECIMALS = 2  # of metres

Bounds = Tuple[float, float]  # of an interval, NaN if they are not known


def number(value: Optional[float], unit: str = "") -> str:
    """Return `value` with three significant digits and its unit; a dash if it is None or NaN."""
    if value is None or math.isnan(value):
        return UNKNOWN
    text = f"{value:.3g}"
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    return f"{text} {unit}".strip()


def fixed(value: Optional[float], decimals: int, unit: str = "") -> str:
    """Return `value` with this many decimals and its unit, as in all cells of a column; a dash if it is not known."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value:,.{decimals}f} {unit}".strip()


def rate(value: Optional[float]) -> str:
    """Return a rate between 0 and 1 with three decimals; a dash if it is not known."""
    return fixed(value, RATE_DECIMALS)


def interval(bounds: Bounds, decimals: int = RATE_DECIMALS) -> str:
    """Return both bounds, as in "0.500 to 0.700"; nothing if they are NaN."""
    low, high = bounds
    if math.isnan(low):
        return ""
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def millions(column: Sequence[Optional[float]]) -> List[str]:
    """Return numbers of env steps in millions, without the unit; a dash for None.

    All have the same number of decimals: as few as show every number, but at most three, or as many as it takes to tell
    different numbers apart.
    """
    decimals = 0
    for steps in column:
        while steps is not None and decimals < 3 and steps % 10 ** (6 - decimals):
            decimals += 1
    texts = _in_millions(column, decimals)
    while decimals < 6 and len(set(texts)) < len(set(column)):
        decimals += 1
        texts = _in_millions(column, decimals)
    return texts


def _in_millions(column: Sequence[Optional[float]], decimals: int) -> List[str]:
    texts: List[str] = []
    for steps in column:
        in_millions = None if steps is None else steps / 1e6
        texts.append(fixed(in_millions, decimals))
    return texts


def env_steps(steps: Optional[float]) -> str:
    """Return a number of env steps: below a million all digits, above it millions, as in "12.5 M"."""
    if steps is None:
        return UNKNOWN
    if steps < 1e6:
        return fixed(steps, 0)
    return number(steps / 1e6, "M")


def short_names(paths: Sequence[str]) -> List[str]:
    """Return the last part of each path; all of each path if the last parts are not unique."""
    last = [Path(path).name for path in paths]
    if len(set(last)) < len(last):
        return list(paths)
    return last
