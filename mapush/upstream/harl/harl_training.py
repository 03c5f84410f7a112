"""Train a run with HARL, from its configuration to the saved policy."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Optional

from mapush.assembly import TASKS, device_of, make_env, sizes_of
from mapush.config import RunConfig
from mapush.env.harl_view import HarlView
from mapush.errors import ConfigError
from mapush.run import capacity
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.run.checkpoint_schedule import CheckpointSchedule
from mapush.run.folder import RunFolder
from mapush.sim import OF_MQE
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
    clock: Callable[[], float] = time.monotonic,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Train in the new folder `path`, which gets HARL's `models/` and mapush checkpoints.

    Args:
      config: resolved configuration.
      path: folder of the run.
      reason: why this simulator was chosen, in a few words.
      stopped: called in every step; training stops when it returns True.
      make_env: makes the environment from the configuration.
      clock: returns the time [s], for checkpoints by time.
      ready: is called when everything is made, before the first line of the log.

    Raises:
      LearnerError: HARL is not installed or cannot be used; no folder is made.
      NonFiniteError, SimulatorError, CheckpointError: as with the native learner.
    """
    with _parts(config, reason, make_env) as parts:
        with contextlib.closing(RunFolder.create(config, path)):
            ready()
            _run(parts, path, stopped, clock=clock)


def resume(
    config: RunConfig,
    folder: RunFolder,
    reason: str,
    stopped: Callable[[], bool],
    make_env: Callable[[RunConfig], VecEnv] = make_env,
    clock: Callable[[], float] = time.monotonic,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Continue the run in `folder` from its newest checkpoint.

    On the CPU it ends bit for bit like a run that was not interrupted. Isaac Gym and the stand-in begin new episodes.

    Args:
      config: resolved configuration.
      folder: the open folder of the run.
      reason: why this simulator was chosen, in a few words.
      stopped: called in every step; training stops when it returns True.
      make_env: makes the environment from the configuration.
      clock: returns the time [s], for checkpoints by time.
      ready: is called when everything is made, before the first line of the log.

    Raises:
      CheckpointError: the checkpoint does not fit, or has only a policy; nothing is changed.
      LearnerError, NonFiniteError, SimulatorError: see `train`.
    """
    with _parts(config, reason, make_env) as parts:
        from mapush.upstream.harl.training_state import require_training_state

        newest = folder.newest
        saved = checkpoints.load(newest)
        checkpoints.require_fit(saved, newest, config.task_name, sizes_of(parts.env))
        require_training_state(saved, newest)
        folder.write(config)
        ready()
        _run(parts, folder.path, stopped, saved, clock)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What a run is made of, before its folder is opened."""

    config: RunConfig
    reason: str
    env: VecEnv
    make_env: Callable[[RunConfig], VecEnv]


@contextlib.contextmanager
def _parts(config: RunConfig, reason: str, make_env: Callable[[RunConfig], VecEnv]) -> Iterator[_Parts]:
    """Make the environment before torch is loaded, and so before HARL; close it at the end."""
    _require_one_simulator(config)
    capacity.require_fit(config)
    harl_source.locate()
    env = make_env(config)
    with contextlib.closing(env):
        harl_source.load()
        yield _Parts(config, reason, env, make_env)


def _run(
    parts: _Parts,
    path: Path,
    stopped: Callable[[], bool],
    saved: Optional[Checkpoint] = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train in the folder `path`, from the beginning or from a checkpoint."""
    from mapush.run.logger import RunLogger
    from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter
    from mapush.upstream.harl.runner import DEFAULTS, HarlRunner

    config, env, device = parts.config, parts.env, device_of(parts.config.device)
    step, done = 0, 0
    if saved is not None:
        step, done = saved.step, saved.run["iteration"]
    with contextlib.closing(RunLogger(path, config, step)) as log:
        where = f"{env.simulator_name} on {env.device} ({parts.reason}), HARL on {device}"
        log.say(f"training {config.task_name} in {path}: simulator {where}")
        log.say(_plan(config, done))

        schedule = CheckpointSchedule(config, clock)

        def save(step: int, agent: Dict[str, Any], run: Dict[str, Any], by_clock: bool) -> None:
            policy = models.read(path / MODELS, config, step)
            complete = dataclasses.replace(policy, agent=dict(policy.agent, **agent), run=run)
            schedule.saved(checkpoints.save(complete, checkpoints.path_of(path, step)), by_clock)

        runner = HarlRunner(
            arguments.algo_args(config, DEFAULTS, done),
            HarlView(env),
            logger=HarlLogger(log, env, stopped),
            writer=ScalarWriter(log),
            save_dir=path / MODELS,
            device=device,
            make_eval_envs=_eval_env_factory(config, parts.make_env),
            on_save=save,
            save_now=schedule.due_by_clock,
        )
        if saved is not None:
            same_episodes = config.sim.backend not in OF_MQE
            runner.continue_from(saved, arguments.iterations_of(config), same_episodes)
            log.say(_continued(saved, same_episodes))
        runner.run()
        log.say(_last_line(config, path, stopped()))


def _plan(config: RunConfig, done: int) -> str:
    """Return a line that says how many env steps the run will have: whole rollouts only."""
    rollouts, steps = arguments.iterations_of(config), arguments.steps_of_iteration(config)
    end = rollouts * steps
    line = f"the run ends after {end:,} env steps: {rollouts} rollouts of {steps:,}"
    if end != config.total_steps:
        line = f"{line}; the {config.total_steps:,} that were asked for are rounded up to whole rollouts"
    if done:
        line = f"{line}; {done} rollouts are done"
    return line


def _continued(saved: Checkpoint, same_episodes: bool) -> str:
    line = f"continued at env step {saved.step:,}: weights, optimisers, value statistics, random numbers, statistics"
    if same_episodes:
        return f"{line} and episodes"
    return f"{line}; this simulator cannot continue an episode, so all envs begin new ones"


def _eval_env_factory(config: RunConfig, make_env: Callable[[RunConfig], VecEnv]) -> Optional[Callable[[], HarlView]]:
    """Return a function that makes the environment of HARL's evaluation; None if the run does not evaluate."""
    if config.harl.eval_episodes == 0:
        return None
    num_envs = arguments.num_eval_envs(config)
    eval_config = dataclasses.replace(config, num_envs=num_envs, seed=config.seed + 1)
    return lambda: HarlView(make_env(eval_config))


def _last_line(config: RunConfig, path: Path, stopped: bool) -> str:
    if stopped:
        what = "stopped and saved after the last complete rollout"
        return f"{what}; continue with: python -m mapush.train --resume {path}"
    if config.task_name in TASKS:
        return f"done; evaluate with: python -m mapush.evaluate {config.task_name} --checkpoint {path}"
    return f'done; load the policy with: mapush.load_policy("{path}")'


def _require_one_simulator(config: RunConfig) -> None:
    if config.harl.eval_episodes and config.sim.backend == "isaacgym":
        raise ConfigError(
            "Isaac Gym runs once in a process, so HARL cannot evaluate while it trains",
            got=f"--harl.eval-episodes {config.harl.eval_episodes}",
            fix="leave it out, and run python -m mapush.evaluate afterwards",
        )
