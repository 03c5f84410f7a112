"""Settings of the simulation and of assets: `SimParams`, `PhysXParams`, `FlexParams`, `AssetOptions`, `VhacdParams`.

Defaults are Isaac Gym's where public code or documentation says them. Unknown, and therefore a choice of ours: all of
`FlexParams`, and of the others what a comment marks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isaac_standin.api.callers import caller
from isaac_standin.api.enums import ContactCollection, DofDriveMode, MeshNormalMode, UpAxis
from isaac_standin.api.fields import Record, choice, flag, nested, number, whole
from isaac_standin.api.geometry import Vec3


class Assignment(NamedTuple):
    """A setting that a program changed: from what to what, and in which line of which file."""

    old: Any
    new: Any
    file: str
    line: int


class PhysXParams(Record):
    """Settings of PhysX; the stand-in heeds few of them, docs/standin.md says which.

    Every assignment is recorded: what PhysX allocates depends on `max_gpu_contact_pairs` and
    `default_buffer_size_multiplier`, and an error about memory names who set them.
    """

    solver_type: int = whole(1)
    num_position_iterations: int = whole(4)
    num_velocity_iterations: int = whole(1)
    contact_offset: float = number(0.02)
    rest_offset: float = number(0.001)
    bounce_threshold_velocity: float = number(0.01)
    max_depenetration_velocity: float = number(100.0)
    friction_offset_threshold: float = number(0.04)
    friction_correlation_distance: float = number(0.025)
    contact_collection: ContactCollection = choice(ContactCollection.CC_ALL_SUBSTEPS)
    max_gpu_contact_pairs: int = whole(1024 * 1024)
    default_buffer_size_multiplier: float = number(1.0)
    num_threads: int = whole(0)  # unknown
    num_subscenes: int = whole(0)  # unknown
    use_gpu: bool = flag(False)  # unknown
    always_use_articulations: bool = flag(False)  # unknown

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_assignments"] = []

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        super().__setattr__(name, value)
        file, line = caller()
        self.__dict__["_assignments"].append((name, Assignment(old, self.__dict__[name], file, line)))

    def assignments(self, name: str) -> list[Assignment]:
        """Return what programs assigned to the attribute `name`, in order; a config's entries count as its reader's."""
        if name not in self.fields_:
            raise self._unknown(name)
        found = []
        for assigned, assignment in self.__dict__["_assignments"]:
            if assigned == name:
                found.append(assignment)
        return found


class FlexParams(Record):
    """Settings of Flex, which the stand-in does not have; they can be set, and mean nothing."""

    solver_type: int = whole(5)
    num_outer_iterations: int = whole(4)
    num_inner_iterations: int = whole(10)
    relaxation: float = number(0.75)
    warm_start: float = number(0.4)
    shape_collision_distance: float = number()
    shape_collision_margin: float = number()
    contact_regularization: float = number()
    deterministic_mode: bool = flag()
    dynamic_friction: float = number()
    static_friction: float = number()
    particle_friction: float = number()
    friction_mode: int = whole()
    geometric_stiffness: float = number()
    max_rigid_contacts: int = whole()
    max_soft_contacts: int = whole()
    return_contacts: bool = flag()


class SimParams(Record):
    """Settings of the simulation.

    Attributes:
      dt: duration of one `simulate` [s].
      substeps: physics steps in it.
      gravity: [m/s^2]; along -y at first, as `up_axis` is y.
      up_axis: y or z.
      use_gpu_pipeline: whether tensors live on the GPU.
      num_client_threads: ignored.
      physx: settings of PhysX.
      flex: settings of Flex.
      enable_actor_creation_warning: ignored.
      stress_visualization: ignored, with its bounds `_min` and `_max`.
    """

    dt: float = number(1.0 / 60.0)
    substeps: int = whole(2)
    gravity: Vec3 = nested(Vec3, y=-9.8)
    up_axis: UpAxis = choice(UpAxis.UP_AXIS_Y)
    use_gpu_pipeline: bool = flag(False)  # unknown
    num_client_threads: int = whole(0)
    physx: PhysXParams = nested(PhysXParams)
    flex: FlexParams = nested(FlexParams)
    enable_actor_creation_warning: bool = flag(True)
    stress_visualization: bool = flag(False)
    stress_visualization_min: float = number()  # unknown
    stress_visualization_max: float = number()  # unknown


class VhacdParams(Record):
    """Settings of the decomposition of meshes into convex parts, which the stand-in does not do."""

    resolution: int = whole(100_000)
    concavity: float = number(0.0)
    plane_downsampling: int = whole(4)
    convex_hull_downsampling: int = whole(4)
    alpha: float = number(0.05)
    beta: float = number(0.05)
    pca: int = whole(0)
    mode: int = whole(0)
    max_num_vertices_per_ch: int = whole(64)
    min_volume_per_ch: float = number(0.0001)
    convex_hull_approximation: bool = flag(True)
    max_convex_hulls: int = whole(64)
    ocl_acceleration: bool = flag(True)
    project_hull_vertices: bool = flag(True)


class AssetOptions(Record):
    """How an asset is loaded.

    Attributes:
      fix_base_link: whether the first body is fixed to the world.
      collapse_fixed_joints: whether bodies that fixed joints connect become one.
      replace_cylinder_with_capsule: whether cylinders become capsules.
      default_dof_drive_mode: the drive of all joints, a `DofDriveMode` as a number.
      density: for bodies without a mass [kg/m^3].
      armature: added to the inertia of joints or bodies [kg m^2 or kg].
      use_physx_armature: whether `armature` belongs to joints; otherwise to bodies.
      thickness: of shapes, of Flex only [m].
      linear_damping: of bodies [1/s].
      angular_damping: of bodies [1/s].
      max_linear_velocity: of bodies [m/s].
      max_angular_velocity: of bodies [rad/s].
      disable_gravity: whether no gravity acts on it.
      enable_gyroscopic_forces: whether bodies precess.
      override_com: whether centres of mass come from shapes instead of the file.
      override_inertia: whether inertias come from shapes instead of the file.
      flip_visual_attachments: whether meshes turn from z-up to y-up; only for display.
      mesh_normal_mode: where normals of meshes come from; only for display.
      use_mesh_materials: whether colours come from meshes; only for display.
      slices_per_cylinder: faces of the mesh of a cylinder.
      vhacd_enabled: whether meshes are decomposed into convex parts.
      vhacd_params: how.
      convex_decomposition_from_submeshes: whether a mesh's parts are those convex parts.
      min_particle_mass: of soft bodies [kg].
      tendon_limit_stiffness: of tendons.
    """

    fix_base_link: bool = flag(False)
    collapse_fixed_joints: bool = flag(False)
    replace_cylinder_with_capsule: bool = flag(False)
    default_dof_drive_mode: int = whole(DofDriveMode.DOF_MODE_NONE.value)
    density: float = number(1000.0)
    armature: float = number(0.0)
    use_physx_armature: bool = flag(True)
    thickness: float = number(0.02)
    linear_damping: float = number(0.0)
    angular_damping: float = number(0.5)
    max_linear_velocity: float = number(1000.0)
    max_angular_velocity: float = number(64.0)
    disable_gravity: bool = flag(False)
    enable_gyroscopic_forces: bool = flag(True)
    override_com: bool = flag(False)
    override_inertia: bool = flag(False)
    flip_visual_attachments: bool = flag(False)
    mesh_normal_mode: MeshNormalMode = choice(MeshNormalMode.FROM_ASSET)
    use_mesh_materials: bool = flag(False)
    slices_per_cylinder: int = whole(20)
    vhacd_enabled: bool = flag(False)
    vhacd_params: VhacdParams = nested(VhacdParams)
    convex_decomposition_from_submeshes: bool = flag(False)
    min_particle_mass: float = number(1e-12)
    tendon_limit_stiffness: float = number(1.0)
