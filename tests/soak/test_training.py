"""Tests of a long training: run with `pytest -m soak --soak=MINUTES [--sim NAME]`."""

from __future__ import annotations

import dataclasses

import pytest

from harness.memory.verdict import CLEAN, ENDS
from harness.pages.soak_page import write_soak
from harness.stack.guarded_training import GuardedEnvs
from harness.stack.training_soak import CrowdedEnv, soak_training
from mapush.assembly import resolve
from mapush.config import SimConfig
from mapush.presets import preset

pytestmark = [pytest.mark.soak, pytest.mark.mujoco]


def test_training_for_long_breaks_no_contract_and_needs_no_more_memory(sim, soak_minutes, soak_folder, capsys):
    """Under guard and driven into heaps, a training breaks no contract, does not leak, and releases its memory."""
    config, _ = resolve(dataclasses.replace(preset("cuboid", "default"), sim=SimConfig(backend=sim)))
    if config.sim.backend == "mujoco":
        config = dataclasses.replace(config, num_envs=64)
    guarded_envs = GuardedEnvs()

    def make_watched_crowd(config):
        return CrowdedEnv(guarded_envs(config))

    report = soak_training(config, soak_minutes, make_env=make_watched_crowd)
    write_soak(report, soak_folder)
    with capsys.disabled():
        print(f"\n{report}")
    assert guarded_envs.built[-1].watched
    assert report.kind in (CLEAN, ENDS), report
    for text in report.kept:
        assert "lives on" in text, report  # guarded_envs keeps the guards, and so their environments
