"""Reports the progress of a run to a program that watches it from the outside, such as `python -m harness run`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from pathlib import Path

from mapush.errors import CheckpointError
from mapush.run import checkpoint as checkpoints

VARIABLE = "HARNESS_ANNOUNCE"
"""Environment variable that names the file to write to; without it, nothing is written."""


def announce(folder: Path, step: int, resumable: bool = True) -> None:
    """Write the run folder, the progress and the newest checkpoint to the file that the environment names.

    A failure to write is ignored, because it must not end a run. The file is replaced in one step, so that a reader
    never sees half of it.

    Args:
      folder: folder of the run.
      step: env steps taken so far.
      resumable: whether `--resume` can continue the run.
    """
    file = os.environ.get(VARIABLE)
    if not file:
        return
    content = {"folder": str(folder), "step": step}
    with contextlib.suppress(CheckpointError):
        content["checkpoint"] = str(checkpoints.latest(folder))
    if resumable:
        content["resume"] = f"python -m mapush.train --resume {shlex.quote(str(folder))}"
    part = f"{file}.{os.getpid()}.part"
    with contextlib.suppress(OSError):
        Path(part).write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, file)
