"""Runs over ranks in the light world of the harness, and what ranks do in tests."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from pathlib import Path
from typing import Any, Tuple

import torch

from harness.stack.rank_world import NUM_AGENTS, NUM_STEPS, OBS_DIM, rows_of_world, world_config
from mapush.config import RunConfig
from mapush.distributed.ranks import ALONE, Ranks
from mapush.errors import MapushError
from mapush.run.folder import read_config
from mapush.train import Run, train

NUM_ENVS = 12  # of the complete run
ROLLOUT = NUM_ENVS * NUM_STEPS

__all__ = ["NUM_AGENTS", "NUM_ENVS", "OBS_DIM", "ROLLOUT"]


def config_of(iterations: int, **changes: Any) -> RunConfig:
    """Return a run of so many iterations."""
    return dataclasses.replace(world_config(NUM_ENVS, iterations), **changes)


def train_alone(folder: Path, iterations: int, resume: bool = False) -> None:
    """Train, or resume, in one process."""
    train(config_of(iterations), folder, resume, make_env=functools.partial(rows_of_world, ALONE))


# -- what ranks do in tests --------------------------------------------------------------------------------------------


def train_rows(ranks: Ranks, folder: Path, iterations: int, resume: bool = False, **changes: Any) -> str:
    """Train, or resume; return the error that ended it, or ""."""
    config = config_of(iterations, **changes)
    if resume:
        config = dataclasses.replace(read_config(folder), total_steps=iterations * ROLLOUT)
    try:
        train(config, folder, resume, make_env=functools.partial(rows_of_world, ranks), ranks=ranks)
    except MapushError as error:
        return str(error)
    return ""


def run_with_difference(ranks: Ranks, kind: str) -> Tuple[str, str, str, str]:
    """Change the replica of the last rank, compare, and return the fields of the error; "" for no error."""
    run = Run.start(config_of(3), functools.partial(rows_of_world, ranks), ranks)
    run.iterate()
    if ranks.rank == ranks.size - 1:
        _change(run, kind)
    try:
        run.require_equal_replicas()
    except MapushError as error:
        return type(error).__name__, error.what, error.got or "", error.where or ""
    return "", "", "", ""


def _change(run: Run, kind: str) -> None:
    if kind == "bit":
        weight = run.agent.actors[1].base.mlp["fc"][0].weight
        weight.data[0, 0] = torch.nextafter(weight.data[0, 0], torch.tensor(9.0))
    elif kind == "exchange":
        bias = run.agent.critic.v_out.weight.data
        bias[0] = bias[0].flip(0)
    elif kind == "rate":
        run.agent._actor_optimizers[0].decay(0.5)
    elif kind == "generator":
        torch.rand(1, generator=run.agent.generator)
    elif kind == "normaliser":
        run.agent.value_norm.running_mean += 1.0
    elif kind == "moments":
        run.agent._critic_optimizer._adam.state_dict()["state"][0]["exp_avg"].add_(1e-3)
    elif kind == "iteration":
        run.iteration += 1


def resume_and_say(ranks: Ranks, folder: Path, iterations: int) -> Tuple[str, str]:
    """Resume, and return what this rank printed, and its error."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        error = train_rows(ranks, folder, iterations, resume=True)
    return printed.getvalue(), error


def iterate_cuboid(ranks: Ranks, config: RunConfig) -> Tuple[torch.Tensor, int]:
    """Do an iteration on MuJoCo, and compare the replicas; return the first observations, and the env steps taken."""
    run = Run.start(config, ranks=ranks)
    with contextlib.closing(run):
        starts = run.rollout.obs[0].clone()
        run.iterate()
        run.require_equal_replicas()
    return starts, run.step
