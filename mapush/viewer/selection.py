"""Which screen shows the episodes: what the user asked for, as far as it works here."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from mapush.errors import ConfigError, nearest
from mapush.sim import ISAAC_GYM

if TYPE_CHECKING:
    from mapush.evaluation.evaluate_config import EvaluateConfig

VIEWERS = ("auto", "native", "web", "none")
KINDS = (".mp4", ".gif", ".html")  # of recordings
FILM = Path("episodes.mp4")  # where nobody can watch
FLAGS = ("viewer", "host", "port", "episodes", "record", "only")

Rule = Tuple[bool, str, str]  # whether it is kept; what is wrong and how to mend it if not


def require_sound(config: EvaluateConfig) -> None:
    """Check that the viewer's flags fit together.

    Raises:
      ConfigError: they do not.
    """
    if config.mode != "viewer":
        rules = [
            (getattr(config, flag) is None, f"--{flag} belongs to the viewer", "add --mode viewer") for flag in FLAGS
        ]
    else:
        rules = _names(config) + (_upstream(config) if config.sim.backend == ISAAC_GYM else _combinations(config))
    for kept, what, fix in rules:
        if not kept:
            raise ConfigError(what, fix=fix)


def _names(config: EvaluateConfig) -> List[Rule]:
    viewer, record, only = config.viewer, config.record, config.only
    suffix = "" if record is None else record.suffix
    return [
        (viewer is None or viewer in VIEWERS, f"unknown viewer {viewer!r}", nearest(str(viewer), VIEWERS)),
        (record is None or suffix in KINDS, f"cannot record to {record}", nearest(suffix, KINDS)),
        (only in (None, "failures"), f"unknown choice of episodes {only!r}", "--only failures"),
        (only is None or record is not None, "--only chooses what is recorded", "add --record FILE.mp4"),
        (config.episodes is None or config.episodes >= 1, "no episodes", "--episodes 1 or more"),
    ]


def _combinations(config: EvaluateConfig) -> List[Rule]:
    viewer, nobody = _wanted(config), _wanted(config) == "none"
    address = config.host is not None or config.port is not None
    return [
        (not nobody or config.record is not None, "nobody would see anything", "add --record FILE.mp4"),
        (not address or viewer in ("auto", "web"), "--host and --port are a page's", "add --viewer web"),
        (
            not nobody or config.num_envs in (None, 1),
            "one env is recorded",
            "leave --num-envs out, or add --viewer auto",
        ),
    ]


def _upstream(config: EvaluateConfig) -> List[Rule]:
    """Return what Isaac Gym, which draws by itself, can do."""
    record, what = config.record, "Isaac Gym shows one env in its own window, or films it"
    can = config.viewer in (None, "auto", "native" if record is None else "none")
    plain = config.host is None and config.port is None and config.only is None and config.num_envs in (None, 1)
    fix = "of --viewer, --host, --port, --only and --num-envs, give none"
    return [
        (can and plain, what, fix),
        (record is None or record.suffix == ".mp4", what, "--record FILE.mp4"),
    ]


def _wanted(config: EvaluateConfig) -> str:
    return config.viewer or ("auto" if config.record is None else "none")


@dataclasses.dataclass(frozen=True)
class Choice:
    """Where episodes are shown.

    Attributes:
      viewer: native, web or none.
      record: the file to record to.
      reason: why there, for people to read.
    """

    viewer: str
    record: Optional[Path]
    reason: str


def choose(config: EvaluateConfig) -> Choice:
    """Find out where to show episodes; call it before `mujoco` is imported.

    Raises:
      ConfigError: what was asked for does not work here.
    """
    choice = _choose(config)
    if choice.record is not None and choice.record.suffix != ".html":
        from mapush.viewer.gl import choose_gl

        print(f"recording is drawn by {choose_gl()}", flush=True)
    return choice


def _choose(config: EvaluateConfig) -> Choice:
    viewer, record = _wanted(config), config.record
    if viewer == "auto" and (config.host is not None or config.port is not None):
        return Choice("web", record, "--host and --port are a page's")
    if viewer in ("none", "web"):
        return Choice(viewer, record, "as asked for")
    objection = why_no_window()
    if viewer == "native" and objection:
        raise ConfigError("no window can be opened", cause=objection, fix="--viewer web, or --record episodes.mp4")
    if not objection:
        return Choice("native", record, "there is a display")
    if importlib.util.find_spec("viser") is not None:
        return Choice("web", record, objection)
    return Choice("none", record or FILM, f"{objection}, and viser, which serves a page, is not installed")


def why_no_window() -> str:
    """Return why no window can be opened here; '' if one can."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    from mapush.viewer.gl import renderer_of

    if renderer_of("glfw") is None:  # in another process: where MuJoCo's window fails, it never returns
        return "the display {} refuses a window with OpenGL".format(os.environ.get("DISPLAY", ""))
    return ""
