"""Write PNG files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from isaac_standin.errors import StandinError

_GREY, _RGB, _RGBA = 0, 2, 6
_COLOR_TYPES = {1: _GREY, 3: _RGB, 4: _RGBA}


def write_png(path: str, pixels: np.ndarray) -> None:
    """Write pixels to a file.

    Args:
      path: the file.
      pixels: (height, width, channels): 1 for grey, 3 for red, green and blue, 4 with alpha; uint8 or uint16.

    Raises:
      StandinError: the file cannot be written.
    """
    height, width, channels = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with the number of its filter, 0 for none
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(unfiltered.tobytes())
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    try:
        Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    except OSError as error:
        raise StandinError("the image cannot be written", where=path, cause=str(error)) from error


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
