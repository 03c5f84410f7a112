"""Loads an asset from a file of either format."""

from __future__ import annotations

from pathlib import Path

from isaac_standin.errors import StandinError

from .asset import Asset
from .load_options import LoadOptions
from .mjcf import load_mjcf
from .urdf import load_urdf

__all__ = ["LoadOptions", "load"]


def load(path: Path, options: LoadOptions | None = None) -> Asset:
    """Return the asset of a URDF file (.urdf) or an MJCF file (.xml, .mjcf).

    Raises:
      StandinError: the file is missing, has an unknown ending, or is wrong.
      NotSupported: it has a part that the stand-in lacks.
    """
    path = Path(path)
    options = options or LoadOptions()
    if not path.is_file():
        raise StandinError(
            "the file of an asset does not exist",
            got=str(path),
            cause="the asset's root folder or its file name is wrong",
            fix="check both arguments of load_asset",
        )
    match path.suffix.lower():
        case ".urdf":
            return load_urdf(path, options)
        case ".xml" | ".mjcf":
            return load_mjcf(path, options)
        case _:
            raise StandinError("unknown kind of asset", got=str(path), expected="a .urdf, .xml or .mjcf file")
