"""The last line of a run: what to do with what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from mapush.config import RunConfig


def farewell(config: RunConfig, folder: Path, stopped_by: Optional[str]) -> str:
    """Return the last line of a run.

    Args:
      config: configuration of the run.
      folder: folder of the run.
      stopped_by: name of the signal that stopped it; None if it is finished.
    """
    if stopped_by is not None:
        return f"stopped by {stopped_by} and saved; continue with: python -m mapush.train --resume {folder}"
    if config.env is not None:
        return f"done; evaluate with: python -m mapush.evaluate --env {config.env} --checkpoint {folder}"
    if type(config) is not RunConfig:
        return f"done; evaluate with: python -m mapush.evaluate {config.task_name} --checkpoint {folder}"
    return f'done; load the policy with: mapush.load_policy("{folder}")'
