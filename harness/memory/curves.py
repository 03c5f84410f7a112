"""The curves of a soak as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence, Tuple

from harness.memory.meters import BYTES
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import MeterVerdict
from harness.units import MIB

COLUMNS = 3
PANEL_SIZE = (5.0, 2.6)  # of one curve [in]
DPI = 90


def draw_curves(report: SoakReport, path: Path) -> None:
    """Draw one curve for each meter over the env steps, as a PNG file.

    The line is the minimum of the meter around a step, the band reaches from the minimum to the maximum.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = []
    for finding in report.findings:
        if report.curves.get(finding.meter):
            shown.append(finding)
    row_count = max(-(-len(shown) // COLUMNS), 1)  # rounded up
    size = (PANEL_SIZE[0] * COLUMNS, PANEL_SIZE[1] * row_count)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    for index, finding in enumerate(shown):
        axes = figure.add_subplot(row_count, COLUMNS, index + 1)
        _draw_curve(axes, finding, report.curves[finding.meter])
    figure.supxlabel("steps")
    figure.savefig(str(path), dpi=DPI)


def _draw_curve(axes: Any, finding: MeterVerdict, points: Sequence[Tuple[float, ...]]) -> None:
    """Draw the points (step, time [s], minimum, maximum) of one meter."""
    from matplotlib.ticker import EngFormatter

    in_bytes = finding.unit == BYTES
    scale = MIB if in_bytes else 1
    steps, low, high = [], [], []
    for step, _, minimum, maximum in points:
        steps.append(step)
        low.append(minimum / scale)
        high.append(maximum / scale)
    axes.fill_between(steps, low, high, alpha=0.3)
    axes.plot(steps, low, linewidth=1.2)
    axes.set_title(f"{finding.meter}: {finding.kind}", fontsize=9)
    axes.set_ylabel("MiB" if in_bytes else finding.unit, fontsize=8)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.tick_params(labelsize=7)
