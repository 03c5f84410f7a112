"""The plot of the planted bugs: a dot for each bug, its class over the time that its contracts took."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

LEFT, WIDTH, RIGHT = 150.0, 700.0, 40.0  # [px]
ROW_HEIGHT = 20.0  # [px]
LABEL_GAP = 12.0  # between the name of a class and the axis [px]
BASELINE = 5.0  # of text above the lower edge of its row [px]
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the longest duration


def bug_plot(bugs: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Return the places of everything in the plot [px].

    Args:
      bugs: one mapping for each bug, with `fault`, `kind`, `seconds` and `caught`.
    """
    kinds = sorted({bug["kind"] for bug in bugs})
    longest = max(bug["seconds"] for bug in bugs) or 1.0
    axis = ROW_HEIGHT * len(kinds)
    height = axis + ROW_HEIGHT
    labels = []
    for index, kind in enumerate(kinds):
        labels.append(_text(LEFT - LABEL_GAP, ROW_HEIGHT * (index + 1) - BASELINE, kind))
    ticks = []
    for share in TICKS:
        ticks.append(_text(LEFT + WIDTH * share, height - BASELINE, f"{longest * share:.1f} s"))
    dots: List[Dict[str, Any]] = []
    for bug in bugs:
        x = LEFT + WIDTH * bug["seconds"] / longest
        y = ROW_HEIGHT * (kinds.index(bug["kind"]) + 0.5)
        dot = _text(x, y, f"{bug['fault']}, {bug['seconds']:.1f} s")
        dots.append({**dot, "missed": not bug["caught"]})
    return {
        "width": LEFT + WIDTH + RIGHT,
        "height": height,
        "axis": axis,
        "kinds": labels,
        "ticks": ticks,
        "dots": dots,
    }


def _text(x: float, y: float, text: str) -> Dict[str, Any]:
    return {"x": f"{x:.1f}", "y": f"{y:.1f}", "text": text}
