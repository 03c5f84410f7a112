"""The CPU simulator, compared with mechanics and with MuJoCo, and its own contracts."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from fakes import rows_at

from mapush.errors import CheckpointError, SimulatorError
from mapush.objects import CUBOID, CYLINDER, TBLOCK
from mapush.sim import mjcpu
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import DECIMATION, PHYSICS_DT, Randomization
from mapush.sim.scene import Scene

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

NUM_ENVS = 5
GRAVITY = 9.81
RANDOM = Randomization(foot_friction=(0.4, 0.9), payload=(-0.5, 2.0), com_shift=0.03, motor_strength=(0.8, 1.2))


def make(scene=None, threads=1, **kwargs):
    """Return the physics of two robots and the cuboid, or of `scene`."""
    return mjcpu.MujocoPhysics(scene or Scene(2, CUBOID), NUM_ENVS, seed=4, threads=threads, **kwargs)


def default_targets(physics):
    """Return the default pose for all robots."""
    return torch.tensor(DEFAULT_JOINT_POS).expand(NUM_ENVS, physics.num_agents, 12)


def crowd(physics):
    """Return a state with every robot against the object, so that all kinds of contact occur at once."""
    state = physics.state()
    for agent, x in zip(range(physics.num_agents), (-0.9, 0.9)):
        state.robot_pos_w[:, agent, 0] = x
        state.robot_pos_w[:, agent, 1] = torch.linspace(-0.1, 0.1, NUM_ENVS)
    return state


def targets_at(physics, step):
    """Return joint targets that shake the robots and depend only on `step`."""
    noise = torch.randn(NUM_ENVS, physics.num_agents, 12, generator=torch.Generator().manual_seed(step))
    return default_targets(physics) + 0.3 * noise


def shake(physics, steps, start=0):
    """Step with the targets of `start`, `start` + 1, ... and return the last state."""
    for step in range(start, start + steps):
        state = physics.step(targets_at(physics, step))
    return state


def place(physics, state):
    """Reset all envs to `state`."""
    physics.reset(torch.ones(NUM_ENVS, dtype=torch.bool), state)


def assert_equal(one, other):
    """Compare two states bit for bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b), f"{field.name} differs by {(a - b).abs().max()}"


def test_object_in_free_fall_falls_as_newton_says():
    """An object in the air falls by g t^2 / 2, as the integrator discretises it."""
    physics = make(Scene(2, TBLOCK))
    state = physics.state()
    state.object_pos_w[:, 2] = 4.0
    place(physics, state)
    for _ in range(25):
        state = physics.step(default_targets(physics))
    steps = 25 * DECIMATION
    drop = GRAVITY * PHYSICS_DT**2 * steps * (steps + 1) / 2
    torch.testing.assert_close(state.object_pos_w[:, 2], torch.full((NUM_ENVS,), 4.0 - drop), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        state.object_lin_vel_w[:, 2], torch.full((NUM_ENVS,), -GRAVITY * steps * PHYSICS_DT), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("target", "sole", "low", "high"), [(CUBOID, "object/0", 0.30, 0.35), (CYLINDER, "object/0/sole1", 0.20, 0.25)]
)
def test_object_sliding_stops_where_its_friction_says(target, sole, low, high):
    """A sliding object stops after v^2 / (2 mu g), where mu is the mean of its friction and the floor's."""
    physics = make(Scene(2, target))
    state = physics.state()
    state.robot_pos_w[..., 0] += 30.0
    state.object_pos_w[:, 2] = target.parts[0].half_size[2]
    state.object_lin_vel_w[:, 0] = 1.0
    place(physics, state)
    start = state.object_pos_w[:, 0].clone()
    for _ in range(40):
        state = physics.step(default_targets(physics))
    friction = 1.0 / (2 * GRAVITY * (state.object_pos_w[:, 0] - start))
    expected = torch.tensor([pair_friction(physics, env, sole, "floor") for env in range(NUM_ENVS)])
    assert bool(((expected > low) & (expected < high)).all())
    assert len(set(expected.tolist())) == NUM_ENVS
    torch.testing.assert_close(friction, expected, rtol=0.05, atol=0)
    assert float(state.object_lin_vel_w.norm(dim=-1).max()) < 1e-2


def pair_friction(physics, env, one, other):
    """Return the friction of two shapes on each other in `env`."""
    model = physics.batch.get_model(env)
    names = [
        {model.geom(model.pair_geom1[pair]).name, model.geom(model.pair_geom2[pair]).name}
        for pair in range(model.npair)
    ]
    sliding = model.pair_friction[names.index({one, other}), :2]
    assert sliding[0] == sliding[1]
    return float(sliding[0])


def test_pair_friction_is_the_mean_of_both_surfaces():
    """The friction of each pair follows from the surfaces of floor (0.1), robot (1.0) and object (0.5 to 0.6)."""
    physics = make()
    for env in range(NUM_ENVS):
        own = 2 * pair_friction(physics, env, "object/0", "floor") - 0.1
        assert 0.5 <= own <= 0.6
        assert pair_friction(physics, env, "robot1/RL_foot", "floor") == pytest.approx(0.55)
        assert pair_friction(physics, env, "robot0/head", "floor") == pytest.approx(0.55)
        assert pair_friction(physics, env, "robot0/FR_calf", "object/0") == pytest.approx((own + 1) / 2)
        assert pair_friction(physics, env, "robot0/head", "robot1/body") == pytest.approx(1.0)


def test_randomization_changes_only_what_it_names():
    """Friction of the feet, payload, centre of mass and gains are in their ranges and differ; nothing else changes."""
    physics, plain = make(randomization=RANDOM), make()
    drawn = []
    for env in range(NUM_ENVS):
        model, base = physics.batch.get_model(env), plain.batch.get_model(env)
        trunk = model.body("robot1/trunk").id
        foot = pair_friction(physics, env, "robot1/FL_foot", "floor")
        payload = model.body_mass[trunk] - base.body_mass[trunk]
        shift = model.body_ipos[trunk] - base.body_ipos[trunk]
        strength = model.actuator_gainprm[:, 0] / base.actuator_gainprm[:, 0]
        assert 0.4 <= foot <= 0.9
        assert -0.5 <= payload <= 2.0
        assert 0.8 <= strength[0] <= 1.2
        assert 0.0 < np.abs(shift).max() <= 0.03
        np.testing.assert_allclose(strength, strength[0])
        np.testing.assert_allclose(model.actuator_biasprm, base.actuator_biasprm * strength[0])
        assert pair_friction(physics, env, "object/0", "floor") == pair_friction(plain, env, "object/0", "floor")
        assert model.body("robot0/FR_calf").mass == base.body("robot0/FR_calf").mass
        drawn.append((foot, payload, strength[0]) + tuple(shift))
    assert np.unique(np.array(drawn), axis=0).shape == (NUM_ENVS, 6)
    assert (np.array(drawn).std(axis=0) > 0).all()


def test_standing_robot_settles_at_its_height():
    """A robot whose servos hold the default pose stands at 0.257 m and stays there."""
    physics = make(Scene(2))
    for _ in range(150):
        state = physics.step(default_targets(physics))
    torch.testing.assert_close(state.robot_pos_w[..., 2], torch.full((NUM_ENVS, 2), 0.257), atol=0.01, rtol=0)
    assert float(state.robot_lin_vel_w.norm(dim=-1).max()) < 0.02


def test_servo_torque_is_capped_at_its_effort():
    """A joint target far away produces the largest torque of the servo, and no more."""
    physics = make(Scene(2))
    torque = physics.batch.bind("actuator_force")
    physics.step(default_targets(physics) + 20.0)
    efforts = np.tile([SERVOS[part].effort for part in ("hip", "thigh", "calf")], 8)
    assert np.array_equal(efforts[:3], (23.7, 23.7, 35.55))
    np.testing.assert_allclose(torque, np.broadcast_to(efforts, torque.shape))


def test_step_matches_a_serial_mujoco_loop_bit_for_bit():
    """Each env moves bit for bit as `mj_step` moves a single model with that env's constants."""
    physics = make(randomization=RANDOM)
    place(physics, crowd(physics))
    rows = physics.state_dict()["rows"].numpy()
    models = [physics.batch.get_model(env) for env in range(NUM_ENVS)]
    states = []
    for model, row in zip(models, rows):
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        states.append(data)
    contacts = 0
    for step in range(30):
        found = physics.step(targets_at(physics, step))
        for env, (model, data) in enumerate(zip(models, states)):
            data.ctrl[:] = targets_at(physics, step)[env].flatten().numpy()
            for _ in range(DECIMATION):
                mujoco.mj_step(model, data)
            contacts += data.ncon
            qpos, qvel = data.qpos.astype(np.float32), data.qvel.astype(np.float32)
            np.testing.assert_array_equal(found.robot_pos_w[env, 1], qpos[19:22])
            np.testing.assert_array_equal(found.robot_quat_w[env, 1], qpos[22:26])
            np.testing.assert_array_equal(found.joint_pos[env, 1], qpos[26:38])
            np.testing.assert_array_equal(found.robot_lin_vel_w[env, 1], qvel[18:21])
            np.testing.assert_array_equal(found.robot_ang_vel_b[env, 1], qvel[21:24])
            np.testing.assert_array_equal(found.joint_vel[env, 1], qvel[24:36])
            np.testing.assert_array_equal(found.object_pos_w[env], qpos[38:41])
            np.testing.assert_array_equal(found.object_quat_w[env], qpos[41:45])
            np.testing.assert_array_equal(found.object_lin_vel_w[env], qvel[36:39])
            np.testing.assert_array_equal(found.object_ang_vel_b[env], qvel[39:42])
    assert contacts > 30 * NUM_ENVS


def test_push_accelerates_the_robot_as_force_over_mass():
    """In free fall, the acceleration of the robot's centre of mass is g + F / m, until the push ends."""
    physics = make(Scene(2))
    state = physics.state()
    state.robot_pos_w[..., 2] = 6.0
    place(physics, state)
    force = torch.zeros(NUM_ENVS, 2, 3)
    force[:, 1] = torch.tensor([30.0, -12.0, 50.0])
    physics.push(force, torch.zeros_like(force))
    model = physics.model
    for _ in range(5):
        physics.step(state.joint_pos)
    data = physics.mj_data(3)
    mujoco.mj_subtreeVel(model, data)
    time = 5 * DECIMATION * PHYSICS_DT
    expected = np.array([30.0, -12.0, 50.0]) / 12.743448 * time - np.array([0, 0, GRAVITY * time])
    np.testing.assert_allclose(data.subtree_linvel[model.body("robot1/trunk").id], expected, atol=2e-3)
    still = data.subtree_linvel[model.body("robot0/trunk").id]
    np.testing.assert_allclose(still, (0, 0, -GRAVITY * time), atol=2e-3)
    physics.push(torch.zeros_like(force), torch.zeros_like(force))
    for _ in range(5):
        physics.step(state.joint_pos)
    data = physics.mj_data(3)
    mujoco.mj_subtreeVel(model, data)
    expected -= np.array([0, 0, GRAVITY * time])
    np.testing.assert_allclose(data.subtree_linvel[model.body("robot1/trunk").id], expected, atol=2e-3)


def test_push_torque_turns_the_trunk_about_its_own_axis():
    """A torque about the vertical turns the robot on which it acts, and no other."""
    physics = make(Scene(2))
    state = physics.state()
    state.robot_pos_w[..., 2] = 6.0
    place(physics, state)
    torque = torch.zeros(NUM_ENVS, 2, 3)
    torque[:, 0, 2] = 5.0
    physics.push(torch.zeros_like(torque), torque)
    for _ in range(5):
        after = physics.step(state.joint_pos)
    assert bool((after.robot_ang_vel_b[:, 0, 2] > 0.5).all())
    assert float(after.robot_ang_vel_b[:, 1].abs().max()) < 1e-2


@pytest.mark.parametrize("threads", [2, 3])
def test_step_with_more_threads_gives_the_same_bits(threads):
    """The number of threads does not change the result of 50 steps in contact."""
    one, other = make(threads=1, randomization=RANDOM), make(threads=threads, randomization=RANDOM)
    for physics in (one, other):
        place(physics, crowd(physics))
    assert_equal(shake(one, 50), shake(other, 50))


def test_reset_of_some_envs_does_not_change_the_others():
    """A reset sets its envs to the given state and changes no bit of the others, neither now nor later."""
    physics, untouched = make(), make()
    for each in (physics, untouched):
        place(each, crowd(each))
        shake(each, 10)
    where = torch.tensor([False, True, False, True, False])
    start = crowd(physics)
    start.robot_pos_w[..., 2] += torch.linspace(0.1, 0.5, NUM_ENVS).unsqueeze(1)
    physics.reset(where, start)
    assert_equal(rows_at(physics.state(), where), rows_at(start, where))
    assert_equal(rows_at(physics.state(), ~where), rows_at(untouched.state(), ~where))
    assert_equal(rows_at(shake(physics, 20, 10), ~where), rows_at(shake(untouched, 20, 10), ~where))


def test_reset_forgets_the_past():
    """After a reset, an env with contacts and a push in its past moves as one without."""
    physics, fresh = make(), make()
    start = crowd(fresh)
    place(physics, start)
    physics.push(torch.full((NUM_ENVS, 2, 3), 20.0), torch.full((NUM_ENVS, 2, 3), 2.0))
    shake(physics, 10)
    for each in (physics, fresh):
        place(each, start)
    assert_equal(shake(physics, 10), shake(fresh, 10))


def test_reset_of_no_env_changes_nothing():
    """A reset of no env is valid and changes nothing."""
    physics = make()
    before = shake(physics, 3)
    physics.reset(torch.zeros(NUM_ENVS, dtype=torch.bool), crowd(physics))
    assert_equal(physics.state(), before)


def test_state_dict_continues_bit_for_bit():
    """A physics that loads a state in contact continues bit for bit, even if its constants were different before."""
    physics = make(randomization=RANDOM)
    place(physics, crowd(physics))
    physics.push(torch.full((NUM_ENVS, 2, 3), 8.0), torch.zeros(NUM_ENVS, 2, 3))
    shake(physics, 15)
    saved = physics.state_dict()
    expected = shake(physics, 20, 15)
    other = mjcpu.MujocoPhysics(Scene(2, CUBOID), NUM_ENVS, seed=99, threads=1)
    shake(other, 4)
    other.load_state_dict(saved)
    assert_equal(shake(other, 20, 15), expected)
    physics.load_state_dict(saved)
    assert_equal(shake(physics, 20, 15), expected)


def test_state_dict_of_a_different_simulation_is_refused():
    """A state with a different number of envs is refused."""
    saved = mjcpu.MujocoPhysics(Scene(2, CUBOID), 3, threads=1).state_dict()
    with pytest.raises(CheckpointError, match="does not fit"):
        make().load_state_dict(saved)


def test_state_is_a_copy():
    """Further steps do not change a returned state, and writing to it does not change the simulation."""
    physics = make()
    state = physics.state()
    kept = dataclasses.replace(state, robot_pos_w=state.robot_pos_w.clone())
    shake(physics, 3)
    assert_equal(state, kept)
    current = physics.state()
    physics.state().robot_pos_w.zero_()
    assert_equal(physics.state(), current)


def test_seed_decides_what_differs_from_env_to_env():
    """The same seed draws the same friction, and a different seed a different one."""
    draws = [mjcpu.MujocoPhysics(Scene(2, CUBOID), NUM_ENVS, seed=seed, threads=1).state_dict() for seed in (7, 7, 8)]
    same, again, other = [draw["fields"]["pair_friction"] for draw in draws]
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_step_with_a_target_that_is_not_finite_raises(value, monkeypatch, tmp_path):
    """A joint target that is not finite raises an error that names the env, instead of silently resetting it."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file here
    physics = make()
    targets = default_targets(physics).clone()
    targets[2, 1, 5] = value
    saved = physics.state_dict()
    with pytest.raises(SimulatorError, match="(?s)env 2\n.*BADCTRL"):
        physics.step(targets)
    physics.load_state_dict(saved)
    physics.step(default_targets(physics))


@pytest.mark.parametrize("speed", [5000.0, 3e11])
def test_step_of_a_diverged_env_raises_and_names_it(speed, monkeypatch, tmp_path):
    """An env that moves impossibly fast raises an error with env and speed, even where MuJoCo would reset it."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file here
    physics = make()
    state = physics.state()
    state.object_pos_w[:, 2] = 9.0
    state.object_lin_vel_w[4] = speed
    place(physics, state)
    with pytest.raises(SimulatorError) as caught:
        physics.step(default_targets(physics))
    assert caught.value.where == "env 4"
    assert f"{speed:g} in 1 envs" in caught.value.got


def test_close_twice_is_harmless():
    """`close` can be called twice."""
    physics = make()
    physics.close()
    physics.close()
