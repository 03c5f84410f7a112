"""Cameras: what their images show, against the formula of a pinhole camera."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from ctypes.util import find_library

import numpy as np
import pytest
import torch
from screens import decoded_png

from isaac_standin.api import gymapi, gymtorch
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.viewing import gl
from isaac_standin.viewing.sensors import Cameras

pytestmark = [pytest.mark.sim, pytest.mark.mujoco, pytest.mark.render]

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

    def __init__(self, *envs, ground=False, spacing=0.0):
        self.gym = gymapi.acquire_gym()
        params = gymapi.SimParams()
        params.up_axis, params.gravity = gymapi.UP_AXIS_Z, vec(0, 0, 0)
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


@pytest.fixture
def scene():
    """Make scenes, and release them at the end."""
    made = []

    def make(*envs, **settings):
        made.append(Scene(*envs, **settings))
        return made[-1]

    yield make
    for one in made:
        one.gym.destroy_sim(one.sim)


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


def test_a_box_appears_where_a_pinhole_camera_shows_it(scene):
    """The front of a red box has its corners at the pixels of the formula, so y is to the left and z is up."""
    made = scene([(1.6, 0.15, 0.1)])
    made.color_box((1, 0, 0))
    camera = made.camera()
    made.prepare()
    picture = made.color(camera)
    assert picture.shape == (HEIGHT, WIDTH, 4)
    assert picture.dtype == np.uint8
    assert (picture[:, :, 3] == 255).all()
    expected = front(1.6, 0.15, 0.1)
    assert np.allclose(extent(is_red(picture)), expected, atol=1.0)


def test_color_image_is_flat_rows_of_four_numbers_a_pixel(scene):
    """A program reshapes (H, 4 W) to (H, W, 4)."""
    made = scene([(2.0, 0.0, 0.0)])
    camera = made.camera()
    made.prepare()
    assert made.image(camera, gymapi.IMAGE_COLOR).shape == (HEIGHT, 4 * WIDTH)


@pytest.mark.parametrize("distance", [0.5, 2.0, 30.0])
def test_depth_is_the_negative_distance(scene, distance):
    """In the middle, depth is the distance of the box's front; beside it nothing is, at -inf."""
    made = scene([(distance + HALF, 0.0, 0.0)])
    camera = made.camera(props=properties(width=199, height=121))
    made.prepare()
    depth = made.image(camera, gymapi.IMAGE_DEPTH)
    assert depth.dtype == np.float32
    assert depth.shape == (121, 199)
    assert depth[60, 99] == pytest.approx(-distance, rel=0.01)
    assert depth[0, 0] == -np.inf


def test_depth_is_that_of_the_plane_not_of_the_ray(scene):
    """A flat face across the view has one depth, at its corners as in its middle."""
    made = scene([(0.5, 0.0, 0.0)])
    camera = made.camera(props=properties(height=100))
    made.prepare()
    depth = made.image(camera, gymapi.IMAGE_DEPTH)
    visible = depth[np.isfinite(depth)]
    assert visible.size > 1000
    assert np.allclose(visible, -(0.5 - HALF), rtol=0.01)


def test_planes_cut_what_is_too_near_or_too_far(scene):
    """A box before the near plane, or behind the far one, is not visible."""
    made = scene([(2.0, 0.0, 0.0)])
    cameras = []
    for planes in ({"near_plane": 0.1}, {"near_plane": 2.5}, {"far_plane": 1.5}):
        cameras.append(made.camera(props=properties(**planes)))
    made.prepare()
    visible = [bool((made.image(camera) == BOX).any()) for camera in cameras]
    assert visible == [True, False, False]


def test_segmentation_has_the_ids_of_the_actors(scene):
    """Each box has its own id, also above 255; ground and sky have 0."""
    made = scene([(1.5, 0.5, 0.5), (1.5, -0.5, 0.5)], ground=True)
    camera = made.camera(at=(0, 0, 0.5), target=(1, 0, 0.5))
    made.prepare()
    segments = made.image(camera)
    assert segments.dtype == np.uint32
    assert np.unique(segments).tolist() == [0, BOX, OTHER_BOX]
    assert (segments[:, : WIDTH // 2] != OTHER_BOX).all()
    assert (segments[:, WIDTH // 2 :] != BOX).all()


def test_cameras_of_different_sizes(scene):
    """Images have the size of their camera, whichever is read first, and larger ones show more detail."""
    made = scene([(1.5, 0.2, 0.1)])
    small, large = made.camera(props=properties(60, 40)), made.camera(props=properties(1000, 700))
    made.prepare()
    for _ in range(2):
        for camera, width, height in ((small, 60, 40), (large, 1000, 700)):
            segments = made.image(camera)
            assert segments.shape == (height, width)
            focal = FOCAL * width / WIDTH
            left, top = seen(1.5 - HALF, 0.2 + HALF, 0.1 + HALF, width, height, focal)
            first_column, _, first_row, _ = extent(segments == BOX)
            assert first_column == pytest.approx(left, abs=1.0)
            assert first_row == pytest.approx(top, abs=1.0)


def test_a_camera_sees_only_its_env(scene):
    """The boxes of other envs are invisible, and colours differ from env to env."""
    made = scene([(1.6, 0.3, 0.0)], [(1.6, -0.3, 0.0)], [(1.6, 0.1, 0.2)])
    made.color_box((1, 0, 0), env=1)
    cameras = [made.camera(env=env) for env in range(3)]
    made.prepare()
    for env, place in enumerate([(1.6, 0.3, 0.0), (1.6, -0.3, 0.0), (1.6, 0.1, 0.2)]):
        found = extent(made.image(cameras[env], env=env) == BOX)
        side = 0 if place[1] > 0 else 1  # the outer side of the front; the box's side hides the inner one
        assert found[side] == pytest.approx(front(*place)[side], abs=1.0)
    assert [bool(is_red(made.color(cameras[env], env)).any()) for env in range(3)] == [False, True, False]


def test_a_camera_turns_with_its_body_only_if_asked_to(scene):
    """The body with the cameras turns to the left by a quarter: one camera then looks along y, the other along x."""
    made = scene([(0.0, 0.0, 1.0), (3.0, 0.0, 1.0)])
    gym, env = made.gym, made.envs[0]
    turning, standing = made.camera(), made.camera()
    offset = gymapi.Transform(vec(0.5, 0.0, 0.25))
    gym.attach_camera_to_body(turning, env, 0, offset, gymapi.FOLLOW_TRANSFORM)
    gym.attach_camera_to_body(standing, env, 0, offset, gymapi.FOLLOW_POSITION)
    made.prepare()
    roots = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(made.sim)).clone()
    half = math.sqrt(0.5)
    roots[0, 3:7] = torch.tensor([0.0, 0.0, half, half])
    assert OTHER_BOX in made.image(turning)
    gym.set_actor_root_state_tensor(made.sim, gymtorch.unwrap_tensor(roots))
    gym.simulate(made.sim)
    assert OTHER_BOX not in made.image(turning)
    assert OTHER_BOX in made.image(standing)
    place = gym.get_camera_transform(made.sim, env, turning)
    assert [place.p.x, place.p.y, place.p.z] == pytest.approx([0.0, 0.5, 1.25], abs=1e-5)
    assert [place.r.z, place.r.w] == pytest.approx([half, half], abs=1e-5)
    place = gym.get_camera_transform(made.sim, env, standing)
    assert [place.p.x, place.p.y, place.p.z] == pytest.approx([0.5, 0.0, 1.25], abs=1e-5)
    assert place.r.w == pytest.approx(1.0, abs=1e-5)


def test_a_location_detaches_a_camera(scene):
    """After `set_camera_location`, a camera stays where it is while its body moves on."""
    made = scene([(0.0, 0.0, 1.0)])
    gym, env = made.gym, made.envs[0]
    camera = made.camera()
    gym.attach_camera_to_body(camera, env, 0, gymapi.Transform(), gymapi.FOLLOW_TRANSFORM)
    gym.set_camera_location(camera, env, vec(4, 5, 6), vec(4, 5, 7))
    made.prepare()
    place = gym.get_camera_transform(made.sim, env, camera)
    assert [place.p.x, place.p.y, place.p.z] == [4, 5, 6]
    ahead = place.transform_vector(vec(1, 0, 0))
    assert [ahead.x, ahead.y, ahead.z] == pytest.approx([0, 0, 1], abs=1e-6)


def test_a_rolled_camera_rolls_its_image(scene):
    """A camera that is rolled by a quarter to its right sees what is above on its left."""
    made = scene([(1.5, 0.0, 0.5)])
    camera = made.camera()
    half = math.sqrt(0.5)
    rolled = gymapi.Transform(vec(0, 0, 0), gymapi.Quat(half, 0, 0, half))
    made.gym.set_camera_transform(camera, made.envs[0], rolled)
    made.prepare()
    left, right, top, bottom = extent(made.image(camera) == BOX)
    assert left == pytest.approx(WIDTH / 2 - FOCAL * (0.5 + HALF) / (1.5 - HALF), abs=1.0)
    assert top == pytest.approx(HEIGHT - bottom, abs=1.0)


def test_matrices_lead_from_depth_to_points(scene):
    """The usual computation of a point cloud finds the faces of the box in the world, with the env's origin."""
    made = scene([(2.0, 0.3, 0.2)], [(2.0, 0.3, 0.2)], spacing=5.0)
    gym, env = made.gym, made.envs[1]
    camera = made.camera(env=1, at=(0.5, -0.8, 1.0), target=(2.0, 0.3, 0.2))
    made.prepare()
    depth = made.image(camera, gymapi.IMAGE_DEPTH, env=1)
    view = np.linalg.inv(gym.get_camera_view_matrix(made.sim, env, camera))
    projection = gym.get_camera_proj_matrix(made.sim, env, camera)
    rows, columns = np.nonzero(np.isfinite(depth))
    z = depth[rows, columns]
    x = -(columns + 0.5 - WIDTH / 2) / WIDTH * z * 2 / projection[0, 0]
    y = (rows + 0.5 - HEIGHT / 2) / HEIGHT * z * 2 / projection[1, 1]
    points = (np.stack([x, y, z, np.ones_like(z)], axis=1) @ view)[:, :3]
    origin = gym.get_env_origin(env)
    assert origin.x > 1.0
    apart = np.abs(points - [2.0 + origin.x, 0.3 + origin.y, 0.2]).max(axis=1)
    assert len(points) > 100
    assert np.allclose(apart, HALF, atol=0.005)  # each point lies on a face


def test_projection_of_a_point_is_its_pixel(scene):
    """A point, times the view and the projection matrix, is where the pinhole formula puts it."""
    made = scene([(2.0, 0.0, 0.0)])
    camera = made.camera()
    made.prepare()
    gym, env = made.gym, made.envs[0]
    view = gym.get_camera_view_matrix(made.sim, env, camera)
    projection = gym.get_camera_proj_matrix(made.sim, env, camera)
    clip = np.array([3.0, 0.4, -0.7, 1.0]) @ view @ projection
    column, row = (clip[0] / clip[3] + 1) / 2 * WIDTH, (1 - clip[1] / clip[3]) / 2 * HEIGHT
    assert (column, row) == pytest.approx(seen(3.0, 0.4, -0.7), rel=1e-5)


def test_tensors_follow_render_all_camera_sensors(scene):
    """A tensor keeps its memory, and changes in `render_all_camera_sensors` only."""
    made = scene([(2.0, 0.0, 0.0)])
    gym, env = made.gym, made.envs[0]
    camera = made.camera(props=properties(enable_tensors=True))
    made.prepare()
    depth = gymtorch.wrap_tensor(gym.get_camera_image_gpu_tensor(made.sim, env, camera, gymapi.IMAGE_DEPTH))
    color = gymtorch.wrap_tensor(gym.get_camera_image_gpu_tensor(made.sim, env, camera, gymapi.IMAGE_COLOR))
    assert depth.shape == (HEIGHT, WIDTH)
    assert color.shape == (HEIGHT, WIDTH, 4)
    middle = HEIGHT // 2, WIDTH // 2
    before = depth[middle].item()
    assert before == pytest.approx(-(2.0 - HALF), rel=0.01)
    roots = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(made.sim)).clone()
    roots[0, 0] = 3.0
    gym.set_actor_root_state_tensor(made.sim, gymtorch.unwrap_tensor(roots))
    gym.simulate(made.sim)
    gym.step_graphics(made.sim)
    assert depth[middle].item() == before
    gym.render_all_camera_sensors(made.sim)
    gym.start_access_image_tensors(made.sim)
    assert depth[middle].item() == pytest.approx(-(3.0 - HALF), rel=0.01)
    gym.end_access_image_tensors(made.sim)


def test_images_show_the_moment_of_render_all_camera_sensors(scene):
    """What moves after `render_all_camera_sensors` is seen at its old place."""
    made = scene([(2.0, 0.0, 0.0)])
    camera = made.camera()
    made.prepare()
    made.gym.render_all_camera_sensors(made.sim)
    before = made.image(camera)
    roots = gymtorch.wrap_tensor(made.gym.acquire_actor_root_state_tensor(made.sim)).clone()
    roots[0, 1] = 0.5
    made.gym.set_actor_root_state_tensor(made.sim, gymtorch.unwrap_tensor(roots))
    made.gym.simulate(made.sim)
    assert (made.image(camera) == before).all()
    made.gym.render_all_camera_sensors(made.sim)
    assert (made.image(camera) != before).any()


@pytest.mark.parametrize(
    ("visual", "shown"),
    [
        pytest.param(0.8, 0.8, id="visual shape"),
        pytest.param(None, 0.4, id="no visual shape"),
        pytest.param(0.01, 0.4, id="only a dot"),
    ],
)
def test_visual_shapes_are_shown_where_there_are_any(scene, tmp_path, visual, shown):
    """A link is as large as its visual box, else as its collision box of 0.4 m; so it is for other cameras anyway."""
    made = scene([])
    asset = made.gym.load_asset(made.sim, str(tmp_path), link(tmp_path, visual), gymapi.AssetOptions())
    made.gym.create_actor(made.envs[0], asset, gymapi.Transform(vec(2, 0, 0)), "r", 0, 0, BOX)
    cameras = made.camera(), made.camera(props=properties(use_collision_geometry=True))
    made.prepare()
    for camera, side in zip(cameras, (shown, 0.4), strict=True):
        left, right, _, _ = extent(made.image(camera) == BOX)
        assert right - left == pytest.approx(FOCAL * side / (2 - side / 2), abs=1.5)


def link(folder, visual):
    """Write a link with a collision box of 0.4 m and perhaps a visual one of this size, and return the file's name."""
    shapes = '<collision><geometry><box size="0.4 0.4 0.4"/></geometry></collision>'
    if visual is not None:
        shapes += f'<visual><geometry><box size="{visual} {visual} {visual}"/></geometry></visual>'
    inertial = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
    (folder / "robot.urdf").write_text(f'<robot name="r"><link name="l">{inertial}{shapes}</link></robot>')
    return "robot.urdf"


def test_images_are_written_as_png(scene, tmp_path):
    """The file holds the very pixels; depth is written in millimetres."""
    made = scene([(2.0, 0.1, 0.0)])
    gym, env = made.gym, made.envs[0]
    camera = made.camera()
    made.prepare()
    path = tmp_path / "image.png"
    gym.write_camera_image_to_file(made.sim, env, camera, gymapi.IMAGE_COLOR, str(path))
    header, rows = decoded_png(path)
    assert header == (WIDTH, HEIGHT, 8, 6)
    assert (rows == made.image(camera, gymapi.IMAGE_COLOR)).all()
    gym.write_camera_image_to_file(made.sim, env, camera, gymapi.IMAGE_DEPTH, str(path))
    header, rows = decoded_png(path)
    assert header == (WIDTH, HEIGHT, 16, 0)
    assert rows.copy().view(">u2")[HEIGHT // 2, WIDTH // 2] == pytest.approx(1800, rel=0.01)


def test_handles_count_in_each_env_and_end_with_their_camera(scene):
    """Handles start at 0 in each env; a destroyed camera's handle is an error, and is not given again."""
    made = scene([(2.0, 0.0, 0.0)], [(2.0, 0.0, 0.0)])
    assert [made.camera(env) for env in (0, 0, 1, 0)] == [0, 1, 0, 2]
    made.gym.destroy_camera_sensor(made.sim, made.envs[0], 1)
    made.prepare()
    with pytest.raises(StandinError) as failed:
        made.image(1)
    assert "camera 1" in failed.value.what
    assert made.camera(0) == 3


def test_what_makes_no_sense_is_refused(scene):
    """Optical flow, tensors of a camera without them, unknown bodies, and images without pixels are errors."""
    made = scene([(2.0, 0.0, 0.0)])
    gym, env = made.gym, made.envs[0]
    camera = made.camera()
    with pytest.raises(StandinError):
        made.image(camera)  # before prepare_sim
    made.prepare()
    with pytest.raises(NotSupported):
        made.image(camera, gymapi.IMAGE_OPTICAL_FLOW)
    with pytest.raises(StandinError):
        gym.get_camera_image_gpu_tensor(made.sim, env, camera, gymapi.IMAGE_COLOR)
    with pytest.raises(StandinError):
        gym.attach_camera_to_body(camera, env, -1, gymapi.Transform(), gymapi.FOLLOW_POSITION)
    with pytest.raises(StandinError):
        gym.create_camera_sensor(env, properties(width=0))
    with pytest.raises(StandinError):
        gym.set_camera_location(camera, env, vec(1, 2, 3), vec(1, 2, 3))


def test_nothing_is_drawn_before_the_first_image(scene, monkeypatch):
    """Where nothing can draw, a program that makes cameras and reads no image runs; the first image is one error."""
    monkeypatch.setenv("MUJOCO_GL", "no_such_library")
    for name in gl.DISPLAY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    made = scene([(2.0, 0.0, 0.0)])
    camera = made.camera()
    made.prepare()
    made.gym.simulate(made.sim)
    made.gym.step_graphics(made.sim)
    made.gym.render_all_camera_sensors(made.sim)
    with pytest.raises(StandinError) as failed:
        made.image(camera)
    assert "no_such_library" in failed.value.got
    assert "libosmesa6" in failed.value.fix


def test_a_simulation_without_cameras_costs_nothing():
    """`render_all_camera_sensors` copies no state where no camera is."""

    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"{name} was used")

    Cameras(Untouchable(), Untouchable()).record()


@pytest.mark.parametrize("library", ["EGL", "OSMesa"])
def test_the_process_ends_in_silence(library):
    """A program that read images and never cleaned up prints nothing at its end."""
    if find_library(library) is None:
        pytest.skip(f"{library} is not installed")
    program = """
from isaac_standin.api import gymapi
gym = gymapi.acquire_gym()
sim = gym.create_sim(0, 0, gymapi.SIM_PHYSX, gymapi.SimParams())
env = gym.create_env(sim, gymapi.Vec3(), gymapi.Vec3(), 1)
gym.create_actor(env, gym.create_sphere(sim, 0.1), gymapi.Transform())
camera = gym.create_camera_sensor(env, gymapi.CameraProperties())
gym.prepare_sim(sim)
gym.get_camera_image(sim, env, camera, gymapi.IMAGE_COLOR)
"""
    env = dict(os.environ, MUJOCO_GL=library.lower())
    env.pop("PYOPENGL_PLATFORM", None)  # of the library that this process draws with
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
