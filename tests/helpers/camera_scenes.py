"""Scenes of boxes for tests of cameras, and where a pinhole camera shows them."""

from __future__ import annotations

import math

import numpy as np

from isaac_standin.api import gymapi

WIDTH, HEIGHT, FOV = 200, 120, 80.0
FOCAL = WIDTH / 2 / math.tan(math.radians(FOV / 2))  # [pixels]
HALF = 0.2  # half a side of the box [m]
BOX, OTHER_BOX = 7, 300  # segmentation ids; the larger one does not fit one byte


def vec(*numbers):
    """Return a vector."""
    return gymapi.Vec3(*numbers)


def properties(width=WIDTH, height=HEIGHT, **settings):
    """Return the properties of a camera."""
    props = gymapi.CameraProperties()
    props.width, props.height, props.horizontal_fov = width, height, FOV
    for name, value in settings.items():
        setattr(props, name, value)
    return props


class Scene:
    """Envs that hold boxes, weightless; the first box is free, the second fixed."""

    def __init__(self, *envs, ground=False, spacing=0.0, gpu=False):
        self.gym = gymapi.acquire_gym()
        params = gymapi.SimParams()
        params.up_axis, params.gravity, params.use_gpu_pipeline = gymapi.UP_AXIS_Z, vec(0, 0, 0), gpu
        self.sim = self.gym.create_sim(0, 0, gymapi.SIM_PHYSX, params)
        if ground:
            plane = gymapi.PlaneParams()
            plane.normal = vec(0, 0, 1)
            self.gym.add_ground(self.sim, plane)
        free, fixed = self.box(), self.box(fix_base_link=True)
        self.envs = []
        for places in envs:
            env = self.gym.create_env(self.sim, vec(-spacing, 0, 0), vec(spacing, 0, 0), len(envs))
            for asset, place, segment in zip((free, fixed), places, (BOX, OTHER_BOX), strict=False):
                self.gym.create_actor(env, asset, gymapi.Transform(vec(*place)), "box", 0, 0, segment)
            self.envs.append(env)

    def box(self, **settings):
        """Return a cube as an asset."""
        options = gymapi.AssetOptions()
        for name, value in settings.items():
            setattr(options, name, value)
        return self.gym.create_box(self.sim, 2 * HALF, 2 * HALF, 2 * HALF, options)

    def camera(self, env=0, props=None, at=(0, 0, 0), target=(1, 0, 0)):
        """Return the handle of a new camera."""
        handle = self.gym.create_camera_sensor(self.envs[env], props or properties())
        self.gym.set_camera_location(handle, self.envs[env], vec(*at), vec(*target))
        return handle

    def color_box(self, color, env=0, actor=0):
        """Give a box a colour."""
        self.gym.set_rigid_body_color(self.envs[env], actor, 0, gymapi.MESH_VISUAL_AND_COLLISION, vec(*color))

    def prepare(self):
        """Prepare the simulation."""
        self.gym.prepare_sim(self.sim)

    def image(self, camera, kind=gymapi.IMAGE_SEGMENTATION, env=0):
        """Return an image."""
        return self.gym.get_camera_image(self.sim, self.envs[env], camera, kind)

    def color(self, camera, env=0):
        """Return a picture, (height, width, 4)."""
        picture = self.image(camera, gymapi.IMAGE_COLOR, env)
        return picture.reshape(len(picture), -1, 4)


def extent(mask):
    """Return the first and the last column, and the first and the last row, where a mask is true."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]


def seen(x, y, z, width=WIDTH, height=HEIGHT, focal=FOCAL):
    """Return column and row of a point that a camera at the origin sees, which looks along x."""
    return width / 2 - focal * y / x, height / 2 - focal * z / x


def front(x, y, z):
    """Return where the front of a box with this centre is seen: columns and rows."""
    left, top = seen(x - HALF, y + HALF, z + HALF)
    right, bottom = seen(x - HALF, y - HALF, z - HALF)
    return [left, right, top, bottom]


def is_red(picture):
    """Return where a picture is red."""
    return (picture[:, :, 0] > 100) & (picture[:, :, 1] < 30) & (picture[:, :, 2] < 30)
