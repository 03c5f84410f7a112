"""Envs whose steps are replayed as on a GPU, with fixed places for arguments and results, step as they always do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from replayed import Replayed

from mapush.config import SimConfig
from mapush.env import metrics, walk
from mapush.presets import preset
from mapush.train import Run

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

NUM_ENVS, NUM_STEPS, ITERATIONS = 7, 5, 5


def walked():
    """Return the checkpoint after a few iterations of walking in which episodes end, and the means of the last one."""
    config = preset("walk")
    config = dataclasses.replace(
        config,
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        total_steps=10**6,
        device="cpu",
        sim=SimConfig(backend="mujoco", threads=1),
    )
    run = Run.start(config)
    for iteration in range(ITERATIONS):
        if iteration == 1:
            run.env._buffers["length"][:] = 991.0 + torch.arange(NUM_ENVS)  # they end one after the other
        run.iterate()
    saved, means = run.snapshot(), run.env.metrics.summary()
    run.close()
    return saved, means


def tensors(nest):
    """Return all tensors in nested dicts, lists and dataclasses."""
    found = []
    if isinstance(nest, torch.Tensor):
        found.append(nest)
    elif isinstance(nest, dict):
        for value in nest.values():
            found += tensors(value)
    elif isinstance(nest, (list, tuple)):
        for value in nest:
            found += tensors(value)
    return found


def test_walking_that_is_replayed_has_the_same_bits(monkeypatch):
    """Actions, episodes, disturbances, the learner and the means do not depend on whether steps are replayed."""
    plain, plain_means = walked()
    monkeypatch.setattr(walk.WalkEnv, "recorded", True)
    monkeypatch.setattr(walk, "Captured", Replayed)
    monkeypatch.setattr(metrics, "Captured", Replayed)
    replayed, means = walked()
    one, other = tensors([plain.agent, plain.run]), tensors([replayed.agent, replayed.run])
    assert len(one) == len(other) > 50
    assert [torch.equal(a, b) for a, b in zip(one, other)] == [True] * len(one)
    assert means == pytest.approx(plain_means, abs=0.0, nan_ok=True)
    assert plain_means["episodes"] >= NUM_ENVS


def test_metrics_that_are_replayed_count_the_same_episodes(monkeypatch):
    """The ring of episodes, its counter and the means of the terms are those of plain calls, also after a summary."""

    def count():
        kept = metrics.EpisodeMetrics(("length", "return"), 5, torch.device("cpu"), capacity=4, recorded=True)
        summaries = []
        for step in range(11):
            kept.add_step({"a": torch.full((5, 2), float(step)), "b": torch.arange(5.0) * step})
            done = torch.arange(5) % 3 == step % 3
            kept.add_episodes(done, {"length": torch.arange(5) + step, "return": torch.arange(5.0) / (1 + step)})
            if step in (4, 6):
                summaries.append(kept.summary())
            if step == 7:
                fresh = metrics.EpisodeMetrics(("length", "return"), 5, torch.device("cpu"), capacity=4, recorded=True)
                fresh.load_state_dict(kept.state_dict())
                kept = fresh
        return summaries + [kept.summary()]

    expected = count()
    monkeypatch.setattr(metrics, "Captured", Replayed)
    assert count() == expected
    assert expected[-1]["episodes"] == 19.0
