"""A mesh for tests: its volume, centre and inertia have closed formulas."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

CORNERS = np.vstack([np.zeros(3), np.eye(3)])
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))


def write_tetrahedron(path: Path) -> None:
    """Write a binary STL file with a corner at the origin and three edges of length 1 along the axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(bytes(80) + struct.pack("<I", len(FACES)))
        for face in FACES:
            file.write(struct.pack("<12fH", 0, 0, 0, *CORNERS[list(face)].ravel(), 0))
