"""Cameras: when images are drawn and what as, handles, files, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from ctypes.util import find_library

import pytest
from camera_scenes import BOX, FOCAL, HALF, HEIGHT, WIDTH, Scene, extent, properties, vec
from screens import decoded_png

from isaac_standin.api import gymapi, gymtorch
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.viewing import gl
from isaac_standin.viewing.sensors import Cameras

pytestmark = [pytest.mark.sim, pytest.mark.mujoco, pytest.mark.render]


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
