"""What runs where: tests that cannot run here, or only on request, are deselected with a reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Dict, List, Optional

import pytest

SELECTED_BY_NAME = {"slow": "takes minutes: run it with -m slow"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Optional[bool]:
    """Leave out, unread, the test files that need MuJoCo where it is missing (Python before 3.11)."""
    if collection_path.suffix != ".py" or importlib.util.find_spec("mujoco") is not None:
        return None
    if "pytest.mark.mujoco" not in collection_path.read_text() or collection_path == Path(__file__):
        return None
    config.stash.setdefault(_REASONS, {})["mujoco"] = "its package is not installed (it needs Python 3.11)"
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselect what cannot run here; a test that is asked for by marker always runs."""
    reasons = _reasons(str(config.getoption("markexpr")))
    dropped = [item for item in items if any(item.get_closest_marker(name) for name in reasons)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]
        given = config.stash.setdefault(_REASONS, {})
        given.update({name: reasons[name] for name in reasons if _any_marked(dropped, name)})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say why tests were deselected."""
    for name, reason in config.stash.get(_REASONS, {}).items():
        terminalreporter.write_line("deselected {}: {}".format(name, reason))


_REASONS = pytest.StashKey[Dict[str, str]]()


def _any_marked(items: List[pytest.Item], name: str) -> bool:
    return any(item.get_closest_marker(name) for item in items)


def _reasons(asked_for: str) -> Dict[str, str]:
    reasons = {name: reason for name, reason in SELECTED_BY_NAME.items() if name not in asked_for}
    gl_missing = _why_no_rendering()
    if gl_missing is not None:
        reasons["render"] = gl_missing
    return reasons


def _why_no_rendering() -> Optional[str]:
    from ctypes.util import find_library

    if find_library("OSMesa") or find_library("EGL"):
        return None
    return "no OpenGL library that draws without a display: apt-get install libosmesa6"
