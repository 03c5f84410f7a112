"""Contracts of a run over ranks: its log, its checkpoints, how it is resumed, and the comparison of the replicas."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from row_worlds import (
    NUM_AGENTS,
    OBS_DIM,
    ROLLOUT,
    config_of,
    iterate_cuboid,
    resume_and_say,
    run_with_difference,
    train_alone,
    train_rows,
)
from runs import assert_same, last_checkpoint, rows

from harness.stack.rank_world import RankWorld, seeded_world
from harness.stack.stack_under_test import small_config
from mapush.distributed.rank_states import OTHER_RANKS
from mapush.distributed.ranks import ALONE, Ranks
from mapush.distributed.shares import share_of
from mapush.errors import MapushError, NonFiniteError
from mapush.evaluation.load_policy import load_policy
from mapush.replay import replay
from mapush.run.failed_iteration import keep_iteration
from mapush.train import Run

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folders(jobs, tmp_path_factory):
    """Runs of 4 iterations: by one process, by 2 and by 3 ranks."""
    place = tmp_path_factory.mktemp("runs")
    train_alone(place / "1", 4)
    for size in (2, 3):
        assert jobs.of(size).call(train_rows, place / str(size), 4) == [""] * size
    return place


@pytest.mark.parametrize("size", [2, 3])
def test_run_over_ranks_is_the_run_of_one_process(folders, size):
    """Weights and every column of the log agree, except for what depends on the machine."""
    one, job = last_checkpoint(folders / "1"), last_checkpoint(folders / str(size))
    assert job.step == one.step == 4 * ROLLOUT
    for agent in range(NUM_AGENTS):
        for name, value in one.agent["actors"][agent].items():
            torch.testing.assert_close(job.agent["actors"][agent][name], value, atol=1e-5, rtol=0.0, msg=name)
    of_one, of_job = rows(folders / "1"), rows(folders / str(size))
    assert len(of_job) == 4
    for expected, row in zip(of_one, of_job):
        assert list(row) == list(expected)
        numbers = {name: float(value) for name, value in row.items() if value}
        assert numbers == pytest.approx({name: float(value) for name, value in expected.items() if value}, abs=1e-4)
        assert row["episodes"] == expected["episodes"]


def test_resume_on_as_many_ranks_continues_bit_for_bit(folders, jobs, tmp_path):
    """Weights, optimisers, generator, and the envs and rollouts of every rank end as in a run that was not stopped."""
    assert jobs.of(2).call(train_rows, tmp_path / "run", 2) == ["", ""]
    assert jobs.of(2).call(train_rows, tmp_path / "run", 4, True) == ["", ""]
    one, other = last_checkpoint(folders / "2"), last_checkpoint(tmp_path / "run")
    assert len(one.run[OTHER_RANKS]) == 1
    assert_same(one.agent, other.agent)
    assert_same(one.run, other.run)
    assert rows(folders / "2") == rows(tmp_path / "run")


@pytest.mark.parametrize("before, after", [(1, 2), (2, 3), (3, 1)])
def test_resume_on_another_number_of_ranks_continues_the_learner(folders, jobs, tmp_path, capsys, before, after):
    """The learner continues from the checkpoint, every env begins a new episode, and one line says so."""
    folder = tmp_path / "run"
    shutil.copytree(folders / str(before), folder)
    if after == 1:
        train_alone(folder, 6, resume=True)
        said = capsys.readouterr().out
    else:
        (said, error), *others = jobs.of(after).call(resume_and_say, folder, 6)
        assert error == ""
        assert others == [("", "")] * (after - 1)
    assert f"saved by {before} ranks, continued by {after}: every env begins a new episode" in said
    assert last_checkpoint(folder).step == 6 * ROLLOUT
    assert [int(row["step"]) for row in rows(folder)] == [ROLLOUT * (1 + index) for index in range(6)]
    assert len(last_checkpoint(folder).run.get(OTHER_RANKS, [])) == after - 1


def test_checkpoint_of_ranks_is_a_policy_like_any_other(folders):
    """It is loaded and acts."""
    policy = load_policy(folders / "3")
    assert policy.act(torch.zeros(4, NUM_AGENTS, OBS_DIM)).shape == (4, NUM_AGENTS, 3)


@pytest.mark.parametrize(
    "kind, named",
    [
        ("bit", "learner.actors.1.base.mlp.fc.0.weight"),
        ("exchange", "learner.critic.v_out.weight"),
        ("rate", "learner.actor_optimizers.0.param_groups.0.lr"),
        ("generator", "learner.generator.state"),
        ("normaliser", "learner.value_norm.running_mean"),
        ("moments", "learner.critic_optimizer.state.0.exp_avg"),
        ("iteration", "iteration"),
        ("", ""),
    ],
)
def test_difference_of_a_replica_ends_the_run_on_all_ranks(jobs, kind, named):
    """The error names the first part that differs and the rank; equal replicas pass."""
    for kind_of_error, what, got, where in jobs.of(3).call(run_with_difference, kind):
        if not kind:
            assert kind_of_error == ""
            continue
        assert kind_of_error == "ReplicaError"
        assert what.endswith(f" {named}")
        assert got.startswith("rank 2 has ")
        assert "rank 0" not in got
        assert where == f"iteration 1, env step {ROLLOUT}"


@pytest.mark.mujoco
def test_ranks_have_different_envs_of_the_cuboid(jobs):
    """Each rank simulates its part of the envs, from starts of its own; the count of env steps is that of all."""
    config = dataclasses.replace(small_config(seed=5), num_envs=6)
    (one, step), (other, _) = jobs.of(2).call(iterate_cuboid, config)
    assert one.shape[0] == other.shape[0] == 3
    assert not (one.unsqueeze(0) == other.unsqueeze(1)).flatten(2).all(dim=2).any()
    assert step == 6 * config.num_steps


@pytest.mark.parametrize(
    "ranks, names", [(ALONE, ["failure.pt", "nonfinite.pt"]), (Ranks(1, 2), ["failure-rank1.pt", "nonfinite-rank1.pt"])]
)
@pytest.mark.mujoco
def test_failure_on_a_rank_leaves_a_bundle_of_its_own(tmp_path, ranks, names):
    """Two ranks that fail at once do not write one file."""
    config = dataclasses.replace(small_config(), num_envs=6)
    run = Run.start(config, ranks=ranks)
    start = run.snapshot()
    run.advance()
    share = share_of(config, ranks)
    error = MapushError("no", where="env 1")
    keep_iteration(error, start, tmp_path, share=share, env=run.env, recorder=run.recorder, step=run.step, ranks=ranks)
    run.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert f"mapush.replay {tmp_path / name}" in error.fix


class _FailingWorld(RankWorld):
    """Fails in its fourth step, and keeps the actions that it got."""

    def __init__(self, world):
        super().__init__(world._starts, world._lengths)
        self.actions = []

    def step(self, actions):
        """Take a step."""
        self.actions.append(actions.clone())
        if len(self.actions) == 4:
            raise NonFiniteError("no")
        return super().step(actions)


def test_failed_iteration_of_a_rank_is_replayed_by_one_process(tmp_path):
    """It has the envs of the rank and draws its actions; an iteration that does not fail ends before the update."""
    config, ranks, worlds = config_of(3), Ranks(2, 3), []

    def make_env(share):
        worlds.append(_FailingWorld(seeded_world(share)))
        return worlds[-1]

    run = Run.start(config, make_env, ranks)
    begin = run.snapshot()
    with pytest.raises(NonFiniteError) as failed:
        run.iterate()
    files = {"share": share_of(config, ranks), "env": run.env, "recorder": run.recorder, "ranks": ranks}
    keep_iteration(failed.value, begin, tmp_path, step=run.step, **files)
    dump = tmp_path / "nonfinite-rank2.pt"
    with pytest.raises(NonFiniteError) as repeated:
        replay(dump, make_env=make_env)
    assert repeated.value.where == failed.value.where
    first, second = worlds
    assert torch.equal(torch.stack(first.actions), torch.stack(second.actions))
    with pytest.raises(MapushError, match="cannot be repeated by one of them"):
        replay(dump, make_env=seeded_world)
