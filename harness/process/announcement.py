"""How a training reports its run folder and its progress to `harness run`, which watches it from the outside.

`harness run` sets the environment variable `HARNESS_ANNOUNCE` to the name of a file. A program that knows the variable
writes one JSON object to that file, as often as it likes, by renaming a complete file over it:

  {"folder": "runs/x", "step": 4321, "checkpoint": "runs/x/checkpoints/step_4000.pt", "resume": "python train.py ..."}

Every key is optional. `mapush.train` does so; of any other program nothing is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional

VARIABLE = "HARNESS_ANNOUNCE"

_TYPES = {"folder": str, "step": int, "checkpoint": str, "resume": str}


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What a command reported about its own progress.

    Attributes:
      folder: folder of the run.
      step: env steps taken so far.
      checkpoint: newest checkpoint.
      resume: command that continues the run from there.
    """

    folder: Optional[str] = None
    step: Optional[int] = None
    checkpoint: Optional[str] = None
    resume: Optional[str] = None

    def in_words(self) -> Optional[str]:
        """Return in one line what was saved and how to continue; None if nothing was announced."""
        if self.checkpoint is None:
            return self.folder and f"nothing yet in {self.folder}"
        if self.resume is None:
            return self.checkpoint
        return f"{self.checkpoint}; continue with: {self.resume}"


class AnnouncementFile:
    """A temporary file for the announcements of a command; if it cannot be created, nothing is announced.

    Attributes:
      environment: the environment variables that the command needs.
    """

    def __init__(self) -> None:
        self._folder: Optional[tempfile.TemporaryDirectory] = None
        self.environment: Dict[str, str] = {}
        with contextlib.suppress(OSError):
            self._folder = tempfile.TemporaryDirectory(prefix="harness-")
            self.environment = {VARIABLE: os.path.join(self._folder.name, "announcement.json")}

    def read(self) -> Announcement:
        """Return the last announcement; fields that are missing or of a different type are None."""
        if self._folder is None:
            return Announcement()
        content: Any = None
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(Path(self.environment[VARIABLE]).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            return Announcement()
        known: Dict[str, Any] = {}
        for name, kind in _TYPES.items():
            if isinstance(content.get(name), kind):
                known[name] = content[name]
        return Announcement(**known)

    def close(self) -> None:
        """Delete the file; further calls do nothing."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.cleanup()
