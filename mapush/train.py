"""Train a team: `python -m mapush.train [cuboid|tblock|cylinder|walk] [--preset quick] ...`.

A run is a loop of iterations: fill a rollout, learn from it, log, perhaps save. All of its state is in `Run`, so that
a run which was killed and is resumed from a checkpoint ends in the same bits, on the CPU, as one which was not.

Exit codes: 0 the run is finished; 2 an error, whose message is on stderr; 130 (Ctrl-C) or 143 (SIGTERM) stopped on
request, after the env step in progress was taken and all was saved. A second request acts at once, without saving.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import math
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

import tyro

from mapush.assembly import make_agent, make_env, resolve, share_the_cores, sizes_of
from mapush.config import RunConfig, steps_per_decision
from mapush.device.gpu_errors import gpu_errors
from mapush.errors import CheckpointError, ConfigError, MapushError
from mapush.presets import preset
from mapush.run import capacity
from mapush.run import checkpoint as checkpoints
from mapush.run import failure_bundle as failures
from mapush.run.checkpoint import Checkpoint
from mapush.run.folder import RunDir, read_config, require_same_run

if TYPE_CHECKING:
    from mapush.env.vec_env import VecEnv
    from mapush.happo.happo import Happo
    from mapush.happo.rollout import Rollout
    from mapush.run.logger import RunLogger

NON_FINITE = "nonfinite.pt"

MakeEnv = Callable[[RunConfig], "VecEnv"]


@dataclasses.dataclass
class Run:
    """All that changes while a run trains; what a checkpoint holds.

    Attributes:
      config: resolved configuration.
      env: where the team acts.
      agent: the learner.
      rollout: the rollout that is being filled.
      step: env steps taken so far, summed over envs.
      iteration: rollouts and updates done so far.
      health: what the simulator reported of the last rollout.
      recorder: where the envs were before the last decisions.
    """

    config: RunConfig
    env: VecEnv
    agent: Happo
    rollout: Rollout
    step: int = 0
    iteration: int = 0
    health: Dict[str, float] = dataclasses.field(default_factory=dict)
    recorder: failures.DecisionRecorder = dataclasses.field(default_factory=failures.DecisionRecorder)

    @classmethod
    def start(cls, config: RunConfig, make_env: MakeEnv = make_env) -> Run:
        """Make the parts of a new run and its first observation.

        Args:
          config: resolved configuration.
          make_env: builds the environment from the configuration.
        Raises:
          CapacityError: they would not fit in the memory of the GPU; nothing was made.
        """
        capacity.require_fit(config)
        with contextlib.ExitStack() as on_error:
            env = make_env(config)
            on_error.callback(env.close)
            sizes = sizes_of(env)
            agent = make_agent(config, sizes)

            from mapush.happo.rollout import Rollout

            rollout = Rollout(config.num_steps, config.num_envs, device=agent.device, **sizes)
            first = env.reset()
            rollout.start(first.obs, first.share_obs)
            on_error.pop_all()
        return cls(config, env, agent, rollout)

    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
        self.env.close()

    def snapshot(self) -> Checkpoint:
        """Return a copy of this moment, which what comes later does not change."""
        run = {"env": self.env.state_dict(), "rollout": self.rollout.state_dict(), "iteration": self.iteration}
        return Checkpoint(self.config, self.step, sizes_of(self.env), copy.deepcopy(self.agent.state_dict()), run)

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Continue from `saved`, which came from `path`.

        Raises:
          CheckpointError: it does not fit, or it is a policy without the run that trained it.
        """
        checkpoints.require_fit(saved, path, self.config.task_name, sizes_of(self.env))
        if not saved.run:
            raise CheckpointError("this checkpoint is a policy alone; its run cannot be taken up", where=str(path))
        self.agent.load_state_dict(saved.agent)
        self.env.load_state_dict(saved.run["env"])
        self.rollout.load_state_dict(saved.run["rollout"])
        self.step, self.iteration = saved.step, saved.run["iteration"]

    def advance(self) -> None:
        """Take one decision in every env."""
        filled = self.rollout.step
        decision = self.agent.act(self.rollout.obs[filled], self.rollout.share_obs[filled])
        self.recorder.note(self.env, decision.action)
        result = self.env.step(decision.action.to(self.env.device, copy=True))  # what it does to them stays there
        self.rollout.insert(
            decision,
            result.reward.mean(dim=1, keepdim=True),  # HAPPO maximises one return: the team's
            result.terminated,
            result.truncated,
            result.observation.obs,
            result.observation.share_obs,
        )
        self.step += self.config.num_envs * self.env.steps_per_decision

    def iterate(self, stopped: Callable[[], bool] = lambda: False) -> Optional[Dict[str, float]]:
        """Fill the rollout, learn from it, and return the losses.

        Args:
          stopped: asked before every decision; if it says yes, the iteration is left unfinished and returns None.
        Raises:
          NonFiniteError: with the env step at which a NaN or an infinity was found.
          SimulatorError: with the env step at which the physics left the physical world.
        """
        try:
            while self.rollout.step < self.config.num_steps:
                if stopped():
                    return None
                self.advance()
            return self.learn()
        except MapushError as error:
            error.add_where(f"env step {self.step}")
            raise

    def learn(self) -> Dict[str, float]:
        """Update the learner from the full rollout and begin the next one."""
        self.health = self.env.check()
        self.agent.set_progress(min(self.step / self.config.total_steps, 1.0))
        losses = self.agent.update(self.rollout)
        self.rollout.finish()
        self.iteration += 1
        return losses


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a wish that the loop grants; a second one acts as usual.

    Leaving the context in good order after a wish exits with 128 + the signal's number, as a shell does.
    """

    def __init__(self) -> None:
        self._signal: Optional[signal.Signals] = None
        self._previous: List[Tuple[signal.Signals, Any]] = []

    @property
    def name(self) -> Optional[str]:
        """Which signal asked to stop; None if none did."""
        return None if self._signal is None else self._signal.name

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous.append((number, signal.signal(number, self._note)))
        return self

    def __exit__(self, error: Optional[type], *_: object) -> None:
        self._restore_handlers()
        if self._signal is not None and error is None:
            raise SystemExit(128 + self._signal)

    def _note(self, number: int, _: object) -> None:
        self._signal = signal.Signals(number)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)


def train(
    config: RunConfig, run_dir: Optional[Path] = None, resume: bool = False, *, make_env: MakeEnv = make_env
) -> Path:
    """Train, and return the folder of the run.

    Args:
      config: what to train; of a run that is resumed, what it was made with, but for `run_dir.RESUMABLE_WITH`.
      run_dir: folder of the run; by default a new one below `runs/`.
      resume: continue the run in `run_dir` from its newest checkpoint.
      make_env: builds the environment from the configuration; pass your own to wrap or replace it.
    Raises:
      ConfigError: settings that cannot run.
      CheckpointError: a checkpoint that does not fit or cannot be written.
      NonFiniteError: a NaN or an infinity; the folder then holds a dump for `python -m mapush.replay`.
      SimulatorError: a simulator that cannot be loaded, a GPU that is full or gave up, or a simulator that left the
        physical world; then, too, there is a dump.
      SystemExit: stopped by a signal, after saving; see the module's docstring.
    """
    _require_one_rollout(config)
    if resume:
        return _continue(config, run_dir, make_env)
    return _begin(config, run_dir, make_env)


def train_run(run: Run, path: Path, reason: str) -> Path:
    """Train a started run in the new folder `path`, close it, and return the folder.

    Args:
      run: as `Run.start` returned it.
      path: folder of the run; it must not hold one yet.
      reason: why this simulator was chosen; the console shows it.
    Raises:
      The same errors as `train`.
    """
    with gpu_errors(lambda: _way_back(path)), contextlib.closing(run):
        with contextlib.closing(RunDir.create(run.config, path)) as folder:
            _loop(run, folder.path, reason)
    return path


def _begin(config: RunConfig, path: Optional[Path], make_env: MakeEnv) -> Path:
    path = RunDir.require_free(path or RunDir.default_path(config))
    config, reason = resolve(config)
    if config.learner == "harl":
        _train_with_harl(config, path, reason, make_env)
        return path
    with gpu_errors():
        run = Run.start(config, make_env)  # before the folder, so that a failure leaves none behind
    return train_run(run, path, reason)


def _train_with_harl(config: RunConfig, path: Path, reason: str, make_env: MakeEnv) -> None:
    from mapush.upstream.harl.harl_training import train

    with gpu_errors(), StopRequest() as stop:
        train(config, path, reason, lambda: stop.name is not None, make_env)


def _continue(config: RunConfig, path: Optional[Path], make_env: MakeEnv) -> Path:
    if path is None:
        raise ConfigError("nothing to resume", fix="name the run's folder: --resume RUN")
    if config.learner == "harl":
        cause = "HARL saves weights alone, and its loop begins at the first iteration"
        fix = "train anew under another --run-dir, or with --learner native, whose runs can be continued"
        raise ConfigError("a run of HARL cannot be continued", where=str(path), cause=cause, fix=fix)
    with contextlib.closing(RunDir.reopen(path)) as folder:
        config, reason = resolve(config)
        require_same_run(config, read_config(path), path)
        newest = checkpoints.latest(path)
        step = checkpoints.step_of(newest)
        if step >= config.total_steps:
            print(f"this run is finished: {step} of {config.total_steps} env steps")
            print(f"to train on: python -m mapush.train --resume {path} --total-steps {2 * step}")
            return path
        with gpu_errors(lambda: _way_back(path)), contextlib.closing(Run.start(config, make_env)) as run:
            run.restore(checkpoints.load(newest), newest)
            folder.write(config)
            _loop(run, path, reason)
    return path


def _way_back(folder: Path) -> str:
    """Say how to continue the run in `folder` from what it saved; "" if it saved nothing."""
    try:
        newest = checkpoints.latest(folder)
    except CheckpointError:
        return ""
    return f"{newest} is whole: --resume {folder} continues from it, with as many envs"


def _loop(run: Run, folder: Path, reason: str) -> None:
    from mapush.run.logger import RunLogger

    config = run.config
    with StopRequest() as stop, contextlib.closing(RunLogger(folder, config, run.step)) as logger:
        where = f"{run.env.simulator_name} on {run.env.device} ({reason}), learner on {run.agent.device}"
        logger.say(f"training {config.task_name} in {folder}: simulator {where}")
        if config.sim.backend == "warp":
            logger.say(capacity.outlook(config))
        speed, first = Speed(run.step), run.iteration + 1
        while run.step < config.total_steps and stop.name is None:
            before, start = run.step, run.snapshot()
            try:
                losses = run.iterate(lambda: stop.name is not None)
            except MapushError as error:
                _dump(run, start, folder, error)
                raise
            if losses is not None:
                if run.iteration == first:
                    logger.say(_outlook(config.total_steps - run.step, speed.rate(run.step)))
                _report(run, logger, speed, losses)
                if run.step // config.checkpoint_every > before // config.checkpoint_every:
                    _save(run, folder)
        _save(run, folder)
        logger.say(_farewell(run, folder, stop))


class Speed:
    """Env steps per second, since `step` env steps were taken."""

    def __init__(self, step: int) -> None:
        self._start, self._first_step = time.perf_counter(), step

    def rate(self, step: int) -> float:
        """Return the mean rate [env-steps/s] up to `step`."""
        return (step - self._first_step) / (time.perf_counter() - self._start)


def _report(run: Run, logger: RunLogger, speed: Speed, losses: Dict[str, float]) -> None:
    if run.iteration % run.config.log_interval == 0:
        metrics = run.env.metrics.summary()
        logger.report(run.step, run.iteration, speed.rate(run.step), losses, run.health, metrics)


def _outlook(steps: int, rate: float) -> str:
    hours, minutes = divmod(math.ceil(steps / rate / 60.0), 60)
    duration = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"about {duration} to go at {rate:,.0f} env-steps/s"


def _save(run: Run, folder: Path) -> None:
    checkpoints.save(run.snapshot(), checkpoints.path_of(folder, run.step))


def _dump(run: Run, start: Checkpoint, folder: Path, error: MapushError) -> None:
    """Save the state from which the iteration that failed began, and the failed envs; say how to replay them."""
    bundle = failures.keep(
        error,
        folder,
        config=run.config,
        env=run.env,
        recorder=run.recorder,
        step=run.step,
        env_state=start.run["env"],
    )
    path = checkpoints.save(start, folder / NON_FINITE)
    ways = [error.fix, f"replay it: python -m mapush.replay {path}"]
    ways += [f"the failed envs alone, on any CPU: python -m mapush.replay {bundle}"] if bundle else []
    error.fix = "; ".join(filter(None, ways))


def _farewell(run: Run, folder: Path, stop: StopRequest) -> str:
    if stop.name is not None:
        return f"stopped by {stop.name} and saved; continue with: python -m mapush.train --resume {folder}"
    return f"done; evaluate with: python -m mapush.evaluate {run.config.task_name} --checkpoint {folder}"


def _require_one_rollout(config: RunConfig) -> None:
    rollout = config.num_envs * config.num_steps * steps_per_decision(config)
    if config.total_steps < rollout:
        raise ConfigError(
            "total_steps is less than one rollout",
            got=f"--total-steps {config.total_steps}",
            expected=f"at least {rollout} = num_envs {config.num_envs} x num_steps {config.num_steps} "
            f"x steps_per_decision {steps_per_decision(config)}",
            fix="raise --total-steps, or lower --num-envs or --num-steps",
        )


# -- command line ----------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> Tuple[RunConfig, Optional[Path], bool]:
    """Return what a command line asks for: configuration, run folder, whether to resume.

    The first word may be a task; a preset, a run to resume or a HARL configuration gives the defaults from which the
    other flags differ.
    """
    task_given = bool(argv) and not argv[0].startswith("-")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--load-config", type=Path)
    known, rest = parser.parse_known_args(argv[1:] if task_given else argv)
    if known.resume is not None:
        if task_given or known.preset or known.run_dir or known.load_config:
            fix = "leave out the task, --preset, --run-dir and --load-config"
            raise ConfigError("--resume takes folder and configuration from the run", got=" ".join(argv), fix=fix)
        default = read_config(known.resume)
    else:
        default = preset(argv[0] if task_given else "cuboid", known.preset or "default")
    if known.load_config is not None:
        from mapush.upstream.harl_config import apply

        default = apply(default, known.load_config)
    config = tyro.cli(type(default), args=rest, default=default, prog="python -m mapush.train", description=_HELP)
    return config, known.resume or known.run_dir, known.resume is not None


_HELP = """Train a team to push an object, or the walking policy.

python -m mapush.train [cuboid|tblock|cylinder|walk] [flags]; cuboid is the default. Besides the flags below:
--preset default|quick|gpu|published, --run-dir DIR (default: a new one below runs/), --resume DIR (continue that run),
--load-config FILE (a HARL happo.yaml or config.json)."""


def main(argv: Optional[Sequence[str]] = None, *, make_env: MakeEnv = make_env) -> int:
    """Parse the command line and train.

    Args:
      argv: the words after the command's name; by default those of this process.
      make_env: see `train`.
    """
    share_the_cores()
    try:
        config, run_dir, resume = parse(sys.argv[1:] if argv is None else argv)
        train(config, run_dir, resume, make_env=make_env)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
