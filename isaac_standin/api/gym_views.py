"""The part of `Gym` that shows envs: cameras and the viewer."""

from __future__ import annotations

from isaac_standin.api.gym_cameras import CameraSensors
from isaac_standin.api.handles import Sim, prepared


class Views(CameraSensors):
    """Cameras, images, the viewer and lines."""

    def step_graphics(self, sim: Sim) -> None:
        """Do nothing: images show the state of `render_all_camera_sensors`, and the viewer that of `draw_viewer`."""
        prepared(sim, "step_graphics")
