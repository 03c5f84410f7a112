"""Properties and states of `isaacgym.gymapi`: of bodies, shapes, joints, sensors, cameras and the ground."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from isaac_standin.api.enums import TendonType
from isaac_standin.api.fields import Record, choice, flag, nested, number, text, whole
from isaac_standin.api.geometry import Mat33, Quat, Transform, Vec3, Velocity


class RigidBodyProperties(Record):
    """The mass of a body.

    Attributes:
      mass: [kg].
      com: centre of mass in the body's frame [m].
      inertia: inertia tensor about the centre of mass [kg m^2].
      invMass: 1 / mass; the stand-in fills it in, but ignores what a program sets.
      invInertia: the inverse of `inertia`; likewise.
      flags: a sum of `RIGID_BODY_...`.
    """

    mass: float = number()
    com: Vec3 = nested(Vec3)
    inertia: Mat33 = nested(Mat33)
    invMass: float = number()
    invInertia: Mat33 = nested(Mat33)
    flags: int = whole()


class RigidShapeProperties(Record):
    """The surface of a shape.

    Attributes:
      friction: sliding friction coefficient.
      rolling_friction: coefficient against rolling.
      torsion_friction: coefficient against spinning.
      restitution: 0 (no bounce) to 1.
      compliance: 0 for a hard shape.
      thickness: distance at which others rest, of Flex only [m].
      contact_offset: distance at which contacts begin, of PhysX only [m].
      rest_offset: distance at which others rest, of PhysX only [m].
      filter: bit mask; two shapes collide unless they share a bit.
    """

    friction: float = number(1.0)
    rolling_friction: float = number()
    torsion_friction: float = number()
    restitution: float = number()
    compliance: float = number()
    thickness: float = number()
    contact_offset: float = number(0.02)
    rest_offset: float = number()
    filter: int = whole()


class DofState(Record):
    """Position and velocity of a joint [rad, rad/s or m, m/s]."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = np.dtype([("pos", "<f4"), ("vel", "<f4")])
    pos: float = number()
    vel: float = number()


class DofFrame(Record):
    """Origin and axis of a joint, in the frame of the env."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = np.dtype([("origin", Vec3.dtype), ("axis", Vec3.dtype)])
    origin: Vec3 = nested(Vec3)
    axis: Vec3 = nested(Vec3)


class RigidBodyState(Record):
    """Pose and velocity of a body."""

    takes_values = True
    dtype: ClassVar[np.dtype[Any]] = np.dtype([("pose", Transform.dtype), ("vel", Velocity.dtype)])
    pose: Transform = nested(Transform)
    vel: Velocity = nested(Velocity)


class ForceSensorProperties(Record):
    """What a force sensor measures, and in which frame."""

    enable_forward_dynamics_forces: bool = flag(True)
    enable_constraint_solver_forces: bool = flag(True)
    use_world_frame: bool = flag()


class ActuatorProperties(Record):
    """An actuator of an MJCF file; the defaults are unknown and zero here, assets fill them in."""

    read_only = ("type",)
    control_limited: bool = flag()
    force_limited: bool = flag()
    kp: float = number()
    kv: float = number()
    lower_control_limit: float = number()
    upper_control_limit: float = number()
    lower_force_limit: float = number()
    upper_force_limit: float = number()
    motor_effort: float = number()
    type: int = whole()


class TendonProperties(Record):
    """A tendon of an MJCF file; the defaults are unknown and zero here, assets fill them in."""

    read_only = ("type", "num_attachments", "num_joints")
    stiffness: float = number()
    damping: float = number()
    limit_stiffness: float = number()
    is_fixed_limited: bool = flag()
    fixed_lower_limit: float = number()
    fixed_upper_limit: float = number()
    fixed_spring_rest_length: float = number()
    num_attachments: int = whole()
    num_joints: int = whole()
    type: TendonType = choice(TendonType.TENDON_FIXED)


class AttractorProperties(Record):
    """A spring that pulls a body towards a pose; the defaults are unknown and zero here."""

    axes: int = whole()
    damping: float = number()
    offset: Transform = nested(Transform)
    rigid_handle: int = whole()
    stiffness: float = number()
    target: Transform = nested(Transform)


class ActionEvent(Record):
    """What a key or button of the viewer did: the subscribed action, and 1 for pressed or 0 for released."""

    read_only = ("action", "value")
    action: str = text()
    value: float = number()

    @classmethod
    def of(cls, action: str, value: float) -> ActionEvent:
        """Return the event of an action."""
        event = cls()
        event.__dict__.update(action=action, value=float(value))
        return event


class CameraProperties(Record):
    """A camera.

    Attributes:
      width: of the image [pixels].
      height: of the image [pixels].
      horizontal_fov: field of view [degrees].
      near_plane: shortest visible distance [m]; its default in Isaac Gym is unknown.
      far_plane: longest visible distance [m].
      supersampling_horizontal: samples per pixel in a row.
      supersampling_vertical: samples per pixel in a column.
      use_collision_geometry: whether to draw the shapes for collisions.
      enable_tensors: whether images can be had as tensors on the GPU.
    """

    width: int = whole(1600)
    height: int = whole(900)
    horizontal_fov: float = number(90.0)
    near_plane: float = number(0.001)
    far_plane: float = number(2e6)
    supersampling_horizontal: int = whole(1)
    supersampling_vertical: int = whole(1)
    use_collision_geometry: bool = flag()
    enable_tensors: bool = flag()


class PlaneParams(Record):
    """The ground: a plane. Its normal points along y at first, as in Isaac Gym.

    Attributes:
      normal: unit vector that points up.
      distance: of the plane from the origin, against the normal [m].
      static_friction: coefficient at rest.
      dynamic_friction: coefficient in motion.
      restitution: 0 (no bounce) to 1.
      segmentation_id: its number in images of segments.
    """

    normal: Vec3 = nested(Vec3, y=1.0)
    distance: float = number()
    static_friction: float = number(1.0)
    dynamic_friction: float = number(1.0)
    restitution: float = number()
    segmentation_id: int = whole()


class HeightFieldParams(Record):
    """Ground given as heights on a grid; the defaults of the scales are unknown and 1 m here.

    Attributes:
      nbRows: samples along x.
      nbColumns: samples along y (along -z if y points up).
      row_scale: distance of samples along x [m].
      column_scale: distance of samples along y [m].
      vertical_scale: height of one unit of the integer samples [m].
      transform: pose of the field.
      static_friction: coefficient at rest.
      dynamic_friction: coefficient in motion.
      restitution: 0 (no bounce) to 1.
      segmentation_id: its number in images of segments.
    """

    nbRows: int = whole()
    nbColumns: int = whole()
    row_scale: float = number(1.0)
    column_scale: float = number(1.0)
    vertical_scale: float = number(1.0)
    transform: Transform = nested(Transform)
    static_friction: float = number(1.0)
    dynamic_friction: float = number(1.0)
    restitution: float = number()
    segmentation_id: int = whole()


class TriangleMeshParams(Record):
    """Ground given as triangles.

    Attributes:
      nb_vertices: number of vertices.
      nb_triangles: number of triangles.
      transform: pose of the mesh.
      static_friction: coefficient at rest.
      dynamic_friction: coefficient in motion.
      restitution: 0 (no bounce) to 1.
      segmentation_id: its number in images of segments.
    """

    nb_vertices: int = whole()
    nb_triangles: int = whole()
    transform: Transform = nested(Transform)
    static_friction: float = number(1.0)
    dynamic_friction: float = number(1.0)
    restitution: float = number()
    segmentation_id: int = whole()


class IndexRange(Record):
    """A part of a tensor: its first index and length."""

    start: int = whole()
    count: int = whole()


class ParticleState(Record):
    """A particle of Flex."""

    takes_values = True
    position: Quat = nested(Quat)
    velocity: Vec3 = nested(Vec3)
    normal: Quat = nested(Quat)


class PerformanceTimers(Record):
    """Seconds that each activity took."""

    frame_idling: float = number()
    graphics_image_retrieval: float = number()
    graphics_sensor_rendering: float = number()
    graphics_viewer_rendering: float = number()
    physics_data_movement: float = number()
    physics_sim: float = number()
    total_time: float = number()


class Version(Record):
    """The version of Isaac Gym's API: 1.0, of the last release, Preview 4."""

    major: int = whole(1)
    minor: int = whole(0)
