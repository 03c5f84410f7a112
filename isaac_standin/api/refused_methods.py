"""The methods of `Gym` that the stand-in does not have: what each would do, and what to use instead."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a name is refused.

    Attributes:
      would: what Isaac Gym would do, to be read after "it would"; for a type or a value, after "it would be".
      instead: what to use instead. Methods in back quotes exist in the stand-in.
    """

    would: str
    instead: str


def family(instead: str, members: dict[str, str]) -> dict[str, Refusal]:
    """Return refusals that have the same way out."""
    refusals = {}
    for name, would in members.items():
        refusals[name] = Refusal(would, instead)
    return refusals


_SOFT = family(
    "nothing: soft bodies, cloth and particles are not simulated",
    {
        "acquire_particle_state_tensor": "give access to the states of all particles",
        "refresh_particle_state_tensor": "copy the particles' states into their tensor",
        "set_particle_state_tensor": "set the states of all particles",
        "set_particle_state_tensor_indexed": "set the states of the particles of chosen actors",
        "reset_actor_particles_to_rest": "move the particles of an actor back to where they were loaded",
        "create_cloth_grid": "make an asset of particles that hang together as a cloth",
        "create_tet_grid": "make a soft box of tetrahedra",
        "draw_env_soft_contacts": "draw the contact forces on the soft bodies of an env",
        "get_soft_contacts": "list the contacts of soft bodies",
        "get_actor_soft_body_count": "count the soft bodies of an actor",
        "get_asset_soft_body_count": "count the soft bodies of an asset",
        "get_actor_soft_materials": "return the elastic materials of an actor's soft bodies",
        "get_asset_soft_materials": "return the elastic materials of an asset's soft bodies",
        "set_actor_soft_materials": "change the elastic materials of an actor's soft bodies",
        "get_actor_tetrahedra_range": "say which tetrahedra of the sim belong to a soft body",
        "get_actor_triangle_range": "say which surface triangles of the sim belong to a soft body",
        "get_sim_tetrahedra": "return the tetrahedra of all soft bodies, with their stresses",
        "get_sim_tetrahedra_count": "count the tetrahedra of all soft bodies",
        "get_sim_triangles": "return the surface triangles of all soft bodies",
        "get_sim_triangle_count": "count the surface triangles of all soft bodies",
    },
)

_PNEUMATICS = family(
    "nothing: pneumatic actuators move soft bodies, which are not simulated",
    {
        "acquire_pneumatic_pressure_tensor": "give access to the pressures of all pneumatic actuators",
        "acquire_pneumatic_target_tensor": "give access to the target pressures of all pneumatic actuators",
        "refresh_pneumatic_pressure_tensor": "copy the pressures into their tensor",
        "refresh_pneumatic_target_tensor": "copy the target pressures into their tensor",
        "get_pneumatic_pressure": "return the pressure of one actuator",
        "get_pneumatic_target": "return the target pressure of one actuator",
        "set_pneumatic_pressure": "set the pressure of one actuator",
        "set_pneumatic_pressure_tensor": "set the pressures of all actuators",
        "set_pneumatic_pressure_tensor_indexed": "set the pressures of the actuators of chosen actors",
        "set_pneumatic_target": "set the target pressure of one actuator",
        "set_pneumatic_target_tensor": "set the target pressures of all actuators",
        "set_pneumatic_target_tensor_indexed": "set the target pressures of the actuators of chosen actors",
    },
)

_TENDONS = family(
    "nothing: tendons are not simulated; couple the joints in your program, with efforts on each",
    {
        "find_actor_fixed_tendon_joint_index": "find the place of a joint in a tendon of an actor",
        "find_actor_tendon_index": "find a tendon of an actor by name",
        "find_asset_tendon_index": "find a tendon of an asset by name",
        "get_actor_fixed_tendon_joint_coefficients": "return by how much a tendon of an actor pulls each joint",
        "get_actor_fixed_tendon_joint_name": "return the name of a joint in a tendon of an actor",
        "get_actor_tendon_count": "count the tendons of an actor",
        "get_actor_tendon_name": "return the name of a tendon of an actor",
        "get_actor_tendon_offset": "return by how much a tendon of an actor was lengthened",
        "get_actor_tendon_properties": "return stiffness, damping and limits of an actor's tendons",
        "get_asset_fixed_tendon_joint_coefficients": "return by how much a tendon of an asset pulls each joint",
        "get_asset_fixed_tendon_joint_name": "return the name of a joint in a tendon of an asset",
        "get_asset_tendon_count": "count the tendons of an asset",
        "get_asset_tendon_name": "return the name of a tendon of an asset",
        "get_asset_tendon_properties": "return stiffness, damping and limits of an asset's tendons",
        "set_actor_fixed_tendon_joint_coefficients": "change by how much a tendon of an actor pulls each joint",
        "set_actor_tendon_offset": "lengthen a tendon of an actor",
        "set_actor_tendon_properties": "change stiffness, damping and limits of an actor's tendons",
        "set_asset_fixed_tendon_joint_coefficients": "change by how much a tendon of an asset pulls each joint",
        "set_asset_tendon_properties": "change stiffness, damping and limits of an asset's tendons",
    },
)

_ATTRACTORS = family(
    "`apply_rigid_body_force_tensors`, with the force of a spring and a damper that your program computes",
    {
        "create_rigid_body_attractor": "pull a body towards a pose by springs",
        "get_attractor_properties": "return stiffness, damping and target of an attractor",
        "set_attractor_properties": "change stiffness, damping and target of an attractor",
        "set_attractor_target": "move the pose towards which an attractor pulls",
    },
)

_USD = family(
    "nothing: USD is not written; save videos with `get_camera_image`",
    {
        "create_usd_exporter": "make a writer of USD files",
        "destroy_usd_exporter": "release a writer of USD files",
        "export_usd_asset": "write an asset to a USD file",
        "export_usd_sim": "write the whole sim to USD files",
        "get_usd_export_root": "return the folder to which a writer writes",
        "set_usd_export_root": "choose the folder to which a writer writes",
    },
)

_OMNIVERSE = family(
    "`create_viewer`, to watch",
    {
        "omni_connect": "connect to NVIDIA Omniverse",
        "omni_disconnect": "disconnect from NVIDIA Omniverse",
    },
)

_LOADERS = {
    "load_usd": Refusal("load an asset from a USD file", "`load_asset` with a URDF or MJCF file"),
    "load_opensim": Refusal("load a model of muscles and bones from OpenSim", "`load_asset` with a URDF or MJCF file"),
    "load_sim": Refusal("make a sim from a USD scene", "`create_sim`, `create_env`, `create_actor`"),
    "attach_sim": Refusal("make a sim that writes its states into a USD scene", "`create_sim`"),
}

_SIM = {
    "destroy_env": Refusal("remove one env from a sim", "`destroy_sim`, and a new sim with fewer envs"),
    "set_sim_device": Refusal("make the sim's GPU the current one of CUDA", "torch.cuda.set_device"),
    "create_aggregate": Refusal(
        "group actors that exist for the broad phase of PhysX",
        "nothing: MuJoCo needs no groups; delete the call (`begin_aggregate` and `end_aggregate` do nothing)",
    ),
    "set_actor_scale": Refusal(
        "change the size of an actor", "an asset of the right size; all envs must have the same"
    ),
}

_TIMERS = family(
    "time.perf_counter around `simulate`, with torch.cuda.synchronize on a GPU",
    {
        "create_performance_timers": "start to measure where the sim spends its time",
        "destroy_performance_timers": "stop to measure where the sim spends its time",
        "get_performance_timers": "return how long simulation, rendering and copies took",
    },
)

_LOOKS = family(
    "`set_rigid_body_color`: cameras and viewer show plain colours and fixed lights",
    {
        "create_texture_from_buffer": "make a texture from an array of pixels",
        "create_texture_from_file": "read a texture from an image file",
        "free_texture": "release a texture",
        "get_rigid_body_texture": "return the texture of a body",
        "set_rigid_body_texture": "put a texture on a body",
        "reset_actor_materials": "give an actor the colours and textures of its file again",
        "set_light_parameters": "change colour and direction of a light",
    },
)

_VIEWER = {
    "draw_env_rigid_contacts": Refusal(
        "draw the contact forces of an env in the viewer",
        "`add_lines`, with forces from `acquire_net_contact_force_tensor`",
    ),
    "get_viewer_camera_handle": Refusal("return the handle of the viewer's camera", "`get_viewer_camera_transform`"),
}

_CONTACTS = family(
    "`acquire_net_contact_force_tensor` and `refresh_net_contact_force_tensor`: the sum of the forces on each body",
    {
        "get_env_rigid_contact_forces": "return the net contact force on each body of an env",
        "get_env_rigid_contacts": "list the contact points of an env",
        "get_rigid_contact_forces": "return the net contact force on each body of the sim",
        "get_rigid_contacts": "list the contact points of the sim",
        "get_vec_env_rigid_contact_forces": "return the net contact force on each body of several envs",
        "get_sensor": "return a sensor of an env; it was never documented",
    },
)

_ONE_DOF_STATE = family(
    "`get_actor_dof_states`, or `acquire_dof_state_tensor` for all",
    {
        "get_dof_position": "return the position of one DOF",
        "get_dof_velocity": "return the velocity of one DOF",
        "get_joint_position": "return the position of one joint",
        "get_joint_velocity": "return the velocity of one joint",
        "get_vec_actor_dof_states": "return the DOF states of one actor in each of several envs",
    },
)

_ONE_POSITION_TARGET = family(
    "`set_actor_dof_position_targets` and its getter, or `set_dof_position_target_tensor` for all",
    {
        "get_dof_target_position": "return the position target of one DOF",
        "set_dof_target_position": "set the position target of one DOF",
        "get_joint_target_position": "return the position target of one joint",
        "set_joint_target_position": "set the position target of one joint",
    },
)

_ONE_VELOCITY_TARGET = family(
    "`set_actor_dof_velocity_targets` and its getter, or `set_dof_velocity_target_tensor` for all",
    {
        "get_dof_target_velocity": "return the velocity target of one DOF",
        "set_dof_target_velocity": "set the velocity target of one DOF",
        "get_joint_target_velocity": "return the velocity target of one joint",
        "set_joint_target_velocity": "set the velocity target of one joint",
    },
)

_ONE_EFFORT = {
    "apply_dof_effort": Refusal(
        "apply a force or torque to one DOF for one step",
        "`apply_actor_dof_efforts`, or `set_dof_actuation_force_tensor` for all",
    ),
}

_JOINT_FRAMES = family(
    "`acquire_rigid_body_state_tensor`: in URDF the frame of a body is that of its joint; the file has the axis",
    {
        "get_dof_frame": "return origin and axis of one DOF",
        "get_actor_dof_frames": "return origin and axis of each DOF of an actor",
        "get_joint_transform": "return the pose of one joint",
        "get_actor_joint_transforms": "return the pose of each joint of an actor",
    },
)

_OLD_NAMES = {
    "get_joint_handle": Refusal("find a joint by the names of actor and joint", "`find_actor_joint_handle`"),
    "get_joint_name": Refusal("return the name of a joint", "`get_actor_joint_names`"),
    "get_rigid_handle": Refusal("find a body by the names of actor and body", "`find_actor_rigid_body_handle`"),
    "get_rigid_name": Refusal("return the name of a body", "`get_actor_rigid_body_names`"),
}

_BODY_STATES = family(
    "`get_actor_rigid_body_states`, or `acquire_rigid_body_state_tensor` for all",
    {
        "get_rigid_angular_velocity": "return the angular velocity of one body",
        "get_rigid_linear_velocity": "return the linear velocity of one body",
        "get_vec_rigid_angular_velocity": "return the angular velocities of a body in several envs",
        "get_vec_rigid_linear_velocity": "return the linear velocities of a body in several envs",
        "get_vec_rigid_transform": "return the poses of a body in several envs",
        "get_env_rigid_body_states": "return the states of all bodies of an env",
        "get_sim_rigid_body_states": "return the states of all bodies of the sim",
    },
)

_MOVED_BODIES = family(
    "`set_actor_root_state_tensor_indexed` and `set_dof_state_tensor_indexed`: MuJoCo keeps joints exactly, "
    "so a body moves by its root and its joints",
    {
        "set_rigid_transform": "move one body",
        "set_rigid_linear_velocity": "set the linear velocity of one body",
        "set_rigid_angular_velocity": "set the angular velocity of one body",
        "set_actor_rigid_body_states": "set the state of each body of an actor",
        "set_env_rigid_body_states": "set the states of all bodies of an env",
        "set_sim_rigid_body_states": "set the states of all bodies of the sim",
        "set_rigid_body_state_tensor": "set the states of all bodies of the sim; with Flex only",
    },
)

_DYNAMICS = family(
    "nothing: they are not computed",
    {
        "acquire_jacobian_tensor": "give access to the Jacobians of all actors of a name",
        "refresh_jacobian_tensors": "copy the Jacobians into their tensors",
        "acquire_mass_matrix_tensor": "give access to the mass matrices of all actors of a name",
        "refresh_mass_matrix_tensors": "copy the mass matrices into their tensors",
    },
)

_PRINT = {
    "debug_print_asset": Refusal(
        "print what an asset consists of", "`get_asset_rigid_body_names`, `get_asset_joint_names`"
    ),
}

METHODS: dict[str, Refusal] = {
    **_SOFT,
    **_PNEUMATICS,
    **_TENDONS,
    **_ATTRACTORS,
    **_USD,
    **_OMNIVERSE,
    **_LOADERS,
    **_SIM,
    **_TIMERS,
    **_LOOKS,
    **_VIEWER,
    **_CONTACTS,
    **_ONE_DOF_STATE,
    **_ONE_POSITION_TARGET,
    **_ONE_VELOCITY_TARGET,
    **_ONE_EFFORT,
    **_JOINT_FRAMES,
    **_OLD_NAMES,
    **_BODY_STATES,
    **_MOVED_BODIES,
    **_DYNAMICS,
    **_PRINT,
}
