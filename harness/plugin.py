"""The pytest plugin: the contracts of any environment as test items, and a report.

It is loaded wherever the package is installed (`-p no:harness.plugin` switches it off):

  pytest -m contracts --env PACKAGE.MODULE:FACTORY   every contract of this environment, and nothing else
  pytest -m contracts --env ... --task PACKAGE.MODULE:TASK   its rewards, too, held to what the task states
  pytest -m soak --soak=30 --env ...                 all of them on ever new seeds, for 30 minutes
  pytest --report=DIR --at-least=500                 DIR/report.html and .json; fail unless 500 tests ran
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

import pytest

from harness.checking import bundle
from harness.findings import Finding, Report
from harness.pages.check_page import ReportRow, write_report

MARKERS = {
    "contracts": "what must hold, checked in seconds",
    "memory": "what may grow, and what may not",
    "soak": "runs for as long as --soak says",
}

_REASONS = pytest.StashKey[Dict[str, str]]()
_REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("harness", "contracts of environments")
    group.addoption("--env", metavar="PACKAGE.MODULE:FACTORY", help="check this environment, and run nothing else")
    group.addoption(
        "--sim", metavar="NAME", help="simulator of the soak tests; with --env, the argument `sim` of the factory"
    )
    group.addoption(
        "--task", default="", metavar="PACKAGE.MODULE:TASK", help="with --env: a harness.contracts.Task to hold it to"
    )
    group.addoption("--seed", type=int, default=0, help="of environments and actions (default 0)")
    group.addoption("--soak", nargs="?", type=float, const=10.0, metavar="MINUTES", help="run the soak tests (10)")
    group.addoption("--report", type=Path, metavar="DIR", help="write report.html and report.json there")
    group.addoption("--matrix", type=Path, metavar="FILE", help="matrix of faults, as JSON, to put into the report")
    group.addoption("--at-least", type=int, default=0, metavar="N", help="fail unless at least N tests ran")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and look for no files if an environment is to be checked."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if config.getoption("env"):
        config.args[:] = []
    config.pluginmanager.register(_Recorder(config))


@pytest.fixture(scope="session")
def sim(pytestconfig: pytest.Config) -> str:
    """Return the name of the simulator to test on."""
    return pytestconfig.getoption("sim") or "auto"


@pytest.fixture(scope="session")
def soak_minutes(pytestconfig: pytest.Config) -> float:
    """Return how long a soak test is to run [min]."""
    return pytestconfig.getoption("soak")


@pytest.fixture
def soak_folder(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Return where a soak writes its curves: beside the report of --report, which links to its `soak.html`."""
    report = pytestconfig.getoption("report")
    if report is None:
        return tmp_path
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    request.node.user_properties.append(("page", f"{name}/soak.html"))
    (report / name).mkdir(parents=True, exist_ok=True)
    return report / name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: List[pytest.Item]) -> None:
    """Add the contracts of the environment, and leave out what runs for long unless it is told for how long."""
    if config.getoption("env"):
        items.extend(_env_items(session, config))
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak and not config.getoption("soak"):
        deselect(config, items, soak, {"soak": "runs for as long as --soak=MINUTES says"})


def deselect(config: pytest.Config, items: List[pytest.Item], dropped: List[pytest.Item], why: Dict[str, str]) -> None:
    """Take tests out of `items`; the summary says why, by marker."""
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in set(dropped)]
    tell(config, why)


def tell(config: pytest.Config, why: Dict[str, str]) -> None:
    """Let the summary say why tests do not run, by marker."""
    config.stash.setdefault(_REASONS, {}).update(why)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say why tests were deselected, and which contracts could not be judged."""
    for name, reason in config.stash.get(_REASONS, {}).items():
        terminalreporter.write_line(f"deselected {name}: {reason}")
    if _REPORT in config.stash:
        report = config.stash[_REPORT]
        for line in report.unjudged + [report.summary]:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail if contracts were to be judged and none could be."""
    report = session.config.stash.get(_REPORT, None)
    if report is not None and not report.findings and not report.conclusive:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# -- the contracts of an environment ---------------------------------------------------------------------------------


class BrokenContracts(Exception):
    """Contracts that do not hold; its text is what a person should read."""


class EnvItem(pytest.Item):
    """A test of the environment of --env."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo, style: Optional[Any] = None) -> Any:
        """Show what was found; no traceback of the harness."""
        return str(excinfo.value) if excinfo.errisinstance(BrokenContracts) else super().repr_failure(excinfo)

    def reportinfo(self) -> Any:
        """Return where the test is and what it is called."""
        return self.path, None, self.nodeid


class ContractItem(EnvItem):
    """One contract."""

    def runtest(self) -> None:
        """Judge the contract by the one check that judges all the contracts that run.

        Raises:
          BrokenContracts: it does not hold.
        """
        report, selected = _checked(self.session), _selected(self.session)
        self.user_properties.append(("seconds", report.times.get(self.name, 0.0)))
        own = [
            finding
            for finding in report.findings
            if finding.contract == self.name or (finding.contract not in selected and self.name == selected[0])
        ]
        _raise(self, own, self.config.getoption("seed"))
        if self.name not in report.passed:
            pytest.skip(report.not_judged.get(self.name, "not reached"))


class SoakItem(EnvItem):
    """All contracts, on ever new seeds."""

    def runtest(self) -> None:
        """Check with one seed after the other until the time is up.

        Raises:
          BrokenContracts: with some seed, a contract does not hold.
        """
        seed, end = self.config.getoption("seed"), time.monotonic() + 60.0 * self.config.getoption("soak")
        while time.monotonic() < end:
            seed += 1
            _raise(self, _check(self.config, None, seed).findings, seed)


def _env_items(session: pytest.Session, config: pytest.Config) -> List[pytest.Item]:
    from harness.contracts import names

    wanted: List[Tuple[Type[EnvItem], str, str]] = [(ContractItem, name, "contracts") for name in names("env")]
    if config.getoption("soak"):
        wanted.append((SoakItem, "soak", "soak"))
    items: List[pytest.Item] = []
    for kind, name, marker in wanted:
        item = kind.from_parent(session, name=name, nodeid="{}::{}".format(config.getoption("env"), name))
        item.add_marker(marker)
        items.append(item)
    return items


def _selected(session: pytest.Session) -> List[str]:
    return [item.name for item in session.items if isinstance(item, ContractItem)]


def _checked(session: pytest.Session) -> Report:
    """Return the report of all the contracts that were selected; the first call makes it."""
    stash = session.config.stash
    if _REPORT not in stash:
        stash[_REPORT] = _check(session.config, _selected(session), session.config.getoption("seed"))
    return stash[_REPORT]


def _check(config: pytest.Config, contracts: Optional[Sequence[str]], seed: int) -> Report:
    from harness.checking.check import check

    return check(config.getoption("env"), _kwargs(config), contracts, seed, task=config.getoption("task"))


def _kwargs(config: pytest.Config) -> Dict[str, Any]:
    simulator = config.getoption("sim")
    return {"sim": simulator} if simulator else {}


def _raise(item: EnvItem, findings: Sequence[Finding], seed: int) -> None:
    """Raise what was found, with the commands that show it again; bundles lie beside the report, if there is one.

    Raises:
      BrokenContracts: something was found.
    """
    config = item.config
    folder = config.getoption("report") or bundle.FOLDER
    factory, task = config.getoption("env"), config.getoption("task")
    kept = [bundle.keep(one, factory, _kwargs(config), seed, folder, task) for one in findings]
    for finding in kept:
        item.user_properties += [("reproduce", finding.reproduce), ("replay", finding.replay)]
    if kept:
        raise BrokenContracts("\n".join(map(str, kept)))


# -- the report ------------------------------------------------------------------------------------------------------


class _Recorder:
    """Keeps what became of every test, for the report and for --at-least."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._rows: List[ReportRow] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the call of a test, and what went wrong before and after it."""
        if report.when == "call" or report.outcome != "passed":
            self._rows.append(_row(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report; fail if too few tests ran."""
        folder, matrix = self._config.getoption("report"), self._config.getoption("matrix")
        if folder is not None:
            title = self._config.getoption("env") or " ".join(["pytest", *self._config.invocation_params.args])
            write_report(folder, self._rows, title, json.loads(matrix.read_text()) if matrix else None)
        if self._ran < self._config.getoption("at_least"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the report is, and how many tests ran if those are too few."""
        if self._config.getoption("report") is not None:
            terminalreporter.write_line("report: {}".format(self._config.getoption("report") / "report.html"))
        expected = self._config.getoption("at_least")
        if self._ran < expected:
            terminalreporter.write_line(f"{self._ran} tests ran, expected at least {expected}", red=True)

    @property
    def _ran(self) -> int:
        return sum(row.outcome != "skipped" for row in self._rows)


def _row(report: pytest.TestReport) -> ReportRow:
    details = report.longreprtext if report.failed else ""
    crash = getattr(report.longrepr, "reprcrash", None)
    diagnosis = (crash.message if crash is not None else details).strip().split("\n")[0]
    if report.skipped and isinstance(report.longrepr, tuple):
        diagnosis = str(report.longrepr[2])
    known: Dict[str, Any] = dict(report.user_properties)
    seconds = known.get("seconds", report.duration)
    found = [known.get(name, "") for name in ("reproduce", "replay", "page")]
    return ReportRow(report.nodeid, report.outcome, seconds, diagnosis, details, *found)
