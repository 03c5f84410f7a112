"""The trot, compared with MuJoCo's kinematics and with its own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapush.sim import gait
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import JOINTS, LEGS

pytestmark = pytest.mark.sim

NUM_POSES = 23
LEFT_RIGHT = [1, 0, 3, 2]  # the leg on the other side, in the order of `LEGS`
COMMANDS = torch.tensor([(0.5, 0.0, 0.0), (0.0, -0.4, 0.0), (0.0, 0.0, 0.7), (-0.3, 0.2, -0.5), (0.0, 0.0, 0.0)])
PHASES = torch.linspace(0.0, 1.0, 42)[:-1]


def random_poses(seed):
    """Return joint positions (NUM_POSES, 12) within the limits, with each foot below its hip and each leg in reach."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor((-0.7, 0.2, -2.6)), torch.tensor((0.7, 1.4, -0.95))
    return (low + (high - low) * torch.rand(NUM_POSES, 4, 3, generator=generator)).flatten(1)


@pytest.fixture(scope="module")
def posed():
    """Return a function from joint positions (12,) to model and data of a robot with its trunk at the origin."""
    mujoco = pytest.importorskip("mujoco")
    from mapush.sim.scene import Scene, build_model

    model = build_model(Scene(1), visuals=False)
    data = mujoco.MjData(model)

    def pose(joint_pos):
        mujoco.mj_resetData(model, data)
        for joint, angle in zip(JOINTS, joint_pos.tolist()):
            data.joint("robot0/" + joint).qpos = angle
        mujoco.mj_forward(model, data)
        return model, data

    return pose


def feet(phase, commands):
    """Return the positions of the feet in the stride, (..., 4, 3)."""
    return gait.foot_positions_b(stride(phase, commands)[0])


def stride(phase, commands):
    """Return the stride of a robot whose steps are as high as its command demands."""
    return gait.stride(phase, commands, gait.walking_ramp(commands))


def trot(phase, commands):
    """Return the set points of a robot whose steps are as high as its command demands."""
    return gait.trot(phase, commands, gait.walking_ramp(commands))


def everywhere():
    """Return each command at each phase: phases (P, C), commands (P, C, 3)."""
    shape = (len(PHASES), len(COMMANDS))
    return PHASES.unsqueeze(1).expand(shape), COMMANDS.expand(shape + (3,))


def test_foot_positions_match_mujoco(posed):
    """Each foot is where MuJoCo puts its sphere."""
    for joint_pos in random_poses(0):
        _, data = posed(joint_pos)
        expected = np.array([data.geom(f"robot0/{leg}_foot").xpos for leg in LEGS])
        np.testing.assert_allclose(gait.foot_positions_b(joint_pos), expected, atol=1e-5)


def test_joint_positions_invert_foot_positions():
    """The joint positions for the feet of a pose are those of the pose."""
    poses = random_poses(1)
    torch.testing.assert_close(gait.joint_positions(gait.foot_positions_b(poses)), poses, atol=1e-4, rtol=0)


def test_joint_positions_out_of_reach_are_finite_and_near():
    """For a foot out of reach or inside the hip, joint positions are finite, and the leg stretches towards it."""
    far = gait.foot_positions_b(torch.tensor(DEFAULT_JOINT_POS))
    far[:, 2] = -0.9
    stretched = gait.joint_positions(far)
    assert bool((gait.foot_positions_b(stretched)[:, 2] < -0.4).all())
    hips = torch.tensor([(0.1881, -0.04675, 0.0), (0.1881, 0.04675, 0.0), (-0.1881, -0.04675, 0.0), (0.0, 0.0, 0.0)])
    assert bool(gait.joint_positions(hips).isfinite().all())


def test_load_torques_match_the_jacobian(posed):
    """The torques balance upward forces on the feet, according to MuJoCo's Jacobian."""
    mujoco = pytest.importorskip("mujoco")
    loads = 80.0 * torch.rand(NUM_POSES, 4, generator=torch.Generator().manual_seed(2))
    for joint_pos, load in zip(random_poses(2), loads):
        model, data = posed(joint_pos)
        generalised = np.zeros(model.nv)
        for leg, force in zip(LEGS, load.tolist()):
            jacobian = np.zeros((3, model.nv))
            point = data.geom(f"robot0/{leg}_foot").xpos
            body = model.body(f"robot0/{leg}_calf").id
            mujoco.mj_jac(model, data, jacobian, None, point, body)
            generalised += jacobian[2] * force
        dofs = [model.joint("robot0/" + joint).dofadr[0] for joint in JOINTS]
        np.testing.assert_allclose(gait.load_torques(joint_pos, load), -generalised[dofs], atol=1e-4)


def test_stepping_fades_between_standing_and_walking():
    """Feet are lifted to the full height from `WALKING_COMMAND` on, and not at all below half of it."""
    sizes = torch.tensor((0.0, 0.5, 0.75, 1.0, 5.0)) * gait.WALKING_COMMAND
    commands = torch.stack((0.5 * sizes, torch.zeros(5), -0.5 * sizes), dim=1)
    torch.testing.assert_close(gait.walking_ramp(commands).squeeze(1), torch.tensor((0.0, 0.0, 0.5, 1.0, 1.0)))


@pytest.mark.parametrize("command", COMMANDS[:2].tolist())
def test_stride_moves_diagonal_legs_together(command):
    """FR moves with RL, and FL with RR half a period later."""
    commands = torch.tensor(command).expand(len(PHASES), 3)
    middle = feet(torch.tensor(0.25), commands[0])
    middle[[1, 2]] = feet(torch.tensor(0.75), commands[0])[[1, 2]]
    offset = feet(PHASES, commands) - middle
    torch.testing.assert_close(offset[:, 0], offset[:, 3], atol=1e-5, rtol=0)
    torch.testing.assert_close(offset[:, 1], offset[:, 2], atol=1e-5, rtol=0)
    later = feet(PHASES + 0.5, commands) - middle
    torch.testing.assert_close(offset[:, 0], later[:, 1], atol=1e-5, rtol=0)
    assert float((offset[:, 0] - offset[:, 1]).abs().max()) > 0.05


def test_trot_without_a_command_stands_still():
    """Under a command to stand, the set points are the same at every phase, and all four feet carry the weight."""
    targets = trot(PHASES, torch.zeros(len(PHASES), 3))
    torch.testing.assert_close(targets, targets[:1].expand_as(targets), atol=1e-5, rtol=0)
    _, load = stride(PHASES, torch.zeros(len(PHASES), 3))
    torch.testing.assert_close(load, torch.full_like(load, gait.WEIGHT / 4))


def test_trot_is_periodic_in_phase():
    """The set points repeat after one period."""
    phases, commands = everywhere()
    torch.testing.assert_close(trot(phases + 1.0, commands), trot(phases, commands), atol=2e-4, rtol=0)


def test_trot_mirrors_left_and_right():
    """The mirrored command, half a period later, gives the mirrored set points."""
    phases, commands = everywhere()
    mirrored = trot(phases + 0.5, commands * torch.tensor((1.0, -1.0, -1.0)))
    targets = trot(phases, commands).unflatten(-1, (4, 3))
    expected = targets[..., LEFT_RIGHT, :] * torch.tensor((-1.0, 1.0, 1.0))
    torch.testing.assert_close(mirrored, expected.flatten(-2), atol=2e-4, rtol=0)


def test_stride_sweeps_stance_feet_against_the_command():
    """In the middle of its stance, a foot moves as the floor does below a trunk with the commanded velocity."""
    step = 0.02
    for legs, start in (([0, 3], 0.0), ([1, 2], 0.5)):
        for command in COMMANDS:
            middle = feet(torch.tensor(start + 0.25), command)[legs]
            before = feet(torch.tensor(start + 0.2), command)[legs]
            after = feet(torch.tensor(start + 0.2 + step), command)[legs]
            velocity = (after - before) / (step / gait.FREQUENCY)
            v_x, v_y, omega = command.tolist()
            expected = torch.stack((-v_x + omega * middle[:, 1], -v_y - omega * middle[:, 0], torch.zeros(2)), dim=1)
            torch.testing.assert_close(velocity, expected, atol=2e-3, rtol=0)


def test_stride_lifts_swinging_feet_only():
    """In mid-swing, a foot is lifted by the swing height and carries nothing; the others carry the robot."""
    command = torch.tensor((0.4, 0.0, 0.0))
    resting = feet(torch.tensor(0.3), torch.zeros(3))[:, 2]
    height = feet(torch.tensor(0.25), command)[:, 2] - resting
    torch.testing.assert_close(height[[1, 2]], torch.full((2,), gait.SWING_HEIGHT), atol=1e-5, rtol=0)
    torch.testing.assert_close(height[[0, 3]], torch.zeros(2), atol=1e-5, rtol=0)
    _, load = stride(torch.tensor(0.25), command)
    torch.testing.assert_close(load, torch.tensor((0.5, 0.0, 0.0, 0.5)) * gait.WEIGHT)


def test_trot_leads_the_stride_by_damping_and_weight():
    """When the joints follow the stride, the servos at these set points produce the torques of the load."""
    phase, command = torch.tensor(0.1), torch.tensor((0.5, 0.1, -0.2))
    joint_pos, load = stride(phase, command)
    velocity = (stride(phase + gait.FREQUENCY * 0.02, command)[0] - joint_pos) / 0.02
    servos = [SERVOS[joint.split("_")[1]] for joint in JOINTS]
    lead = trot(phase, command) - joint_pos
    for joint, servo in enumerate(servos):
        torque = servo.stiffness * lead[joint] - servo.damping * velocity[joint]
        assert float(torque) == pytest.approx(float(gait.load_torques(joint_pos, load)[joint]), abs=2e-4)
