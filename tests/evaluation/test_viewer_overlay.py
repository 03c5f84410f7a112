"""The overlay: commands, paths, and discs on the floor, at the right places."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np
import pytest
from episodes import COMMANDS, GOAL, STEP, frame_at, walking_episode

from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.overlay import (
    ARROW_HEIGHT,
    OBJECT_COLOUR,
    ROBOT_COLOURS,
    STRIDE,
    TURN_COLOUR,
    WALK_COLOUR,
    aim,
    command_arrows,
    draw,
    overlay_of,
)

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


@pytest.fixture(scope="module")
def model():
    """The scene of two robots and the cuboid."""
    return build_model(Scene(2, OBJECTS["cuboid"]))


def test_command_arrows_turn_with_the_robot():
    """Ahead is the robot's own x axis, a left turn points to its left, and a zero command has no arrow."""
    frame = frame_at([(1.0, 2.0, math.pi / 2), (-1.0, 0.5, math.pi / 2)], (0.0, 0.0, 0.25))
    frame = dataclasses.replace(frame, commands=np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.25]]))
    ahead, left = command_arrows(frame)
    assert (ahead.colour, left.colour) == (WALK_COLOUR, TURN_COLOUR)
    assert np.subtract(ahead.end, ahead.start) == pytest.approx((0.0, 0.6, 0.0), abs=1e-6)
    assert np.subtract(left.end, left.start) == pytest.approx((-0.3, 0.0, 0.0), abs=1e-6)
    assert ahead.start == pytest.approx((1.0, 2.0, 0.257 + ARROW_HEIGHT), abs=1e-6)
    assert left.start == pytest.approx((-1.0, 0.5 + 0.3, 0.257 + ARROW_HEIGHT), abs=1e-6)  # at its head
    assert command_arrows(dataclasses.replace(frame, commands=np.zeros((2, 3)))) == ()


def test_command_arrows_of_a_robot_that_leans_stay_level():
    """Arrows depend on the heading only, not on roll and pitch."""
    frame = frame_at([(0.0, 0.0, 0.0)], (0.0, 0.0, 0.25))
    yaw, pitch = 0.7, 0.5
    left = math.pi / 2
    half_yaw, half_pitch = (math.cos(yaw / 2), math.sin(yaw / 2)), (math.cos(pitch / 2), math.sin(pitch / 2))
    leaning = (
        half_yaw[0] * half_pitch[0],
        -half_yaw[1] * half_pitch[1],
        half_yaw[0] * half_pitch[1],
        half_yaw[1] * half_pitch[0],
    )
    frame.qpos[3:7] = leaning
    for commands, direction in (([0.5, 0, 0], yaw), ([0, 0.5, 0], yaw + left), ([-0.5, 0, 0], yaw + 2 * left)):
        (arrow,) = command_arrows(dataclasses.replace(frame, commands=np.array([commands])))
        way = np.subtract(arrow.end, arrow.start)
        assert way == pytest.approx((0.6 * math.cos(direction), 0.6 * math.sin(direction), 0.0), abs=1e-6)


@pytest.mark.parametrize("step", [0, 3, 5, 23])
def test_paths_lead_from_the_start_to_the_present(step):
    """Paths of the robots (in their colours) and of the object sample the positions, and end at the current frame."""
    episode = walking_episode(31)
    paths = overlay_of(episode, step).paths
    assert [path.colour for path in paths] == [*ROBOT_COLOURS[:2], OBJECT_COLOUR]
    when = sorted({*range(0, step + 1, STRIDE), step})
    for path, first in zip(paths, ((-1.5, -0.9), (-1.2, 1.1), (0.0, 0.0))):
        wanted = [(first[0] + STEP * index, first[1]) for index in when]
        assert path.points == pytest.approx(np.array(wanted), abs=1e-5)


def test_discs_lie_under_the_robots_and_where_the_object_has_arrived():
    """Each robot has a disc in its colour; the disc of the goal appears when the object is within 1 m of it."""
    robots = [(1.0, 2.0, 0.0), (-1.0, 0.5, 0.0)]
    for distance, arrived in ((1.001, False), (0.999, True)):
        episode = walking_episode(2)
        episode.frames[1] = frame_at(robots, (GOAL[0] - distance, GOAL[1], 0.25))
        discs = overlay_of(episode, 1).discs
        assert [disc.centre for disc in discs[:2]] == [(1.0, 2.0), (-1.0, 0.5)]
        assert [disc.colour[:3] for disc in discs[:2]] == [colour[:3] for colour in ROBOT_COLOURS[:2]]
        assert [(disc.centre, disc.radius) for disc in discs[2:]] == [(GOAL, 1.0)] * arrived


def test_overlay_carries_text_and_the_middle_of_object_and_goal():
    """A following camera looks at the midpoint of object and goal, and the text lines are passed on."""
    overlay = overlay_of(walking_episode(11), 10, ["one", "two"])
    assert overlay.lines == ("one", "two")
    assert overlay.look_at == pytest.approx(((10 * STEP + GOAL[0]) / 2, GOAL[1] / 2, 0.125), abs=1e-6)
    assert len(overlay.arrows) == np.count_nonzero(np.array(COMMANDS)[:, 2]) + 2


def test_colours_of_robots_are_those_of_their_shells(model):
    """Shell, path and disc of a robot have the same colour."""
    shells = [model.material(f"robot{robot}/shell").rgba for robot in range(2)]
    assert shells == [pytest.approx(colour) for colour in ROBOT_COLOURS[:2]]


# -- into MuJoCo -----------------------------------------------------------------------------------------------------


def _drawn(overlay, model, maxgeom=1000):
    scene = mujoco.MjvScene(model, maxgeom)
    draw(overlay, scene)
    return scene


def _of_kind(scene, kind):
    return [geom for geom in scene.geoms[: scene.ngeom] if geom.type == kind]


def test_draw_lays_paths_flat_on_the_floor_without_gaps(model):
    """Each segment of a path is a flat box that reaches from one point to the next."""
    overlay = overlay_of(walking_episode(31), 23)
    ribbons = iter(_of_kind(_drawn(overlay, model), mujoco.mjtGeom.mjGEOM_BOX))
    for path in overlay.paths:
        for start, end in zip(path.points[:-1], path.points[1:]):
            ribbon = next(ribbons)
            along = ribbon.mat[:, 0] * (ribbon.size[0] - ribbon.size[1])
            for reached, wanted in ((ribbon.pos - along, start), (ribbon.pos + along, end)):
                assert reached[:2] == pytest.approx(wanted, abs=1e-5)
            assert 0.0 < ribbon.pos[2] - ribbon.size[2]
            assert ribbon.pos[2] + ribbon.size[2] < 0.02
            assert ribbon.rgba == pytest.approx(path.colour)
    assert next(ribbons, None) is None


def test_draw_turns_a_path_with_its_direction(model):
    """A diagonal segment is turned by 45 degrees."""
    episode = walking_episode(2)
    episode.frames[1] = frame_at([(-1.5, -0.9, 0.0), (-1.2, 1.1, 0.0)], (0.5, 0.5, 0.25))
    ribbon = _of_kind(_drawn(overlay_of(episode, 1), model), mujoco.mjtGeom.mjGEOM_BOX)[-1]
    assert ribbon.mat[:, 0] == pytest.approx((math.sqrt(0.5), math.sqrt(0.5), 0.0), abs=1e-6)
    assert np.linalg.det(ribbon.mat) == pytest.approx(1.0)


def test_draw_makes_discs_and_arrows_as_large_as_they_are(model):
    """A disc is a flat cylinder of its radius at its centre, and an arrow has the right start and end."""
    overlay = overlay_of(walking_episode(50), 40)
    scene = _drawn(overlay, model)
    discs, arrows = (_of_kind(scene, kind) for kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_ARROW))
    assert len(discs) == len(overlay.discs) == 3
    for geom, disc in zip(discs, overlay.discs):
        assert geom.pos[:2] == pytest.approx(disc.centre)
        assert 0.0 < geom.pos[2] < 0.02
        assert geom.size == pytest.approx((disc.radius, disc.radius, 0.001))
    assert len(arrows) == len(overlay.arrows) == 3
    for geom, arrow in zip(arrows, overlay.arrows):
        assert geom.pos == pytest.approx(arrow.start)
        way = np.subtract(arrow.end, arrow.start)
        assert geom.mat[:, 2] == pytest.approx(way / np.linalg.norm(way), abs=1e-5)
        assert geom.rgba == pytest.approx(arrow.colour)


@pytest.mark.parametrize("room", [0, 1, 7, 11])
def test_draw_into_a_scene_that_is_full_draws_what_fits(model, room):
    """Nothing is written beyond the capacity of the scene."""
    scene = _drawn(overlay_of(walking_episode(31), 23), model, room)
    assert scene.ngeom == room


def test_aim_lets_the_camera_look_from_the_side_of_small_y(model):
    """The camera has the wanted distance, above the point that it looks at and on the side of smaller y."""
    camera, scene, data = mujoco.MjvCamera(), mujoco.MjvScene(model, 1000), mujoco.MjData(model)
    aim(camera, (1.0, 2.0, 0.0), 5.0)
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    offset = np.mean([eye.pos for eye in scene.camera], axis=0) - (1.0, 2.0, 0.0)
    assert np.linalg.norm(offset) == pytest.approx(5.0, abs=0.01)
    assert offset[0] == pytest.approx(0.0, abs=1e-5)
    assert offset[1] < -3.0
    assert offset[2] > 3.0
