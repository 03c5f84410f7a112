"""The pytest plugin: the contracts of any environment as tests, and a report.

Everything works under names that begin with `harness` wherever mapush is installed: see `pytest_mapush_harness`. With
`pytest_plugins = ["harness.plugin"]` in a conftest.py, the short spellings work, too:

  pytest -m contracts --env PACKAGE.MODULE:FACTORY   run every contract of this environment, and no other test
  pytest -m contracts --env ... --task PACKAGE.MODULE:TASK   check its rewards against what the task states, too
  pytest -m memory --env PACKAGE.MODULE:MAKE         take steps for a minute, and judge its memory (see docs/memory.md)
  pytest -m soak --soak=30 --env ...                 repeat the check with new seeds for 30 minutes
  pytest --report=DIR --at-least=500                 write DIR/report.html and .json; fail unless 500 tests ran

A test with the marker `soak` runs only with --soak, for `soak_minutes`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

import pytest_mapush_harness as prefixed
from harness.findings import Report
from harness.in_pytest.pytest_items import EnvCheck, EnvItem, env_items
from harness.pages.check_page import ReportRow, write_report
from pytest_mapush_harness import option

MARKERS = {
    "contracts": "what must hold, checked in seconds",
    "memory": "memory: what leaks, and what is not released",
    "soak": "runs for as long as --soak says",
}
SESSION = "harness-session"
"""The name under which pytest knows the session of the harness."""

_HAS_SHORT_NAMES = pytest.StashKey[bool]()


# -- short spellings -------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the short options; the prefixed ones, too, where the package is not installed."""
    if not pluginmanager.has_plugin(prefixed.NAME):
        pluginmanager.register(prefixed, prefixed.NAME)
    prefixed.add_options(parser, "--")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the short markers, and start the session of the harness."""
    prefixed.declare_markers(config, MARKERS)
    config.stash[_HAS_SHORT_NAMES] = True
    start(config)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselect the tests that take as long as they are given, unless a time is given."""
    prefixed.deselect_soaks(config, items, "soak", "--soak")


@pytest.fixture(scope="session")
def sim(harness_sim: str) -> str:
    """Return the name of the simulator to test on."""
    return harness_sim


@pytest.fixture(scope="session")
def soak_minutes(harness_soak_minutes: Optional[float]) -> Optional[float]:
    """Return how long a soak test is to run [min]; None if no soak was asked for."""
    return harness_soak_minutes


@pytest.fixture
def soak_folder(harness_soak_folder: Path) -> Path:
    """Return the folder for the curves of a soak: next to the report, which then links to its `soak.html`."""
    return harness_soak_folder


# -- the session -----------------------------------------------------------------------------------------------------


def start(config: pytest.Config) -> None:
    """Let the harness add the contracts, write the report and count the tests; a second call does nothing."""
    if not config.pluginmanager.has_plugin(SESSION):
        config.pluginmanager.register(HarnessSession(config), SESSION)


class HarnessSession:
    """What the harness does in one session of pytest.

    Args:
      config: of the session, with the options of the harness.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._rows: List[ReportRow] = []
        self._check: Optional[EnvCheck] = None
        if option(config, "env"):
            self._check = EnvCheck(config, config.stash.get(_HAS_SHORT_NAMES, False))
            config.args[:] = []  # no file is collected

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note whether any test of the environment was selected."""
        if self._check is not None:
            self._check.selected = any(isinstance(item, EnvItem) for item in session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: List[pytest.Item]) -> None:
        """Add the contracts of the environment as tests, so that `-m` and `-k` select among them."""
        if self._check is not None:
            items.extend(env_items(session, self._check))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test, and what went wrong before and after it."""
        if report.when == "call" or report.outcome != "passed":
            self._rows.append(_report_row(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report; fail if too few tests ran, or if no contract could be judged."""
        folder = option(self._config, "report")
        if folder is not None:
            self._write_report(folder)
        too_few = self._ran < option(self._config, "at-least")
        if too_few or self._nothing_was_judged:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what was judged and what not, where the report is, and whether too few tests ran."""
        checked = self._checked
        if checked is not None:
            for line in checked.unjudged:
                terminalreporter.write_line(line)
            for note in checked.notes:
                terminalreporter.write_line(f"note: {note}")
            terminalreporter.write_line(checked.summary)
        if self._check is not None and not self._check.selected:
            terminalreporter.write_line(self._check.why_none(), red=True)
        folder = option(self._config, "report")
        if folder is not None:
            terminalreporter.write_line(f"report: {folder / 'report.html'}")
        expected = option(self._config, "at-least")
        if self._ran < expected:
            terminalreporter.write_line(f"{self._ran} tests ran, expected at least {expected}", red=True)

    def _write_report(self, folder: Path) -> None:
        words = ["pytest", *self._config.invocation_params.args]
        title = option(self._config, "env") or " ".join(map(str, words))
        file = option(self._config, "matrix")
        matrix = None
        if file is not None:
            matrix = json.loads(file.read_text(encoding="utf-8"))
        write_report(folder, self._rows, title, matrix)

    @property
    def _ran(self) -> int:
        """How many tests ran."""
        return len([row for row in self._rows if row.outcome != "skipped"])

    @property
    def _checked(self) -> Optional[Report]:
        """What the check of the environment found; None if there was none."""
        if self._check is None:
            return None
        return self._check.report

    @property
    def _nothing_was_judged(self) -> bool:
        """Whether contracts ran and none of them came to a verdict, or memory was asked for and not judged."""
        checked = self._checked
        if self._check is not None and self._check.memory_is_unjudged:
            return True
        return checked is not None and not checked.findings and not checked.conclusive


def _report_row(report: pytest.TestReport) -> ReportRow:
    details = ""
    if report.failed:
        details = report.longreprtext
    known: Dict[str, Any] = dict(report.user_properties)
    findings: List[Any] = [value for name, value in report.user_properties if name == "finding"]
    return ReportRow(
        name=report.nodeid,
        outcome=report.outcome,
        seconds=known.get("seconds", report.duration),
        diagnosis=_diagnosis(report, details),
        details=details,
        reproduce=known.get("reproduce", ""),
        replay=known.get("replay", ""),
        page=known.get("page", ""),
        findings=findings,
    )


def _diagnosis(report: pytest.TestReport, details: str) -> str:
    """Return in one line why a test failed or was skipped."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    text = details
    if crash is not None:
        text = crash.message
    return text.strip().split("\n")[0]
