"""Choose which screen shows the episodes: the viewer that was asked for, if it works on this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path
from typing import Optional

from mapush.errors import ConfigError
from mapush.evaluation.evaluate_config import EvaluateConfig

MJPYTHON = "MJPYTHON_BIN"  # the variable that `mjpython` sets
DEFAULT_RECORDING = Path("episodes.mp4")  # where no viewer works


@dataclasses.dataclass(frozen=True)
class Choice:
    """Where episodes are shown.

    Attributes:
      viewer: native, web or none.
      record: the file to record to; None records nothing.
      reason: why, in words.
    """

    viewer: str
    record: Optional[Path]
    reason: str


def choose(config: EvaluateConfig) -> Choice:
    """Choose where to show episodes; call it before `mujoco` is imported.

    Raises:
      ConfigError: the viewer that was asked for does not work on this machine.
    """
    choice = _choose(config)
    if choice.record is not None and choice.record.suffix != ".html":
        from mapush.viewer.gl import choose_gl

        print(f"recording is drawn by {choose_gl()}", flush=True)
    return choice


def _choose(config: EvaluateConfig) -> Choice:
    viewer, record = config.wanted_viewer, config.record
    needs_page = viewer == "web" or config.has_address
    if needs_page and not _has_viser():
        fix = "pip install 'mapush-stack[viewer]', or --record FILE.mp4"
        raise ConfigError("no page can be served", cause="viser is not installed", fix=fix)
    if viewer == "auto" and config.has_address:
        return Choice("web", record, "--host and --port belong to a page")
    if viewer in ("none", "web"):
        return Choice(viewer, record, "as asked for")
    objection = why_no_window()
    if not objection:
        return Choice("native", record, "there is a display")
    if viewer == "native":
        raise ConfigError("no window can be opened", cause=objection, fix="--viewer web, or --record episodes.mp4")
    if _has_viser():
        return Choice("web", record, objection)
    reason = f"{objection}, and viser, which serves a page, is not installed"
    return Choice("none", record or DEFAULT_RECORDING, reason)


def _has_viser() -> bool:
    return importlib.util.find_spec("viser") is not None


def why_no_window() -> str:
    """Return why no window can be opened on this machine; '' if one can."""
    if sys.platform == "darwin":
        if MJPYTHON in os.environ:
            return ""
        return "on macOS, MuJoCo's window needs its own Python: mjpython -m mapush watch --viewer native"
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not display and not wayland:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    from mapush.viewer.gl import renderer_of

    if renderer_of("glfw") is None:  # tried in a different process: where MuJoCo's window fails, it never returns
        return f"the display {display or ''} refuses a window with OpenGL"
    return ""
