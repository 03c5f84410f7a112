"""Reads MJCF files through MuJoCo, so that defaults, includes and `fromto` mean what they mean there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import mujoco
import numpy as np

from isaac_standin.errors import NotSupported, StandinError

from .asset import Actuator, Asset, Joint
from .collapse import collapse
from .elements import parse_file
from .inertia import Inertia, compile_spec, overridden
from .load_options import LoadOptions
from .mjcf_shapes import SEEN_GROUPS, forget_looks, read_shape
from .pose import NO_MOVE, Pose, quaternion, rotation, vector
from .shapes import with_caps
from .tree import Link, depth_first, to_bodies

_KINDS: dict[mujoco.mjtJoint, Literal["revolute", "prismatic"]] = {
    mujoco.mjtJoint.mjJNT_HINGE: "revolute",
    mujoco.mjtJoint.mjJNT_SLIDE: "prismatic",
}


def load_mjcf(path: Path, options: LoadOptions) -> Asset:
    """Return the robot of an MJCF file.

    Bodies keep the order of the file, depth first: Isaac Gym's own order can be seen in IsaacGymEnvs, whose AMP
    humanoid indexes the simulator's bodies like those that its motion library reads from the file. What is fixed to the
    world, such as a floor, is left out; so are contact exclusions. The root's own position in the file does not count:
    the actor's pose is that of the root. `density` has no effect, because MJCF has a default of its own.

    Raises:
      StandinError: MuJoCo cannot read the file, or it has no or several robots.
      NotSupported: it has a ball joint, a tendon, an equality, or an actuator that is no motor.
    """
    spec = _read(path)
    _refuse_extras(spec, str(path))
    mesh_files = forget_looks(spec, path)
    model = compile_spec(spec, str(path))
    root = _find_root(model, str(path))
    links = []
    for body in range(root, model.nbody):
        links.append(_read_link(model, body, root, mesh_files, path, options))
    if options.collapse_fixed_joints:
        links = depth_first(collapse(links), by_joint_name=False)
    return Asset(
        name=spec.modelname,
        source=str(path),
        bodies=to_bodies(links, str(path)),
        fixed_base=options.fix_base_link or not _is_free(model, root),
        gravity=not options.disable_gravity,
        actuators=_read_actuators(model, str(path)),
    )


def _read(path: Path) -> mujoco.MjSpec:
    root = parse_file(path)
    if root.tag != "mujoco":
        raise StandinError("not an MJCF file", where=str(path), got=f"<{root.tag}>", expected="<mujoco> as its root")
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        message = " ".join(str(error).split())
        raise StandinError("MuJoCo cannot read the file", where=str(path), got=message) from error


def _refuse_extras(spec: mujoco.MjSpec, where: str) -> None:
    """Refuse what would change the motion and what the stand-in lacks."""
    extras = {"an equality constraint": spec.equalities, "a tendon": spec.tendons, "a flexible body": spec.flexes}
    for meaning, found in extras.items():
        if found:
            raise NotSupported(f"{meaning} in an MJCF file", where=where, got=repr(found[0].name), fix="remove it")


def _find_root(model: mujoco.MjModel, where: str) -> int:
    """Return the index of the only body that is attached to the world."""
    roots = np.flatnonzero(model.body_parentid == 0)[1:]
    if len(roots) != 1:
        names = ", ".join(model.body(int(root)).name for root in roots)
        raise StandinError(
            "the file does not have one root body",
            where=where,
            got=names or "no bodies",
            expected="one body directly in <worldbody>",
        )
    root = int(roots[0])
    if model.body_jntnum[root] and not _is_free(model, root):
        raise NotSupported(
            "a root body with joints to the world",
            where=f"{where}, body {model.body(root).name!r}",
            fix="put it into a body without joints, which is then the fixed base",
        )
    return root


def _is_free(model: mujoco.MjModel, body: int) -> bool:
    return bool(model.body_jntnum[body]) and model.jnt_type[model.body_jntadr[body]] == mujoco.mjtJoint.mjJNT_FREE


def _name(model: mujoco.MjModel, body: int) -> str:
    return model.body(body).name or f"body_{body}"


def _read_link(
    model: mujoco.MjModel, body: int, root: int, mesh_files: list[Path | None], path: Path, options: LoadOptions
) -> Link:
    name = _name(model, body)
    where = f"{path}, body {name!r}"
    parent = None
    pose: Pose = NO_MOVE
    joints: tuple[Joint, ...] = ()
    if body != root:
        parent = _name(model, int(model.body_parentid[body]))
        pose = (vector(model.body_pos[body]), quaternion(model.body_quat[body]))
        joints = _read_joints(model, body, where, options)
    shapes, visuals = [], []
    first = model.body_geomadr[body]
    for geom in range(first, first + model.body_geomnum[body]):
        shape = read_shape(model, geom, mesh_files, where)
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            shapes.append(with_caps(shape, options))
        if model.geom_group[geom] in SEEN_GROUPS:
            visuals.append(shape)
    inertia = overridden(_read_inertia(model, body), tuple(shapes), options, where)
    return Link(name, inertia, tuple(shapes), tuple(visuals), parent, joints=joints, pose=pose)


def _read_inertia(model: mujoco.MjModel, body: int) -> Inertia:
    turn = rotation(quaternion(model.body_iquat[body]))
    tensor = turn @ np.diag(model.body_inertia[body]) @ turn.T
    return Inertia(float(model.body_mass[body]), model.body_ipos[body].copy(), tensor)


def _read_joints(model: mujoco.MjModel, body: int, where: str, options: LoadOptions) -> tuple[Joint, ...]:
    joints = []
    first = int(model.body_jntadr[body])
    for index in range(first, first + int(model.body_jntnum[body])):
        joints.append(_read_joint(model, index, where, options))
    return tuple(joints)


def _read_joint(model: mujoco.MjModel, index: int, where: str, options: LoadOptions) -> Joint:
    name = model.joint(index).name or f"joint_{index}"
    where = f"{where}, joint {name!r}"
    kind = _KINDS.get(mujoco.mjtJoint(model.jnt_type[index]))
    if kind is None:
        raise NotSupported("a ball joint", where=where, fix="use three hinges")
    dof = model.jnt_dofadr[index]
    position = model.jnt_qposadr[index]
    if model.qpos0[position] != 0 or (model.jnt_stiffness[index] > 0 and model.qpos_spring[position] != 0):
        raise NotSupported("a joint with ref or springref", where=where, fix="remove these attributes")
    lower, upper = -np.inf, np.inf
    if model.jnt_limited[index]:
        lower, upper = model.jnt_range[index].tolist()
    effort = np.inf
    if model.jnt_actfrclimited[index]:
        effort = float(np.abs(model.jnt_actfrcrange[index]).max())
    return Joint(
        name=name,
        kind=kind,
        axis=vector(model.jnt_axis[index]),
        pos=vector(model.jnt_pos[index]),
        lower=lower,
        upper=upper,
        effort=effort,
        damping=float(model.dof_damping[dof]),
        friction=float(model.dof_frictionloss[dof]),
        armature=float(model.dof_armature[dof]) + options.armature,
        stiffness=float(model.jnt_stiffness[index]),
    )


def _read_actuators(model: mujoco.MjModel, where: str) -> tuple[Actuator, ...]:
    actuators = []
    for index in range(model.nu):
        name = model.actuator(index).name
        _check_motor(model, index, f"{where}, actuator {name or index!r}")
        joint = int(model.actuator_trnid[index, 0])
        largest = 1.0
        if model.actuator_ctrllimited[index]:
            largest = float(model.actuator_ctrlrange[index, 1])
        effort = float(model.actuator_gear[index, 0]) * largest
        joint_name = model.joint(joint).name or f"joint_{joint}"
        actuators.append(Actuator(name or joint_name, joint_name, effort))
    return tuple(actuators)


def _check_motor(model: mujoco.MjModel, index: int, where: str) -> None:
    """Refuse an actuator whose force is not its control times its gear, on a joint."""
    plain = (
        model.actuator_trntype[index] == mujoco.mjtTrn.mjTRN_JOINT
        and model.actuator_gaintype[index] == mujoco.mjtGain.mjGAIN_FIXED
        and model.actuator_gainprm[index, 0] == 1
        and model.actuator_biastype[index] == mujoco.mjtBias.mjBIAS_NONE
        and model.actuator_dyntype[index] == mujoco.mjtDyn.mjDYN_NONE
    )
    if not plain:
        raise NotSupported(
            "an actuator that is not a motor of a joint",
            where=where,
            expected="<motor joint=...>",
            fix="remove it, and drive the joint by drive mode, stiffness and damping of its degree of freedom",
        )
