"""Train a team: `python -m mapush.train [cuboid|tblock|cylinder|any|walk] [--preset quick] ...`.

A run is a loop of iterations: fill a rollout, learn from it, log, perhaps save. `Run` holds all of its state, so a run
that was killed and resumed from a checkpoint ends bit for bit like a run that was not: on the CPU, and on a GPU with
--deterministic.

Exit codes: 0 the run is finished; 2 an error, whose message is on stderr; 130 (Ctrl-C) or 143 (SIGTERM) stopped on
request, after the env step in progress, with everything saved. A second request acts immediately, without saving.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Optional, Sequence, Tuple, Union

from mapush.assembly import make_agent, make_env, resolve, share_the_cores, sizes_of
from mapush.config import RunConfig, require_trainable
from mapush.device.gpu_errors import gpu_errors
from mapush.distributed.agreed_stop import stop_of
from mapush.distributed.job_metrics import job_report
from mapush.distributed.join import job
from mapush.distributed.rank_states import gathered, scattered
from mapush.distributed.ranks import ALONE, Ranks
from mapush.distributed.shares import require_even_shares, share_of
from mapush.distributed.start_ranks import launch
from mapush.env.vec_env import team_reward
from mapush.errors import CheckpointError, ConfigError, MapushError
from mapush.run import capacity, determinism
from mapush.run import checkpoint as checkpoints
from mapush.run.announce import announce
from mapush.run.checkpoint import Checkpoint
from mapush.run.checkpoint_schedule import CheckpointSchedule
from mapush.run.failed_iteration import keep_iteration
from mapush.run.failure_bundle import DecisionRecorder
from mapush.run.farewell import farewell
from mapush.run.folder import RunFolder, how_to_continue, read_config
from mapush.run.idle_settings import refuse_idle
from mapush.run.of_other_ranks import NoFolder, NoLogger, logger_of, new_folder, old_folder
from mapush.run.progress import Speed, time_left
from mapush.run.startup import Startup, first_line
from mapush.run.stop_request import StopRequest
from mapush.run.train_arguments import parse_flags, parse_settings, start_of
from mapush.run.wandb_run import require_wandb
from mapush.sim import STANDIN
from mapush.upstream.harl import models

if TYPE_CHECKING:
    from mapush.env.vec_env import VecEnv
    from mapush.happo.happo import Happo
    from mapush.happo.rollout import Rollout
    from mapush.run.logger import RunLogger

MakeEnv = Callable[[RunConfig], "VecEnv"]
Clock = Callable[[], float]


@dataclasses.dataclass
class Run:
    """The state that changes while a run trains; a checkpoint holds it.

    Attributes:
      config: resolved configuration.
      env: the environment.
      agent: the learner.
      rollout: the rollout that is being filled.
      step: env steps taken so far, summed over envs.
      iteration: rollouts and updates done so far.
      health: the simulator's report on the last rollout.
      recorder: the states before the last decisions.
      torch_mode: what `close` undoes in torch.
      ranks: this process among those that train the same team; env and rollout are this rank's part of the run.
    """

    config: RunConfig
    env: VecEnv
    agent: Happo
    rollout: Rollout
    step: int = 0
    iteration: int = 0
    health: Dict[str, float] = dataclasses.field(default_factory=dict)
    recorder: DecisionRecorder = dataclasses.field(default_factory=DecisionRecorder)
    torch_mode: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    ranks: Ranks = ALONE

    @classmethod
    def start(cls, config: RunConfig, make_env: MakeEnv = make_env, ranks: Ranks = ALONE) -> Run:
        """Make the parts of a new run and its first observation.

        Args:
          config: resolved configuration of the complete run.
          make_env: builds the environment from the configuration of this rank's part.
          ranks: this process among those that train the same team.

        Raises:
          CapacityError: the run does not fit in the memory of the GPU; nothing was made.
          ConfigError: the run cannot be deterministic as configured; nothing was made.
        """
        share = share_of(config, ranks)
        determinism.require(config)
        capacity.require_fit(share, ranks.size)
        with contextlib.ExitStack() as on_error:
            torch_mode = on_error.enter_context(contextlib.ExitStack())
            if config.deterministic:
                torch_mode.enter_context(determinism.of_torch())
            env = make_env(share)
            on_error.callback(env.close)
            sizes = sizes_of(env)
            agent = make_agent(config, sizes, ranks=ranks)

            from mapush.happo.rollout import Rollout

            rollout = Rollout(share.num_steps, share.num_envs, device=agent.device, **sizes)
            first = env.reset()
            rollout.start(first.obs, first.share_obs, env.active)
            on_error.pop_all()
        return cls(config, env, agent, rollout, torch_mode=torch_mode, ranks=ranks)

    def close(self) -> None:
        """Release the simulator and the graphs of the learner, and let torch compute as before; repeatable."""
        self.env.close()
        self.agent.forget_graphs()
        self.torch_mode.close()

    def snapshot(self) -> Checkpoint:
        """Return a copy of the current state; later steps do not change it."""
        run = {"env": self.env.state_dict(), "rollout": self.rollout.state_dict(), "iteration": self.iteration}
        return Checkpoint(self.config, self.step, sizes_of(self.env), copy.deepcopy(self.agent.state_dict()), run)

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Continue from `saved`, which was read from `path`; without the state of the envs, in new episodes.

        Raises:
          CheckpointError: it does not fit, or it holds only a policy.
        """
        checkpoints.require_fit(saved, path, self.config.task_name, sizes_of(self.env))
        if not saved.run:
            raise CheckpointError(
                "this checkpoint holds only a policy; training cannot resume from it", where=str(path)
            )
        self.agent.load_state_dict(saved.agent)
        if "env" in saved.run:
            self.env.load_state_dict(saved.run["env"])
            self.rollout.load_state_dict(saved.run["rollout"])
        self.step = saved.step
        self.iteration = saved.run["iteration"]

    def require_equal_replicas(self) -> None:
        """Compare the learner and the counters of all ranks; with one, nothing is done.

        Raises:
          ReplicaError: on all ranks, with the first part that differs.
        """
        if self.ranks.size == 1:
            return
        from mapush.distributed.replica_check import require_equal_replicas

        state = {"learner": self.agent.state_dict(), "step": self.step, "iteration": self.iteration}
        require_equal_replicas(state, self.ranks, f"iteration {self.iteration}, env step {self.step}")

    def advance(self) -> None:
        """Take one decision in every env."""
        filled = self.rollout.step
        decision = self.agent.act(self.rollout.obs[filled], self.rollout.share_obs[filled])
        self.recorder.note(self.env, decision.action)
        actions = decision.action.to(self.env.device, copy=True)  # a copy: the env must not change the learner's
        result = self.env.step(actions)
        self.rollout.insert(
            decision,
            team_reward(result.reward, self.env.active),  # HAPPO maximises the return of the team
            result.terminated,
            result.truncated,
            result.observation.obs,
            result.observation.share_obs,
            self.env.active,
        )
        self.step += self.config.num_envs * self.env.steps_per_decision

    def iterate(self, stopped: Callable[[], bool] = lambda: False) -> Optional[Dict[str, float]]:
        """Fill the rollout, learn from it, and return the losses.

        Args:
          stopped: called before every decision; if it returns True, the iteration stays unfinished and returns None.

        Raises:
          NonFiniteError: with the env step at which a NaN or an infinity was found.
          SimulatorError: with the env step at which the physics diverged.
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


# -- training --------------------------------------------------------------------------------------------------------


def train(
    config: RunConfig,
    run_dir: Optional[Path] = None,
    resume: bool = False,
    *,
    make_env: MakeEnv = make_env,
    clock: Clock = time.monotonic,
    ranks: Ranks = ALONE,
) -> Path:
    """Train, and return the folder of the run.

    Args:
      config: the configuration; for a run that is resumed, the one it was made with, except for
        `mapush.run.folder.RESUMABLE_WITH`.
      run_dir: folder of the run; by default a new one below `runs/`.
      resume: continue the run in `run_dir` from its newest checkpoint.
      make_env: builds the environment from the configuration; pass your own to wrap or replace it.
      clock: returns the time [s]; checkpoints by time follow it.
      ranks: this process among those that train the same team; all call this function, and rank 0 writes.

    Raises:
      ConfigError: settings that cannot run.
      CheckpointError: a checkpoint does not fit or cannot be written.
      NonFiniteError: a NaN or an infinity; the folder then holds a dump for `python -m mapush.replay`.
      SimulatorError: the simulator cannot be loaded, the GPU is full or failed, or the physics diverged; the last one
        leaves a dump, too.
      SystemExit: stopped by a signal, after saving; see the module's docstring.
    """
    require_trainable(config)
    require_even_shares(config, ranks.size)
    require_wandb(config)
    if resume:
        return _resume(config, run_dir, make_env, clock, ranks)
    return _begin(config, run_dir, make_env, clock, ranks)


def _begin(config: RunConfig, run_dir: Optional[Path], make_env: MakeEnv, clock: Clock, ranks: Ranks) -> Path:
    path = ranks.share(run_dir or RunFolder.default_path(config))
    if ranks.is_main:
        RunFolder.require_free(path)
    with Startup(first_line(config), shown=ranks.is_main) as startup:
        config, reason = resolve(config)
        refuse_idle(config, standin_on_gpu=_standin_on_gpu(config))
        determinism.require(config)
        startup.doing(f"making {config.num_envs:,} envs and the learner")
        if config.learner == "harl":
            _train_with_harl(config, path, reason, make_env, clock, startup)
            return path
        with gpu_errors():
            run = Run.start(config, make_env, ranks)  # before the folder, so that a failure leaves none behind
    return train_run(run, path, reason, clock)


def train_run(run: Run, path: Path, reason: str, clock: Clock = time.monotonic) -> Path:
    """Train a started run in the new folder `path`, close it, and return the folder.

    Args:
      run: as `Run.start` returned it.
      path: folder of the run; it must not hold one yet.
      reason: why this simulator was chosen; the console shows it.
      clock: see `train`.

    Raises:
      The same errors as `train`.
    """
    with gpu_errors(lambda: how_to_continue(path)), contextlib.closing(run):
        with contextlib.closing(new_folder(run.config, path, run.ranks)):
            _loop(run, path, reason, clock)
    return path


def _train_with_harl(
    config: RunConfig, path: Path, reason: str, make_env: MakeEnv, clock: Clock, startup: Startup
) -> None:
    from mapush.upstream.harl.harl_training import train

    with gpu_errors(), StopRequest() as stop:
        train(config, path, reason, stop.requested, make_env, clock, startup.close)


def _resume(config: RunConfig, run_dir: Optional[Path], make_env: MakeEnv, clock: Clock, ranks: Ranks) -> Path:
    if run_dir is None:
        raise ConfigError("nothing to resume", fix="name the run's folder: --resume RUN")
    with contextlib.closing(old_folder(config, run_dir, ranks)) as folder:
        step = checkpoints.step_of(ranks.share(folder.newest))
        if step >= config.total_steps:
            if ranks.is_main:
                print(f"this run is finished: {step} of {config.total_steps} env steps")
                print(f"to train on: python -m mapush.train --resume {run_dir} --total-steps {2 * step}")
            return run_dir
        with Startup(first_line(config, step), shown=ranks.is_main) as startup:
            _resume_in(folder, config, make_env, clock, startup, ranks)
    return run_dir


def _resume_in(
    folder: Union[RunFolder, NoFolder],
    config: RunConfig,
    make_env: MakeEnv,
    clock: Clock,
    startup: Startup,
    ranks: Ranks,
) -> None:
    config, reason = resolve(config)
    folder.require_same_run(config)
    for change in folder.changes():
        print(change)
    refuse_idle(config, folder.config, standin_on_gpu=_standin_on_gpu(config))
    determinism.require(config)
    startup.doing(f"making {config.num_envs:,} envs and the learner")
    if isinstance(folder, RunFolder) and config.learner == "harl":
        _resume_with_harl(config, folder, reason, make_env, clock, startup)
        return
    with gpu_errors(lambda: how_to_continue(folder.path)):
        with contextlib.closing(Run.start(config, make_env, ranks)) as run:
            _restore(run, folder)
            folder.write(config)
            startup.close()
            _loop(run, folder.path, reason, clock)


def _restore(run: Run, folder: Union[RunFolder, NoFolder]) -> None:
    """Continue from the newest checkpoint, which rank 0 reads for all."""
    saved: Optional[Checkpoint] = None
    if folder.newest is not None:
        saved = checkpoints.load(folder.newest)
    part, saved_ranks = scattered(saved, run.ranks)
    run.restore(part, folder.newest or folder.path)
    if run.ranks.is_main and saved_ranks != run.ranks.size:
        print(f"saved by {saved_ranks} ranks, continued by {run.ranks.size}: every env begins a new episode")


def _standin_on_gpu(config: RunConfig) -> bool:
    if config.sim.backend != STANDIN:
        return False
    from isaac_standin import install

    return install.choose_backend(install.settings()) == "gpu"


def _resume_with_harl(
    config: RunConfig, folder: RunFolder, reason: str, make_env: MakeEnv, clock: Clock, startup: Startup
) -> None:
    from mapush.upstream.harl.harl_training import resume

    with gpu_errors(lambda: how_to_continue(folder.path)), StopRequest() as stop:
        resume(config, folder, reason, stop.requested, make_env, clock, startup.close)


def _loop(run: Run, folder: Path, reason: str, clock: Clock) -> None:
    from mapush.run.logger import RunLogger

    def make_logger() -> RunLogger:
        return RunLogger(folder, run.config, run.step)

    stop_request = stop_of(run.ranks, run.config.num_steps)
    with stop_request as stop, contextlib.closing(logger_of(run.ranks, make_logger)) as logger:
        _introduce(run, logger, folder, reason)
        run.require_equal_replicas()
        schedule = CheckpointSchedule(run.config, clock)
        speed = Speed(run.step)
        first = run.iteration + 1
        while run.step < run.config.total_steps and not stop.before_decision(run.step):
            if run.ranks.is_main:
                announce(folder, run.step)
            before = run.step
            losses = _iterate_or_dump(run, folder, logger, stop)
            if losses is None:  # stopped in the middle of a rollout
                break
            rate = speed.rate(run.step)
            if run.iteration % run.config.replica_check_every == 0:
                run.require_equal_replicas()
            if run.iteration == first:
                logger.say(time_left(run.config.total_steps - run.step, rate))
            _report(run, logger, rate, losses)
            if schedule.due_by_steps(before, run.step):
                _save(run, folder, schedule)
            elif run.ranks.share(schedule.due_by_clock()):
                _save(run, folder, schedule, by_clock=True)
        _save(run, folder, schedule)
        logger.say(farewell(run.config, folder, stop.name))


def _introduce(run: Run, logger: Union[RunLogger, NoLogger], folder: Path, reason: str) -> None:
    simulator = f"{run.env.simulator_name} on {run.env.device} ({reason})"
    logger.say(f"training {run.config.task_name} in {folder}: simulator {simulator}, learner on {run.agent.device}")
    if run.config.sim.backend == "warp":
        logger.say(capacity.outlook(share_of(run.config, run.ranks)))


def _iterate_or_dump(
    run: Run, folder: Path, logger: Union[RunLogger, NoLogger], stop: StopRequest
) -> Optional[Dict[str, float]]:
    """Do one iteration; if it fails, save the state from which it began, and say how to replay it."""

    def stopped() -> bool:
        logger.tick(run.step)
        return stop.before_decision(run.step)

    start = run.snapshot()
    try:
        return run.iterate(stopped)
    except MapushError as error:
        keep_iteration(
            error,
            start,
            folder,
            share=share_of(run.config, run.ranks),
            env=run.env,
            recorder=run.recorder,
            step=run.step,
            ranks=run.ranks,
        )
        raise


def _report(run: Run, logger: Union[RunLogger, NoLogger], rate: float, losses: Dict[str, float]) -> None:
    if run.iteration % run.config.log_interval == 0:
        metrics, health = job_report(run.ranks, run.env.metrics, run.health)
        logger.report(run.step, run.iteration, rate, losses, health, metrics)


def _save(run: Run, folder: Path, schedule: CheckpointSchedule, by_clock: bool = False) -> None:
    run.require_equal_replicas()
    saved = gathered(run.snapshot(), run.ranks)
    if run.ranks.is_main:
        schedule.saved(checkpoints.save(saved, checkpoints.path_of(folder, run.step)), by_clock)


# -- command line ----------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> Tuple[RunConfig, Optional[Path], bool]:
    """Return what a command line asks for: configuration, run folder, whether to resume.

    The first word may be a task. A preset, a run to resume or a HARL configuration gives the defaults of the other
    flags, so the flags that name them are read first.

    Raises:
      ConfigError: an unknown name, or flags that do not go together.
    """
    task, flags = parse_flags(argv)
    if flags.resume is not None:
        models.refuse_to_continue(flags.resume)
        default = read_config(flags.resume)
    else:
        default = start_of(task, flags)
    if flags.load_config is not None:
        from mapush.upstream.harl_config import apply

        default = apply(default, flags.load_config)
    config = parse_settings(argv, flags, default)
    return config, flags.resume or flags.run_dir, flags.resume is not None


def main(argv: Optional[Sequence[str]] = None, *, make_env: MakeEnv = make_env) -> int:
    """Parse the command line and train.

    Args:
      argv: the words after the command's name; by default those of this process.
      make_env: see `train`; the processes that --gpus starts do not have it.

    Returns:
      The exit code.
    """
    share_the_cores()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with job() as here:
            config, run_dir, resume = parse(words)
            gpus = parse_flags(words)[1].gpus
            if gpus is not None:
                return launch(words, gpus, config, here.place)
            train(config, run_dir, resume, make_env=make_env, ranks=here.join(config))
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
