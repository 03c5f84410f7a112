"""A report of a soak: JSON for programs, a picture of the curves, and a page for people."""

from __future__ import annotations

import base64
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from harness.installed import versions
from harness.memory.curves import draw_curves
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import MeterVerdict, amount
from harness.pages.html_page import write_page
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
    rows = [_row(report, finding) for finding in report.findings]
    return write_page(
        folder / f"{name}.html",
        "soak.html",
        title="memory soak",
        text=str(report),
        rows=rows,
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


def _row(report: SoakReport, finding: MeterVerdict) -> Dict[str, Any]:
    """Return the row of one meter: its verdict, its numbers with their units, and the reason for the verdict."""
    cells: List[str] = [finding.meter, finding.kind]
    for number in (finding.slope, *finding.interval, finding.floor, finding.growth):
        cells.append(amount(number, finding.unit))
    peak = report.peaks.get(finding.meter)
    cells.append("" if peak is None else amount(peak, finding.unit))
    return {"cells": cells, "reason": finding.why}
