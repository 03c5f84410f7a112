"""The part of `Gym` that shows envs: cameras and the viewer."""

from __future__ import annotations

from isaac_standin.api.handles import Sim, prepared


class Views:
    """Cameras, images, the viewer and lines."""

    def step_graphics(self, sim: Sim) -> None:
        """Do nothing: images show the state when they are rendered."""
        prepared(sim, "step_graphics")

    def render_all_camera_sensors(self, sim: Sim) -> None:
        """Render the images of all cameras."""
        prepared(sim, "render_all_camera_sensors")
