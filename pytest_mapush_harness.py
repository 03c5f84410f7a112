"""The harness as a pytest plugin in any project: `pytest --harness-env PACKAGE.MODULE:FACTORY`.

pytest loads this module wherever mapush is installed. Other projects have options, markers and fixtures of their own,
and may have a folder `harness/`. Therefore every name here begins with `harness`, this module imports only pytest and
the standard library, and the package `harness` is imported only when one of the options below is used.

  pytest --harness-env PACKAGE.MODULE:FACTORY      run every contract of this environment, and no other test
  pytest --harness-env ... --harness-task PACKAGE.MODULE:TASK    check its rewards against what the task states, too
  pytest -m harness_memory --harness-env ...       take steps for a minute, and judge its memory
  pytest --harness-env ... --harness-soak=30       repeat the check with new seeds for 30 minutes
  pytest --harness-report=DIR --harness-at-least=500    write DIR/report.html; fail unless 500 tests ran

The short spellings (`--env`, `--soak`, ...) need one line in a conftest.py: `pytest_plugins = ["harness.plugin"]`.
`-p no:pytest_mapush_harness` switches the plugin off.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

NAME = "pytest_mapush_harness"
"""The name of this plugin: of its entry point, and for `-p no:NAME`."""

OPTIONS: Dict[str, Dict[str, Any]] = {
    "env": {"metavar": "PACKAGE.MODULE:FACTORY", "help": "check this environment, and run nothing else"},
    "sim": {"metavar": "NAME", "help": "simulator of the soak tests; with an env, the argument `sim` of its factory"},
    "task": {
        "metavar": "PACKAGE.MODULE:TASK",
        "default": "",
        "help": "with an env: a harness.contracts.Task to check its rewards against",
    },
    "harl": {
        "metavar": "DIR",
        "default": "",
        "help": "with an env: your HARL; by default that of HARL_DIR, an installed one, or upstream's as measured",
    },
    "api": {
        "metavar": "NAME",
        "default": "",
        "choices": ["", "harl", "gymnasium", "pettingzoo", "rsl_rl", "isaaclab"],
        "help": "with an env: its interface, one of harl, gymnasium, pettingzoo, rsl_rl, isaaclab; else recognised",
    },
    "one-per-process": {
        "action": "store_true",
        "default": False,
        "help": "with an env: build each environment in a process of its own (Isaac Gym)",
    },
    "seed": {"type": int, "default": 0, "help": "seed for environments and actions (default 0)"},
    "soak": {
        "metavar": "MINUTES",
        "nargs": "?",
        "type": float,
        "const": 10.0,
        "help": "run the soak tests, for this long (10)",
    },
    "report": {"metavar": "DIR", "type": Path, "help": "write report.html and report.json there"},
    "matrix": {"metavar": "FILE", "type": Path, "help": "put this matrix of faults (JSON) into the report"},
    "at-least": {"metavar": "N", "type": int, "default": 0, "help": "fail unless at least N tests ran"},
}
MARKERS = {
    "harness_contracts": "a contract of the environment of --harness-env",
    "harness_memory": "whether the environment of --harness-env leaks memory; runs if -m names it",
    "harness_soak": "runs for as long as --harness-soak says",
}
PROOF_OF_OURS = {"mapush": "errors.py", "harness": "plugin.py"}
"""A file of each of our packages; a package without it belongs to somebody else."""

_REASONS = pytest.StashKey[Dict[str, str]]()


# -- options ---------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options `--harness-...`."""
    add_options(parser, "--harness-")


def add_options(parser: pytest.Parser, prefix: str) -> None:
    """Add every option under a prefix; all spellings of an option set the same value."""
    group = parser.getgroup("harness", "contracts of environments")
    for name, settings in OPTIONS.items():
        group.addoption(prefix + name, dest=_destination(name), **settings)


def option(config: pytest.Config, name: str) -> Any:
    """Return the value of an option of `OPTIONS`, in whichever spelling it was given."""
    return config.getoption(_destination(name))


def _destination(name: str) -> str:
    return "harness_" + name.replace("-", "_")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; load the harness if one of its options is used."""
    declare_markers(config, MARKERS)
    for name, settings in OPTIONS.items():
        if option(config, name) != settings.get("default"):
            _require_our_packages()
            importlib.import_module("harness.plugin").start(config)
            return


def declare_markers(config: pytest.Config, markers: Dict[str, str]) -> None:
    """Declare markers, so that `--strict-markers` accepts them."""
    for name, meaning in markers.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def _require_our_packages() -> None:
    """Make sure that an import of our packages finds ours.

    Raises:
      UsageError: a file or folder of the project has the name of one of our packages, and is found first.
    """
    for package, proof in PROOF_OF_OURS.items():
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise pytest.UsageError(
                f"the package {package!r} is not installed; install it with: pip install mapush-stack"
            )
        folders = list(spec.submodule_search_locations or [])
        if not any((Path(folder) / proof).is_file() for folder in folders):
            found = spec.origin or folders[0]
            raise pytest.UsageError(
                f"{found} hides the package {package!r} of mapush, which the --harness options need.\n"
                "Rename it, or run pytest without these options."
            )


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def harness_sim(pytestconfig: pytest.Config) -> str:
    """Return the name of the simulator to test on."""
    return option(pytestconfig, "sim") or "auto"


@pytest.fixture(scope="session")
def harness_soak_minutes(pytestconfig: pytest.Config) -> Optional[float]:
    """Return how long a soak test is to run [min]; None if no soak was asked for."""
    return option(pytestconfig, "soak")


@pytest.fixture
def harness_soak_folder(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Return the folder for the curves of a soak: next to the report, which then links to its `soak.html`."""
    report = option(pytestconfig, "report")
    if report is None:
        return tmp_path
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    request.node.user_properties.append(("page", f"{name}/soak.html"))
    folder = report / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- tests that do not run -------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselect the tests that take as long as they are given, unless a time is given."""
    deselect_soaks(config, items, "harness_soak", "--harness-soak")


def deselect_soaks(config: pytest.Config, items: List[pytest.Item], marker: str, flag: str) -> None:
    """Deselect the tests that bear a marker, unless a soak was asked for."""
    soaks = [item for item in items if item.get_closest_marker(marker)]
    if soaks and not option(config, "soak"):
        deselect(config, items, soaks, {marker: f"runs for as long as {flag}=MINUTES says"})


def deselect(config: pytest.Config, items: List[pytest.Item], dropped: List[pytest.Item], why: Dict[str, str]) -> None:
    """Take tests out of `items`, and let the summary say why.

    Args:
      config: of this session.
      items: the collected tests; changed in place.
      dropped: those that are not to run.
      why: the reason for each marker.
    """
    config.hook.pytest_deselected(items=dropped)
    gone = set(dropped)
    items[:] = [item for item in items if item not in gone]
    note_reasons(config, why)


def note_reasons(config: pytest.Config, why: Dict[str, str]) -> None:
    """Let the summary say why tests do not run: a reason for each marker."""
    config.stash.setdefault(_REASONS, {}).update(why)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say why tests were deselected."""
    for marker, reason in config.stash.get(_REASONS, {}).items():
        terminalreporter.write_line(f"deselected {marker}: {reason}")
