"""The shipped body: it fits MAPush's low level, and MAPush's robot walks with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mapush.upstream.legs import legs_body, legs_trial
from mapush.upstream.low_level import OURS

MAX_BYTES = 500_000
COMMANDS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, -0.5))
DURATION_S = 6.0


@pytest.mark.mujoco
def test_shipped_body_is_small_and_maps_the_history_to_actions():
    """The file is smaller than 500 kB; any number of histories gives finite actions, which do not read the latent."""
    assert OURS.stat().st_size < MAX_BYTES
    loaded = legs_body.load_script(OURS, "cpu")
    torch.manual_seed(4)
    for count in (1, 7):
        histories = torch.randn(count, 2100)
        one, other = (loaded(torch.cat((histories, torch.randn(count, 2)), dim=1)) for _ in range(2))
        assert one.shape == (count, 12)
        assert one.isfinite().all()
        assert torch.equal(one, other)


@pytest.mark.upstream
@pytest.mark.mujoco
def test_robot_of_mapush_walks_with_the_shipped_body(monkeypatch):
    """No robot falls; each stays upright, stands or moves as commanded, and misses its command by 0.25 m/s at most."""
    monkeypatch.setattr(legs_trial, "COMMANDS", COMMANDS)
    monkeypatch.setattr(legs_trial, "PUSHES", (0.0,))
    monkeypatch.setattr(legs_trial, "COPIES", 2)
    loaded = legs_body.load_script(OURS, "cpu")
    rows = legs_trial.run_trial(loaded, Path(os.environ["MAPUSH_DIR"]), "cpu", DURATION_S)
    assert [row.command for row in rows] == list(COMMANDS)
    for row in rows:
        assert row.falls == 0.0, row
        assert 0.22 < row.height < 0.36, row
        assert row.linear_error < 0.25, row
        assert row.yaw_error < 0.3, row
    stood, *walked = rows
    assert stood.drift < 0.1
    for row in walked:
        along = sum(wanted * done for wanted, done in zip(row.command, row.velocity, strict=True))
        assert along > 0.5 * sum(wanted**2 for wanted in row.command), row
