"""A report of a soak: JSON for programs, a picture of the curves, and a page for people."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from harness.installed import versions
from harness.memory.curves import draw_curves
from harness.memory.meters import BYTES
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import LEAK, MeterVerdict
from harness.pages.html_page import write_page
from harness.units import MIB
from mapush.errors import ConfigError


def make_writable(folder: Path) -> None:
    """Create the folder of a report if it does not exist, and test whether it can be written.

    Args:
      folder: where the report will be written.

    Raises:
      ConfigError: the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        what = "the report cannot be written"
        raise ConfigError(what, where=str(folder), cause=str(error), fix="name a folder that you can write") from error


def write_soak(report: SoakReport, folder: Path, name: str = "soak") -> Path:
    """Write `soak.json`, `soak.png` and `soak.html`, and return the path of the page.

    Args:
      report: what to write.
      folder: where the files are written; it is created if it does not exist.
      name: name of the files, without the suffix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(dataclasses.asdict(report), ok=report.ok, versions=versions())
    as_json = json.dumps(_without_nan(content), indent=2)
    (folder / f"{name}.json").write_text(as_json + "\n", encoding="utf-8")
    picture = folder / f"{name}.png"
    draw_curves(report, picture)
    axis = report.axis
    return write_page(
        folder / f"{name}.html",
        "soak.html",
        title=f"Memory soak: {report.kind}",
        tiles=_tiles(report),
        headings=[
            "meter",
            "verdict",
            "unit",
            f"growth per 1,000 {axis}s",
            "at least",
            "at most",
            "floor",
            "total growth",
            "peak",
        ],
        rows=_rows(report.findings, report.peaks),
        note=(
            f"Growth per 1,000 {axis}s with its confidence interval; the floor is the smallest growth that would have "
            "been noticed. Total growth is from the end of the warm-up to the close."
        ),
        axis=axis,
        text=str(report),
        picture=base64.b64encode(picture.read_bytes()).decode(),
    )


def _without_nan(value: Any) -> Any:
    """Return the same value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    is_nan = value != value
    return None if is_nan else value


def _tiles(report: SoakReport) -> List[Dict[str, str]]:
    """Return what the page shows first: the verdict, what the growth belongs to, and how much was measured."""
    verdict = {"name": "verdict", "value": report.kind, "note": report.why, "kind": ""}
    if report.kind == LEAK:
        verdict["kind"] = "failed"
    elif report.ok:
        verdict["kind"] = "passed"
    tiles = [verdict]
    if report.owners:
        others = "; ".join(report.owners[1:])
        tiles.append({"name": "what grows", "value": report.owners[0], "note": others, "kind": ""})
    length = {"name": f"{report.axis}s", "value": f"{report.steps:,}", "note": f"in {report.seconds:.1f} s", "kind": ""}
    tiles.append(length)
    return tiles


def _rows(findings: Sequence[MeterVerdict], peaks: Mapping[str, Optional[float]]) -> List[Dict[str, Any]]:
    """Return a row for each meter; those that leak come first. All numbers of a row have the same unit."""
    leaking, others = [], []
    for finding in findings:
        peak = peaks.get(finding.meter)
        per_thousand = []
        for value in (finding.slope, *finding.interval, finding.floor):
            per_thousand.append(1000.0 * value)
        numbers = [*per_thousand, finding.growth, math.nan if peak is None else peak]
        unit, scale = _unit_of(numbers[:-1], finding.unit)
        row = {
            "meter": finding.meter,
            "kind": finding.kind,
            "reason": finding.why,
            "unit": unit,
            "numbers": [_fixed(number / scale) for number in numbers],
            "leaks": finding.kind == LEAK,
        }
        if row["leaks"]:
            leaking.append(row)
        else:
            others.append(row)
    return leaking + others


def _unit_of(values: Sequence[float], unit: str) -> Tuple[str, float]:
    """Return the unit in which these values are shown, and its size: bytes get the largest one that fits."""
    if unit != BYTES:
        return unit, 1.0
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    for name, size in (("GiB", 1024.0 * MIB), ("MiB", float(MIB)), ("KiB", 1024.0)):
        if largest >= size:
            return name, size
    return "B", 1.0


def _fixed(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.2f}"
