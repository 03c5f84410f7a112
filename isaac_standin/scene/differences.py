"""Model fields that differ from env to env: friction, masses, drives."""

from __future__ import annotations

from typing import Callable, Sequence

import mujoco
import numpy as np

from isaac_standin.assets.asset import Body
from isaac_standin.errors import StandinError
from isaac_standin.scene.actor import Actor, Drive, Mass
from isaac_standin.scene.layout import Layout
from isaac_standin.scene.model import DRIVEN, Built, effort_range, joint_range, principal, servo_bias

Fields = dict[str, np.ndarray]


def require_alike(envs: Sequence[Sequence[Actor]]) -> None:
    """Raise an error unless all envs have the same actors, up to properties that may differ.

    Raises:
      StandinError: an env has other actors, or its actors collide or are driven in other ways.
    """
    expected = _kind(envs[0])
    for index, actors in enumerate(envs):
        found = _kind(actors)
        if found != expected:
            raise StandinError(
                "the envs have different actors",
                where=f"env {index}",
                got=_describe(actors),
                expected=f"as in env 0: {_describe(envs[0])}",
                cause="all envs are copies of one MuJoCo model, which differ only in masses, friction and drives",
                fix="create the same actors, in the same order, in every env",
            )


def _kind(actors: Sequence[Actor]) -> list[tuple]:
    """Return all that may not differ from env to env."""
    groups = [actor.group for actor in actors]
    kinds = []
    for actor in actors:
        filters = tuple(surface.filter for surface in actor.surfaces)
        modes = tuple((drive.mode, drive.limited) for drive in actor.drives)
        kinds.append((id(actor.asset), groups.index(actor.group), actor.group < 0, actor.filter, filters, modes))
    return kinds


def _describe(actors: Sequence[Actor]) -> str:
    described = []
    for actor in actors:
        described.append(f"{actor.name} ({actor.asset.name}, group {actor.group}, filter {actor.filter})")
    return ", ".join(described) or "no actors"


def fields_of(built: Built, layout: Layout, envs: Sequence[Sequence[Actor]]) -> Fields:
    """Return every field of the model that an actor's properties set, each with a row for every env."""
    fields = _frictions(built, envs)
    fields |= _mass_fields(built, layout, envs)
    fields |= _drive_fields(built, layout, envs)
    return fields


def _frictions(built: Built, envs: Sequence[Sequence[Actor]]) -> Fields:
    """Return the friction of each pair: the mean of its two surfaces, as in PhysX."""
    if not built.pairs:
        return {}
    frictions = []
    for actors in envs:
        frictions.append([surface.friction for actor in actors for surface in actor.surfaces])
    surfaces = np.array(frictions, dtype=np.float64)
    first = np.cumsum([0] + [len(actor.surfaces) for actor in envs[0]])
    sliding = np.empty((len(envs), len(built.pairs)))
    for index, pair in enumerate(built.pairs):
        sliding[:, index] = surfaces[:, first[pair.one.actor] + pair.one.shape]
        if pair.other is None:
            sliding[:, index] += pair.ground_friction
        else:
            sliding[:, index] += surfaces[:, first[pair.other.actor] + pair.other.shape]
    sliding = np.maximum(sliding / 2.0, _LEAST_FRICTION)
    friction = np.repeat(built.model.pair_friction[None], len(envs), axis=0)
    friction[:, :, 0] = sliding
    friction[:, :, 1] = sliding
    return {"pair_friction": friction}


_LEAST_FRICTION = 1e-5  # MuJoCo's elliptic cone needs some


def _mass_fields(built: Built, layout: Layout, envs: Sequence[Sequence[Actor]]) -> Fields:
    """Return masses, centres of mass, and inertias as MuJoCo keeps them: principal moments and their axes."""
    original = [Mass(*_original(body)) for actor in envs[0] for body in actor.asset.bodies]
    fields = {}
    for name in ("body_mass", "body_ipos", "body_inertia", "body_iquat"):
        fields[name] = np.repeat(getattr(built.model, name)[None], len(envs), axis=0)
    for env, row in enumerate(_table(envs, lambda actor: actor.masses)):
        for body, (mass, before) in enumerate(zip(row, original, strict=True)):
            if mass is before or mass == before:
                continue
            where = env, layout.bodies[body]
            fields["body_mass"][where] = mass.mass
            fields["body_ipos"][where] = mass.com
            if mass.inertia != before.inertia:
                fields["body_inertia"][where], fields["body_iquat"][where] = principal(np.reshape(mass.inertia, (3, 3)))
    return fields


def _original(body: Body) -> tuple:
    return body.mass, body.com, tuple(np.asarray(body.inertia).flatten().tolist())


def _drive_fields(built: Built, layout: Layout, envs: Sequence[Sequence[Actor]]) -> Fields:
    model = built.model
    fields = {}
    for name in (*_OF_JOINTS, *_OF_SERVOS):
        fields[name] = np.repeat(getattr(model, name)[None], len(envs), axis=0)
    for env, row in enumerate(_table(envs, lambda actor: actor.drives)):
        for dof, drive in enumerate(row):
            if drive != built.drives[dof]:
                _write_drive(fields, env, layout, dof, drive, model)
    return fields


_OF_JOINTS = ("dof_damping", "dof_armature", "dof_frictionloss", "jnt_range", "jnt_stiffness")
_OF_SERVOS = ("actuator_biasprm", "actuator_forcerange")


def _write_drive(fields: Fields, env: int, layout: Layout, dof: int, drive: Drive, model: mujoco.MjModel) -> None:
    column = layout.dof_qvel[dof]
    fields["dof_armature"][env, column] = drive.armature
    fields["dof_frictionloss"][env, column] = drive.friction
    joint = model.dof_jntid[column]
    if drive.limited:
        fields["jnt_range"][env, joint] = joint_range(drive)
    if drive.mode not in DRIVEN:
        fields["dof_damping"][env, column] = drive.damping
        fields["jnt_stiffness"][env, joint] = drive.stiffness
        return
    servo = layout.servo[dof]
    fields["actuator_biasprm"][env, servo, :3] = servo_bias(drive, model.opt.timestep)
    fields["actuator_forcerange"][env, servo] = effort_range(drive)


def _table(envs: Sequence[Sequence[Actor]], of: Callable[[Actor], tuple]) -> list[list]:
    """Return what `of` returns for the actors of each env, one list for each env."""
    table = []
    for actors in envs:
        row: list = []
        for actor in actors:
            row += of(actor)
        table.append(row)
    return table
