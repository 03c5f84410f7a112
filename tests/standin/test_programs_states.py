"""States, targets and forces of single actors and bodies, as numpy arrays and vectors of `Gym`."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from gym_scenes import DT, GRAVITY, HAND, ROBOT, STONE, Scene
from physics_scenes import WEIGHTLESS, Place, actor, asset, body, hinge, roots, run

from isaac_standin.api import gymapi, gymtorch
from isaac_standin.errors import StandinError

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]


def dof_states(*rows):
    """Return (position, velocity) pairs as the array that `set_actor_dof_states` takes."""
    return np.array(list(rows), dtype=gymapi.DofState.dtype)


@pytest.mark.parametrize("prepared", [False, True])
def test_dof_states_are_set_at_once(tmp_path, prepared):
    """States of one actor's joints are there as soon as they are set, before `prepare_sim` and after; others stay."""
    given = dof_states((0.3, -0.5), (0.1, 0.25))

    def give(scene):
        scene.gym.set_actor_dof_states(scene.envs[1], ROBOT, given, gymapi.STATE_ALL)

    scene = Scene(tmp_path, before=None if prepared else give)
    if prepared:
        give(scene)
    for index, env in enumerate(scene.envs):
        found = scene.gym.get_actor_dof_states(env, ROBOT, gymapi.STATE_ALL)
        expected = given if index == 1 else np.zeros_like(given)
        assert found.dtype == gymapi.DofState.dtype
        np.testing.assert_allclose(found["pos"], expected["pos"], atol=1e-7)
        np.testing.assert_allclose(found["vel"], expected["vel"], atol=1e-7)


def test_flags_choose_what_is_set(tmp_path):
    """With `STATE_POS` velocities stay, and with `STATE_VEL` positions."""
    scene = Scene(tmp_path)
    env = scene.envs[2]
    scene.gym.set_actor_dof_states(env, ROBOT, dof_states((0.3, 9.0), (0.1, 9.0)), gymapi.STATE_POS)
    scene.gym.set_actor_dof_states(env, ROBOT, dof_states((9.0, -0.5), (9.0, 0.25)), gymapi.STATE_VEL)
    found = scene.gym.get_actor_dof_states(env, ROBOT, gymapi.STATE_ALL)
    np.testing.assert_allclose(found["pos"], [0.3, 0.1], atol=1e-7)
    np.testing.assert_allclose(found["vel"], [-0.5, 0.25], atol=1e-7)


def test_wrong_dof_states_are_refused(tmp_path):
    """A plain array, or one with another number of joints, is no state of an actor's joints."""
    scene = Scene(tmp_path)
    for wrong in (np.zeros((2, 2), dtype=np.float32), dof_states((0.0, 0.0))):
        with pytest.raises(StandinError, match="set_actor_dof_states"):
            scene.gym.set_actor_dof_states(scene.envs[0], ROBOT, wrong, gymapi.STATE_ALL)


@pytest.mark.parametrize("prepared", [False, True])
def test_targets_of_one_actor_move_only_it(tmp_path, prepared):
    """Position targets of one actor are reached by its drives; the other actors hold still."""

    def give(scene):
        scene.gym.set_actor_dof_position_targets(scene.envs[1], ROBOT, [0.4, -0.1])

    scene = Scene(tmp_path, mode=gymapi.DOF_MODE_POS, before=None if prepared else give)
    if prepared:
        give(scene)
    np.testing.assert_allclose(scene.gym.get_actor_dof_position_targets(scene.envs[1], ROBOT), [0.4, -0.1])
    scene.run(150)
    for env, expected in zip(scene.envs, ([0.0, 0.0], [0.4, -0.1], [0.0, 0.0]), strict=True):
        found = scene.gym.get_actor_dof_states(env, ROBOT, gymapi.STATE_POS)
        np.testing.assert_allclose(found["pos"], expected, atol=1e-3)


def test_velocity_targets_are_kept_and_followed(tmp_path):
    """Velocity targets of one actor can be read back, and its drives follow them."""
    scene = Scene(tmp_path, mode=gymapi.DOF_MODE_VEL)
    scene.gym.set_actor_dof_velocity_targets(scene.envs[0], ROBOT, np.array([0.2, 0.0]))
    np.testing.assert_allclose(scene.gym.get_actor_dof_velocity_targets(scene.envs[0], ROBOT), [0.2, 0.0])
    scene.run(60)
    found = scene.gym.get_actor_dof_states(scene.envs[0], ROBOT, gymapi.STATE_VEL)
    np.testing.assert_allclose(found["vel"], [0.2, 0.0], atol=2e-3)


def test_efforts_of_one_actor_hold_for_one_step(tmp_path):
    """The slide gains effort / mass * dt in one `simulate`, and nothing in the next; other actors gain nothing."""
    scene = Scene(tmp_path)
    scene.gym.apply_actor_dof_efforts(scene.envs[1], ROBOT, [0.0, 2.0])
    for _ in range(2):
        scene.run(1)
        for index, env in enumerate(scene.envs):
            speed = scene.gym.get_actor_dof_states(env, ROBOT, gymapi.STATE_VEL)["vel"][1]
            assert speed == pytest.approx(2.0 / 0.5 * DT * (index == 1), abs=2e-3)  # the hand is off-centre


def test_dof_forces_are_the_efforts_of_the_last_step(tmp_path):
    """What was applied can be read back after `simulate`, for each actor."""
    scene = Scene(tmp_path)
    scene.gym.apply_actor_dof_efforts(scene.envs[2], ROBOT, [1.5, -3.0])
    scene.run(1)
    np.testing.assert_allclose(scene.gym.get_actor_dof_forces(scene.envs[2], ROBOT), [1.5, -3.0])
    np.testing.assert_allclose(scene.gym.get_actor_dof_forces(scene.envs[0], ROBOT), [0.0, 0.0])


def test_bodies_of_an_actor_are_where_geometry_puts_them(tmp_path):
    """Poses follow from the joints, velocities are those of the centres of mass; `get_rigid_transform` agrees."""
    scene = Scene(tmp_path)
    angle, out, spin = 0.5, 0.1, 2.0
    scene.gym.set_actor_dof_states(scene.envs[1], ROBOT, dof_states((angle, spin), (out, 0.0)), gymapi.STATE_ALL)
    found = scene.gym.get_actor_rigid_body_states(scene.envs[1], ROBOT, gymapi.STATE_ALL)
    assert found.dtype == gymapi.RigidBodyState.dtype
    assert len(found) == 3
    axis, across = np.array([math.sin(angle), 0.0, math.cos(angle)]), np.array([math.cos(angle), 0.0, -math.sin(angle)])
    place = np.array([0.0, 0.0, 5.0]) + (0.4 + out) * axis
    np.testing.assert_allclose(list(found["pose"]["p"][2]), place, atol=1e-6)
    np.testing.assert_allclose(list(found["pose"]["r"][2]), [0, math.sin(angle / 2), 0, math.cos(angle / 2)], atol=1e-6)
    velocity = spin * ((0.4 + out) * across - 0.1 * axis)
    np.testing.assert_allclose(list(found["vel"]["linear"][2]), velocity, atol=1e-5)
    np.testing.assert_allclose(list(found["vel"]["angular"][2]), [0.0, spin, 0.0], atol=1e-5)
    pose = scene.gym.get_rigid_transform(scene.envs[1], HAND)
    assert (pose.p.x, pose.p.y, pose.p.z) == pytest.approx(tuple(place), abs=1e-6)


def test_reading_states_leaves_the_tensors_alone(tmp_path):
    """Tensors change in `refresh_*` only, not when the state of one actor is read."""
    scene = Scene(tmp_path, gravity=GRAVITY)
    bodies = gymtorch.wrap_tensor(scene.gym.acquire_rigid_body_state_tensor(scene.sim))
    before = bodies.clone()
    scene.run(3)
    scene.gym.get_actor_rigid_body_states(scene.envs[0], ROBOT, gymapi.STATE_ALL)
    assert torch.equal(bodies, before)


def test_force_on_a_body_is_at_its_centre_of_mass(tmp_path):
    """A force gives the ball F / m dt and no spin, for one step; a torque about z spins it by T / I dt."""
    scene = Scene(tmp_path)
    scene.gym.apply_body_forces(scene.envs[1], STONE, gymapi.Vec3(6.0, 0.0, -3.0), gymapi.Vec3(0.0, 0.0, 0.4))
    states = scene.run(1)
    expected = torch.tensor([6.0 / 3.0 * DT, 0.0, -3.0 / 3.0 * DT, 0.0, 0.0, 0.4 / 0.04 * DT])
    torch.testing.assert_close(states[1, 7:], expected, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(states[0, 7:], torch.zeros(6), rtol=0.0, atol=1e-7)
    torch.testing.assert_close(scene.run(1)[1, 7:], states[1, 7:], rtol=0.0, atol=1e-3)


POINTS = {
    gymapi.ENV_SPACE: (1.05, 2.2, 3.0),
    gymapi.LOCAL_SPACE: (0.05, 0.2, 0.0),
    gymapi.GLOBAL_SPACE: (1.05 + 4.0, 2.2, 3.0),
}


@pytest.mark.parametrize("space", list(POINTS))
def test_force_at_a_point_turns_the_body(tmp_path, space):
    """A force along z, 0.2 m beside the centre of mass along y, has a torque about x of 0.2 F, by either call."""
    force, turned = 3.0, 0.2 * 3.0 / 0.02 * DT
    expected = torch.tensor([0.0, 0.0, force / 3.0 * DT, turned, 0.0, 0.0])
    scene = Scene(tmp_path)
    point = gymapi.Vec3(*POINTS[space])
    scene.gym.apply_body_force_at_pos(scene.envs[1], STONE, gymapi.Vec3(0.0, 0.0, force), point, space)
    torch.testing.assert_close(scene.run(1)[1, 7:], expected, rtol=0.0, atol=1e-5)

    scene = Scene(tmp_path)
    forces, points = torch.zeros(3, 4, 3), torch.zeros(3, 4, 3)
    forces[1, STONE, 2], points[1, STONE] = force, torch.tensor(POINTS[space])
    tensors = [gymtorch.unwrap_tensor(each.view(-1, 3)) for each in (forces, points)]
    scene.gym.apply_rigid_body_force_at_pos_tensors(scene.sim, *tensors, space)
    torch.testing.assert_close(scene.run(1)[1, 7:], expected, rtol=0.0, atol=1e-5)


def test_body_that_is_not_there_is_refused(tmp_path):
    """A force on a body beyond those of the env names the env and what there is."""
    scene = Scene(tmp_path)
    with pytest.raises(StandinError, match="no body 4"):
        scene.gym.apply_body_forces(scene.envs[2], 4, gymapi.Vec3(1.0, 0.0, 0.0))


@pytest.mark.parametrize("alone", [True, False])
def test_damping_takes_a_part_of_the_velocity_in_each_step(alone):
    """After n steps of dt, velocities are (1 - c dt)^n of those at first, linear and angular each with its own c.

    Whether a body is alone or has links makes no difference, nor where its centre of mass is; undamped ones go on.
    """
    linear, angular, steps = 0.7, 2.0, 30
    parts = [body("stone", com=(0.0, 0.0, 0.05), mass=3.0)]
    if not alone:
        parts.append(body("pebble", parent=0, pos=(0.0, 0.0, 0.3), joint=hinge("pin", (0.0, 0.0, 1.0))))
    damped = dataclasses.replace(asset(*parts), linear_damping=linear, angular_damping=angular)
    held = dataclasses.replace(asset(body("post"), fixed_base=True), angular_damping=0.5)
    free = asset(body("free"))
    envs = [[actor(held), actor(free), actor(damped)] for _ in range(2)]
    simulation = Place("mujoco", "cpu").simulation(*envs, gravity=WEIGHTLESS, dt=DT)
    states = simulation.state.roots.view(2, 3, 13)
    states[:, 1:, 7], states[:, 1:, 12] = 1.5, 4.0
    simulation.state.set_roots(simulation.state.roots)
    run(simulation, steps)
    speeds = roots(simulation)[:, 1:, [7, 12]]
    expected = torch.tensor([[1.5, 4.0], [1.5 * (1 - linear * DT) ** steps, 4.0 * (1 - angular * DT) ** steps]])
    torch.testing.assert_close(speeds, expected.double().expand(2, 2, 2), rtol=2e-3, atol=0.0)


def test_joint_does_not_exceed_its_velocity_limit(tmp_path):
    """A joint that falls freely stops to gain speed at the limit of its file, to which 0 means none."""
    for speed, expected in ((2.0, 2.0), (0.0, None)):
        scene = Scene(tmp_path, gravity=GRAVITY, speed=speed)
        scene.gym.set_actor_dof_states(scene.envs[0], ROBOT, dof_states((0.6, 0.0), (0.0, 0.0)), gymapi.STATE_POS)
        fastest = 0.0
        for _ in range(60):
            scene.run(1)
            state = scene.gym.get_actor_dof_states(scene.envs[0], ROBOT, gymapi.STATE_VEL)
            fastest = max(fastest, float(abs(state["vel"][0])))
        if expected is None:
            assert fastest > 3.0
        else:
            assert fastest == pytest.approx(expected)
