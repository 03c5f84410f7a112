"""Reads MJCF files."""

from __future__ import annotations

from pathlib import Path

from isaac_standin.errors import NotSupported

from .asset import Asset
from .options import LoadOptions


def load_mjcf(path: Path, options: LoadOptions) -> Asset:
    """Return the robot of an MJCF file."""
    raise NotSupported("MJCF files are not read yet", where=str(path), got=str(options))
