"""Replay what a failed run left: `python -m mapush.replay FILE`.

`nonfinite.pt` is the whole run where the iteration that failed began; on the CPU it fails again at the same step.
`failure.pt` is the envs that failed before their last decisions, whichever simulator they were on; these are taken
again on the CPU simulator.

Exit codes: 0 all goes well this time; 2 it fails again, or the file is neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Optional, Sequence

import tyro
from typing_extensions import Annotated

from mapush.device.gpu_errors import gpu_errors
from mapush.errors import MapushError
from mapush.run import checkpoint as checkpoints
from mapush.run import failure_bundle as failures
from mapush.run.versions import changed


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Do again, step by step, what a run failed of."""

    file: Annotated[Path, tyro.conf.Positional]
    """What training left in the folder of the run: nonfinite.pt or failure.pt."""


def replay(path: Path) -> int:
    """Repeat the iteration that failed; on the CPU it fails again at the same step.

    Args:
      path: the dump.
    Returns:
      The number of env steps that went well, if the iteration does.
    Raises:
      MapushError: what the run failed of, with the env step.
      CheckpointError: no such dump, or a damaged one.
    """
    from mapush.train import Run

    saved = checkpoints.load(path)
    with gpu_errors(), contextlib.closing(Run.start(saved.config)) as run:
        run.restore(saved, path)
        run.iterate()
        return run.step - saved.step


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and replay."""
    file = tyro.cli(ReplayConfig, prog="python -m mapush.replay", args=argv).file
    try:
        if failures.is_failure(file):
            _replay_envs(failures.Failure.load(file))
        else:
            print(f"the iteration went well this time: {replay(file)} env steps")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _replay_envs(failure: failures.Failure) -> None:
    envs = ", ".join(map(str, failure.env_ids))
    print(f"env {envs} at env step {failure.step} on {failure.config.sim.backend}:")
    print("\n".join(f"  {name:<9} {text}" for name, text in failure.error.items()))
    print("versions: {}".format("; ".join(changed(failure.versions)) or "the same as then"))
    print("\n".join(failures.replay(failure)))
    print("all of it goes well on the CPU simulator; the cause lies in the simulator or the learner of then")


if __name__ == "__main__":
    sys.exit(main())
