"""The body of MAPush's robot: what it reads from the frames, and that its export does what was trained."""

from __future__ import annotations

import math

import pytest
import torch

from mapush.config import HappoConfig
from mapush.happo.networks import Actor
from mapush.sim.walking import SETTLING_TIME
from mapush.upstream.legs import legs_body as body

pytestmark = pytest.mark.mujoco

ROBOTS = 3
PERIOD = 50 / 3  # of the gait [env steps]


def frames_of(phases, commands=(0.3, 0.0, 0.0), begun=30):
    """Return upright frames with these phases of the newest frame, (N,), of which `begun` are of this episode."""
    count = len(phases)
    frames = torch.zeros(count, 30, 70)
    frames[..., 2] = -1.0
    frames[..., 3:6] = torch.tensor(commands) * torch.tensor(body.COMMAND_SCALE)
    frames[..., 6:18] = torch.tensor(body.SETTINGS)
    ages = torch.arange(29.0, -1.0, -1.0)
    front_right = phases.unsqueeze(1) - ages / PERIOD
    for column, offset in zip(range(66, 70), (0.5, 0.0, 0.0, 0.5), strict=True):
        frames[..., column] = torch.sin(2.0 * math.pi * (front_right + offset))
    frames[:, : 30 - begun] = 0.0
    return frames


def random_actor(seed=5):
    """Return an actor whose corrections are not small."""
    torch.manual_seed(seed)
    actor = Actor(HappoConfig(hidden_sizes=(32, 16), use_feature_normalization=False, gain=1.0), body.OBS_DIM, 12)
    for parameter in actor.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return actor


def random_histories(count, seed=6):
    """Return histories (count, 30, 70) of any age, with everything random but what says that a frame is there."""
    torch.manual_seed(seed)
    frames = frames_of(torch.rand(count))
    frames[..., :3] += 0.2 * torch.randn(count, 30, 3)
    frames[..., 3:6] = torch.randn(count, 30, 3)
    frames[..., 18:66] = torch.randn(count, 30, 48)
    for robot in range(count):
        frames[robot, : 29 - robot % 30] = 0.0
    return frames


def test_phase_follows_from_two_clocks():
    """The phase of the newest frame is found all around the circle."""
    phases = torch.linspace(0.01, 0.99, 23)
    assert torch.allclose(body.phase_of(frames_of(phases)), phases, atol=1e-5)


@pytest.mark.parametrize("begun, phase", [(1, 0.0), (2, 0.06)])
def test_phase_of_first_frames_follows_from_their_number(begun, phase):
    """In the first two frames of an episode the clocks of the episode before do not count."""
    found = body.phase_of(frames_of(torch.tensor([0.31, 0.74]), begun=begun))
    assert torch.allclose(found, torch.full((2,), phase), atol=1e-6)


def test_standing_robot_settles_within_the_settling_time():
    """After the last command to walk the steps become lower linearly, until the robot stands."""
    for steps in (1, 7, 20, 28):
        frames = frames_of(torch.rand(ROBOTS))
        frames[:, 30 - steps :, 3:6] = 0.0
        expected = max(0.0, 1.0 - steps * 0.02 / SETTLING_TIME)
        assert body.stepping_of(frames).flatten().tolist() == pytest.approx([expected] * ROBOTS, abs=1e-6)


@pytest.mark.parametrize("tilt, steps", [(0.0, False), (0.15, False), (0.3, True)])
def test_tilted_robot_steps(tilt, steps):
    """A robot that was pushed off balance steps, whatever its command."""
    frames = frames_of(torch.rand(ROBOTS), commands=(0.0, 0.0, 0.0))
    frames[..., 1] = tilt
    assert bool((body.stepping_of(frames) > 0.0).all()) == steps


def test_gravity_of_the_episode_before_makes_no_step():
    """The first frame after a reset has the gravity of the fallen robot; the jump to the next one is no motion."""
    frames = frames_of(torch.rand(ROBOTS), commands=(0.0, 0.0, 0.0), begun=2)
    frames[:, -2, :3] = torch.tensor((0.0, 1.0, 0.0))
    assert not body.stepping_of(frames).any()


def test_action_is_the_target_in_upstream_units():
    """Targets in our order are the default pose plus the scaled action in upstream's order, clipped at 10."""
    action = torch.zeros(2, 12)
    action[0, 0], action[0, 4], action[1, 11] = 2.0, -3.0, 40.0  # FL hip, FR thigh, RR calf
    change = body.joint_targets(action) - body.joint_targets(torch.zeros(2, 12))
    expected = torch.zeros(2, 12)
    expected[0, 3], expected[0, 1], expected[1, 8] = 2.0 * 0.125, -3.0 * 0.25, 10.0 * 0.25
    assert torch.allclose(change, expected, atol=1e-6)


def test_export_acts_as_the_trained_policy(tmp_path):
    """The exported file equals trot and network of the training within 1e-5, and ignores the latent."""
    actor, frames = random_actor(), random_histories(67)
    with torch.no_grad():
        expected = body.act(frames, actor.mean(body.observe(frames)))
    body.save_script(body.export(actor), tmp_path / "body.jit")
    loaded = body.load_script(tmp_path / "body.jit", "cpu")
    for latent in (torch.zeros(67, 2), torch.randn(67, 2)):
        assert torch.allclose(loaded(torch.cat((frames.flatten(1), latent), dim=1)), expected, atol=1e-5)


def test_export_names_no_device():
    """No operation of the export names a device, so that it runs wherever upstream loads it to."""
    exported = body.export(random_actor())
    assert "device" not in str(exported.inlined_graph).replace("device=cpu", "")
