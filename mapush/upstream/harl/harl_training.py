"""A run that HARL trains, from configuration to saved policy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from mapush.assembly import device_of, make_env
from mapush.config import RunConfig
from mapush.env.harl_view import HarlView
from mapush.errors import ConfigError
from mapush.run import capacity
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import RunDir
from mapush.upstream.harl import arguments, harl_source, models

if TYPE_CHECKING:
    from mapush.env.vec_env import VecEnv

MODELS = "models"


def train(
    config: RunConfig,
    path: Path,
    reason: str,
    stopped: Callable[[], bool],
    make_env: Callable[[RunConfig], VecEnv] = make_env,
) -> None:
    """Train in the new folder `path`, which holds HARL's `models/` and checkpoints of ours.

    HARL keeps no optimiser in what it saves, and its loop begins at the first iteration, so such a run cannot be
    continued.

    Args:
      config: resolved configuration.
      path: folder of the run.
      reason: why it is this simulator.
      stopped: asked at every step.
      make_env: builds the environment from the configuration.
    Raises:
      LearnerError: HARL is not here, or cannot be used; no folder is made.
      NonFiniteError, SimulatorError, CheckpointError: as the native learner.
    """
    _require_one_simulator(config)
    capacity.require_fit(config)
    harl_source.locate()
    with contextlib.ExitStack() as stack:
        env = make_env(config)  # before torch is loaded, and so before HARL
        stack.callback(env.close)

        from mapush.run.logger import RunLogger
        from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter
        from mapush.upstream.harl.runner import DEFAULTS, HarlRunner

        device = device_of(config.device)
        stack.callback(RunDir.create(config, path).close)
        log = RunLogger(path, config)
        stack.callback(log.close)
        where = f"{env.simulator_name} on {env.device} ({reason}), HARL on {device}"
        log.say(f"training {config.task_name} in {path}: simulator {where}")
        logger = HarlLogger(log, env, stopped)

        def save(step: int) -> None:
            checkpoints.save(models.read(path / MODELS, config, step), checkpoints.path_of(path, step))

        HarlRunner(
            arguments.algo_args(config, DEFAULTS),
            HarlView(env),
            logger,
            ScalarWriter(log),
            path / MODELS,
            device,
            (lambda: _eval_envs(config)) if config.harl.eval_episodes else None,
            save,
        ).run()
        log.say(_farewell(config, path, stopped()))


def _eval_envs(config: RunConfig) -> HarlView:
    """Return the environment of HARL's evaluation, with starts of its own."""
    return HarlView(make_env(config, arguments.num_eval_envs(config), config.seed + 1))


def _farewell(config: RunConfig, path: Path, stopped: bool) -> str:
    how = "stopped and saved" if stopped else "done"
    return f"{how}; evaluate with: python -m mapush.evaluate {config.task_name} --checkpoint {path}"


def _require_one_simulator(config: RunConfig) -> None:
    if config.harl.eval_episodes and config.sim.backend == "isaacgym":
        raise ConfigError(
            "Isaac Gym runs once in a process, so HARL cannot evaluate beside its training",
            got=f"--harl.eval-episodes {config.harl.eval_episodes}",
            fix="leave it out, and run python -m mapush.evaluate afterwards",
        )
