"""What an evaluation is asked to do: the command line of `mapush.evaluate`, validated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional, Tuple

import tyro

from mapush.assembly import TASKS
from mapush.config import SimConfig
from mapush.errors import ConfigError, nearest
from mapush.viewer.selection import require_sound

MODES = ("calculator", "viewer")
CALCULATOR_ENVS = 300


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
        require_sound(self)
        if self.num_envs is None:
            object.__setattr__(self, "num_envs", 1 if viewer else CALCULATOR_ENVS)


def _require(good: bool, what: str, fix: str) -> None:
    if not good:
        raise ConfigError(what, fix=fix)
