"""How numbers and names look, in pages and in the terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

UNKNOWN = "–"

Bounds = Tuple[float, float]  # of an interval, NaN if they are not known


def number(value: Optional[float], unit: str = "") -> str:
    """Return `value` with three significant digits and its unit; a dash if it is None or NaN."""
    if value is None or math.isnan(value):
        return UNKNOWN
    text = f"{value:.3g}"
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    return f"{text} {unit}".strip()


def interval(bounds: Bounds) -> str:
    """Return both bounds, as in "0.5 to 0.7"; nothing if they are NaN."""
    low, high = bounds
    if math.isnan(low):
        return ""
    return f"{number(low)} to {number(high)}"


def millions(steps: Optional[float]) -> str:
    """Return a number of env steps in millions, without the unit; a dash if it is None."""
    if steps is None:
        return UNKNOWN
    return number(steps / 1e6)


def short_names(paths: Sequence[str]) -> List[str]:
    """Return the last part of each path; all of each path if the last parts are not unique."""
    last = [Path(path).name for path in paths]
    if len(set(last)) < len(last):
        return list(paths)
    return last
