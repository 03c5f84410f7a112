"""The same seed with `--deterministic` on a GPU: the same bits, in two processes, and through `--resume`."""

from __future__ import annotations

import contextlib
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from lives import run

from mapush.assembly import make_env
from mapush.device.side_streams import SideStreams
from mapush.env import walk
from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.env.walk import WalkEnv
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints
from mapush.run import determinism

pytestmark = pytest.mark.gpu

ITERATIONS, NUM_ENVS = 30, 500
FEW_ENVS = 37
DECISIONS = 60


def tensors(nest, name=""):
    """Yield the name and value of all tensors in nested dicts and lists."""
    if isinstance(nest, torch.Tensor):
        yield name, nest
    elif isinstance(nest, dict):
        for key, item in nest.items():
            yield from tensors(item, f"{name}/{key}")
    elif isinstance(nest, (list, tuple)):
        for index, item in enumerate(nest):
            yield from tensors(item, f"{name}/{index}")


def saved(folder):
    """Return all tensors of the newest checkpoint of a run, by name."""
    checkpoint = checkpoints.load(checkpoints.latest(folder))
    return checkpoint.step, dict(tensors({"agent": checkpoint.agent, "run": checkpoint.run}))


def assert_same_bits(one, other):
    """Compare the newest checkpoints of two runs."""
    (step, expected), (other_step, got) = saved(one), saved(other)
    assert step == other_step
    assert set(expected) == set(got)
    assert len(expected) > 50
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


@pytest.mark.parametrize("task", ["cuboid", "walk"])
def test_runs_in_two_processes_and_a_resumed_one_end_with_the_same_bits(task, tmp_path):
    """30 iterations at 500 envs, twice at the same time, and once in two halves: all tensors of the checkpoint."""
    config = preset(task)
    held = config.task.steps_per_decision if task == "cuboid" else 1
    rollout = NUM_ENVS * config.num_steps * held

    def words(iterations):
        total = ["--total-steps", ITERATIONS * rollout, "--checkpoint-every", iterations * rollout]
        return [task, "--sim", "warp", "--num-envs", NUM_ENVS, "--deterministic", *total]

    def whole(name):
        run("mapush.train", *words(ITERATIONS), "--run-dir", tmp_path / name)
        return tmp_path / name

    def halves(name):
        folder = tmp_path / name
        run("mapush.train", *words(ITERATIONS // 2), "--run-dir", folder)
        newest = checkpoints.latest(folder)
        newest.unlink()  # as if the run had been killed before its second checkpoint
        assert checkpoints.step_of(checkpoints.latest(folder)) == ITERATIONS // 2 * rollout
        run("mapush.train", "--resume", folder)
        return folder

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(whole, "one"), pool.submit(whole, "other"), pool.submit(halves, "halves")]
        one, other, resumed = [future.result() for future in futures]
    assert_same_bits(one, other)
    assert_same_bits(one, resumed)


def test_walking_that_is_replayed_computes_the_bits_of_plain_calls(monkeypatch):
    """Recorded random numbers are those of the generator: two seconds in which episodes end, bit for bit."""
    config = preset("walk")
    sim = dataclasses.replace(config.sim, backend="warp")
    config = dataclasses.replace(config, num_envs=FEW_ENVS, sim=sim, deterministic=True)
    seen = []
    with determinism.of_torch():
        for recorded in (True, False):
            monkeypatch.setattr(WalkEnv, "recorded", recorded)
            with contextlib.closing(make_env(config)) as env:
                assert isinstance(env._begin, walk.Captured) is recorded
                env.reset()
                env._buffers["length"][:] = 900.0 + 2.0 * torch.arange(FEW_ENVS, device="cuda")
                generator = torch.Generator().manual_seed(3)
                of_env = []
                for _ in range(100):
                    made = env.step(torch.randn(env.action_spec.shape, generator=generator).cuda())
                    of_env += [value.cpu() for _, value in tensors(dataclasses.asdict(made))]
                of_env += [value.cpu() for _, value in tensors(env.state_dict())]
                seen.append(of_env)
    assert len(seen[0]) == len(seen[1]) > 100
    assert [torch.equal(a, b) for a, b in zip(*seen)] == [True] * len(seen[0])


def test_groups_of_a_mixed_env_compute_at_the_same_time_what_they_compute_one_after_another(monkeypatch):
    """Three groups of 17 envs, 60 decisions in which episodes end: observations and state, bit for bit."""
    config = preset("any")
    sim = dataclasses.replace(config.sim, backend="warp")
    task = dataclasses.replace(config.task, team_sizes=(2,))
    config = dataclasses.replace(config, num_envs=51, sim=sim, task=task, deterministic=True)
    seen = []
    with determinism.of_torch():
        for concurrent in (True, False):
            with contextlib.closing(make_env(config)) as env:
                if not concurrent:
                    monkeypatch.setattr(env, "_side_streams", SideStreams(len(env.groups), torch.device("cpu")))
                env.reset()
                for group in env.groups.values():
                    group._length[:] = MAX_EPISODE_LENGTH - 30 * torch.arange(1, 18, device="cuda")
                generator = torch.Generator().manual_seed(3)
                of_env, ended = [], 0
                for _ in range(DECISIONS):
                    made = env.step(torch.randn(env.action_spec.shape, generator=generator).cuda())
                    of_env += [value.cpu() for _, value in tensors(dataclasses.asdict(made))]
                    ended += int(made.done.sum())
                of_env += [value.cpu() for _, value in tensors(env.state_dict())]
                assert ended >= env.num_envs
                seen.append(of_env)
    assert len(seen[0]) == len(seen[1]) > DECISIONS
    assert [torch.equal(a, b) for a, b in zip(*seen)] == [True] * len(seen[0])
