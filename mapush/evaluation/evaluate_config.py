"""What an evaluation is asked to do: the command line of `mapush.evaluate`, validated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional, Tuple

import tyro

from mapush.assembly import TASKS
from mapush.config import SimConfig
from mapush.errors import ConfigError, nearest, unknown
from mapush.sim import ISAAC_GYM

MODES = ("calculator", "viewer")
CALCULATOR_ENVS = 300
VIEWERS = ("auto", "native", "web", "none")
RECORDING_SUFFIXES = (".mp4", ".gif", ".html")
VIEWER_FLAGS = ("viewer", "host", "port", "episodes", "record", "only")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a policy by the published protocol, or watch it."""

    task_name: tyro.conf.Positional[str] = "cuboid"
    """cuboid, tblock, cylinder or walk."""
    checkpoint: Tuple[Path, ...] = ()
    """Checkpoints, folders of runs, whose checkpoints are all evaluated, or HARL's models. Default: ours."""
    untrained: bool = False
    """Evaluate the weights that training starts from."""
    mode: str = "calculator"
    """calculator prints the measures; viewer shows episodes or records them."""
    num_envs: Optional[int] = None
    """Parallel envs: of the calculator, the first episode of each counts (300); of the viewer, one is followed (1)."""
    viewer: Optional[str] = None
    """native opens a window, web serves a page, none only records; auto takes a window where there is a display, else a
    page. Default: auto; none with --record."""
    host: Optional[str] = None
    """Where the page listens; an address that others can reach gets a token. Default: 127.0.0.1, this machine alone."""
    port: Optional[int] = None
    """Where the page listens. Default: 8080 or the next that is free."""
    episodes: Optional[int] = None
    """Episodes that the viewer shows, or records with --only. Default: without end, or 3 if they are recorded."""
    record: Optional[Path] = None
    """File that the viewer writes the episodes to: .mp4, .gif or .html, a page with a play bar."""
    only: Optional[str] = None
    """failures: record only episodes that do not succeed, out of at most 50 for each that is wanted."""
    json: Optional[Path] = None
    """Write the results to this file as well."""
    report: Optional[Path] = None
    """Write a page for people to this folder: measures, failures, paths, recordings, and the data of all episodes."""
    stand_checkpoint: Optional[Path] = None
    """walk only: take the network that stands from this checkpoint or run, not from `checkpoint`."""
    export: Optional[Path] = None
    """Write the policy, of a run the newest, to this .pt without the run that trained it, or as HARL's to a folder."""
    seed: int = 0
    """Seed of starts and of what differs between envs."""
    upstream_quirks: Optional[bool] = None
    """Behave as upstream does where it is wrong, see docs/deviations.md. Default: as the policy was trained."""
    device: str = "auto"
    """Where the policy computes: auto, cpu, cuda or cuda:1."""
    sim: SimConfig = SimConfig()
    """The simulator."""

    def __post_init__(self) -> None:
        walk, viewer = self.task_name == "walk", self.mode == "viewer"
        _require(self.task_name in TASKS, f"unknown task {self.task_name!r}", nearest(self.task_name, TASKS))
        _require(self.mode in MODES, f"unknown mode {self.mode!r}", nearest(self.mode, MODES))
        _require(self.num_envs is None or self.num_envs >= 1, "nothing to do", "at least one env")
        _require(not (walk and viewer), "the viewer shows pushing tasks only", "name cuboid, tblock or cylinder")
        _require(not (walk and self.untrained), "--untrained belongs to pushing tasks", "name a --checkpoint")
        _require(not (self.untrained and self.checkpoint), "--untrained takes no --checkpoint", "leave one of them out")
        trained, one = bool(self.checkpoint), len(self.checkpoint) <= 1
        _require(one or not (walk or viewer or self.export), "only the calculator compares", "name one --checkpoint")
        _require(not self.report or not (walk or viewer), "--report is of pushing tasks", "take the calculator's mode")
        _require(trained or not self.export, "--export is for a policy that was trained", "add --checkpoint RUN")
        _require(
            walk and trained or not self.stand_checkpoint, "--stand-checkpoint adds to one", "walk --checkpoint RUN"
        )
        _check_viewer_flags(self)
        if self.num_envs is None:
            object.__setattr__(self, "num_envs", 1 if viewer else CALCULATOR_ENVS)

    @property
    def wanted_viewer(self) -> str:
        """The viewer that was asked for: `viewer`, or its default."""
        if self.viewer is not None:
            return self.viewer
        if self.record is not None:
            return "none"
        return "auto"

    @property
    def has_address(self) -> bool:
        """Whether --host or --port was given."""
        return self.host is not None or self.port is not None


def _require(good: bool, what: str, fix: str) -> None:
    if not good:
        raise ConfigError(what, fix=fix)


# -- flags of the viewer ---------------------------------------------------------------------------------------------


def _check_viewer_flags(config: EvaluateConfig) -> None:
    """Check that the viewer's flags fit the mode and each other.

    Raises:
      ConfigError: they do not.
    """
    if config.mode != "viewer":
        for flag in VIEWER_FLAGS:
            _require(getattr(config, flag) is None, f"--{flag} belongs to the viewer", "add --mode viewer")
        return
    _check_values(config)
    if config.sim.backend == ISAAC_GYM:
        _check_isaac_gym(config)
    else:
        _check_combinations(config)


def _check_values(config: EvaluateConfig) -> None:
    if config.viewer is not None and config.viewer not in VIEWERS:
        raise unknown("viewer", config.viewer, VIEWERS)
    if config.record is not None and config.record.suffix not in RECORDING_SUFFIXES:
        raise unknown("kind of film", config.record.suffix, RECORDING_SUFFIXES)
    _require(config.only in (None, "failures"), f"unknown choice of episodes {config.only!r}", "--only failures")
    _require(
        config.only is None or config.record is not None, "--only chooses what is recorded", "add --record FILE.mp4"
    )
    _require(config.episodes is None or config.episodes >= 1, "no episodes", "--episodes 1 or more")


def _check_combinations(config: EvaluateConfig) -> None:
    viewer = config.wanted_viewer
    _require(viewer != "none" or config.record is not None, "nobody would see anything", "add --record FILE.mp4")
    _require(
        not config.has_address or viewer in ("auto", "web"), "--host and --port belong to a page", "add --viewer web"
    )
    _require(
        viewer != "none" or config.num_envs in (None, 1),
        "a recording without a viewer shows one env",
        "leave --num-envs out, or add --viewer auto",
    )


def _check_isaac_gym(config: EvaluateConfig) -> None:
    """Check the flags for Isaac Gym, which draws by itself.

    Raises:
      ConfigError: Isaac Gym cannot do that.
    """
    what = "Isaac Gym shows one env in its own window, or records it"
    if config.record is None:
        possible = (None, "auto", "native")
    else:
        possible = (None, "auto", "none")
        _require(config.record.suffix == ".mp4", what, "--record FILE.mp4")
    plain = not config.has_address and config.only is None and config.num_envs in (None, 1)
    _require(plain and config.viewer in possible, what, "leave out --viewer, --host, --port, --only and --num-envs")
