"""The table of Isaac Gym's API in docs/standin.md: `python -m isaac_standin.api.table` prints it.

It has every method of `Gym`: what the stand-in does otherwise than Isaac Gym over PhysX, or what to use instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

from isaac_standin.api.refusals import NAMES, USES, Refused
from isaac_standin.api.refused_methods import METHODS, Refusal

BEGIN = "<!-- table of the API: python -m isaac_standin.api.table --write docs/standin.md -->"
END = "<!-- end of the table -->"

_TERRAIN = "A grid only: flat parts become boxes, the rest a height field; overhangs are lost."
_NEXT_STEP = "Takes effect in the next `simulate`, and shows after the next refresh."
_WORLD_DRIVE = "An implicit drive, integrated with the velocity."
_LAST_SUBSTEP = "From the last substep."
_ONE_STEP = "Holds for one `simulate`."
_ALL_FLAGS = "Positions and velocities are always there, whatever the flags."
_SPRING = "Soft contact: a resting body sinks in by a fraction of a millimetre."

NOTES: dict[str, str] = {
    "acquire_actor_root_state_tensor": "Velocities of the centre of mass, in world axes, as in PhysX.",
    "acquire_dof_force_tensor": "Of drives and of efforts that were set; not those of limits and contacts.",
    "acquire_force_sensor_tensor": "Only similar: force and torque of the contacts of the body, nothing else.",
    "acquire_net_contact_force_tensor": f"{_LAST_SUBSTEP} {_SPRING}",
    "add_ground": "The normal may lean. Friction is averaged with that of the other shape; restitution is ignored.",
    "add_heightfield": _TERRAIN,
    "add_lines": "Shown in the viewer only.",
    "add_triangle_mesh": _TERRAIN,
    "apply_body_forces": _ONE_STEP,
    "apply_body_force_at_pos": _ONE_STEP,
    "apply_actor_dof_efforts": _ONE_STEP,
    "apply_rigid_body_force_tensors": _ONE_STEP,
    "apply_rigid_body_force_at_pos_tensors": _ONE_STEP,
    "begin_aggregate": "Does nothing: MuJoCo has no such groups. Results are the same without.",
    "create_actor": "All envs need the same actors in the same order.",
    "create_asset_force_sensor": "Without the forces of the constraint solver it is refused.",
    "create_env": "All envs are at one place, and never touch each other; the grid is for the viewer.",
    "create_sim": "SIM_PHYSX stands for MuJoCo: on the CPU, or MuJoCo Warp on a GPU. SIM_FLEX is refused.",
    "create_viewer": "Shows one env at a time: ] and [ choose it, F2 shows collision shapes, the mouse moves the view.",
    "draw_viewer": "`render_collision` has no effect: visual shapes are shown unless F2 was pressed.",
    "enable_actor_dof_force_sensors": "Does nothing: the efforts are always there.",
    "end_aggregate": "Does nothing; see `begin_aggregate`.",
    "fetch_results": "Does nothing: `simulate` has finished when it returns.",
    "get_actor_dof_states": _ALL_FLAGS,
    "get_actor_rigid_body_states": _ALL_FLAGS,
    "get_camera_image": "Drawn by MuJoCo when asked for: other shades, no shadows, nothing of other envs, near planes "
    "of 1 cm or more. IMAGE_OPTICAL_FLOW is refused.",
    "get_camera_image_gpu_tensor": "A copy on the device of the sim, which `render_all_camera_sensors` writes again.",
    "get_sim_params": "With the values that were given, even of settings that have no effect.",
    "load_asset": "A mesh counts as its convex hull. Bodies and joints in the order described above.",
    "load_mjcf": "As `load_asset`.",
    "load_urdf": "As `load_asset`.",
    "prepare_sim": "Compiles the models; no actor can be created afterwards.",
    "render_all_camera_sensors": "Keeps the state that images show, and fills tensors; the rest is drawn when read.",
    "set_actor_dof_properties": "The velocity limit caps the joint after each physics step; 0 means none.",
    "set_actor_dof_states": "Takes effect at once.",
    "set_actor_rigid_body_properties": "Mass, centre of mass and inertia may differ between envs.",
    "set_actor_rigid_shape_properties": "Friction may differ between envs; nothing else has an effect.",
    "set_asset_rigid_shape_properties": "As `set_actor_rigid_shape_properties`.",
    "set_actor_root_state_tensor": _NEXT_STEP,
    "set_actor_root_state_tensor_indexed": _NEXT_STEP,
    "set_camera_transform": "Relative to the body of an attached camera, else in the frame of the env.",
    "set_dof_actuation_force_tensor": "Holds for one `simulate`, as in PhysX.",
    "set_dof_position_target_tensor": _WORLD_DRIVE,
    "set_dof_state_tensor": _NEXT_STEP,
    "set_dof_state_tensor_indexed": _NEXT_STEP,
    "set_dof_velocity_target_tensor": _WORLD_DRIVE,
    "set_sim_params": "Gravity may change while the program runs.",
    "simulate": "`substeps` steps of MuJoCo of dt / substeps.",
    "step_graphics": "Does nothing: see `render_all_camera_sensors` and `draw_viewer`.",
    "subscribe_viewer_keyboard_event": "The viewer's own keys ], [ and F2 also do what they do there.",
    "subscribe_viewer_mouse_event": "The mouse also moves the view.",
}


def methods_of(gym: type) -> list[str]:
    """Return the names of the methods of `gym` that do something, sorted."""
    found = []
    for name in dir(gym):
        inherited = getattr(gym, name) is getattr(Refused, name, None)
        if not name.startswith("_") and not inherited and callable(getattr(gym, name)):
            found.append(name)
    return found


def table(gym: type) -> str:
    """Return the table in Markdown.

    Args:
      gym: the class `Gym`.
    """
    supported = methods_of(gym)
    lines = [f"### {len(supported)} methods that are supported", ""]
    lines += ["| method of `Gym` | what is different |", "|---|---|"]
    for name in supported:
        lines.append(f"| `{name}` | {NOTES.get(name, '')} |")
    lines += _refused(f"{len(METHODS)} methods that are refused", "method of `Gym`", METHODS)
    lines += _refused("Names of `gymapi` that are refused", "name", NAMES)
    lines += _refused("Values and settings that are refused where they are used", "value", USES)
    return "\n".join(lines) + "\n"


def write_into(page: Path, content: str) -> None:
    """Replace what is between the two markers of a page by `content`."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{content}\n{END}{after}")


def between_markers(page: Path) -> str:
    """Return what is between the two markers of a page."""
    return page.read_text().split(BEGIN)[1].split(END)[0].strip() + "\n"


def _refused(title: str, kind: str, refusals: dict[str, Refusal]) -> list[str]:
    """Return the lines of a table of refusals."""
    lines = ["", f"### {title}", "", f"| {kind} | in Isaac Gym | use instead |", "|---|---|---|"]
    for name, refusal in sorted(refusals.items()):
        lines.append(f"| `{name}` | {refusal.would} | {refusal.instead} |")
    return lines


def main(arguments: list[str]) -> None:
    """Print the table, or write it into the page after `--write`."""
    from isaac_standin.api.gym import Gym

    if arguments[:1] == ["--write"]:
        write_into(Path(arguments[1]), table(Gym))
    else:
        print(table(Gym), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
