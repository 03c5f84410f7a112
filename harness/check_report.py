"""A report of checks as JSON for machines and as one HTML page, without anything from elsewhere, for people."""

from __future__ import annotations

import dataclasses
import html
import json
import statistics
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from harness.installed import versions

LONGEST_BAR = 160.0  # of the durations [px]
PLOT_LEFT, PLOT_WIDTH, ROW_HEIGHT = 150.0, 700.0, 20  # of the plot of planted bugs [px]


@dataclasses.dataclass(frozen=True)
class ReportRow:
    """What became of one check.

    Attributes:
      name: of the contract or test.
      outcome: "passed", "failed" or "skipped".
      seconds: how long it took [s].
      diagnosis: why it failed, in one line.
      details: why it failed, in full.
      reproduce: command that shows the failure again.
      replay: command that replays its bundle.
      page: another page about it, as seen from the report's folder.
    """

    name: str
    outcome: str
    seconds: float
    diagnosis: str = ""
    details: str = ""
    reproduce: str = ""
    replay: str = ""
    page: str = ""


def write_report(
    folder: Path, rows: Sequence[ReportRow], title: str, matrix: Optional[Sequence[Mapping]] = None
) -> Path:
    """Write `report.json` and `report.html`.

    Args:
      folder: where; it is made if need be.
      rows: one for each check.
      title: what was checked, and how.
      matrix: one mapping for each planted bug, as `python -m harness faults --json FILE` writes them.
    Returns:
      The path of the page.
    """
    counts = {name: sum(row.outcome == name for row in rows) for name in ("passed", "failed", "skipped")}
    content = {"title": title, "counts": counts, "versions": versions()}
    checks = [dataclasses.asdict(row) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    as_json = json.dumps(dict(content, checks=checks, matrix=matrix), indent=2)
    (folder / "report.json").write_text(as_json + "\n", encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_page(content, rows, matrix, folder), encoding="utf-8")
    return page


def _page(
    content: Mapping[str, Any], rows: Sequence[ReportRow], matrix: Optional[Sequence[Mapping]], folder: Path
) -> str:
    title = _text(content["title"])
    counts = content["counts"]
    outcomes = ("failed", "passed", "skipped")
    chips = " ".join(_marked(name if counts[name] else "", f"{counts[name]} {name}") for name in outcomes)
    parts = [f"<h1>{title}</h1><p>{chips}</p>", _checks(rows, folder)]
    parts += [_details(row) for row in rows if row.details]
    if matrix:
        parts.append(_bugs(matrix))
    installed = [(_text(name), _text(version)) for name, version in content["versions"].items()]
    parts.append("<h2>Versions</h2>" + _table(["what", "version"], installed))
    return _PAGE.format(title=title, body="\n".join(parts))


def _checks(rows: Sequence[ReportRow], folder: Path) -> str:
    """Lay out one row for each check, those that failed first, with a link to its page if there is one."""
    ordered = sorted(rows, key=lambda row: row.outcome != "failed")
    bars = _bars([row.seconds for row in ordered])
    cells = [
        (
            _linked(row, folder),
            _marked(row.outcome, row.outcome),
            f"{row.seconds:.2f}",
            bar,
            _text(row.diagnosis),
        )
        for row, bar in zip(ordered, bars)
    ]
    return _table(["check", "outcome", "time [s]", "", "diagnosis"], cells)


def _linked(row: ReportRow, folder: Path) -> str:
    there = row.page and (folder / row.page).is_file()
    return f'<a href="{_text(row.page)}">{_text(row.name)}</a>' if there else _text(row.name)


def _bugs(matrix: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the planted bugs: a plot of all, then one row for each, those that were missed first."""
    ordered = sorted(matrix, key=_caught)
    bars = _bars([bug["seconds"] for bug in ordered])
    cells = [
        (
            _text(bug["fault"]),
            _text(", ".join(bug["caught_by"])) if _caught(bug) else _marked("failed", "missed"),
            _text(", ".join(bug["expected"])),
            _text("" if bug["step"] is None else bug["step"]),
            "{:.2f}".format(bug["seconds"]),
            bar,
            _text(bug["diagnosis"]),
        )
        for bug, bar in zip(ordered, bars)
    ]
    text = (
        "<h2>Planted bugs</h2><p>{} of {} in {} classes are caught by a contract that they name; median {:.1f} s.</p>"
    )
    said = text.format(
        sum(map(_caught, matrix)),
        len(matrix),
        len({bug["kind"] for bug in matrix}),
        statistics.median(bug["seconds"] for bug in matrix),
    )
    headings = ["bug", "caught by", "expected of", "at step", "time [s]", "", "diagnosis"]
    return said + _plot(matrix) + _table(headings, cells)


def _caught(bug: Mapping[str, Any]) -> bool:
    return bool(set(bug["expected"]) & set(bug["caught_by"]))


def _plot(matrix: Sequence[Mapping[str, Any]]) -> str:
    """Draw a dot for each planted bug: its class over the time that its contracts took."""
    kinds = sorted({bug["kind"] for bug in matrix})
    longest = max(bug["seconds"] for bug in matrix) or 1.0
    height = ROW_HEIGHT * (len(kinds) + 1)
    shapes = [
        f'<text x="{PLOT_LEFT - 12.0:.0f}" y="{ROW_HEIGHT * (row + 1) - 5}" text-anchor="end">{_text(kind)}</text>'
        for row, kind in enumerate(kinds)
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = PLOT_LEFT + PLOT_WIDTH * share
        shapes.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y2="{height - ROW_HEIGHT}"/>')
        label = '<text x="{:.0f}" y="{}" text-anchor="middle">{:.1f} s</text>'
        shapes.append(label.format(x, height - 5, longest * share))
    for bug in matrix:
        x, y = PLOT_LEFT + PLOT_WIDTH * bug["seconds"] / longest, ROW_HEIGHT * (kinds.index(bug["kind"]) + 0.5)
        dot = '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}, {:.1f} s</title></circle>'
        shapes.append(dot.format("" if _caught(bug) else "failed", x, y, _text(bug["fault"]), bug["seconds"]))
    frame = '<svg width="{:.0f}" height="{}">{}</svg><p>A dot is a bug; a red one was missed.</p>'
    return frame.format(PLOT_LEFT + PLOT_WIDTH + 40.0, height, "".join(shapes))


def _bars(durations: Sequence[float]) -> Sequence[str]:
    """Draw each duration as a bar, the longest in full length."""
    longest = max(durations, default=0.0) or 1.0
    bar = '<svg width="{0:.0f}" height="9"><rect width="{0:.0f}" height="9"/></svg>'
    return [bar.format(LONGEST_BAR * duration / longest) for duration in durations]


def _marked(kind: str, text: str) -> str:
    return f'<span class="{_text(kind)}">{_text(text)}</span>'


def _details(row: ReportRow) -> str:
    text = f"<h3>{_text(row.name)}</h3><pre>{_text(row.details)}</pre>"
    for label, command in (("reproduce", row.reproduce), ("replay", row.replay)):
        text += f"<p>{label}: <code>{_text(command)}</code></p>" if command not in row.details else ""
    return text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of cells that are HTML already."""
    head = "".join(f"<th>{_text(name)}</th>" for name in headings)
    lines = ["<tr>{}</tr>".format("".join(f"<td>{cell}</td>" for cell in row)) for row in rows]
    return "<table><tr>{}</tr>\n{}\n</table>".format(head, "\n".join(lines))


def _text(value: Any) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }}
h2 {{ margin-top: 2.5rem }} h3 {{ margin-bottom: .4rem }}
table {{ border-collapse: collapse }} rect, circle {{ fill: #7a9cc0 }}
line {{ stroke: #e4e4e4 }} text {{ font-size: 12px }}
circle {{ fill-opacity: .65 }} circle.failed {{ fill: #b00020; fill-opacity: 1 }}
span {{ padding: .1rem .5rem; border-radius: .6rem; background: #eee; white-space: nowrap }}
span.failed {{ background: #b00020; color: #fff; font-weight: bold }} span.passed {{ background: #dcefdc }}
td, th {{ padding: .15rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }}
td:first-child {{ white-space: nowrap }}
pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; white-space: pre-wrap; border-left: 4px solid #b00020 }}
</style>
{body}
</html>
"""
