"""The part of `Gym` that shows envs: cameras and the viewer."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import numpy.lib.recfunctions as structured

from isaac_standin.api.enums import KeyboardInput, MouseInput
from isaac_standin.api.gym_cameras import CameraSensors, graphics_of, lens_of, transform_of, up_axis, vector
from isaac_standin.api.handles import Env, Sim, prepared
from isaac_standin.api.input_codes import signal_of
from isaac_standin.api.values import ActionEvent, CameraProperties, Int2, Transform, Vec2, Vec3
from isaac_standin.errors import StandinError
from isaac_standin.viewing.lens import Pose
from isaac_standin.viewing.painter import Line
from isaac_standin.viewing.png import write_png
from isaac_standin.viewing.viewer import Viewer as View
from isaac_standin.viewing.window import Signal


class Viewer:
    """What `create_viewer` returns.

    Attributes:
      sim: its simulation.
      view: its window.
      actions: what a program calls each key and movement that it wants to hear of.
    """

    def __init__(self, sim: Sim, view: View) -> None:
        self.sim = sim
        self.view = view
        self.actions: dict[Signal, list[str]] = {}

    def shown_origin(self) -> np.ndarray:
        """Return the origin of the env that it shows [m]."""
        if not self.sim.env_list:
            return np.zeros(3)
        return np.array(self.sim.env_list[self.view.env].origin)


class Views(CameraSensors):
    """Cameras, images, the viewer and lines.

    The viewer shows one env at a time, with nothing of the others; its keys ] and [ go to another one.
    """

    def step_graphics(self, sim: Sim) -> None:
        """Do nothing: images show the state of `render_all_camera_sensors`, and the viewer that of `draw_viewer`."""
        prepared(sim, "step_graphics")

    def create_viewer(self, sim: Sim, props: Optional[CameraProperties] = None) -> Viewer:
        """Open a window.

        Args:
          sim: the simulation to show.
          props: size of the window, angle of view and planes.

        Raises:
          StandinError: there is no display, or none that works.
        """
        lens = lens_of(props or CameraProperties())
        return Viewer(sim, graphics_of(sim).open_viewer(lens, up_axis(sim)))

    def destroy_viewer(self, viewer: Viewer) -> None:
        """Close the window."""
        _view(viewer, "destroy_viewer").close()

    def draw_viewer(self, viewer: Viewer, sim: Sim, render_collision: bool = True) -> None:
        """Show the present state of the env.

        Args:
          viewer: the viewer.
          sim: the simulation.
          render_collision: ignored: visual shapes are shown, and the key F2 shows those that collide instead.
        """
        prepared(sim, "draw_viewer")
        _view(viewer, "draw_viewer").draw()

    def poll_viewer_events(self, viewer: Viewer) -> None:
        """Collect what keys and mouse did, without drawing."""
        _view(viewer, "poll_viewer_events").poll()

    def query_viewer_has_closed(self, viewer: Viewer) -> bool:
        """Return whether the window was closed."""
        view = _view(viewer, "query_viewer_has_closed")
        view.poll()
        return view.window.closed

    def subscribe_viewer_keyboard_event(self, viewer: Viewer, key: KeyboardInput, action: str) -> None:
        """Report a key as an action, when it is pressed and when it is released."""
        _view(viewer, "subscribe_viewer_keyboard_event")
        viewer.actions.setdefault(signal_of(KeyboardInput(key)), []).append(action)

    def subscribe_viewer_mouse_event(self, viewer: Viewer, mouse: MouseInput, action: str) -> None:
        """Report a button, the wheel or a movement of the mouse as an action; it moves the view nevertheless."""
        _view(viewer, "subscribe_viewer_mouse_event")
        viewer.actions.setdefault(signal_of(MouseInput(mouse)), []).append(action)

    def query_viewer_action_events(self, viewer: Viewer) -> list[ActionEvent]:
        """Return the actions since the last call.

        Their value is 1 for what was pressed and 0 for what was released; for the wheel it is the number of notches,
        and for movements of the mouse that of pixels.
        """
        view = _view(viewer, "query_viewer_action_events")
        view.poll()
        found = []
        for signal, value in view.take_events():
            for action in viewer.actions.get(signal, []):
                found.append(ActionEvent.of(action, value))
        return found

    def viewer_camera_look_at(self, viewer: Viewer, env: Optional[Env], position: Vec3, target: Vec3) -> None:
        """Put the camera of the viewer somewhere, and let it look at a target.

        Args:
          viewer: the viewer.
          env: the env to show, whose frame the positions are in; None for the world's frame.
          position: of the camera [m].
          target: what it looks at [m].
        """
        view = _view(viewer, "viewer_camera_look_at")
        shift = np.zeros(3)
        if env is None:
            shift = viewer.shown_origin()
        else:
            view.env = env.index
        view.orbit.look_at(np.array(vector(position)) - shift, np.array(vector(target)) - shift)

    def get_viewer_camera_transform(self, viewer: Viewer, env: Optional[Env]) -> Transform:
        """Return where the camera of the viewer is, in the frame of an env; None for the world's frame."""
        pose = _view(viewer, "get_viewer_camera_transform").pose()
        origin = np.zeros(3)
        if env is not None:
            origin = np.array(env.origin)
        return transform_of(Pose(pose.pos + viewer.shown_origin() - origin, pose.rot))

    def get_viewer_size(self, viewer: Viewer) -> Int2:
        """Return width and height of the window."""
        return Int2(*_view(viewer, "get_viewer_size").window.size)

    def get_viewer_mouse_position(self, viewer: Viewer) -> Vec2:
        """Return where the mouse is, from 0 at the left and at the top to 1."""
        return Vec2(*_view(viewer, "get_viewer_mouse_position").window.mouse)

    def write_viewer_image_to_file(self, viewer: Viewer, path: str) -> None:
        """Write what the window shows to a PNG file."""
        prepared(viewer.sim, "write_viewer_image_to_file")
        write_png(path, _view(viewer, "write_viewer_image_to_file").picture())

    def sync_frame_time(self, sim: Sim) -> None:
        """Wait until real time has caught up with the simulated time since the last call."""
        graphics_of(sim).pace.keep(sim.simulation.frames * sim.simulation.options.dt)

    def add_lines(self, viewer: Viewer, env: Optional[Env], num_lines: int, vertices: Any, colors: Any) -> None:
        """Show lines in the viewer until `clear_lines`; cameras do not see them.

        Args:
          viewer: the viewer.
          env: the env in whose frame the lines are; None for all envs.
          num_lines: how many.
          vertices: both ends of each line [m]: an array of `Vec3.dtype`, or of six numbers for each line.
          colors: red, green and blue of each line from 0 to 1: an array of `Vec3.dtype`, or of three numbers.
        """
        view = _view(viewer, "add_lines")
        ends = _rows(vertices, 2 * num_lines, "vertices").reshape(-1, 2, 3)
        key = None
        if env is not None:
            key = env.index
        lines = view.lines.setdefault(key, [])
        for (start, end), color in zip(ends, _rows(colors, num_lines, "colors"), strict=True):
            lines.append(Line(start, end, color))

    def clear_lines(self, viewer: Viewer) -> None:
        """Remove all lines."""
        _view(viewer, "clear_lines").lines.clear()


def _view(viewer: Viewer, where: str) -> View:
    if not isinstance(viewer, Viewer):
        raise StandinError(f"{where} needs a viewer", got=repr(viewer), fix="pass what create_viewer returned")
    return viewer.view


def _rows(numbers: Any, count: int, what: str) -> np.ndarray:
    """Return the first rows of three numbers.

    Raises:
      StandinError: there are fewer.
    """
    array = np.asarray(numbers)
    if array.dtype.names:
        array = structured.structured_to_unstructured(array)
    flat = array.astype(np.float64).reshape(-1)
    if flat.size < 3 * count:
        raise StandinError(
            f"there are too few {what} for the lines",
            where="add_lines",
            got=f"{flat.size} numbers",
            expected=f"three for each of {count}",
        )
    return flat[: 3 * count].reshape(count, 3)
