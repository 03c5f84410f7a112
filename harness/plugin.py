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

import contextlib
import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import pytest

import pytest_mapush_harness as prefixed
from harness.checking import bundle
from harness.findings import Finding, Report
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
            self._check = EnvCheck(config)
            config.args[:] = []  # no file is collected

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note whether any test of the environment was selected."""
        if self._check is not None:
            self._check.selected = any(isinstance(item, EnvItem) for item in session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: List[pytest.Item]) -> None:
        """Add the contracts of the environment as tests, so that `-m` and `-k` select among them."""
        if self._check is not None:
            items.extend(_env_items(session, self._check))

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


# -- the contracts of an environment ---------------------------------------------------------------------------------


class EnvCheck:
    """The check of the environment of `--env`; it runs once, for all the contracts that were selected.

    Args:
      config: of the session, with the options of the harness.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: arguments of the factory that stay as they are.
      task: "package.module:task"; "" if none is stated.
      harl: folder of the user's HARL; "" for that of `HARL_DIR`, an installed one, or upstream's.
      api: name of the interface of the environment; "" to recognise it.
      seed: seed for environments and actions.
      one_per_process: whether each environment is built in a process of its own, because that was asked for.
      show: prints a line about a finding at once.
      soak_minutes: how long the check is repeated with new seeds [min]; None for not at all.
      folder: where replay bundles are written.
      markers: of the contracts, of the test of the memory, and of the soak.
      asks_for_memory: whether -m names the test of the memory.
      memory_is_unjudged: whether that test saw too little.
      report: what the check found; None until it has run.
      selected: whether any of its tests was selected.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.factory: str = option(config, "env")
        self.kwargs: Dict[str, Any] = {}
        if option(config, "sim"):
            self.kwargs["sim"] = option(config, "sim")
        self.task: str = option(config, "task")
        self.harl: str = option(config, "harl")
        self.api: str = option(config, "api")
        self.seed: int = option(config, "seed")
        self.one_per_process: bool = option(config, "one-per-process")
        self.show: Callable[[str], Any] = _shower(config)
        self.soak_minutes: Optional[float] = option(config, "soak")
        self.folder: Path = option(config, "report") or bundle.FOLDER
        self.markers = {"contracts": ["harness_contracts"], "memory": ["harness_memory"], "soak": ["harness_soak"]}
        if config.stash.get(_HAS_SHORT_NAMES, False):
            self.markers["contracts"].append("contracts")
            self.markers["memory"].append("memory")
            self.markers["soak"].append("soak")
        self.asks_for_memory = "memory" in (config.option.markexpr or "")
        self.memory_is_unjudged = False
        self.report: Optional[Report] = None
        self.selected = False
        self._selection = f"-m {config.option.markexpr!r} -k {config.option.keyword!r}"

    def why_none(self) -> str:
        """Return in words why no test of the environment was selected."""
        words = f"{self._selection} selects none of the contracts of {self.factory}: their marker is 'contracts'"
        if "memory" in self._selection:
            words += "; memory that an environment keeps is judged by -k 'bounded-statistics or made-and-closed'"
            words += ", and over a long run by harness.soak (docs/memory.md)"
        return words

    def judge(self, contracts: Sequence[str]) -> Report:
        """Return what the check of these contracts found; only the first call runs it."""
        if self.report is None:
            self.report = self.run(contracts, self.seed)
        return self.report

    def run(self, contracts: Optional[Sequence[str]], seed: int) -> Report:
        """Check these contracts, or all for None, with a seed."""
        from harness.checking.check import check
        from harness.stack import training_hints

        training_hints.activate()
        return check(
            self.factory,
            self.kwargs,
            contracts,
            seed,
            task=self.task,
            harl=self.harl,
            one_per_process=self.one_per_process,
            show=self.show,
            api=self.api,
        )

    def require_none(self, item: pytest.Item, findings: Sequence[Finding], seed: int) -> None:
        """Fail if anything was found; write a replay bundle for each finding, and show the commands.

        Args:
          item: the test; its properties carry the commands into the report.
          findings: what was found.
          seed: with which it was found.

        Raises:
          BrokenContracts: something was found.
        """
        texts = []
        for finding in findings:
            kept = bundle.keep(finding, self.factory, self.kwargs, seed, self.folder, self.task, self.api)
            item.user_properties.append(("reproduce", kept.reproduce))
            item.user_properties.append(("replay", kept.replay))
            item.user_properties.append(("finding", kept.fields))
            texts.append(str(kept))
        if texts:
            raise BrokenContracts("\n".join(texts))


def _shower(config: pytest.Config) -> Callable[[str], Any]:
    """Return what prints a line past the capture of pytest."""

    def show(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"found after {line}")

    return show


class BrokenContracts(Exception):
    """Contracts that do not hold; its text is what a person should read."""


class EnvItem(pytest.Item):
    """A test of the environment of `--env`."""

    def __init__(self, *, env_check: EnvCheck, **settings: Any) -> None:
        super().__init__(**settings)
        self.env_check = env_check

    def repr_failure(self, excinfo: pytest.ExceptionInfo, style: Optional[Any] = None) -> Any:
        """Show what was found, without the traceback of the harness."""
        if excinfo.errisinstance(BrokenContracts):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> Any:
        """Return where the test is and what it is called."""
        return self.path, None, self.nodeid


class ContractItem(EnvItem):
    """One contract."""

    def runtest(self) -> None:
        """Read the verdict on this contract from the one check of all selected contracts.

        Raises:
          BrokenContracts: the contract does not hold.
        """
        selected = [item.name for item in self.session.items if isinstance(item, ContractItem)]
        report = self.env_check.judge(selected)
        self.user_properties.append(("seconds", report.times.get(self.name, 0.0)))
        own = [finding for finding in report.findings if finding.contract == self.name]
        if self.name == selected[0]:  # a check may find a broken contract that was not selected; it must not be lost
            own += [finding for finding in report.findings if finding.contract not in selected]
        self.env_check.require_none(self, own, self.env_check.seed)
        if self.name not in report.passed:
            pytest.skip(report.not_judged.get(self.name, "not reached"))


class MemoryItem(EnvItem):
    """Whether the environment leaks memory."""

    def runtest(self) -> None:
        """Soak the environment in a process of its own.

        Raises:
          BrokenContracts: it leaks, or something is not released after the close, or it cannot be soaked.
        """
        from harness.memory.verdict import NOT_ENOUGH, NOT_JUDGED
        from harness.soaking.own_command import CYCLES, MINUTES, WARM_UP, soak_in_child
        from harness.soaking.own_soak import SoakTarget
        from mapush.errors import MapushError

        minutes = self.env_check.soak_minutes or MINUTES
        try:
            report = soak_in_child(SoakTarget(self.env_check.factory, minutes, CYCLES, WARM_UP))
        except MapushError as error:
            raise BrokenContracts(str(error)) from error
        self.user_properties.append(("seconds", report.seconds))
        if report.kind in (NOT_ENOUGH, NOT_JUDGED) and not report.kept:
            self.env_check.memory_is_unjudged = True
            pytest.skip(f"not judged: {report.why}")
        if not report.ok:
            raise BrokenContracts(str(report))


class SoakItem(EnvItem):
    """All contracts, checked again and again with new seeds."""

    def runtest(self) -> None:
        """Check with one seed after the other until the time is up.

        Raises:
          BrokenContracts: with some seed, a contract does not hold.
        """
        seed = self.env_check.seed
        end = time.monotonic() + 60.0 * (self.env_check.soak_minutes or 0.0)
        while time.monotonic() < end:
            seed += 1
            report = self.env_check.run(None, seed)
            self.env_check.require_none(self, report.findings, seed)


def _env_items(session: pytest.Session, env_check: EnvCheck) -> List[pytest.Item]:
    """Return a test for each contract, and one for the soak if it was asked for."""
    from harness.contracts import names

    items: List[pytest.Item] = []
    for name in names("env"):
        items.append(_env_item(ContractItem, session, env_check, name, "contracts"))
    if env_check.asks_for_memory:
        items.append(_env_item(MemoryItem, session, env_check, "memory", "memory"))
    if env_check.soak_minutes:
        items.append(_env_item(SoakItem, session, env_check, "soak", "soak"))
    return items


def _env_item(kind: Any, session: pytest.Session, env_check: EnvCheck, name: str, group: str) -> pytest.Item:
    item = kind.from_parent(session, name=name, nodeid=f"{env_check.factory}::{name}", env_check=env_check)
    for marker in env_check.markers[group]:
        item.add_marker(marker)
    return item
