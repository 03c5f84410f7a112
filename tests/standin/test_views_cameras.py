"""Cameras: what their images show, against the formula of a pinhole camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from camera_scenes import (
    BOX,
    FOCAL,
    HALF,
    HEIGHT,
    OTHER_BOX,
    WIDTH,
    Scene,
    extent,
    front,
    is_red,
    properties,
    seen,
    vec,
)

from isaac_standin.api import gymapi, gymtorch

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


@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=pytest.mark.gpu)], ids=["cpu", "gpu"])
def test_each_env_shows_its_own_state_wherever_it_is_simulated(scene, gpu):
    """A box that was moved through the root states of env 1, on the device, is seen there; env 0 is as it was."""
    made = scene([(1.6, 0.15, 0.1)], [(2.0, 0.0, 0.0)], gpu=gpu)
    cameras = [made.camera(env) for env in range(2)]
    for env in range(2):
        made.color_box((1, 0, 0), env)
    made.prepare()
    roots = gymtorch.wrap_tensor(made.gym.acquire_actor_root_state_tensor(made.sim)).clone()
    assert roots.is_cuda == gpu
    roots[1, :3] = torch.tensor([1.8, -0.3, 0.25])
    made.gym.set_actor_root_state_tensor(made.sim, gymtorch.unwrap_tensor(roots))
    made.gym.simulate(made.sim)
    for env, place in enumerate([(1.6, 0.15, 0.1), (1.8, -0.3, 0.25)]):
        assert np.allclose(extent(is_red(made.color(cameras[env], env))), front(*place), atol=1.5)


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
