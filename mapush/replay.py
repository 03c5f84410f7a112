"""Replay a dump of a run that met a NaN or left the physical world: `python -m mapush.replay FILE`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path

import tyro
from typing_extensions import Annotated

from mapush import checkpoint as checkpoints
from mapush.errors import MapushError
from mapush.gpu_errors import gpu_errors


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Take up a run where the iteration that failed began, and do it again step by step."""

    file: Annotated[Path, tyro.conf.Positional]
    """The dump that training left in the folder of the run."""


def replay(path: Path) -> int:
    """Repeat the iteration that failed; on the CPU it fails again at the same step.

    Args:
      path: the dump.
    Returns:
      The number of env steps that went well, if the iteration does.
    Raises:
      NonFiniteError: what the run failed of, with the env step.
      SimulatorError: the same.
      CheckpointError: no such dump, or a damaged one.
    """
    from mapush.train import Run

    saved = checkpoints.load(path)
    with gpu_errors(), contextlib.closing(Run.start(saved.config)) as run:
        run.restore(saved, path)
        run.iterate()
        return run.step - saved.step


def main() -> int:
    """Parse the command line and replay."""
    config = tyro.cli(ReplayConfig, prog="python -m mapush.replay")
    try:
        steps = replay(config.file)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print("the iteration went well this time: {} env steps".format(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
