"""The part of `Gym` that has cameras."""

from __future__ import annotations

import numpy as np

from isaac_standin.api.enums import (
    FOLLOW_TRANSFORM,
    IMAGE_COLOR,
    IMAGE_DEPTH,
    IMAGE_SEGMENTATION,
    UP_AXIS_Y,
    CameraFollowMode,
    ImageType,
)
from isaac_standin.api.gymtorch import GymTensor
from isaac_standin.api.handles import Env, Sim, prepared
from isaac_standin.api.refusals import refused_use
from isaac_standin.api.values import CameraProperties, Quat, Transform, Vec3
from isaac_standin.errors import StandinError
from isaac_standin.viewing.graphics import Graphics
from isaac_standin.viewing.lens import Lens, Pose, look_at, pose_of, quat_of, view_matrix
from isaac_standin.viewing.png import write_png
from isaac_standin.viewing.sensors import Camera, Cameras, Kind

KINDS: dict[ImageType, Kind] = {IMAGE_COLOR: "color", IMAGE_DEPTH: "depth", IMAGE_SEGMENTATION: "segmentation"}
MAX_GREY = 2**16 - 1
MILLIMETRES = 1000.0


class CameraSensors:
    """Cameras and their images.

    A camera sees the actors of its own env and the ground, and no other env. It looks along x of its transform, with z
    up in the image.
    """

    def create_camera_sensor(self, env: Env, props: CameraProperties) -> int:
        """Return the handle of a new camera at the origin of an env. Nothing is drawn before the first image."""
        return cameras_of(env.sim).add(
            Camera(env.index, lens_of(props), props.use_collision_geometry, props.enable_tensors)
        )

    def destroy_camera_sensor(self, sim: Sim, env: Env, camera: int) -> None:
        """Delete a camera."""
        cameras_of(sim).remove(env.index, camera)

    def set_camera_location(self, camera: int, env: Env, position: Vec3, target: Vec3) -> None:
        """Put a camera somewhere in its env, and let it look at a target; it follows no body any more."""
        found = _find(env, camera, "set_camera_location")
        found.place(look_at(vector(position), vector(target), up_axis(env.sim)))

    def set_camera_transform(self, camera: int, env: Env, transform: Transform) -> None:
        """Set the pose of a camera: relative to the body that it follows, else in its env."""
        _find(env, camera, "set_camera_transform").pose = pose_from(transform)

    def attach_camera_to_body(
        self, camera: int, env: Env, body: int, transform: Transform, mode: CameraFollowMode
    ) -> None:
        """Let a camera follow a body.

        Args:
          camera: the camera's handle.
          env: its env.
          body: index of the body in the env.
          transform: pose of the camera relative to the body.
          mode: `FOLLOW_TRANSFORM` also turns the camera with the body; `FOLLOW_POSITION` does not.
        """
        found = _find(env, camera, "attach_camera_to_body")
        count = sum(len(actor.asset.bodies) for actor in env.actors)
        if not 0 <= body < count:
            raise StandinError(
                f"there is no body {body} to attach a camera to",
                where=f"attach_camera_to_body, env {env.index}",
                expected=f"the index of a body in the env, 0 to {count - 1}",
                fix="gym.find_actor_rigid_body_handle(env, actor, name); it returns -1 for an unknown name",
            )
        found.attach(body, pose_from(transform), mode == FOLLOW_TRANSFORM)

    def get_camera_transform(self, sim: Sim, env: Env, camera: int) -> Transform:
        """Return where a camera is in its env."""
        return transform_of(_pose_in_env(sim, env, camera, "get_camera_transform"))

    def get_camera_view_matrix(self, sim: Sim, env: Env, camera: int) -> np.ndarray:
        """Return OpenGL's view matrix for row vectors, (4, 4); the world's coordinates include the env's origin."""
        pose = _pose_in_env(sim, env, camera, "get_camera_view_matrix")
        return view_matrix(Pose(pose.pos + env.origin, pose.rot))

    def get_camera_proj_matrix(self, sim: Sim, env: Env, camera: int) -> np.ndarray:
        """Return OpenGL's projection matrix for row vectors, (4, 4)."""
        return _find(env, camera, "get_camera_proj_matrix").lens.projection()

    def render_all_camera_sensors(self, sim: Sim) -> None:
        """Let the images of all cameras show the present state; each is drawn when it is asked for."""
        prepared(sim, "render_all_camera_sensors")
        if sim.graphics is not None:
            sim.graphics.cameras.record()

    def get_camera_image(self, sim: Sim, env: Env, camera: int, image_type: ImageType) -> np.ndarray:
        """Return what a camera sees.

        Returns:
          `IMAGE_COLOR`: (height, 4 width) uint8, red, green, blue and 255. `IMAGE_DEPTH`: (height, width) float32, the
          distance from the camera's plane as a negative number [m], -inf where nothing is. `IMAGE_SEGMENTATION`:
          (height, width) uint32, the `segmentationId` of the actors, and 0 elsewhere.

        Raises:
          NotSupported: `image_type` is `IMAGE_OPTICAL_FLOW`.
          StandinError: nothing can draw on this machine.
        """
        image = _image(sim, env, camera, image_type, "get_camera_image")
        return np.ascontiguousarray(image.reshape(image.shape[0], -1))

    def get_camera_image_gpu_tensor(self, sim: Sim, env: Env, camera: int, image_type: ImageType) -> GymTensor:
        """Return a tensor of what a camera sees, on the device of the simulation.

        It is a copy, which `render_all_camera_sensors` writes again: MuJoCo draws outside of torch's memory.
        Colour is (height, width, 4); the other images have the shapes of `get_camera_image`, segmentation as int32.

        Raises:
          NotSupported: `image_type` is `IMAGE_OPTICAL_FLOW`.
          StandinError: the camera was made without `enable_tensors`, or nothing can draw on this machine.
        """
        where = "get_camera_image_gpu_tensor"
        kind = _kind(image_type, where)
        prepared(sim, where)
        found = _find(env, camera, where)
        if not found.tensors:
            raise StandinError(
                "this camera has no tensors",
                where=f"{where}, env {env.index}, camera {camera}",
                fix="set CameraProperties.enable_tensors before create_camera_sensor",
            )
        return GymTensor(cameras_of(sim).tensor(found, kind))

    def start_access_image_tensors(self, sim: Sim) -> None:
        """Do nothing: `render_all_camera_sensors` has filled the tensors when it returns."""
        prepared(sim, "start_access_image_tensors")

    def end_access_image_tensors(self, sim: Sim) -> None:
        """Do nothing, as `start_access_image_tensors`."""
        prepared(sim, "end_access_image_tensors")

    def write_camera_image_to_file(self, sim: Sim, env: Env, camera: int, image_type: ImageType, path: str) -> None:
        """Write what a camera sees to a PNG file.

        Depth becomes 16-bit grey in millimetres, at most 65.535 m; segmentation ids become 16-bit grey.
        """
        image = _image(sim, env, camera, image_type, "write_camera_image_to_file")
        if image_type == IMAGE_DEPTH:
            image = np.round(-MILLIMETRES * image)
        if image_type != IMAGE_COLOR:
            image = np.minimum(image, MAX_GREY).astype(np.uint16)[:, :, None]
        write_png(path, image)


def cameras_of(sim: Sim) -> Cameras:
    """Return the cameras of a simulation."""
    return graphics_of(sim).cameras


def graphics_of(sim: Sim) -> Graphics:
    """Return what shows a simulation."""
    if sim.graphics is None:
        sim.graphics = Graphics(sim.simulation)
    return sim.graphics


def lens_of(props: CameraProperties) -> Lens:
    """Return the lens that some properties describe."""
    return Lens(props.width, props.height, props.horizontal_fov, props.near_plane, props.far_plane)


def up_axis(sim: Sim) -> tuple[float, float, float]:
    """Return the unit vector that points up."""
    if sim.params.up_axis == UP_AXIS_Y:
        return (0.0, 1.0, 0.0)
    return (0.0, 0.0, 1.0)


def vector(value: Vec3) -> tuple[float, float, float]:
    """Return the numbers of a vector."""
    return value.x, value.y, value.z


def pose_from(transform: Transform) -> Pose:
    """Return a transform as a pose."""
    turn = transform.r
    return pose_of(vector(transform.p), (turn.w, turn.x, turn.y, turn.z))


def transform_of(pose: Pose) -> Transform:
    """Return a pose as a transform."""
    w, x, y, z = quat_of(pose.rot).tolist()
    return Transform(Vec3(*pose.pos.tolist()), Quat(x, y, z, w))


def _find(env: Env, camera: int, where: str) -> Camera:
    return cameras_of(env.sim).find(env.index, camera, where)


def _pose_in_env(sim: Sim, env: Env, camera: int, where: str) -> Pose:
    found = _find(env, camera, where)
    if found.body is not None:
        prepared(sim, where)
    return cameras_of(sim).pose(found)


def _kind(image_type: ImageType, where: str) -> Kind:
    """Return the kind of an image type.

    Raises:
      NotSupported: it is optical flow.
      StandinError: there is no such type.
    """
    if image_type in KINDS:
        return KINDS[image_type]
    if image_type == ImageType.IMAGE_OPTICAL_FLOW:
        raise refused_use("IMAGE_OPTICAL_FLOW", f"Gym.{where}")
    raise StandinError("there is no such image type", where=where, got=repr(image_type), expected="an ImageType")


def _image(sim: Sim, env: Env, camera: int, image_type: ImageType, where: str) -> np.ndarray:
    kind = _kind(image_type, where)
    prepared(sim, where)
    return cameras_of(sim).image(_find(env, camera, where), kind)
