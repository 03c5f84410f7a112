"""The tests that pytest adds for the environment of `--env`: its contracts, its memory, and a soak."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterator, List, Optional, Sequence, TextIO

import pytest

from harness.checking import bundle
from harness.findings import Finding, Report
from harness.status.status_line import StatusLine
from pytest_mapush_harness import option


class EnvCheck:
    """The check of the environment of `--env`; it runs once, for all the contracts that were selected.

    Args:
      config: of the session, with the options of the harness.
      short_names: whether the short spellings work in this session, so that its tests have the short markers, too.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: arguments of the factory that stay as they are.
      task: "package.module:task"; "" if none is stated.
      harl: folder of the user's HARL; "" for that of `HARL_DIR`, an installed one, or upstream's.
      api: name of the interface of the environment; "" to recognise it.
      seed: seed for environments and actions.
      one_per_process: whether each environment is built in a process of its own, because that was asked for.
      screen: shows how far the check is, and prints a line about a finding at once.
      soak_minutes: how long the check is repeated with new seeds [min]; None for not at all.
      folder: where replay bundles are written.
      markers: of the contracts, of the test of the memory, and of the soak.
      asks_for_memory: whether -m names the test of the memory.
      memory_is_unjudged: whether that test saw too little.
      report: what the check found; None until it has run.
      selected: whether any of its tests was selected.
    """

    def __init__(self, config: pytest.Config, short_names: bool) -> None:
        self.factory: str = option(config, "env")
        self.kwargs: Dict[str, Any] = {}
        if option(config, "sim"):
            self.kwargs["sim"] = option(config, "sim")
        self.task: str = option(config, "task")
        self.harl: str = option(config, "harl")
        self.api: str = option(config, "api")
        self.seed: int = option(config, "seed")
        self.one_per_process: bool = option(config, "one-per-process")
        self.screen = PastCapture(config)
        self.soak_minutes: Optional[float] = option(config, "soak")
        self.folder: Path = option(config, "report") or bundle.FOLDER
        self.markers = {"contracts": ["harness_contracts"], "memory": ["harness_memory"], "soak": ["harness_soak"]}
        if short_names:
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
        with self.screen.status(f"seed {seed}") as status:
            return check(
                self.factory,
                self.kwargs,
                contracts,
                seed,
                task=self.task,
                harl=self.harl,
                one_per_process=self.one_per_process,
                show=lambda line: self.screen.print(f"found after {line}", status),
                api=self.api,
                say=status.say,
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


class PastCapture:
    """Writes to the terminal while pytest captures what tests print.

    Args:
      config: of the session.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @contextlib.contextmanager
    def stream(self) -> Iterator[Optional[TextIO]]:
        """Provide stderr as it is without the capture; None if it is not a file."""
        with self._uncaptured():
            try:
                descriptor = os.dup(sys.stderr.fileno())
            except (AttributeError, OSError, ValueError):
                yield None
                return
        with open(descriptor, "w", encoding="utf-8") as stream:
            yield stream

    @contextlib.contextmanager
    def status(self, name: str) -> Iterator[StatusLine]:
        """Provide a line that says what is done and how far it is; see `StatusLine`."""
        with self.stream() as stream:
            if stream is None:
                yield StatusLine(name)  # not entered, so it shows nothing
                return
            with StatusLine(name, stream) as status:
                if status.is_terminal:
                    self._begin_line()
                yield status

    def print(self, line: str, status: StatusLine) -> None:
        """Print a line that stays, in place of the status."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            with status.hidden(), self._uncaptured():
                reporter.ensure_newline()
                reporter.write_line(line)

    def _begin_line(self) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            with self._uncaptured():
                reporter.ensure_newline()
                reporter.flush()

    def _uncaptured(self) -> ContextManager[Any]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            return contextlib.nullcontext()
        return capture.global_and_fixture_disabled()


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
        target = SoakTarget(self.env_check.factory, minutes, CYCLES, WARM_UP)
        try:
            with self.env_check.screen.stream() as stream:
                report = soak_in_child(target, stream=stream)
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


def env_items(session: pytest.Session, env_check: EnvCheck) -> List[pytest.Item]:
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
