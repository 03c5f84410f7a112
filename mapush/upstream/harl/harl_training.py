"""Train a run with HARL, from its configuration to the saved policy."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from mapush.assembly import device_of, make_env
from mapush.config import RunConfig
from mapush.env.harl_view import HarlView
from mapush.errors import ConfigError
from mapush.run import capacity
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import RunFolder
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
    """Train in the new folder `path`, which gets HARL's `models/` and mapush checkpoints.

    HARL saves no optimiser, and its loop starts at the first iteration, so such a run cannot be resumed.

    Args:
      config: resolved configuration.
      path: folder of the run.
      reason: why this simulator was chosen, in a few words.
      stopped: called in every step; training stops when it returns True.
      make_env: makes the environment from the configuration.

    Raises:
      LearnerError: HARL is not installed or cannot be used; no folder is made.
      NonFiniteError, SimulatorError, CheckpointError: as with the native learner.
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
        stack.callback(RunFolder.create(config, path).close)
        log = RunLogger(path, config)
        stack.callback(log.close)
        where = f"{env.simulator_name} on {env.device} ({reason}), HARL on {device}"
        log.say(f"training {config.task_name} in {path}: simulator {where}")
        logger = HarlLogger(log, env, stopped)

        def save(step: int) -> None:
            checkpoints.save(models.read(path / MODELS, config, step), checkpoints.path_of(path, step))

        runner = HarlRunner(
            arguments.algo_args(config, DEFAULTS),
            HarlView(env),
            logger=logger,
            writer=ScalarWriter(log),
            save_dir=path / MODELS,
            device=device,
            make_eval_envs=_eval_env_factory(config, make_env),
            on_save=save,
        )
        runner.run()
        log.say(_last_line(config, path, stopped()))


def _eval_env_factory(config: RunConfig, make_env: Callable[[RunConfig], VecEnv]) -> Optional[Callable[[], HarlView]]:
    """Return a function that makes the environment of HARL's evaluation; None if the run does not evaluate."""
    if config.harl.eval_episodes == 0:
        return None
    num_envs = arguments.num_eval_envs(config)
    eval_config = dataclasses.replace(config, num_envs=num_envs, seed=config.seed + 1)
    return lambda: HarlView(make_env(eval_config))


def _last_line(config: RunConfig, path: Path, stopped: bool) -> str:
    ending = "done"
    if stopped:
        ending = "stopped and saved"
    return f"{ending}; evaluate with: python -m mapush.evaluate {config.task_name} --checkpoint {path}"


def _require_one_simulator(config: RunConfig) -> None:
    if config.harl.eval_episodes and config.sim.backend == "isaacgym":
        raise ConfigError(
            "Isaac Gym runs once in a process, so HARL cannot evaluate while it trains",
            got=f"--harl.eval-episodes {config.harl.eval_episodes}",
            fix="leave it out, and run python -m mapush.evaluate afterwards",
        )
