"""A trial of a body: how well MAPush's Go1 follows commands with it, free and while something pushes against it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable

import torch

from mapush.config import WalkConfig
from mapush.env.walk_draws import FRONT
from mapush.errors import ConfigError
from mapush.sim.geometry import constant, rotate, rotate_inverse, yaw_of
from mapush.sim.physics import STEP_DT, Randomization
from mapush.upstream.legs import legs_body
from mapush.upstream.legs.legs_env import LegsEnv
from mapush.upstream.legs.legs_physics import LegsPhysics

COMMANDS = (
    (0.0, 0.0, 0.0),
    (0.25, 0.0, 0.0),
    (0.5, 0.0, 0.0),
    (-0.25, 0.0, 0.0),
    (-0.5, 0.0, 0.0),
    (0.0, 0.25, 0.0),
    (0.0, 0.5, 0.0),
    (0.0, -0.5, 0.0),
    (0.0, 0.0, 0.25),
    (0.0, 0.0, 0.5),
    (0.0, 0.0, -0.5),
    (0.5, 0.0, 0.5),
    (0.5, 0.0, -0.5),
    (0.5, 0.5, 0.0),
    (0.5, -0.5, 0.5),
    (-0.5, 0.5, -0.5),
)  # [m/s, m/s, rad/s]
PUSHES = (0.0, 30.0, 50.0)  # force against the front of the trunk [N]
COPIES = 4  # robots for each command and push
DURATION_S, SETTLE_S = 20.0, 2.0  # [s]; nothing pushes and nothing is measured while a robot settles
FRICTION, PAYLOAD, COM_SHIFT = (0.45, 0.8), (-0.5, 1.5), 0.02

Policy = Callable[[torch.Tensor], torch.Tensor]  # (N, 2102) -> (N, 12)


class TrialEnv(LegsEnv):
    """Robots that hold one command each, against one push each.

    Args:
      physics: the robots.
      commands: [m/s, m/s, rad/s], (E, 3).
      pushes: [N], (E,).
      seed: seeds the initial states.
    """

    def __init__(self, physics: LegsPhysics, commands: torch.Tensor, pushes: torch.Tensor, seed: int) -> None:
        super().__init__(physics, WalkConfig(), seed)
        self._held, self._pushes = commands, pushes

    def _recommand(self, expired: torch.Tensor) -> None:
        self._buffers["command"] = self._held.clone()

    def _disturb(self, quat: torch.Tensor) -> None:
        settled = (self._buffers["length"] * STEP_DT >= SETTLE_S).float()
        yaw = yaw_of(quat)
        against = torch.stack((-torch.cos(yaw), -torch.sin(yaw), torch.zeros_like(yaw)), dim=1)
        force = against * (self._pushes * settled).unsqueeze(1)
        front = constant((FRONT, 0.0, 0.0), self.device).expand_as(force)
        torque = torch.cross(rotate(quat, front), force, dim=1)
        self._buffers["force_w"], self._buffers["torque_w"] = force.unsqueeze(1), torque.unsqueeze(1)

    def correction(self, policy: Policy) -> torch.Tensor:
        """Return the action with which the env does what the body does, (E, 1, 12)."""
        frames = self._buffers["frames"]
        latent = torch.zeros(self.num_envs, legs_body.LATENT_DIM, device=self.device)
        wanted = policy(torch.cat((frames.flatten(1), latent), dim=1))
        uncorrected = legs_body.act(frames, torch.zeros_like(wanted))
        return ((wanted - uncorrected) / constant(legs_body.CORRECTION_SCALE, self.device)).unsqueeze(1)


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """What robots with one command did under one push.

    Attributes:
      push: [N].
      command: [m/s, m/s, rad/s].
      velocity: mean velocity [m/s, m/s, rad/s].
      linear_error: mean distance from the commanded velocity, after smoothing over a step of the gait [m/s].
      yaw_error: likewise of the yaw rate [rad/s].
      falls: falls per robot.
      drift: distance between where a robot was when it had settled, and where it was at the end [m].
      height: mean height of the trunk [m].
    """

    push: float
    command: tuple[float, ...]
    velocity: tuple[float, ...]
    linear_error: float
    yaw_error: float
    falls: float
    drift: float
    height: float


@torch.no_grad()
def run_trial(policy: Policy, checkout: Path, device: str, duration_s: float = DURATION_S) -> list[TrialRow]:
    """Let robots with randomised mass and friction hold each command under each push.

    Args:
      policy: a body.
      checkout: as of `LegsPhysics`.
      device: torch device.
      duration_s: how long they walk [s].

    Raises:
      ConfigError: they walk no longer than they settle, or `checkout` is none.
    """
    if duration_s < SETTLE_S + 1.0:
        raise ConfigError("the trial is too short", got=f"{duration_s:g} s", expected=f"at least {SETTLE_S + 1.0:g} s")
    commands = torch.tensor(COMMANDS).repeat(len(PUSHES), 1).repeat_interleave(COPIES, dim=0).to(device)
    pushes = torch.tensor(PUSHES).repeat_interleave(len(COMMANDS) * COPIES).to(device)
    randomization = Randomization(FRICTION, PAYLOAD, COM_SHIFT)
    physics = LegsPhysics(checkout, len(commands), 2, randomization, device)
    env = TrialEnv(physics, commands, pushes, seed=2)
    env.reset()
    env._buffers["length"].zero_()
    smooth = torch.zeros_like(commands)
    sums = torch.zeros(len(commands), 6, device=device)
    falls = torch.zeros(len(commands), device=device)
    start = physics.state().robot_pos_w[:, 0]
    gait_step = 1.0 - 3.0 * STEP_DT
    for step in range(round(duration_s / STEP_DT)):
        env._buffers["length"].clamp_(max=999.0 - 2.0)  # no time limit
        with torch.jit.optimized_execution(False):  # compiling the body would take longer than it saves
            correction = env.correction(policy)
        falls += env.step(correction).terminated
        state = physics.state()
        linear = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[:, 0, :2]
        velocity = torch.cat((linear, state.robot_ang_vel_b[:, 0, 2:]), dim=1)
        smooth = gait_step * smooth + (1.0 - gait_step) * velocity
        if step * STEP_DT <= SETTLE_S:
            start = state.robot_pos_w[:, 0]
            continue
        error = smooth - commands
        parts = (velocity, error[:, :2].norm(dim=1, keepdim=True), error[:, 2:].abs(), state.robot_pos_w[:, 0, 2:])
        sums += torch.cat(parts, dim=1)
    measured = sums / round((duration_s - SETTLE_S) / STEP_DT - 1)
    drift = (physics.state().robot_pos_w[:, 0] - start)[:, :2].norm(dim=1, keepdim=True)
    numbers = torch.cat((measured, falls.unsqueeze(1), drift), dim=1)
    physics.check()
    env.close()
    return _rows(numbers.unflatten(0, (len(PUSHES), len(COMMANDS), COPIES)).mean(dim=2).cpu())


def _rows(numbers: torch.Tensor) -> list[TrialRow]:
    rows = []
    for push, of_push in zip(PUSHES, numbers.tolist(), strict=True):
        for command, values in zip(COMMANDS, of_push, strict=True):
            v_x, v_y, spin, linear_error, yaw_error, height, falls, drift = values
            velocity = (v_x, v_y, spin)
            rows.append(TrialRow(push, command, velocity, linear_error, yaw_error, falls, drift, height))
    return rows


def table(rows: list[TrialRow]) -> str:
    """Return the rows as a table for reading, and the mean of each push below it."""
    lines = ["push N | command            | velocity           | v error | w error | falls | drift m | height m"]
    for row in rows:
        lines.append(_line(row, _triple(row.command), _triple(row.velocity)))
    for push in PUSHES:
        of_push = [row for row in rows if row.push == push]
        values = torch.tensor([(row.linear_error, row.yaw_error, row.falls, row.drift, row.height) for row in of_push])
        linear, yaw, falls, drift, height = values.mean(dim=0).tolist()
        lines.append(_line(TrialRow(push, (), (), linear, yaw, falls, drift, height), f"{'mean':18}", " " * 18))
    return "\n".join(lines)


def _line(row: TrialRow, command: str, velocity: str) -> str:
    return (
        f"{row.push:6.0f} | {command} | {velocity} | {row.linear_error:7.3f} | {row.yaw_error:7.3f} | {row.falls:5.2f} "
        f"| {row.drift:7.2f} | {row.height:8.3f}"
    )


def _triple(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:+5.2f}" for value in values)[:18].ljust(18)
