"""The part of `Gym` that creates simulations, grounds, assets, envs and actors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from isaac_standin.api import ground
from isaac_standin.api.enums import DOF_MODE_NONE, SIM_FLEX
from isaac_standin.api.handles import Asset, Env, Sim, prepared, unprepared
from isaac_standin.api.options import AssetOptions, SimParams
from isaac_standin.api.refusals import refused_use
from isaac_standin.api.values import HeightFieldParams, PlaneParams, Transform, TriangleMeshParams, Vec3
from isaac_standin.assets import asset as assets
from isaac_standin.assets import loading, primitives
from isaac_standin.assets.load_options import LoadOptions
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.install import Settings, choose_backend, settings
from isaac_standin.physics import memory
from isaac_standin.scene.actor import Actor, drives_of, masses_of, surfaces_of
from isaac_standin.simulation import Options, Simulation

ALL_GROUPS = -1
AS_SHAPES_SAY = -1


class Creation:
    """Create simulations, grounds, assets, envs and actors."""

    def create_sim(
        self, compute_device: int = 0, graphics_device: int = 0, type: Any = None, params: Optional[SimParams] = None
    ) -> Sim:
        """Return a new simulation.

        Args:
          compute_device: index of the GPU, if `params.use_gpu_pipeline` is set and there is one.
          graphics_device: ignored; images are rendered where MuJoCo renders.
          type: `SIM_PHYSX`; Flex is not supported.
          params: time step, gravity, and buffer sizes of PhysX.

        Raises:
          NotSupported: `type` is `SIM_FLEX`.
          StandinError: a parameter makes no sense.
          CapacityError: PhysX's buffers would not fit into the memory that the launcher was given.
        """
        if type == SIM_FLEX:
            raise refused_use("SIM_FLEX", "create_sim")
        params = params or SimParams()
        _require_sound(params)
        physx = params.physx
        chosen = settings()
        assignments = physx.assignments("max_gpu_contact_pairs")
        memory.account(physx.max_gpu_contact_pairs, assignments, chosen.physx_bytes)
        options = Options(
            dt=params.dt,
            substeps=params.substeps,
            gravity=(params.gravity.x, params.gravity.y, params.gravity.z),
            device=_device(compute_device, params, chosen),
            threads=chosen.num_threads,
            nconmax=chosen.contacts_per_env or 0,
            njmax=chosen.rows_per_env or 0,
        )
        return Sim(Simulation(options), params)

    def destroy_sim(self, sim: Sim) -> None:
        """Release a simulation, its cameras and its viewers."""
        if sim.graphics is not None:
            sim.graphics.close()
        sim.simulation.close()

    def prepare_sim(self, sim: Sim) -> bool:
        """Build the model; tensors and steps exist from now on."""
        unprepared(sim, "prepare_sim").prepare()
        return True

    def get_sim_params(self, sim: Sim) -> SimParams:
        """Return the parameters of a simulation."""
        return sim.params

    def set_sim_params(self, sim: Sim, params: SimParams) -> None:
        """Set the gravity of a simulation; its time step cannot change after `prepare_sim`.

        Raises:
          NotSupported: the time step differs.
        """
        options = sim.simulation.options
        if (params.dt, params.substeps) != (options.dt, options.substeps):
            raise NotSupported(
                "the time step of a simulation cannot change",
                where="set_sim_params",
                got=f"dt {params.dt}, substeps {params.substeps}",
                expected=f"dt {options.dt}, substeps {options.substeps}",
                fix="set them before create_sim",
            )
        sim.simulation.set_gravity((params.gravity.x, params.gravity.y, params.gravity.z))
        sim.params = params

    def add_ground(self, sim: Sim, params: PlaneParams) -> None:
        """Add an infinite plane."""
        unprepared(sim, "add_ground").grounds.append(ground.plane(params))

    def add_heightfield(self, sim: Sim, samples: np.ndarray, params: HeightFieldParams) -> None:
        """Add a grid of heights, int16, whose first index counts columns; see `HeightFieldParams`."""
        unprepared(sim, "add_heightfield").grounds.append(ground.heightfield(samples, params))

    def add_triangle_mesh(
        self, sim: Sim, vertices: np.ndarray, triangles: np.ndarray, params: TriangleMeshParams
    ) -> None:
        """Add a mesh that is the surface of a grid of heights, or of boxes.

        Args:
          sim: the simulation.
          vertices: coordinates [m], flat, float32.
          triangles: indices of vertices, flat, uint32.
          params: sizes, position and friction.
        """
        unprepared(sim, "add_triangle_mesh").grounds.extend(ground.mesh(vertices, triangles, params))

    def load_asset(self, sim: Sim, rootpath: str, filename: str, options: Optional[AssetOptions] = None) -> Asset:
        """Read a URDF or MJCF file."""
        options = options or AssetOptions()
        loaded = loading.load(Path(rootpath) / filename, _load_options(options))
        return _handle(loaded, options, int(options.default_dof_drive_mode))

    def load_urdf(self, sim: Sim, rootpath: str, filename: str, options: Optional[AssetOptions] = None) -> Asset:
        """Read a URDF file."""
        return self.load_asset(sim, rootpath, filename, options)

    def load_mjcf(self, sim: Sim, rootpath: str, filename: str, options: Optional[AssetOptions] = None) -> Asset:
        """Read an MJCF file."""
        return self.load_asset(sim, rootpath, filename, options)

    def create_box(
        self, sim: Sim, width: float, height: float, depth: float, options: Optional[AssetOptions] = None
    ) -> Asset:
        """Return a box of these sizes along x, y and z [m]."""
        options = options or AssetOptions()
        return _handle(primitives.box((width, height, depth), _load_options(options)), options, DOF_MODE_NONE)

    def create_sphere(self, sim: Sim, radius: float, options: Optional[AssetOptions] = None) -> Asset:
        """Return a sphere of this radius [m]."""
        options = options or AssetOptions()
        return _handle(primitives.sphere(radius, _load_options(options)), options, DOF_MODE_NONE)

    def create_capsule(self, sim: Sim, radius: float, width: float, options: Optional[AssetOptions] = None) -> Asset:
        """Return a capsule along x of this radius and length without caps [m]."""
        options = options or AssetOptions()
        return _handle(primitives.capsule(radius, width, _load_options(options)), options, DOF_MODE_NONE)

    def create_env(self, sim: Sim, lower: Vec3, upper: Vec3, num_per_row: int) -> Env:
        """Return a new env. Its place in the grid of envs matters only to a viewer; states are relative to it."""
        simulation = unprepared(sim, "create_env")
        index = len(sim.env_list)
        row, column = divmod(index, max(num_per_row, 1))
        origin = (column * (upper.x - lower.x), row * (upper.y - lower.y), 0.0)
        actors: list[Actor] = []
        simulation.envs.append(actors)
        env = Env(sim, index, actors, origin)
        sim.env_list.append(env)
        return env

    def create_actor(
        self,
        env: Env,
        asset: Asset,
        pose: Transform,
        name: str = "",
        group: int = ALL_GROUPS,
        filter: int = AS_SHAPES_SAY,
        segmentationId: int = 0,
    ) -> int:
        """Add a copy of an asset to an env and return its handle, which is its index in the env.

        Args:
          env: the env.
          asset: what to copy; its shapes' properties are those of now.
          pose: initial pose of its root.
          name: its name.
          group: actors of different groups do not collide; -1 collides with all.
          filter: two actors with a common bit do not collide; -1 leaves that to the filters of the shapes.
          segmentationId: value of its pixels in segmentation images.
        """
        unprepared(env.sim, "create_actor")
        if not isinstance(asset, Asset):
            raise StandinError("create_actor needs an asset", got=repr(asset), fix="pass what load_asset returned")
        env.actors.append(
            Actor(
                asset=asset.asset,
                name=name,
                pos=(pose.p.x, pose.p.y, pose.p.z),
                quat=(pose.r.w, pose.r.x, pose.r.y, pose.r.z),
                group=int(group),
                filter=int(filter),
                surfaces=asset.surfaces,
                masses=masses_of(asset.asset),
                drives=drives_of(asset.asset, asset.drive_mode),
                segmentation=segmentationId,
                sensors=asset.sensors,
            )
        )
        env.assets.append(asset)
        return len(env.actors) - 1

    def begin_aggregate(self, env: Env, max_bodies: int, max_shapes: int, self_collisions: bool) -> bool:
        """Do nothing: aggregates only make PhysX faster."""
        return True

    def end_aggregate(self, env: Env) -> bool:
        """Do nothing: aggregates only make PhysX faster."""
        return True

    def simulate(self, sim: Sim) -> None:
        """Advance all envs by `SimParams.dt`."""
        prepared(sim, "simulate").simulate()

    def fetch_results(self, sim: Sim, wait_for_latest_sim_step: bool) -> None:
        """Do nothing: results are there when the next call needs them."""
        prepared(sim, "fetch_results")

    def get_frame_count(self, sim: Sim) -> int:
        """Return how often `simulate` was called."""
        return sim.simulation.frames

    def get_sim_time(self, sim: Sim) -> float:
        """Return the simulated time [s]."""
        return sim.simulation.frames * sim.simulation.options.dt


def _handle(loaded: assets.Asset, options: AssetOptions, drive_mode: int) -> Asset:
    damped = dataclasses.replace(loaded, linear_damping=options.linear_damping, angular_damping=options.angular_damping)
    return Asset(damped, surfaces_of(damped), int(drive_mode))


def _device(compute_device: int, params: SimParams, chosen: Settings) -> torch.device:
    """Return the device of physics and tensors: a GPU if the program asks for it, there is one, and it may be used."""
    if params.use_gpu_pipeline and choose_backend(chosen) == "gpu":
        return torch.device("cuda", max(compute_device, 0))
    return torch.device("cpu")


def _require_sound(params: SimParams) -> None:
    if not params.dt > 0.0 or params.substeps < 1:
        raise StandinError(
            "the time step makes no sense",
            where="create_sim",
            got=f"dt {params.dt}, substeps {params.substeps}",
            expected="dt above 0 and at least one substep",
        )


def _load_options(options: AssetOptions) -> LoadOptions:
    _require_supported(options)
    return LoadOptions(
        collapse_fixed_joints=options.collapse_fixed_joints,
        replace_cylinder_with_capsule=options.replace_cylinder_with_capsule,
        density=options.density,
        fix_base_link=options.fix_base_link,
        disable_gravity=options.disable_gravity,
        armature=options.armature,
        override_com=options.override_com,
        override_inertia=options.override_inertia,
    )


def _require_supported(options: AssetOptions) -> None:
    for name in ("vhacd_enabled", "convex_decomposition_from_submeshes"):
        if getattr(options, name):
            raise refused_use(name, "load_asset")
