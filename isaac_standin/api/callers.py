"""Finds the line of the program that called into the API."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Optional

_API_FOLDER = str(Path(__file__).parent) + os.sep


def caller() -> tuple[str, int]:
    """Return file and line of the innermost statement that does not belong to this package."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_API_FOLDER):
        frame = frame.f_back
    if frame is None:
        return "unknown", 0
    return frame.f_code.co_filename, frame.f_lineno


def caller_place() -> str:
    """Return the same as FILE:LINE."""
    file, line = caller()
    return f"{file}:{line}"
