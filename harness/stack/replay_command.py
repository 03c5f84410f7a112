"""`python -m harness replay FILE`: replay what a failed check or a failed run has left.

A JSON file is the bundle of a finding: first its shortest sequence of actions is taken again, then the complete
contract is judged. A .pt file was left by a run of `mapush.train` that failed; `mapush.replay` replays it under guard,
and its exit codes are those of that module.

Exit codes of a bundle: 0 the contract holds now; 1 it is still broken; 2 it cannot be judged, or the file is not a
bundle.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Optional, Sequence

import tyro
from typing_extensions import Annotated

from harness.checking import replay_finding


@dataclasses.dataclass(frozen=True)
class ReplayOptions:
    """Replay what a failed check or a failed run has left."""

    file: Annotated[Path, tyro.conf.Positional]
    """The bundle of a failed check, or the .pt file of a failed run."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Replay a file, and return the exit code."""
    file = tyro.cli(ReplayOptions, args=argv, prog="python -m harness replay", description=__doc__).file
    if file.suffix == ".pt":
        return _replay_run(file)
    return replay_finding.replay(file)


def _replay_run(file: Path) -> int:
    from harness.stack.guarded_training import GuardedEnvs
    from mapush import replay

    return replay.main([str(file)], make_env=GuardedEnvs(time_share=math.inf))
