"""Read a convex solid from an STL or OBJ file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Tuple

from mapush.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

FORMATS = (".stl", ".obj")
MOST_POINTS = 1000
MERGED = 1e-6  # corners that are nearer to each other than this share of the mesh's size are the same
DENT = 1e-3  # how far a corner may lie outside a face, as a share of the mesh's size
_STL_TRIANGLE = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
_STL_HEADER = 84  # [bytes]

Points = Tuple[Tuple[float, float, float], ...]
Faces = Tuple[Tuple[int, int, int], ...]


def read(path: Path, scale: float) -> Tuple[Points, Faces]:
    """Return the corners [m] and the triangles of a convex mesh.

    Args:
      path: a binary or text STL file, or an OBJ file.
      scale: metres for each unit of the file.

    Raises:
      ConfigError: the file is missing, has a different format, or is not the surface of a convex solid.
    """
    import numpy as np

    if not path.is_file():
        raise ConfigError("there is no such mesh file", where=str(path))
    if path.suffix.lower() not in FORMATS:
        raise ConfigError("unknown format of a mesh", where=str(path), expected="a file .stl or .obj")
    try:
        if path.suffix.lower() == ".obj":
            corners = _obj_triangles(path)
        else:
            corners = _stl_triangles(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError("the mesh file does not parse", where=str(path), got=str(error)) from error
    if len(corners) < 4 or not np.isfinite(corners).all():
        got = f"{len(corners)} triangles"
        raise ConfigError("the mesh is not a solid", where=str(path), got=got, expected="at least 4, of finite numbers")
    points, faces = _merged(corners.astype(np.float64) * scale)
    if len(points) > MOST_POINTS:
        fix = "reduce the number of triangles of the mesh"
        got = f"{len(points)} corners"
        raise ConfigError("the mesh is too fine", where=str(path), got=got, expected=f"at most {MOST_POINTS}", fix=fix)
    _require_convex(points, faces, path)
    as_points: Points = tuple((float(x), float(y), float(z)) for x, y, z in points)
    as_faces: Faces = tuple((int(a), int(b), int(c)) for a, b, c in faces)
    return as_points, as_faces


def _stl_triangles(path: Path) -> np.ndarray:
    """Return the corners of the triangles, (T, 3, 3)."""
    import numpy as np

    content = path.read_bytes()
    triangle = np.dtype(_STL_TRIANGLE)
    if len(content) >= _STL_HEADER:
        count = int.from_bytes(content[80:84], "little")
        if len(content) == _STL_HEADER + count * triangle.itemsize:
            return np.frombuffer(content, triangle, count, _STL_HEADER)["corners"]
    if not content.lstrip().startswith(b"solid"):
        raise ValueError("neither a complete binary STL file nor a text STL file")
    corners: List[List[float]] = []
    for line in content.decode().splitlines():
        words = line.split()
        if words[:1] == ["vertex"]:
            corners.append([float(word) for word in words[1:4]])
    return np.array(corners).reshape(-1, 3, 3)


def _obj_triangles(path: Path) -> np.ndarray:
    """Return the corners of the triangles, (T, 3, 3); a face with more corners becomes a fan."""
    import numpy as np

    points: List[List[float]] = []
    triangles: List[List[List[float]]] = []
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            points.append([float(word) for word in words[1:4]])
        elif words[:1] == ["f"]:
            corners = [points[_obj_index(word, len(points))] for word in words[1:]]
            for second, third in zip(corners[1:], corners[2:]):
                triangles.append([corners[0], second, third])
    return np.array(triangles).reshape(-1, 3, 3)


def _obj_index(word: str, count: int) -> int:
    """Return the index of a corner such as `7/1/2`; OBJ counts from 1, or with a negative number from the end."""
    index = int(word.split("/")[0])
    if index < 0:
        return count + index
    return index - 1


def _merged(corners: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return points (V, 3) and triangles (T, 3), in which equal corners are one point; empty triangles are left out."""
    import numpy as np

    flat = corners.reshape(-1, 3)
    size = max(float(np.ptp(flat, axis=0).max()), 1e-12)
    rounded = np.round(flat / (MERGED * size)).astype(np.int64)
    _, first, which = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    faces = which.reshape(-1, 3)
    empty = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 0] == faces[:, 2])
    return flat[first], faces[~empty]


def _require_convex(points: np.ndarray, faces: np.ndarray, path: Path) -> None:
    """Check that all corners lie on one side of every face; of a thin triangle the side is not known."""
    import numpy as np

    size = float(np.ptp(points, axis=0).max())
    if float(np.ptp(points, axis=0).min()) < DENT * size:
        raise ConfigError("the mesh is flat", where=str(path), expected="the surface of a solid")
    edges: dict = {}
    for face in faces:
        for one, other in ((0, 1), (1, 2), (2, 0)):
            edge = tuple(sorted((int(face[one]), int(face[other]))))
            edges[edge] = edges.get(edge, 0) + 1
    open_edges = sum(1 for count in edges.values() if count != 2)
    if open_edges > 0:
        got = f"{open_edges} edges that do not have two triangles"
        raise ConfigError("the mesh is not closed", where=str(path), got=got, fix="repair it, for example in Blender")
    for a, b, c in points[faces]:
        normal = np.cross(b - a, c - a)
        length = float(np.linalg.norm(normal))
        if length < MERGED * size * size:
            continue
        heights = (points - a) @ (normal / length)
        dent = min(float(heights.max()), float(-heights.min()))
        if dent > DENT * size:
            raise ConfigError(
                "the mesh is not convex",
                where=str(path),
                got=f"a corner lies {dent:.3g} m behind a face, others in front of it",
                expected="a convex solid, because the simulators fill every hollow",
                fix="split it into convex parts, one Part for each",
            )
