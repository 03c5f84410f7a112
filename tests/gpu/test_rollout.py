"""Rollouts of real runs on a real GPU: the host never waits inside them, and envs do not affect each other."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import warnings

import pytest
import torch
import warp

from mapush.assembly import make_env
from mapush.config import MixedRunConfig, PushRunConfig
from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.env.walk import EPISODE_STEPS
from mapush.presets import preset
from mapush.train import Run

pytestmark = pytest.mark.gpu

NUM_ENVS, FEW_ENVS, NUM_STEPS = 500, 37, 8
MIB = 2**20


def config_of(task_name, preset_name="default", num_envs=NUM_ENVS, **changes):
    """Return the configuration of a preset on Warp, with short rollouts."""
    config = preset(task_name, preset_name)
    if isinstance(config, MixedRunConfig):
        num_envs -= num_envs % (len(config.task.objects) * len(config.task.team_sizes))
    sim = dataclasses.replace(config.sim, backend="warp")
    return dataclasses.replace(config, num_envs=num_envs, num_steps=NUM_STEPS, sim=sim, **changes)


def let_episodes_end(run):
    """Set every episode to a few env steps before its time limit."""
    if isinstance(run.config, MixedRunConfig):
        for group in run.env.groups.values():
            group._length.fill_(MAX_EPISODE_LENGTH - 3)
    elif isinstance(run.config, PushRunConfig):
        run.env._length.fill_(MAX_EPISODE_LENGTH - 3)
    else:
        run.env._buffers["length"].fill_(EPISODE_STEPS - 3)


@contextlib.contextmanager
def nobody_waits():
    """Raise an error for everything for which the host would wait.

    PyTorch detects its own operations: reading a number, copying from pageable memory, indexing with a mask. It cannot
    detect those of Warp, so each function of Warp that waits is replaced.
    """

    def refuse(*_, **__):
        raise RuntimeError("Warp was asked to synchronize")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls this mode a prototype
        for name in ("synchronize", "synchronize_device", "synchronize_stream", "synchronize_event"):
            patch.setattr(warp, name, refuse)
        patch.setattr(warp.array, "numpy", refuse)
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_waiting_is_noticed():
    """The guard of the next test works: reading a number raises an error in both libraries."""
    number = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="synchroniz"), nobody_waits():
        number.sum().item()
    with pytest.raises(RuntimeError, match="synchroniz"), nobody_waits():
        warp.from_torch(number).numpy()
    assert number.sum().item() == 3.0


@pytest.mark.parametrize(
    ("task_name", "preset_name"),
    [
        ("cuboid", "default"),
        ("cuboid", "published"),
        ("tblock", "default"),
        ("cylinder", "default"),
        ("any", "default"),
        ("walk", "default"),
    ],
)
def test_rollout_never_waits_for_the_device(task_name, preset_name):
    """After two iterations, which record all graphs, the host does not wait in a rollout in which all episodes end."""
    with contextlib.closing(Run.start(config_of(task_name, preset_name))) as run:
        for _ in range(2):
            run.iterate()
        episodes = run.env.metrics.summary()["episodes"]
        let_episodes_end(run)
        with nobody_waits():
            while run.rollout.step < NUM_STEPS:
                run.advance()
        losses = run.learn()
        summary = run.env.metrics.summary()
    assert summary["episodes"] >= episodes + run.env.num_envs
    assert all(map(math.isfinite, list(losses.values()) + list(summary.values())))


def test_same_seed_gives_the_same_statistics():
    """Runs with the same seed start bitwise equal and earn the same reward; a different seed starts differently."""
    first, earned = [], []
    for seed in (4, 4, 9):
        with contextlib.closing(Run.start(config_of("cuboid", seed=seed))) as run:
            first.append(run.rollout.obs[0].clone())
            for _ in range(3):
                run.iterate()
            summary = run.env.metrics.summary()
            terms = [value for name, value in summary.items() if name.startswith("reward/")]
            earned.append(sum(terms))
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert earned[1] == pytest.approx(earned[0], rel=0.05)


def play(envs):
    """Step `envs` in turn, with the same actions; return the last observations of each."""
    last = [env.reset() for env in envs]
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        actions = torch.randn(envs[0].action_spec.shape, generator=generator).to(envs[0].device)
        last = [env.step(actions).observation for env in envs]
    for env in envs:
        env.check()
    return [observation.obs for observation in last]


def test_envs_in_one_process_do_not_affect_each_other():
    """Two envs that step in turn, and one that steps after the other was closed, behave as a single one."""
    config = config_of("cuboid", num_envs=FEW_ENVS)
    with contextlib.closing(make_env(config)) as env:
        [expected] = play([env])
    with contextlib.closing(make_env(config)) as one, contextlib.closing(make_env(config)) as other:
        together = play([one, other])
        one.close()
        [again] = play([other])
    for obs in together:
        alike = (obs - expected).abs().flatten(1).amax(dim=1) < 0.05
        assert float(alike.float().mean()) > 0.9  # the order of atomic additions may decide over a contact
    assert again.isfinite().all()


def test_closed_envs_release_their_memory():
    """Creating, using and closing an env repeatedly takes no more memory than doing it once."""
    free = []
    for _ in range(4):
        with contextlib.closing(make_env(config_of("cuboid"))) as env:
            play([env])
        del env
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free.append(torch.cuda.mem_get_info()[0])
    assert free[3] >= free[0] - 64 * MIB
