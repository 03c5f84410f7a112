"""A soak as JSON for machines, as curves, and as one HTML page for people."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import tempfile
from pathlib import Path
from typing import Any, List

from harness.installed import versions
from harness.memory.meters import BYTES, MIB
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import amount
from mapush.errors import ConfigError

COLUMNS = 3


def make_writable(folder: Path) -> None:
    """Make the folder of a report, if need be, and try whether it can be written to.

    Args:
      folder: where the report will be.
    Raises:
      ConfigError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        what = "the report cannot be written"
        raise ConfigError(what, where=str(folder), cause=str(error), fix="name a folder of yours") from error


def write_soak(report: SoakReport, folder: Path, name: str = "soak") -> Path:
    """Write `soak.json`, `soak.png` and `soak.html`, and return the path of the page.

    Args:
      report: what to write.
      folder: where; it is made if need be.
      name: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(dataclasses.asdict(report), ok=report.ok, versions=versions())
    (folder / (name + ".json")).write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")
    picture = folder / (name + ".png")
    _draw(report, picture)
    page = folder / (name + ".html")
    page.write_text(_page(report, picture), encoding="utf-8")
    return page


def _plain(value: Any) -> Any:
    """Return the same with None for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if value != value else value


def _draw(report: SoakReport, path: Path) -> None:
    """Draw one curve for each meter over the env steps; the band is between least and greatest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    shown = [finding for finding in report.findings if report.curves.get(finding.meter)]
    rows = max(-(-len(shown) // COLUMNS), 1)
    figure = Figure(figsize=(5.0 * COLUMNS, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, finding in enumerate(shown):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        scale = MIB if finding.unit == BYTES else 1
        steps, _, low, high = zip(*report.curves[finding.meter])
        axes.fill_between(steps, [value / scale for value in low], [value / scale for value in high], alpha=0.3)
        axes.plot(steps, [value / scale for value in low], linewidth=1.2)
        axes.set_title(f"{finding.meter}: {finding.kind}", fontsize=9)
        axes.set_ylabel("MiB" if finding.unit == BYTES else finding.unit, fontsize=8)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.tick_params(labelsize=7)
    figure.supxlabel("steps")
    figure.savefig(str(path), dpi=90)


def _page(report: SoakReport, picture: Path) -> str:
    rows = "".join(_row(report, index) for index in range(len(report.findings)))
    curves = base64.b64encode(picture.read_bytes()).decode()
    return _PAGE.format(html.escape(str(report)), rows, curves)


def _row(report: SoakReport, index: int) -> str:
    finding = report.findings[index]
    peak = report.peaks.get(finding.meter)
    numbers = (finding.slope, *finding.interval, finding.floor, finding.growth)
    cells: List[str] = [finding.meter, finding.kind, *(amount(number, finding.unit) for number in numbers)]
    cells += ["" if peak is None else amount(peak, finding.unit), finding.why]
    return "<tr>{}</tr>".format("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>memory soak</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem }}
td, th {{ padding: .15rem .8rem; text-align: left; border-bottom: 1px solid #ddd }}
pre {{ background: #f4f4f4; padding: .8rem; overflow-x: auto }}
img {{ max-width: 100% }}
</style>
<pre>{}</pre>
<table><tr><th>meter</th><th>verdict</th><th>per step</th><th>at least</th><th>at most</th><th>floor</th><th>growth</th>
<th>peak</th><th></th></tr>{}</table>
<img alt="curves of the meters" src="data:image/png;base64,{}">
</html>
"""
