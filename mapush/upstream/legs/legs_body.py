"""The body: 30 frames of MAPush's low level in, 12 actions out, in MAPush's units and order of joints.

An action is that of a trot that follows the command, plus a correction by a network. Everything is computed from the
frames, so the body has no memory. Training and export use the functions of this module, so they cannot differ.

Source of the interface: MAPush@0e61e1b, `mqe/envs/go1/go1.py`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from mapush.happo.networks import Actor
from mapush.sim import gait
from mapush.sim.geometry import constant
from mapush.sim.physics import STEP_DT
from mapush.sim.walking import SETTLING_TIME, UNSETTLED_SPIN, UNSETTLED_TILT

NUM_FRAMES, FRAME_DIM, LATENT_DIM = 30, 70, 2
NUM_JOINTS = 12

GRAVITY, COMMAND, GAIT_FREQUENCY = slice(0, 3), slice(3, 6), 7
JOINT_POS, JOINT_VEL, LAST_ACTION, CLOCK = slice(18, 30), slice(30, 42), slice(42, 54), slice(66, 70)
COMMAND_SCALE = (2.0, 2.0, 0.25)
JOINT_VEL_SCALE = 0.05
SETTINGS = (0.0, gait.FREQUENCY, 0.5, 0.0, 0.0, 0.5, 0.08 * 0.15, 0.0, 0.0, 0.25, 0.428, 0.0)
"""What MAPush asks of the gait, in frames from element 6 on: height, frequency, phases of a trot, and so on."""

OTHER_ORDER = (3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8)
"""MAPush's joint for each of `JOINTS`, and the other way round: its legs are FL, FR, RL and RR."""
DEFAULT_JOINT_POS = (0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5)  # MAPush's order [rad]
ACTION_SCALE = (0.125, 0.25, 0.25) * 4  # joint targets per unit of MAPush's action [rad]
ACTION_LIMIT = 10.0  # MAPush clips its actions there

STAND = (0.0, 0.93, -1.7) * 4  # above the feet of this pose goes the trot, in the order of `JOINTS` [rad]
ROBOT = gait.Robot(
    joint_pos=STAND,
    widening=0.05,
    weight=11.31 * 9.81,
    stiffness=(22.0,) * 12,
    damping=(0.82,) * 12,
)
"""The actuator network at rest has slopes of 19.5 N m/rad, up to 0.6 rad, and 0.82 N m s/rad.

A little stiffer than that, and with the feet a little behind the hips, the uncorrected trot in place stays upright.
"""

CORRECTION_SCALE = (2.0, 1.0, 1.0) * 4  # MAPush's actions per unit of correction: 0.25 rad at each joint
CORRECTION_LIMIT = 6.0
SEEN_FRAMES = 5  # the network sees these newest frames
SEEN_ACTION_SCALE = 0.5
OBS_DIM = SEEN_FRAMES * (3 + 3 * NUM_JOINTS) + 3 + 1 + 2
STEPPING_FRAMES = round(SETTLING_TIME / STEP_DT)

_FR_CLOCK = 66 + 1
_PHASE_STEP = gait.FREQUENCY * STEP_DT


@functools.lru_cache(maxsize=None)
def other_order(device: torch.device) -> torch.Tensor:
    """Return `OTHER_ORDER` as an index, (12,) int64."""
    return torch.tensor(OTHER_ORDER, device=device)


def _begun(frames: torch.Tensor, age: int) -> torch.Tensor:
    """Return whether the frame of this age [env steps] is of this episode, (N,) bool; others are zero."""
    return frames[:, NUM_FRAMES - 1 - age, GAIT_FREQUENCY] > 0.0


def phase_of(frames: torch.Tensor) -> torch.Tensor:
    """Return the phase of the gait in [0, 1], (N,), which the clocks give as the sine of each foot's phase.

    The sines of two consecutive steps give the cosine. After a reset the gait begins at 0, but the first frame has the
    clocks of the episode before; so in the first two frames the phase follows from their number.
    """
    step = 2.0 * math.pi * _PHASE_STEP
    sine, before = frames[:, -1, _FR_CLOCK], frames[:, -2, _FR_CLOCK]
    cosine = (sine * math.cos(step) - before) / math.sin(step)
    phase = torch.remainder(torch.atan2(sine, cosine) / (2.0 * math.pi), 1.0)
    started = _begun(frames, 1).float() * _PHASE_STEP
    return torch.where(_begun(frames, 2), phase, started)


def commands_of(frames: torch.Tensor) -> torch.Tensor:
    """Return the commands of each frame [m/s, m/s, rad/s], (..., 3), for frames (..., 70)."""
    return frames[..., COMMAND] / constant(COMMAND_SCALE, frames.device)


def stepping_of(frames: torch.Tensor) -> torch.Tensor:
    """Return the height of the steps as a fraction, (N, 1).

    A robot steps if it is commanded to walk or is off balance; from the last such frame on, it settles linearly.
    """
    newest = frames[:, -STEPPING_FRAMES - 2 :]
    gravity, begun = newest[..., GRAVITY], newest[..., GAIT_FREQUENCY : GAIT_FREQUENCY + 1] > 0.0
    now, before = gravity[:, 2:], gravity[:, 1:-1]
    tilt = now[..., :2].norm(dim=-1, keepdim=True) / UNSETTLED_TILT
    spin = (now - before).norm(dim=-1, keepdim=True) / (STEP_DT * UNSETTLED_SPIN)
    unsettled = ((tilt + spin) > 1.0) & begun[:, :-2]  # the first frame of an episode has the gravity of the last one
    wanted = torch.maximum(gait.walking_ramp(commands_of(newest[:, 2:])), unsettled.float())
    ages = []
    for age in reversed(range(STEPPING_FRAMES)):
        ages.append((age * STEP_DT / SETTLING_TIME,))
    return (wanted - constant(tuple(ages), frames.device)).amax(dim=1).clamp(min=0.0)


def observe(frames: torch.Tensor) -> torch.Tensor:
    """Return what the network sees, (N, OBS_DIM), for frames (N, 30, 70)."""
    seen = frames[:, -SEEN_FRAMES:]
    actions = seen[..., LAST_ACTION] * SEEN_ACTION_SCALE
    body = torch.cat((seen[..., GRAVITY], seen[..., JOINT_POS], seen[..., JOINT_VEL], actions), dim=-1)
    stepping = stepping_of(frames)
    angle = 2.0 * math.pi * phase_of(frames).unsqueeze(-1)
    command = commands_of(frames[:, -1]) * 2.0
    return torch.cat(
        (body.flatten(1), command, stepping, torch.sin(angle) * stepping, torch.cos(angle) * stepping), dim=-1
    )


def act(frames: torch.Tensor, correction: torch.Tensor) -> torch.Tensor:
    """Return MAPush's action (N, 12): a trot plus the correction (N, 12)."""
    device = frames.device
    targets = gait.trot(phase_of(frames), commands_of(frames[:, -1]), stepping_of(frames), ROBOT)
    offset = targets.index_select(1, other_order(device)) - constant(DEFAULT_JOINT_POS, device)
    clipped = correction.clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT)
    return offset / constant(ACTION_SCALE, device) + clipped * constant(CORRECTION_SCALE, device)


def joint_targets(action: torch.Tensor) -> torch.Tensor:
    """Return the targets [rad] in the order of `JOINTS`, (N, 12), of MAPush's action (N, 12)."""
    clipped = action.clamp(-ACTION_LIMIT, ACTION_LIMIT)
    targets = clipped * constant(ACTION_SCALE, action.device) + constant(DEFAULT_JOINT_POS, action.device)
    return targets.index_select(1, other_order(action.device))


class Body(nn.Module):
    """What MAPush loads as `body_latest.jit`: (N, 2102) in, frames before the latent; (N, 12) out.

    Args:
      actor: the trained corrections.
    """

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        actor = copy.deepcopy(actor).cpu()
        self.base = actor.base
        self.mean = actor.act.action_out.fc_mean

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the actions."""
        frames = inputs[:, : NUM_FRAMES * FRAME_DIM].unflatten(1, (NUM_FRAMES, FRAME_DIM))
        return act(frames, self.mean(self.base(observe(frames))))


@torch.no_grad()
def export(actor: Actor) -> torch.jit.ScriptModule:
    """Return the body with this actor as TorchScript, which needs none of this package."""
    body = Body(actor).eval()
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    with _torchscript():
        return torch.jit.trace(body, torch.rand(3, NUM_FRAMES * FRAME_DIM + LATENT_DIM), check_trace=False)


def save_script(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write TorchScript; at any moment the file is either complete or absent."""
    unfinished = path.with_name(path.name + ".tmp")
    with _torchscript():
        torch.jit.save(module, str(unfinished))
    unfinished.replace(path)


def load_script(path: Path, device: torch.device | str) -> torch.jit.ScriptModule:
    """Read TorchScript."""
    with _torchscript():
        return torch.jit.load(str(path), map_location=device).eval()


@contextlib.contextmanager
def _torchscript() -> Iterator[None]:
    """Silence that TorchScript is deprecated, which upstream cannot do without, and that sizes become constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
