"""One MuJoCo model of the content of an env."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Optional, Sequence

import mujoco
import numpy as np

from isaac_standin.assets.asset import Body, Joint, Shape
from isaac_standin.scene import contacts
from isaac_standin.scene.actor import DRIVE_POSITION, DRIVE_VELOCITY, Actor, Drive
from isaac_standin.scene.terrain import add_terrain, has_height_field, require_small
from isaac_standin.scene.terrain_types import Ground

COLLISION_GROUP = 3  # hidden by MuJoCo's viewers unless asked for
VISUAL_GROUP = 2
DRIVEN = (DRIVE_POSITION, DRIVE_VELOCITY)


@dataclasses.dataclass(frozen=True)
class World:
    """What is common to all envs.

    Attributes:
      dt: duration of a physics step [s].
      gravity: [m/s^2].
      grounds: what all envs stand on.
    """

    dt: float
    gravity: tuple[float, float, float]
    grounds: Sequence[Ground] = ()


class Pair(NamedTuple):
    """Two shapes that can touch.

    Attributes:
      one: a shape.
      other: the other shape; None if it is the ground.
      ground_friction: friction coefficient of the ground.
    """

    one: contacts.ShapeId
    other: Optional[contacts.ShapeId]
    ground_friction: float = 0.0


@dataclasses.dataclass(frozen=True)
class Built:
    """A compiled model.

    Attributes:
      model: the model.
      spec: what it was compiled from.
      pairs: what each contact pair of the model connects.
      drives: of each degree of freedom, as they were compiled.
    """

    model: mujoco.MjModel
    spec: mujoco.MjSpec
    pairs: tuple[Pair, ...]
    drives: tuple[Drive, ...]


def build(actors: Sequence[Actor], world: World) -> Built:
    """Compile the model of an env with these actors.

    Body `b` of actor 2 is called `2/b`, its shapes `2/shape0`, ..., and its degrees of freedom `2/dof0`, .... A fixed
    base is a mocap body, because programs teleport it.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "isaac_standin"
    spec.compiler.degree = False
    spec.compiler.balanceinertia = True  # else it refuses what no body can have; see `_restore_inertia`
    _set_options(spec.option, world)
    ground = add_terrain(spec, world.grounds)
    for index, actor in enumerate(actors):
        _add_actor(spec, index, actor)
    _require_small(actors, world.grounds)
    pairs = _add_pairs(spec, actors, ground, world.dt)
    _add_sensors(spec, actors)
    model = spec.compile()
    _restore_inertia(model, actors)
    drives: list[Drive] = []
    for actor in actors:
        drives += actor.drives
    return Built(model, spec, tuple(pairs), tuple(drives))


def _require_small(actors: Sequence[Actor], grounds: Sequence[Ground]) -> None:
    """Refuse shapes with a flat face that is too large for a height field."""
    for face in _flat_faces(actors):
        require_small(face.name, face.sides, grounds)


def unsteady_on_warp(actors: Sequence[Actor], grounds: Sequence[Ground]) -> list[str]:
    """Return the names of the boxes that may touch a height field, on which MuJoCo Warp cannot lay them still."""
    if not has_height_field(grounds):
        return []
    return [face.name for face in _flat_faces(actors) if face.kind == "box"]


class _FlatFace(NamedTuple):
    """The largest flat face of a shape that can touch the ground: whose it is, of what kind, and its sides [m]."""

    name: str
    kind: str
    sides: tuple[float, float]


def _flat_faces(actors: Sequence[Actor]) -> list[_FlatFace]:
    faces = []
    for shape in contacts.touching_ground(actors):
        actor = actors[shape.actor]
        solid = actor.asset.shapes()[shape.shape]
        sides = _sides(solid)
        if sides is not None:
            faces.append(_FlatFace(f"{actor.name}, {solid.kind} {shape.shape}", solid.kind, sides))
    return faces


def _sides(shape: Shape) -> Optional[tuple[float, float]]:
    """Return the sides of a shape's largest flat face [m]; None if it has none, or is a mesh."""
    if shape.kind == "box":
        longest = sorted(shape.size, reverse=True)
        return 2.0 * longest[0], 2.0 * longest[1]
    if shape.kind == "cylinder":
        return 2.0 * shape.size[0], 2.0 * shape.size[0]
    return None


def _set_options(option: Any, world: World) -> None:
    option.timestep = world.dt
    option.gravity = world.gravity
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # friction is the same in all directions, as in PhysX
    option.iterations = 20
    option.ls_iterations = 50
    option.impratio = 10  # less creep of what should stick
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # MuJoCo must not silently reset a diverged env


def body_name(actor: int, body: str) -> str:
    """Return the name of an actor's body in the model."""
    return f"{actor}/{body}"


def dof_name(actor: int, dof: int) -> str:
    """Return the name of an actor's degree of freedom in the model."""
    return f"{actor}/dof{dof}"


def _add_actor(spec: mujoco.MjSpec, index: int, actor: Actor) -> None:
    asset = actor.asset
    added: list[mujoco.MjsBody] = []
    dof = shape = 0
    for body in asset.bodies:
        if body.parent < 0:
            made = _add_root(spec, index, actor, body)
        else:
            made = added[body.parent].add_body(name=body_name(index, body.name), pos=body.pos, quat=body.quat)
        added.append(made)
        _set_inertia(made, body)
        if not asset.gravity:
            made.gravcomp = 1.0
        for joint in body.joints():
            _add_joint(spec, made, joint, actor.drives[dof], dof_name(index, dof))
            dof += 1
        for solid in body.shapes:
            geom = _add_shape(spec, made, solid, COLLISION_GROUP)
            geom.name = f"{index}/shape{shape}"
            shape += 1
        for visual in body.visuals:
            _add_shape(spec, made, visual, VISUAL_GROUP)


def _add_root(spec: mujoco.MjSpec, index: int, actor: Actor, body: Body) -> mujoco.MjsBody:
    made = spec.worldbody.add_body(name=body_name(index, body.name), pos=actor.pos, quat=actor.quat)
    if actor.asset.fixed_base:
        made.mocap = True
    else:
        made.add_freejoint(name=body_name(index, body.name))
    return made


def _set_inertia(made: mujoco.MjsBody, body: Body) -> None:
    full = np.asarray(body.inertia)
    made.mass = body.mass
    made.ipos = body.com
    made.fullinertia = [full[0, 0], full[1, 1], full[2, 2], full[0, 1], full[0, 2], full[1, 2]]
    made.explicitinertial = True
    made.simple = False  # MuJoCo's short cuts for bodies without an offset would forbid one in some of the envs


def _restore_inertia(model: mujoco.MjModel, actors: Sequence[Actor]) -> None:
    """Give bodies the inertia of their files, even one that no real body can have: many URDF files contain such.

    MuJoCo computes with it, only its compiler refuses it.
    """
    restored = False
    for index, actor in enumerate(actors):
        for body in actor.asset.bodies:
            moments, axes = principal(np.asarray(body.inertia))
            if moments[2] > moments[0] + moments[1]:
                where = model.body(body_name(index, body.name)).id
                model.body_inertia[where], model.body_iquat[where] = moments, axes
                restored = True
    if restored:
        mujoco.mj_setConst(model, mujoco.MjData(model))


def principal(inertia: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the principal moments of an inertia tensor (3, 3), ascending, and the orientation of their axes."""
    moments, axes = np.linalg.eigh(inertia)
    if np.linalg.det(axes) < 0.0:
        axes[:, 0] = -axes[:, 0]
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(axes).flatten())
    return moments, quat


def _add_joint(spec: mujoco.MjSpec, made: mujoco.MjsBody, joint: Joint, drive: Drive, name: str) -> None:
    kind = mujoco.mjtJoint.mjJNT_HINGE
    if joint.kind == "prismatic":
        kind = mujoco.mjtJoint.mjJNT_SLIDE
    added = made.add_joint(name=name, type=kind, axis=joint.axis, pos=joint.pos)
    added.limited = drive.limited
    if drive.limited:
        added.range = joint_range(drive)
    added.armature = drive.armature
    added.frictionloss = drive.friction
    if drive.mode in DRIVEN:
        _add_drive(spec, name, drive)
    else:
        added.damping[:] = 0.0
        added.damping[0] = drive.damping
        added.stiffness[:] = 0.0
        added.stiffness[0] = drive.stiffness


def _add_drive(spec: mujoco.MjSpec, joint: str, drive: Drive) -> None:
    """Add the servo of a driven joint.

    The control is the effort towards the targets; the bias is what the present position and velocity take away from it.
    `servo_bias` adds to the damping what makes the spring implicit in time, as PhysX's drives are.
    """
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    servo.gainprm[0] = 1.0
    servo.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    servo.biasprm[:3] = servo_bias(drive, spec.option.timestep)
    servo.forcelimited = True
    servo.forcerange = effort_range(drive)


def joint_range(drive: Drive) -> tuple[float, float]:
    """Return the limits of a degree of freedom; MuJoCo's must be finite."""
    return max(drive.lower, -_UNLIMITED), min(drive.upper, _UNLIMITED)


def effort_range(drive: Drive) -> tuple[float, float]:
    """Return the smallest and the largest effort of a drive; 0 means that it has no limit."""
    effort = _UNLIMITED
    if 0.0 < drive.effort < _UNLIMITED:
        effort = drive.effort
    return -effort, effort


_UNLIMITED = 1e9  # [rad, m, N m or N]


def servo_bias(drive: Drive, dt: float) -> tuple[float, float, float]:
    """Return a drive as MuJoCo's affine bias: constant, per position, per velocity.

    A spring that acts on the position at the end of the step, q + dt v, is a spring at q with dt times its stiffness as
    additional damping; MuJoCo's `implicitfast` integrates the damping implicitly.
    """
    stiffness = drive.stiffness
    if drive.mode == DRIVE_VELOCITY:
        stiffness = 0.0
    return 0.0, -stiffness, -(drive.damping + dt * stiffness)


def _add_shape(spec: mujoco.MjSpec, made: mujoco.MjsBody, shape: Shape, group: int) -> mujoco.MjsGeom:
    kind = getattr(mujoco.mjtGeom, "mjGEOM_" + shape.kind.upper())
    geom = made.add_geom(type=kind, pos=shape.pos, quat=shape.quat, group=group, contype=0, conaffinity=0)
    if shape.kind == "mesh":
        geom.meshname = _mesh(spec, shape)
    else:
        geom.size[: len(shape.size)] = shape.size
    if shape.rgba is not None:
        geom.rgba = shape.rgba
    geom.mass = 0.0
    return geom


def _mesh(spec: mujoco.MjSpec, shape: Shape) -> str:
    """Return the name of the mesh of this file and scale; it is added once."""
    name = f"{shape.mesh} {shape.size}"
    for mesh in spec.meshes:
        if mesh.name == name:
            return name
    mesh = spec.add_mesh(name=name, file=str(shape.mesh), scale=shape.size)
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
    return name


def _add_pairs(spec: mujoco.MjSpec, actors: Sequence[Actor], ground: Sequence[str], dt: float) -> list[Pair]:
    """Let the pairs that can touch touch; their friction is set later, for each env."""
    pairs = []
    for shape in contacts.touching_ground(actors):
        for geom in ground:
            _add_pair(spec, shape.geom, geom, dt)
            pairs.append(Pair(shape, None, float(spec.geom(geom).friction[0])))
    for one, other in contacts.touching(actors):
        _add_pair(spec, one.geom, other.geom, dt)
        pairs.append(Pair(one, other))
    return pairs


def _add_pair(spec: mujoco.MjSpec, one: str, other: str, dt: float) -> None:
    """Add a pair of geoms whose contacts are as stiff as MuJoCo's are by default, or as this time step allows.

    Stiffer ones throw robots that start inside each other apart at thousands of metres per second.
    """
    spec.add_pair(geomname1=one, geomname2=other, condim=3, solref=(max(CONTACT_TIME, 2.0 * dt), 1.0))


CONTACT_TIME = 0.02  # in which a penetration decays [s]


def _add_sensors(spec: mujoco.MjSpec, actors: Sequence[Actor]) -> None:
    """Add sensors of the sum of the contact forces, which have the opposite sign.

    First comes the force on each body, then for each force sensor of an actor force, torque, and the point about which
    the torque is.
    """
    for index, actor in enumerate(actors):
        for body in actor.asset.bodies:
            name = body_name(index, body.name)
            _add_sensor(spec, name, name, _FORCE)
    for index, actor in enumerate(actors):
        for number, sensor in enumerate(actor.sensors):
            body = actor.asset.bodies[sensor.body]
            _add_sensor(spec, f"{index}/sensor{number}", body_name(index, body.name), _FORCE | _TORQUE | _POINT)


def _add_sensor(spec: mujoco.MjSpec, name: str, body: str, fields: int) -> None:
    sensor = spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_CONTACT)
    sensor.objtype = mujoco.mjtObj.mjOBJ_BODY
    sensor.objname = body
    sensor.intprm[:3] = fields, _NET_FORCE, 1


_FORCE, _TORQUE, _POINT = 2, 4, 16  # bits of the fields "force", "torque" and "pos"
_NET_FORCE = 3  # the enumerator of reduce="netforce", which the Python bindings do not name
