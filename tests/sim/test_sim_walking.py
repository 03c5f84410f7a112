"""The walking policy: its observation, its memory, its file, and its use in the simulator."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from fakes import random_state
from walkers import untrained_walker

from mapush.config import HappoConfig
from mapush.errors import CheckpointError
from mapush.happo.networks import Actor
from mapush.sim import walking
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.physics import JOINTS
from mapush.sim.simulator import Simulator
from mapush.sim.walking import MEMORY_DIM, OBS_DIM, Network, WalkingPolicy, walking_obs

pytestmark = pytest.mark.sim

NUM_ENVS, NUM_AGENTS = 5, 2
SHAPE = (NUM_ENVS, NUM_AGENTS)


def uniform(*shape, seed):
    """Return numbers in [0.1, 1]; commands with such numbers are commands to walk."""
    return 0.1 + 0.9 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def rotation(quat):
    """Return the matrix of a quaternion (wxyz), whose columns are the rotated axes."""
    w, x, y, z = (float(part) for part in quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def random_network(seed=0, hidden=(17, 11)):
    """Return a network with random weights, and the actor that it comes from."""
    config = HappoConfig(hidden_sizes=hidden, activation_func="tanh", use_feature_normalization=False)
    actor = Actor(config, OBS_DIM, len(JOINTS))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return Network.from_actor(actor.state_dict(), "tanh", torch.device("cpu")), actor


def random_policy():
    """Return a policy that walks with one random network and stands with a second one."""
    return WalkingPolicy(random_network(seed=0)[0], random_network(seed=1, hidden=(13,))[0])


def test_walking_obs_has_each_block_at_its_place():
    """Every block has the position, frame and unit of the docstring, for every env and robot."""
    state, commands = random_state(NUM_ENVS, NUM_AGENTS), uniform(*SHAPE, 3, seed=1)
    memory = uniform(*SHAPE, MEMORY_DIM, seed=2)
    obs = walking_obs(state, commands, memory).double().numpy()
    assert obs.shape == SHAPE + (OBS_DIM,)
    for env, agent in np.ndindex(SHAPE):
        one = {field.name: getattr(state, field.name)[env] for field in dataclasses.fields(state)}
        to_body = rotation(one["robot_quat_w"][agent]).T
        angle = 2 * math.pi * float(memory[env, agent, 12])
        expected = np.concatenate(
            (
                to_body @ one["robot_lin_vel_w"][agent].numpy() * 2.0,
                one["robot_ang_vel_b"][agent].numpy() * 0.5,
                to_body @ (0.0, 0.0, -1.0),
                one["joint_pos"][agent].numpy() - DEFAULT_JOINT_POS,
                one["joint_vel"][agent].numpy() * 0.05,
                memory[env, agent, :12].numpy(),
                commands[env, agent].numpy() * (2.0, 2.0, 1.0),
                np.array((math.sin(angle), math.cos(angle))) * float(memory[env, agent, 13]),
            )
        )
        np.testing.assert_allclose(obs[env, agent], expected, atol=1e-5)


def test_walking_obs_ignores_where_the_robot_is_and_faces():
    """The observation does not depend on the position and heading of the robot."""
    state, commands = random_state(NUM_ENVS, NUM_AGENTS), uniform(*SHAPE, 3, seed=3)
    memory = uniform(*SHAPE, MEMORY_DIM, seed=4)
    half = torch.tensor(0.6)
    w, x, y, z = state.robot_quat_w.unbind(-1)
    cos, sin = torch.cos(half), torch.sin(half)
    turned = torch.stack((cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w), dim=-1)
    yaw = torch.tensor(rotation((cos, 0.0, 0.0, sin)), dtype=torch.float32)
    elsewhere = dataclasses.replace(
        state,
        robot_pos_w=state.robot_pos_w + 7.0,
        robot_quat_w=turned,
        robot_lin_vel_w=state.robot_lin_vel_w @ yaw.T,
    )
    torch.testing.assert_close(
        walking_obs(elsewhere, commands, memory), walking_obs(state, commands, memory), atol=1e-5, rtol=0
    )


def test_walking_obs_hides_the_phase_when_standing():
    """The observation depends on the phase while a robot steps, and does not while it stands."""
    state, memory = random_state(NUM_ENVS, NUM_AGENTS), uniform(*SHAPE, MEMORY_DIM, seed=5)
    commands = uniform(*SHAPE, 3, seed=6)
    later = memory.clone()
    later[..., 12] += 0.3
    assert bool((walking_obs(state, commands, memory) != walking_obs(state, commands, later)).any(dim=-1).all())
    memory[..., 13] = later[..., 13] = 0.0
    assert torch.equal(walking_obs(state, commands, memory), walking_obs(state, commands, later))


def still_state():
    """Return robots that stand level and at rest."""
    state = random_state(NUM_ENVS, NUM_AGENTS)
    upright = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(*SHAPE, 4)
    rest = torch.zeros(*SHAPE, 3)
    return dataclasses.replace(state, robot_quat_w=upright, robot_lin_vel_w=rest, robot_ang_vel_b=rest)


def steps_after(state, commands, stepping):
    """Return the height of each robot's steps (E, A), if it was `stepping` before."""
    memory = torch.zeros(*SHAPE, MEMORY_DIM)
    memory[..., 13] = stepping
    return walking.settle(state, commands, memory)[..., 13]


def test_settle_steps_under_a_command_and_stops_without_one():
    """A command to walk makes a robot step at once; without a command, it stands after 0.4 s."""
    state, stand = still_state(), torch.zeros(*SHAPE, 3)
    assert torch.equal(steps_after(state, torch.full((*SHAPE, 3), 0.2), 0.0), torch.ones(SHAPE))
    assert torch.equal(steps_after(state, stand, 0.0), torch.zeros(SHAPE))
    torch.testing.assert_close(steps_after(state, stand, 1.0), torch.full(SHAPE, 0.95))
    assert torch.equal(steps_after(state, stand, 0.03), torch.zeros(SHAPE))


@pytest.mark.parametrize(
    "field, just_calm, just_upset",
    [
        ("robot_lin_vel_w", (0.0, 0.39, 0.0), (0.0, 0.41, 0.0)),
        ("robot_ang_vel_b", (0.0, 0.0, 1.95), (0.0, 0.0, 2.05)),
        ("robot_quat_w", (0.9952, 0.098, 0.0, 0.0), (0.9945, 0.105, 0.0, 0.0)),
    ],
)
def test_settle_robot_pushed_off_balance_steps_without_a_command(field, just_calm, just_upset):
    """A speed above 0.4 m/s, a spin above 2 rad/s or a tilt with a sine above 0.2 makes only that robot step."""
    stand, state = torch.zeros(*SHAPE, 3), still_state()
    for value, expected in ((just_calm, 0.0), (just_upset, 1.0)):
        changed = getattr(state, field).clone()
        changed[3, 1] = torch.tensor(value)
        steps = steps_after(dataclasses.replace(state, **{field: changed}), stand, 0.0)
        assert float(steps[3, 1]) == expected
        assert float(steps.sum()) == expected


def test_remember_keeps_action_and_advances_phase():
    """The memory has the last action, and a phase that advances by 3 periods per second and wraps at 1."""
    memory, action = torch.zeros(*SHAPE, MEMORY_DIM), uniform(*SHAPE, 12, seed=6)
    phases = []
    for _ in range(50):
        memory = walking.remember(action, memory)
        phases.append(float(memory[3, 1, 12]))
    assert torch.equal(memory[..., :12], action)
    np.testing.assert_allclose(phases[:16], 0.06 * np.arange(1, 17), atol=1e-5)
    assert max(phases) < 1.0
    assert sum(later < sooner for sooner, later in zip(phases, phases[1:])) in (2, 3)


def test_joint_targets_correct_the_trot():
    """An action moves its set point by a quarter of a radian per unit, and no other set point."""
    memory, commands = uniform(*SHAPE, MEMORY_DIM, seed=7), uniform(*SHAPE, 3, seed=8)
    plain = walking.joint_targets(torch.zeros(*SHAPE, 12), commands, memory)
    torch.testing.assert_close(plain, walking.gait.trot(memory[..., 12], commands, memory[..., 13:]))
    action = uniform(*SHAPE, 12, seed=9)
    torch.testing.assert_close(
        walking.joint_targets(action, commands, memory) - plain, 0.25 * action, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("hidden", [(13,), (17, 11), (19, 13, 7)])
def test_from_actor_is_the_mean_network(hidden):
    """The network returns the actor's mean action, clamped to `ACTION_LIMIT`."""
    network, actor = random_network(hidden=hidden)
    obs = 3.0 * torch.randn(29, OBS_DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = actor.mean(obs)
    torch.testing.assert_close(network(obs), expected.clamp(-6.0, 6.0), atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        actor.act.action_out.fc_mean.bias.fill_(50.0)
    limited = Network.from_actor(actor.state_dict(), "tanh", torch.device("cpu"))
    assert torch.equal(limited(obs), torch.full((29, 12), 6.0))


def mirror_joints(values):
    """Mirror joint values (12,): left and right legs are swapped, and the signs of the hips change."""
    legs = dict(zip(("FR", "FL", "RR", "RL"), values.unflatten(0, (4, 3))))
    flip = torch.tensor((-1.0, 1.0, 1.0))
    return torch.cat([legs[name] * flip for name in ("FL", "FR", "RL", "RR")])


def mirror_obs(obs):
    """Mirror an observation (50,), block by block according to its meaning."""
    velocity, spin, gravity = obs[0:3], obs[3:6], obs[6:9]
    polar, axial = torch.tensor((1.0, -1.0, 1.0)), torch.tensor((-1.0, 1.0, -1.0))
    joints = [mirror_joints(obs[start : start + 12]) for start in (9, 21, 33)]
    command = obs[45:48] * torch.tensor((1.0, -1.0, -1.0))
    return torch.cat([velocity * polar, spin * axial, gravity * polar] + joints + [command, -obs[48:50]])


def test_mirrored_network_acts_on_the_mirror_image():
    """The second action is the network's action for the mirror image of the observation, mirrored back."""
    network, _ = random_network()
    obs = torch.randn(50, generator=torch.Generator().manual_seed(3))
    action, image = network.with_mirror_image(obs)
    torch.testing.assert_close(action, network(obs))
    torch.testing.assert_close(image, mirror_joints(network(mirror_obs(obs))))
    assert float((image - action).abs().max()) > 0.01


def test_policy_blends_from_the_walking_to_the_standing_network():
    """Without a command, a robot that still steps uses the first network, and a robot that stands the second."""
    policy, state = random_policy(), still_state()
    memory, stand = torch.zeros(*SHAPE, MEMORY_DIM), torch.zeros(*SHAPE, 3)
    memory[0, 0, 13], memory[1, 0, 13] = 1.05, 0.55  # of which 0.05 is lost in a step
    settled = walking.settle(state, stand, memory)
    obs = walking_obs(state, stand, settled)
    action = policy.step(state, stand, memory)[1][..., :12]
    walk = 0.5 * sum(policy.walk.with_mirror_image(obs))
    still = 0.8 * 0.5 * sum(policy.stand.with_mirror_image(obs))
    torch.testing.assert_close(action[0, 0], walk[0, 0])
    torch.testing.assert_close(action[1, 0], 0.5 * (walk + still)[1, 0])
    torch.testing.assert_close(action[2, 1], still[2, 1])


def test_compensate_load_raises_the_command_of_a_slow_robot():
    """At most 0.02 m/s of the shortfall of v_x and v_y is added; omega_z and a command to stand do not change."""
    state = still_state()
    quarter_turn = torch.tensor((math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))).expand(*SHAPE, 4)
    north = torch.tensor((0.09, 0.2, 0.0)).expand(*SHAPE, 3)
    state = dataclasses.replace(state, robot_quat_w=quarter_turn, robot_lin_vel_w=north)
    commands = torch.tensor((0.5, -0.1, 0.3)).expand(*SHAPE, 3)
    expected = torch.tensor((0.5 + 0.02, -0.1 - 0.8 * 0.01, 0.3)).expand(*SHAPE, 3)
    torch.testing.assert_close(walking.compensate_load(state, commands), expected)
    assert torch.equal(walking.compensate_load(state, torch.zeros(*SHAPE, 3)), torch.zeros(*SHAPE, 3))


def test_policy_with_a_command_to_walk_uses_only_its_first_network():
    """Under a command to walk, the action is not averaged with that of the mirror image."""
    policy, state = random_policy(), still_state()
    memory, commands = torch.zeros(*SHAPE, MEMORY_DIM), torch.full((*SHAPE, 3), 0.3)
    asked = walking.compensate_load(state, commands)
    obs = walking_obs(state, asked, walking.settle(state, asked, memory))
    torch.testing.assert_close(policy.step(state, commands, memory)[1][..., :12], policy.walk(obs))


def test_save_and_load_give_the_same_policy(tmp_path):
    """A loaded policy acts bit for bit as the saved one."""
    policy = random_policy()
    path = tmp_path / "walk.npz"
    policy.save(path, {"steps": 7})
    obs = torch.randn(7, OBS_DIM, generator=torch.Generator().manual_seed(2))
    loaded = WalkingPolicy.load(path)
    assert torch.equal(loaded.walk(obs), policy.walk(obs))
    assert torch.equal(loaded.stand(obs), policy.stand(obs))


def damaged(path, kind):
    """Write a file that is not a walking policy."""
    if kind == "text":
        path.write_text("not an archive")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        random_policy().save(path, {})
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "other archive":
        np.savez(path, weight=np.zeros(3))
    elif kind == "other header":
        np.savez(path, header=np.array('{"card": 0}'))


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "truncated", "array", "other archive", "other header"])
def test_load_of_something_else_is_refused(kind, tmp_path):
    """A file that is missing, damaged or of a different kind raises an error that names it."""
    path = tmp_path / "walk.npz"
    damaged(path, kind)
    with pytest.raises(CheckpointError) as caught:
        WalkingPolicy.load(path)
    assert caught.value.where == str(path)


def test_load_with_joints_in_a_different_order_is_refused(tmp_path, monkeypatch):
    """A policy for joints in a different order is refused."""
    path = tmp_path / "walk.npz"
    with monkeypatch.context() as patch:
        patch.setattr(walking, "JOINTS", JOINTS[::-1])
        random_policy().save(path, {})
    with pytest.raises(CheckpointError, match="different order"):
        WalkingPolicy.load(path)


@pytest.fixture
def simulator():
    """Two robots per env that walk with random weights."""
    mjcpu = pytest.importorskip("mapush.sim.mjcpu")
    from mapush.sim.scene import Scene

    return Simulator(mjcpu.MujocoPhysics(Scene(NUM_AGENTS), NUM_ENVS, threads=1), random_policy())


def walk(simulator, steps, seed):
    """Walk under random commands and return all states."""
    return [simulator.step(uniform(*SHAPE, 3, seed=seed + step) - 0.5) for step in range(steps)]


def test_simulator_reset_clears_the_memory_of_its_envs_only(simulator):
    """Envs that are reset forget their last action and phase; the others keep theirs bit for bit."""
    start = simulator.state()
    walk(simulator, 4, 0)
    before = simulator.state_dict()["memory"]
    where = torch.tensor([False, True, False, True, False])
    simulator.reset(where, start)
    after = simulator.state_dict()["memory"]
    assert torch.equal(after[where], torch.zeros(2, NUM_AGENTS, MEMORY_DIM))
    assert torch.equal(after[~where], before[~where])
    assert bool((before != 0.0).any(dim=-1).all())


def test_simulator_state_dict_continues_bit_for_bit(simulator):
    """A simulator continues bit for bit from a saved state."""
    walk(simulator, 5, 0)
    saved = simulator.state_dict()
    expected = walk(simulator, 6, 5)
    simulator.load_state_dict(saved)
    for one, other in zip(walk(simulator, 6, 5), expected):
        for field in dataclasses.fields(one):
            value = getattr(one, field.name)
            assert value is None or torch.equal(value, getattr(other, field.name)), field.name


def test_simulator_step_with_the_state_at_hand_is_the_same(simulator):
    """Passing the current state to `step` does not change the result."""
    walk(simulator, 3, 0)
    saved, commands = simulator.state_dict(), uniform(*SHAPE, 3, seed=9)
    expected = simulator.step(commands)
    simulator.load_state_dict(saved)
    assert torch.equal(simulator.step(commands, simulator.state()).joint_pos, expected.joint_pos)


def test_untrained_walker_follows_the_trot():
    """With a network whose action is zero, the set points are those of the trot."""
    state, memory = random_state(NUM_ENVS, NUM_AGENTS), uniform(*SHAPE, MEMORY_DIM, seed=1)
    commands = uniform(*SHAPE, 3, seed=2)
    targets, after = untrained_walker().step(state, commands, memory)
    commands = walking.compensate_load(state, commands)
    steps = walking.settle(state, commands, memory)[..., 13:]
    torch.testing.assert_close(targets, walking.gait.trot(memory[..., 12], commands, steps))
    assert torch.equal(after[..., :12], torch.zeros(*SHAPE, 12))
