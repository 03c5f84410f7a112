"""What only shows after a long time: run with `pytest -m soak --soak=MINUTES [--sim NAME]`."""

from __future__ import annotations

import contextlib
import dataclasses
import time

import psutil
import pytest

from harness.guard import guarded
from mapush.assembly import resolve
from mapush.config import SimConfig
from mapush.presets import preset
from mapush.train import Run

pytestmark = [pytest.mark.soak, pytest.mark.mujoco]

MIB = 2**20
SETTLED = 5  # iterations after which everything has been allocated
ALLOWED_GROWTH = 64  # [MiB]


def used_memory(run):
    """Return the memory of the process and, if it trains on a GPU, of that GPU [MiB]."""
    import torch

    used = {"process": psutil.Process().memory_info().rss / MIB}
    if run.agent.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(run.agent.device)
        used["gpu"] = (total - free) / MIB
    return used


def test_training_for_long_breaks_no_contract_and_needs_no_more_memory(sim, soak_minutes):
    """Under guard, training stays finite and sound, and its memory is at the end what it was at the beginning."""
    config, _ = resolve(dataclasses.replace(preset("cuboid", "default"), sim=SimConfig(backend=sim)))
    if config.sim.backend == "mujoco":
        config = dataclasses.replace(config, num_envs=64)
    end = time.monotonic() + 60.0 * soak_minutes
    with guarded() as guards, contextlib.closing(Run.start(config)) as run:
        while run.iteration < SETTLED:
            run.iterate()
        before = used_memory(run)
        while time.monotonic() < end:
            run.iterate()
        after = used_memory(run)
    assert guards[0].watched
    for name, used in after.items():
        assert used <= before[name] + ALLOWED_GROWTH, (name, before, after, run.iteration)
