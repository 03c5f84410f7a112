"""A report of checks: `report.json` for programs and `report.html` for people."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from harness.installed import versions
from harness.pages.bug_plot import bug_plot
from harness.pages.html_page import write_page

OUTCOMES = ("failed", "passed", "skipped")
LEAD = ("cause", "fix")  # fields of a finding that its card shows first


@dataclasses.dataclass(frozen=True)
class ReportRow:
    """The result of one check.

    Attributes:
      name: name of the contract or test.
      outcome: "passed", "failed" or "skipped".
      seconds: how long it took [s].
      diagnosis: why it failed, in one line.
      details: why it failed, in full.
      reproduce: command that shows the failure again.
      replay: command that replays its bundle.
      page: a different page about it, relative to the folder of the report.
      findings: the fields of each finding, by name, see `Finding.fields`.
    """

    name: str
    outcome: str
    seconds: float
    diagnosis: str = ""
    details: str = ""
    reproduce: str = ""
    replay: str = ""
    page: str = ""
    findings: List[Dict[str, str]] = dataclasses.field(default_factory=list)


def write_report(
    folder: Path, rows: Sequence[ReportRow], title: str, matrix: Optional[Sequence[Mapping[str, Any]]] = None
) -> Path:
    """Write `report.json` and `report.html`, and return the path of the page.

    Args:
      folder: where they are written; it is created if it does not exist.
      rows: one row for each check.
      title: what was checked, and how.
      matrix: one mapping for each planted bug, as `python -m harness faults --json FILE` writes them.
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    for row in rows:
        counts[row.outcome] += 1
    installed = versions()
    content = {
        "title": title,
        "counts": counts,
        "versions": installed,
        "checks": [dataclasses.asdict(row) for row in rows],
        "matrix": matrix,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return write_page(
        folder / "report.html",
        "check.html",
        title=title,
        counts=counts,
        seconds=sum(row.seconds for row in rows),
        checks=_shown_checks(rows, folder),
        bugs=_shown_bugs(matrix or ()),
        versions=installed,
    )


def _shown_checks(rows: Sequence[ReportRow], folder: Path) -> List[Dict[str, Any]]:
    """Return what the page shows of each check; those that failed come first."""
    longest = max((row.seconds for row in rows), default=0.0)
    shown = []
    for row in sorted(rows, key=lambda row: row.outcome != "failed"):
        values = dataclasses.asdict(row)
        values["share"] = _share(row.seconds, longest)
        values["link"] = ""
        if row.page and (folder / row.page).is_file():
            values["link"] = row.page
        values["cards"] = _cards(row)
        shown.append(values)
    return shown


def _cards(row: ReportRow) -> List[Dict[str, Any]]:
    """Return a card for each finding of a failed check; one with its message where the findings are not known."""
    cards = []
    for fields in row.findings:
        cards.append(_card_of_finding(fields))
    if not cards:
        commands = []
        for label, command in (("reproduce", row.reproduce), ("replay", row.replay)):
            if command not in row.details:
                commands.append((label, command))
        cards.append({"title": row.name, "lead": [], "rest": [], "details": row.details, "commands": commands})
    return cards


def _card_of_finding(fields: Mapping[str, str]) -> Dict[str, Any]:
    """Return the card of a finding: cause and fix first, then what was found, and the commands last."""
    lead = [(name, fields[name]) for name in LEAD if name in fields]
    rest, commands = [], []
    for name, value in fields.items():
        if name in ("reproduce", "replay"):
            commands.append((name, value))
        elif name not in (*LEAD, "contract", "what"):
            rest.append((name, value))
    title = f"{fields['contract']}: {fields['what']}"
    return {"title": title, "lead": lead, "rest": rest, "details": "", "commands": commands}


def _shown_bugs(matrix: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Return what the page shows of the planted bugs; those that were missed come first."""
    if not matrix:
        return {}
    durations = [bug["seconds"] for bug in matrix]
    longest = max(durations)
    caught, missed = [], []
    for bug in matrix:
        is_caught = bool(set(bug["expected"]) & set(bug["caught_by"]))
        row = {**bug, "caught": is_caught, "share": _share(bug["seconds"], longest)}
        if is_caught:
            caught.append(row)
        else:
            missed.append(row)
    rows = missed + caught
    return {
        "rows": rows,
        "caught": len(caught),
        "median": statistics.median(durations),
        "plot": bug_plot(rows),
    }


def _share(seconds: float, longest: float) -> float:
    """Return the length of the bar that shows a duration, as a share of the longest bar."""
    if longest == 0.0:
        return 0.0
    return seconds / longest
