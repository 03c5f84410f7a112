"""Runs that compute the same bits every time: where that can be promised, and how torch is set for it."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, Mapping, Optional

from mapush.config import RunConfig, WalkRunConfig
from mapush.errors import ConfigError
from mapush.sim import OF_MQE

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable with the size of cuBLAS's buffers, which must be fixed before cuBLAS is first used."""
FIXED_WORKSPACES = (":4096:8", ":16:8")
"""The values for which NVIDIA promises the same bits."""


def require(config: RunConfig, environ: Mapping[str, str] = os.environ) -> None:
    """Check that a run with `--deterministic` can be so; runs without it always pass.

    Args:
      config: resolved configuration.
      environ: environment variables.

    Raises:
      ConfigError: with the reason why the same bits cannot be promised.
    """
    if not config.deterministic:
        return
    cause = _obstacle(config, environ)
    if cause is not None:
        fix = "leave out --deterministic, or train with --learner native and --sim mujoco or --sim warp on one GPU"
        raise ConfigError("--deterministic cannot be kept here", where=config.task_name, cause=cause, fix=fix)


def _obstacle(config: RunConfig, environ: Mapping[str, str]) -> Optional[str]:
    """Return why the same bits cannot be promised; None if they can."""
    if config.learner == "harl":
        return "HARL's own runner draws from global generators, and adds on the GPU in any order"
    if type(config) is RunConfig or config.env is not None:
        return "whether your own environment repeats its bits is not known"
    if config.sim.backend in OF_MQE:
        return f"the physics of --sim {config.sim.backend} does not repeat its bits"
    if isinstance(config, WalkRunConfig) and config.task.robot == "mapush":
        return "the physics of MAPush's own robot does not repeat its bits"
    ranks = environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        return f"{ranks} processes train together, and their sums have no fixed order"
    workspace = environ.get(WORKSPACE, FIXED_WORKSPACES[0])
    if workspace not in FIXED_WORKSPACES:
        return f"{WORKSPACE} is {workspace}; the same bits need {' or '.join(FIXED_WORKSPACES)}"
    return None


@contextlib.contextmanager
def of_torch() -> Iterator[None]:
    """Let torch use only kernels that compute the same bits every time; enter it before cuBLAS is first used.

    Raises:
      RuntimeError: inside, by torch, if an operation has no such kernel.
    """
    import torch

    os.environ.setdefault(WORKSPACE, FIXED_WORKSPACES[0])
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
