"""Cameras that render images off screen."""

from __future__ import annotations

import atexit
import dataclasses
from typing import Any, Callable, Literal, Optional

import numpy as np
import torch

from isaac_standin.errors import StandinError
from isaac_standin.simulation import Simulation
from isaac_standin.viewing.gl import open_context
from isaac_standin.viewing.lens import AT_ORIGIN, Lens, Pose
from isaac_standin.viewing.look import Look
from isaac_standin.viewing.painter import Frame, Painter, Puppet, frame_of

Kind = Literal["color", "depth", "segmentation"]


@dataclasses.dataclass(eq=False)
class Camera:
    """A camera in an env.

    Attributes:
      env: index of its env.
      lens: how it projects.
      collision: whether it sees the shapes that collide instead of the visual ones.
      tensors: whether its images can be had as tensors.
      pose: in the frame of the env; relative to `body` if it is attached.
      body: index in the env of the body that it is attached to; None if it stands still.
      turns: whether it turns with the body.
      shared: the tensors that a program holds, by their kind.
    """

    env: int
    lens: Lens
    collision: bool
    tensors: bool
    pose: Pose = AT_ORIGIN
    body: Optional[int] = None
    turns: bool = False
    shared: dict[Kind, torch.Tensor] = dataclasses.field(default_factory=dict)

    def place(self, pose: Pose) -> None:
        """Put it somewhere in its env, attached to nothing."""
        self.pose, self.body = pose, None

    def attach(self, body: int, pose: Pose, turns: bool) -> None:
        """Let it follow a body of its env, at this pose relative to it."""
        self.pose, self.body, self.turns = pose, body, turns


class Cameras:
    """The cameras of a simulation. OpenGL is started for the first image, not before.

    Args:
      simulation: the simulation; it may still be unprepared.
      look: returns the model to draw, once the simulation is prepared.
    """

    def __init__(self, simulation: Simulation, look: Callable[[], Look]) -> None:
        self._simulation = simulation
        self._look = look
        self._cameras: dict[tuple[int, int], Camera] = {}
        self._made: dict[int, int] = {}
        self._frames: dict[int, Frame] = {}
        self._puppet: Optional[Puppet] = None
        self._gl: Any = None
        self._painter: Optional[Painter] = None

    def add(self, camera: Camera) -> int:
        """Add a camera and return its handle, which counts from 0 in each env."""
        handle = self._made.get(camera.env, 0)
        self._made[camera.env] = handle + 1
        self._cameras[camera.env, handle] = camera
        return handle

    def remove(self, env: int, handle: int) -> None:
        """Delete a camera."""
        self.find(env, handle, "destroy_camera_sensor")
        del self._cameras[env, handle]

    def find(self, env: int, handle: int, where: str) -> Camera:
        """Return a camera by its handle.

        Raises:
          StandinError: there is no such camera.
        """
        camera = self._cameras.get((env, handle))
        if camera is None:
            raise StandinError(
                f"env {env} has no camera {handle}",
                where=where,
                expected="the env and the handle of a create_camera_sensor, before destroy_camera_sensor",
            )
        return camera

    def record(self) -> None:
        """Let images show the present state until the next call, and fill the tensors that programs hold."""
        for env in sorted({env for env, _ in self._cameras}):
            self._frames[env] = frame_of(self._simulation.engine, env)
        for camera in self._cameras.values():
            for kind, tensor in camera.shared.items():
                tensor.copy_(_as_tensor(self.image(camera, kind)))

    def image(self, camera: Camera, kind: Kind) -> np.ndarray:
        """Return what a camera sees.

        It shows the state of the last `record`, or the present one if there was none.

        Args:
          camera: the camera.
          kind: "color" (height, width, 4) uint8; "depth", negative distances (height, width) float32 [m];
            "segmentation" (height, width) uint32.

        Raises:
          StandinError: nothing can draw on this machine.
        """
        painter = self._current_painter()
        actors = self._simulation.envs[camera.env]
        painter.stage(self._frame(camera.env), actors)
        painter.prepare(camera.lens, self._pose_now(camera, painter.puppet), camera.collision)
        if kind == "depth":
            return -painter.depth(camera.lens)
        if kind == "segmentation":
            return painter.segmentation(camera.lens, actors)
        opaque = np.full((camera.lens.height, camera.lens.width, 1), 255, dtype=np.uint8)
        return np.concatenate((painter.color(camera.lens), opaque), axis=2)

    def tensor(self, camera: Camera, kind: Kind) -> torch.Tensor:
        """Return the tensor of a camera's images, on the device of the simulation; `record` writes into it."""
        if kind not in camera.shared:
            image = _as_tensor(self.image(camera, kind))
            camera.shared[kind] = image.to(self._simulation.engine.device)
        return camera.shared[kind]

    def pose(self, camera: Camera) -> Pose:
        """Return where a camera is, in the frame of its env."""
        if camera.body is None:
            return camera.pose
        if self._puppet is None:
            self._puppet = Puppet(self._simulation.built.model)
        self._puppet.pose(self._frame(camera.env))
        return self._pose_now(camera, self._puppet)

    def _frame(self, env: int) -> Frame:
        return self._frames.get(env) or frame_of(self._simulation.engine, env)

    def _pose_now(self, camera: Camera, puppet: Puppet) -> Pose:
        if camera.body is None:
            return camera.pose
        body = puppet.body(self._simulation.layout.bodies[camera.body])
        if camera.turns:
            return camera.pose.after(body)
        return Pose(body.pos + camera.pose.pos, camera.pose.rot)

    def _current_painter(self) -> Painter:
        """Return the painter, after making its OpenGL context current."""
        if self._painter is None:
            self._gl = open_context()
            self._painter = Painter(self._look())
            atexit.register(self.close)  # OSMesa complains if it is released later
        self._gl.make_current()
        return self._painter

    def close(self) -> None:
        """Release the OpenGL context. It can be called twice."""
        if self._painter is not None:
            self._gl.make_current()
            self._painter.free()
            self._gl.free()
            atexit.unregister(self.close)
        self._painter = self._gl = None


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """Return an image as a tensor; segmentation ids become int32."""
    if image.dtype == np.uint32:
        image = image.astype(np.int32)
    return torch.from_numpy(np.ascontiguousarray(image))
