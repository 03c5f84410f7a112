"""Objects of the user's own that saved policies were trained with: runs and checkpoints hold their definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Sequence

from mapush.config import OWN_OBJECT
from mapush.own import own_objects
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import CONFIG
from mapush.upstream.harl import models


def register(paths: Sequence[Path], task_name: str) -> None:
    """Register the objects of runs, and if the task is still unknown, those in the files of checkpoints.

    A folder is read without torch, which Isaac Gym would have to come before. What cannot be read is left to the
    loader, which says what is wrong.

    Args:
      paths: folders of runs, or checkpoints.
      task_name: the task that is wanted.

    Raises:
      ConfigError: two different objects have one name.
    """
    for path in paths:
        own_object = _config_of(path).get(OWN_OBJECT)
        if own_object is not None:
            own_objects.restore(own_object)
    if task_name in own_objects.task_names():
        return
    for path in paths:
        if path.is_file() and path.suffix == checkpoints.SUFFIX and models.folder_in(path) is None:
            checkpoints.load(path)  # registers its object


def _config_of(path: Path) -> Dict[str, Any]:
    """Return the configuration in the folder of a run, or next to HARL's models; {} if there is none."""
    folder = path
    models_folder = models.folder_in(path)
    if models_folder is not None:
        folder = models_folder.parent
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(values, dict):
        return values
    return {}
