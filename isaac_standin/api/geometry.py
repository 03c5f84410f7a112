"""Vectors, quaternions (x, y, z, w) and poses of `isaacgym.gymapi`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from isaac_standin.api.fields import Record, nested, number, to_float, whole, wrong


def _columns(names: str, kind: str = "<f4") -> np.dtype[Any]:
    """Return the type of a row of numbers with one-letter names."""
    columns = []
    for name in names:
        columns.append((name, kind))
    return np.dtype(columns)


class _Vector(Record):
    """What vectors of two and three numbers have in common."""

    takes_values = True

    def __iter__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be iterated over: use its attributes {', '.join(self.fields_)}")

    def _values(self) -> list[float]:
        return [self.__dict__[name] for name in self.fields_]

    def _other(self, other: Any, operation: str) -> list[float]:
        """Return the numbers of the second operand, which must be of the same class."""
        if type(other) is not type(self):
            raise wrong(f"{type(self).__name__} {operation} ...", other, f"a {type(self).__name__}")
        return other._values()

    def __add__(self, other: Any) -> Any:
        return type(self)(*np.add(self._values(), self._other(other, "+")).tolist())

    def __sub__(self, other: Any) -> Any:
        return type(self)(*np.subtract(self._values(), self._other(other, "-")).tolist())

    def __mul__(self, factor: Any) -> Any:
        return type(self)(*np.multiply(self._values(), to_float(factor, "the factor")).tolist())

    def __truediv__(self, divisor: Any) -> Any:
        divisor = to_float(divisor, "the divisor")
        if divisor == 0.0:
            raise ZeroDivisionError(f"{self!r} / 0")
        return type(self)(*np.divide(self._values(), divisor).tolist())

    def __neg__(self) -> Any:
        return type(self)(*np.negative(self._values()).tolist())


class Vec2(_Vector):
    """A vector in the plane."""

    dtype: ClassVar[np.dtype[Any]] = _columns("xy")
    x: float = number()
    y: float = number()


class Vec3(_Vector):
    """A vector in space."""

    dtype: ClassVar[np.dtype[Any]] = _columns("xyz")
    x: float = number()
    y: float = number()
    z: float = number()

    def dot(self, other: Vec3) -> float:
        """Return the scalar product."""
        return float(np.dot(self._values(), self._other(other, "dot")))

    def cross(self, other: Vec3) -> Vec3:
        """Return the vector product."""
        return Vec3(*np.cross(self._values(), self._other(other, "cross")).tolist())

    def length_sq(self) -> float:
        """Return the square of the length."""
        return self.dot(self)

    def length(self) -> float:
        """Return the length."""
        return math.sqrt(self.length_sq())

    def normalize(self) -> Vec3:
        """Return the unit vector of the same direction; the zero vector is an error."""
        length = self.length()
        if length == 0.0:
            raise wrong("Vec3.normalize", self, "a vector that is not zero")
        return self / length


class Int2(Record):
    """Two whole numbers."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = _columns("xy", "<i4")
    x: int = whole()
    y: int = whole()


class Int3(Record):
    """Three whole numbers."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = _columns("xyz", "<i4")
    x: int = whole()
    y: int = whole()
    z: int = whole()


class Quat(Record):
    """A rotation as a quaternion; functions that rotate expect unit length, which nothing enforces."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = _columns("xyzw")
    x: float = number()
    y: float = number()
    z: float = number()
    w: float = number(1.0)

    @staticmethod
    def from_axis_angle(axis: Vec3, angle: float) -> Quat:
        """Return the rotation about a unit vector by an angle [rad]."""
        if not isinstance(axis, Vec3):
            raise wrong("the axis of Quat.from_axis_angle", axis, "a Vec3")
        half = to_float(angle, "the angle of Quat.from_axis_angle") / 2
        vector = axis * math.sin(half)
        return Quat(vector.x, vector.y, vector.z, math.cos(half))

    @staticmethod
    def from_euler_zyx(roll: float, pitch: float, yaw: float) -> Quat:
        """Return the rotation about x by `roll`, then about the fixed y by `pitch`, then about the fixed z by `yaw`."""
        about_x = Quat.from_axis_angle(Vec3(1, 0, 0), roll)
        about_y = Quat.from_axis_angle(Vec3(0, 1, 0), pitch)
        about_z = Quat.from_axis_angle(Vec3(0, 0, 1), yaw)
        return about_z * about_y * about_x

    def to_euler_zyx(self) -> tuple[float, float, float]:
        """Return (roll, pitch, yaw) of `from_euler_zyx` [rad], roll and yaw within pi, pitch within pi/2."""
        x, y, z, w = self.x, self.y, self.z, self.w
        roll = math.atan2(2 * (w * x + y * z), w * w - x * x - y * y + z * z)
        sine = 2 * (w * y - z * x)
        pitch = math.asin(min(1.0, max(-1.0, sine)))
        yaw = math.atan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
        return roll, pitch, yaw

    def inverse(self) -> Quat:
        """Return the inverse rotation."""
        return Quat(-self.x, -self.y, -self.z, self.w)

    def normalize(self) -> Quat:
        """Return the quaternion scaled to unit length; zero is an error."""
        length = math.hypot(self.x, self.y, self.z, self.w)
        if length == 0.0:
            raise wrong("Quat.normalize", self, "a quaternion that is not zero")
        return Quat(self.x / length, self.y / length, self.z / length, self.w / length)

    def rotate(self, vector: Vec3) -> Vec3:
        """Return the rotated vector."""
        if not isinstance(vector, Vec3):
            raise wrong("the vector of Quat.rotate", vector, "a Vec3")
        return Vec3(*self._rotated(np.array(vector._values())).tolist())

    def _rotated(self, points: Any) -> Any:
        """Return rotated points, an array (..., 3)."""
        imaginary = np.array([self.x, self.y, self.z])
        twice = 2 * np.cross(imaginary, points)
        return points + self.w * twice + np.cross(imaginary, twice)

    def __mul__(self, other: Any) -> Quat:
        if not isinstance(other, Quat):
            raise wrong("Quat * ...", other, "a Quat (Quat.rotate turns a Vec3)")
        a, b = self, other
        return Quat(
            a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
            a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
            a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w,
            a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
        )


class Transform(Record):
    """A pose: a rotation, then a translation.

    Attributes:
      p: position [m].
      r: orientation.
    """

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = np.dtype([("p", Vec3.dtype), ("r", Quat.dtype)])
    p: Vec3 = nested(Vec3)
    r: Quat = nested(Quat)

    def inverse(self) -> Transform:
        """Return the pose that undoes this one."""
        back = self.r.inverse()
        return Transform(-back.rotate(self.p), back)

    def transform_point(self, point: Vec3) -> Vec3:
        """Return a point given in this frame, in the frame around it."""
        return self.r.rotate(point) + self.p

    def transform_vector(self, vector: Vec3) -> Vec3:
        """Return a direction given in this frame, in the frame around it."""
        return self.r.rotate(vector)

    def transform_points(self, points: Any) -> Any:
        """Return `transform_point` of an array of points of `Vec3.dtype`, or of three columns; the result is alike."""
        numbers = _rows(points, "the points of Transform.transform_points")
        return _like(self.r._rotated(numbers) + self.p._values(), points)

    def transform_vectors(self, vectors: Any) -> Any:
        """Return `transform_vector` of an array of vectors, laid out as for `transform_points`."""
        numbers = _rows(vectors, "the vectors of Transform.transform_vectors")
        return _like(self.r._rotated(numbers), vectors)

    def __mul__(self, other: Any) -> Transform:
        if not isinstance(other, Transform):
            raise wrong("Transform * ...", other, "a Transform")
        return Transform(self.transform_point(other.p), self.r * other.r)


def _rows(points: Any, where: str) -> Any:
    """Return an array of three columns of 64-bit floats."""
    array = np.asarray(points)
    if array.dtype == Vec3.dtype:
        array = np.stack([array["x"], array["y"], array["z"]], axis=-1)
    if array.dtype.kind not in "fiu" or array.shape[-1:] != (3,):
        raise wrong(where, points, "an array of Vec3.dtype, or of three columns")
    return array.astype(np.float64)


def _like(numbers: Any, points: Any) -> Any:
    """Return an array of three columns in the layout of `points`."""
    numbers = numbers.astype(np.float32)
    if np.asarray(points).dtype == Vec3.dtype:
        return np.ascontiguousarray(numbers).view(Vec3.dtype)[..., 0]
    return numbers


class Velocity(Record):
    """The motion of a body.

    Attributes:
      linear: [m/s].
      angular: [rad/s].
    """

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = np.dtype([("linear", Vec3.dtype), ("angular", Vec3.dtype)])
    linear: Vec3 = nested(Vec3)
    angular: Vec3 = nested(Vec3)

    def __init__(self, p: Any = None, q: Any = None) -> None:
        super().__init__(p, q)


class SpatialForce(Record):
    """A force and a torque.

    Attributes:
      force: [N].
      torque: [N m].
    """

    force: Vec3 = nested(Vec3)
    torque: Vec3 = nested(Vec3)


class Mat33(Record):
    """A matrix of three rows; zero at first."""

    x: Vec3 = nested(Vec3)
    y: Vec3 = nested(Vec3)
    z: Vec3 = nested(Vec3)


class Mat44(Record):
    """A matrix of four rows; unity at first."""

    x: Quat = nested(Quat, x=1.0, w=0.0)
    y: Quat = nested(Quat, y=1.0, w=0.0)
    z: Quat = nested(Quat, z=1.0, w=0.0)
    w: Quat = nested(Quat)
