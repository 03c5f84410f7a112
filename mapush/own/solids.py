"""Geometry of the solids that an object is made of: rotations, extents, outlines and moments of inertia.

A solid lies around its centre of mass: a box; a cylinder, capsule or sphere with its axis along z; or a convex mesh.
"""

from __future__ import annotations

import math
from typing import List, Sequence, Tuple

Vector = Tuple[float, float, float]
Point = Tuple[float, float]
Face = Tuple[int, int, int]
Moments = Tuple[float, float, float, float, float, float]  # ixx, iyy, izz, ixy, ixz, iyz

NO_ROTATION: Vector = (0.0, 0.0, 0.0)
CORNERS_OF_A_CIRCLE = 24
HULL_TOLERANCE = 1e-9  # [m^2]; corners that lie on an edge are left out


def quat_of(rpy: Vector) -> Tuple[float, float, float, float]:
    """Return the quaternion (wxyz) of a rotation by roll, then pitch, then yaw about fixed axes [rad]."""
    (sr, cr), (sp, cp), (sy, cy) = [(math.sin(angle / 2), math.cos(angle / 2)) for angle in rpy]
    return (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )


def rotated(vector: Vector, rpy: Vector) -> Vector:
    """Rotate a vector by roll, then pitch, then yaw about fixed axes [rad]."""
    if rpy == NO_ROTATION:
        return vector
    roll, pitch, yaw = rpy
    x, y, z = vector
    y, z = math.cos(roll) * y - math.sin(roll) * z, math.sin(roll) * y + math.cos(roll) * z
    x, z = math.cos(pitch) * x + math.sin(pitch) * z, -math.sin(pitch) * x + math.cos(pitch) * z
    x, y = math.cos(yaw) * x - math.sin(yaw) * y, math.sin(yaw) * x + math.cos(yaw) * y
    return x, y, z


def is_upright(rpy: Vector) -> bool:
    """Return whether a rotation keeps the z axis vertical."""
    return abs(rotated((0.0, 0.0, 1.0), rpy)[2]) > 1.0 - 1e-6


def surface_points(shape: str, half_size: Vector, points: Sequence[Vector] = ()) -> List[Vector]:
    """Return points whose convex hull is the solid; that of a round solid is slightly smaller.

    Args:
      shape: box, cylinder, capsule, sphere or mesh.
      half_size: half extents along x, y, z [m].
      points: the corners of a mesh [m].
    """
    if shape == "mesh":
        return list(points)
    x, y, z = half_size
    if shape == "box":
        return [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    if shape == "cylinder":
        return _circle(x, -z) + _circle(x, z)
    return _ball(x, z - x) + _ball(x, x - z)


def _circle(radius: float, height: float) -> List[Vector]:
    found: List[Vector] = []
    for index in range(CORNERS_OF_A_CIRCLE):
        angle = 2.0 * math.pi * index / CORNERS_OF_A_CIRCLE
        found.append((radius * math.cos(angle), radius * math.sin(angle), height))
    return found


def _ball(radius: float, height: float) -> List[Vector]:
    found: List[Vector] = [(0.0, 0.0, height - radius), (0.0, 0.0, height + radius)]
    rings = CORNERS_OF_A_CIRCLE // 2
    for ring in range(1, rings):
        polar = math.pi * ring / rings
        found += _circle(radius * math.sin(polar), height + radius * math.cos(polar))
    return found


def convex_hull(points: Sequence[Point]) -> List[Point]:
    """Return the corners of the convex hull of planar points, counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    lower = _chain(ordered)
    upper = _chain(ordered[::-1])
    return lower[:-1] + upper[:-1]


def _chain(points: Sequence[Point]) -> List[Point]:
    chain: List[Point] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= HULL_TOLERANCE:
            chain.pop()
        chain.append(point)
    return chain


def _turn(one: Point, two: Point, three: Point) -> float:
    return (two[0] - one[0]) * (three[1] - one[1]) - (two[1] - one[1]) * (three[0] - one[0])


def signed_area(corners: Sequence[Point]) -> float:
    """Return the area inside a polygon [m^2]; negative if its corners go clockwise."""
    area = 0.0
    for (x, y), (next_x, next_y) in zip(corners, list(corners[1:]) + list(corners[:1])):
        area += x * next_y - next_x * y
    return area / 2.0


def ray_length(corners: Sequence[Point], angle: float) -> float:
    """Return how far a ray from the origin reaches until it has left a convex polygon for good; 0 if it misses it.

    Args:
      corners: of the polygon [m].
      angle: direction of the ray [rad].
    """
    ahead = (math.cos(angle), math.sin(angle))
    farthest = 0.0
    for start, end in zip(corners, list(corners[1:]) + list(corners[:1])):
        left_of_start, left_of_end = _cross(ahead, start), _cross(ahead, end)
        if left_of_start * left_of_end > 0.0 or left_of_start == left_of_end:
            continue  # both ends of the edge lie on the same side of the ray
        share = left_of_start / (left_of_start - left_of_end)
        x, y = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
        farthest = max(farthest, x * ahead[0] + y * ahead[1])
    return farthest


def _cross(one: Point, other: Point) -> float:
    return one[0] * other[1] - one[1] * other[0]


# -- moments of inertia ----------------------------------------------------------------------------------------------


def moments_of(shape: str, half_size: Vector, mass: float, points: Sequence[Vector], faces: Sequence[Face]) -> Moments:
    """Return the moments of inertia of a capsule, sphere or mesh of uniform density, about its centre of mass."""
    if shape == "mesh":
        return _of_mesh(mass, points, faces)
    if shape == "sphere":
        radius = half_size[0]
        ball = 0.4 * mass * radius * radius
        return ball, ball, ball, 0.0, 0.0, 0.0
    return _of_capsule(half_size, mass)


def _of_capsule(half_size: Vector, mass: float) -> Moments:
    """Return the moments of a cylinder and two half balls; the centre of a half ball is 3/8 radius from its base."""
    radius, length = half_size[0], 2.0 * (half_size[2] - half_size[0])
    volume_rod, volume_ball = radius * radius * length, 4.0 / 3.0 * radius**3  # both divided by pi
    rod = mass * volume_rod / (volume_rod + volume_ball)
    ball = mass - rod
    along = rod * radius * radius / 2.0 + ball * 0.4 * radius * radius
    across = rod * (radius * radius / 4.0 + length * length / 12.0)
    across += ball * (0.4 * radius * radius + length * length / 4.0 + 3.0 / 8.0 * length * radius)
    return across, across, along, 0.0, 0.0, 0.0


def _of_mesh(mass: float, points: Sequence[Vector], faces: Sequence[Face]) -> Moments:
    """Return the moments of a closed mesh around its centre of mass, as a sum over tetrahedra with a corner there."""
    volume = 0.0
    second = [[0.0] * 3 for _ in range(3)]  # integral of x_i x_j over the volume
    for face in faces:
        a, b, c = (points[index] for index in face)
        part = abs(_determinant(a, b, c)) / 6.0
        volume += part
        total = (a[0] + b[0] + c[0], a[1] + b[1] + c[1], a[2] + b[2] + c[2])
        for i in range(3):
            for j in range(3):
                products = a[i] * a[j] + b[i] * b[j] + c[i] * c[j] + total[i] * total[j]
                second[i][j] += part / 20.0 * products
    density = mass / volume
    xx, yy, zz = second[0][0] * density, second[1][1] * density, second[2][2] * density
    return (yy + zz, xx + zz, xx + yy, -second[0][1] * density, -second[0][2] * density, -second[1][2] * density)


def _determinant(a: Vector, b: Vector, c: Vector) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])


def centre_of_mesh(points: Sequence[Vector], faces: Sequence[Face]) -> Tuple[Vector, float]:
    """Return the centre of mass of a convex mesh, and its volume [m^3]."""
    count = len(points)
    inside = (
        sum(point[0] for point in points) / count,
        sum(point[1] for point in points) / count,
        sum(point[2] for point in points) / count,
    )
    volume = 0.0
    moment = [0.0, 0.0, 0.0]
    for face in faces:
        corners = [_minus(points[index], inside) for index in face]
        part = abs(_determinant(*corners)) / 6.0
        volume += part
        for axis in range(3):
            moment[axis] += part * (corners[0][axis] + corners[1][axis] + corners[2][axis]) / 4.0
    if volume <= 0.0:
        return inside, 0.0
    centre = (inside[0] + moment[0] / volume, inside[1] + moment[1] / volume, inside[2] + moment[2] / volume)
    return centre, volume


def _minus(one: Vector, other: Vector) -> Vector:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def rotated_moments(moments: Moments, rpy: Vector) -> Moments:
    """Return the moments of inertia of a solid that was rotated."""
    if rpy == NO_ROTATION:
        return moments
    xx, yy, zz, xy, xz, yz = moments
    inertia = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    columns = [rotated((1.0, 0.0, 0.0), rpy), rotated((0.0, 1.0, 0.0), rpy), rotated((0.0, 0.0, 1.0), rpy)]

    def entry(i: int, j: int) -> float:
        total = 0.0
        for k in range(3):
            for m in range(3):
                total += columns[k][i] * inertia[k][m] * columns[m][j]
        return total

    return entry(0, 0), entry(1, 1), entry(2, 2), entry(0, 1), entry(0, 2), entry(1, 2)
