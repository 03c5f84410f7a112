"""A small run of the user's runner, watched: what the checks of a runner judge."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any, Callable, Dict, List, Optional, Set

from harness.findings import NotJudgedError
from harness.harl.harl_folder import HarlFolder
from harness.harl.harl_tables import Tables, num_agents_of
from harness.harl.run_recording import (
    EnvRecorder,
    HarlRollout,
    LogCall,
    LoggedScalar,
    StatisticsCall,
    Tee,
    arrays_of,
    copied,
    kept_output,
    watch_writer,
)
from harness.harl.settings import NUM_ROLLOUTS, NUM_STEPS, Settings
from harness.harl.toy_env import ToyMaker
from harness.harl.users_lines import UsersFiles, files_of_class, place_of
from harness.harl.users_logger import LoggersCode

ENDLESS_FACTOR = 3  # times the steps that were asked for, after which a runner is said to train for ever
MAX_DATA = 60  # steps of which what the logger was told is kept


class TrainsForEverError(BaseException):
    """Ends a run that does not end by itself; not an `Exception`, so that no handler of the user's takes it."""


@dataclasses.dataclass
class BeforeUpdate:
    """Copies of what takes part in the first update, made just before it.

    Attributes:
      actors: networks of each agent, with their optimisers.
      actor_buffers: what they are trained with.
      critic: the same of the critic.
      critic_buffer: the same.
      normalizer: of the values.
    """

    actors: List[Any]
    actor_buffers: List[Any]
    critic: Any
    critic_buffer: Any
    normalizer: Any


class Trial:
    """A run of a runner.

    Args:
      make_runner: the user's class, or a function.
      settings: of the small run.
      harl: the user's HARL.
      maker: makes the toy; None to run on the user's own environment.

    Attributes:
      runner: the runner; None if its constructor raised.
      phase: what was done last, in words.
      error: what ended the run early.
      error_in: the phase in which it was raised.
      training: the recorder of the training environment.
      rollouts: what was in the buffers before each update.
      updates: updates so far.
      logs: the calls of `episode_log`.
      scalars: the numbers that were written.
      statistics: the calls of the environment's methods that the logger's code names.
      data: what the logger's `per_step` was called with.
      steps_in_evaluations: steps of the training environment during evaluations.
      evaluations: how many there were.
    """

    def __init__(
        self, make_runner: Callable[..., Any], settings: Settings, harl: HarlFolder, maker: Optional[ToyMaker]
    ) -> None:
        self.make_runner = make_runner
        self.settings = settings
        self.harl = harl
        self.files = UsersFiles(harl.package)
        self.maker = maker
        self.tables = Tables(settings, maker)
        self.runner: Any = None
        self.phase = "making the runner"
        self.error: Optional[BaseException] = None
        self.error_in = ""
        self.training: Optional[EnvRecorder] = None
        self.rollouts: List[HarlRollout] = []
        self.before_update: Optional[BeforeUpdate] = None
        self.updates = 0
        self.logs: List[LogCall] = []
        self.scalars: List[LoggedScalar] = []
        self.statistics: List[StatisticsCall] = []
        self.data: List[Any] = []
        self.steps_in_evaluations = 0
        self.evaluations = 0
        self.notes: List[str] = []
        self._output: Optional[Tee] = None
        self._recorded = 0
        self._in_log = False

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, on_phase: Callable[[str], Any] = lambda phase: None) -> None:
        """Make the runner and train; an exception is kept, and ends the run."""
        with kept_output() as output, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._output = output
            self.tables.watch()
            try:
                on_phase(self.phase)
                self.runner = self.make_runner(self.settings.main_args, self.settings.algo_args, self.settings.env_args)
                self._watch()
                self.phase = "training"
                on_phase(self.phase)
                self.runner.run()
                self.phase = "after training"
            except (Exception, TrainsForEverError, SystemExit) as error:
                self.error, self.error_in = error, self.phase

    @property
    def envs(self) -> Any:
        """The training environment of the runner; None if it has none."""
        return getattr(self.runner, "envs", None)

    @property
    def logger(self) -> Any:
        """The logger of the runner; None if it has none."""
        return getattr(self.runner, "logger", None)

    @property
    def code(self) -> Optional[LoggersCode]:
        """What the code of the user's logger says about its environment; None if it is HARL's own."""
        if self.logger is None:
            return None
        return LoggersCode.of(type(self.logger), self.files)

    @property
    def files_of_classes(self) -> Set[str]:
        """The user's files that define runner, logger and environment."""
        files: Set[str] = set()
        for thing in (self.runner, self.logger, self.envs):
            if thing is not None:
                files |= files_of_class(type(thing), self.files)
        if isinstance(self.make_runner, type):
            files |= files_of_class(self.make_runner, self.files)
        return files

    @property
    def env_steps(self) -> int:
        """Steps of the training environment so far."""
        if self.training is None:
            return 0
        return self.training.num_steps

    @property
    def settings_of_agents(self) -> int:
        """How many agents the training environment has."""
        return num_agents_of(self.envs) or 1

    @property
    def trained_for_ever(self) -> bool:
        """Whether the run had to be ended."""
        return isinstance(self.error, TrainsForEverError)

    def require_rollouts(self) -> List[HarlRollout]:
        """Return the rollouts that were recorded completely.

        Raises:
          NotJudgedError: there are none.
        """
        complete = [rollout for rollout in self.rollouts if rollout.steps]
        if complete:
            return complete
        if self.error is not None:
            raise NotJudgedError(f"the run ended while {self.error_in}, before an update")
        raise NotJudgedError("no rollout was seen: the runner does not train through envs.step and self.train")

    # -- watching ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch the environment, the updates, the logger, the writer and the evaluation of the runner."""
        if self.envs is None:
            self.notes.append("the runner has no attribute envs: nothing of its rollouts could be watched")
            return
        agents = num_agents_of(self.envs) or 1
        with contextlib.suppress(AttributeError):
            self.training = EnvRecorder(self.envs, agents)
        with contextlib.suppress(AttributeError):
            self._watch_method("train", self._before_train)
            self._watch_evaluation()
        if self.logger is not None:
            self._watch_logger()
            self._watch_statistics()
        writer = getattr(self.runner, "writter", None)
        if writer is not None:
            watch_writer(writer, self.scalars, lambda: len(self.logs) - 1 if self._in_log else -1)

    def _watch_method(self, name: str, before: Callable[[], None]) -> None:
        original = getattr(self.runner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            before()
            return original(*arguments, **named)

        setattr(self.runner, name, watched)

    def _before_train(self) -> None:
        self.updates += 1
        self.phase = f"training, update {self.updates}"
        if self.training is not None and self.training.num_steps > ENDLESS_FACTOR * NUM_ROLLOUTS * NUM_STEPS:
            raise TrainsForEverError
        if len(self.rollouts) < NUM_ROLLOUTS and self.training is not None:
            self.rollouts.append(self._rollout(self.training))

    def _rollout(self, training: EnvRecorder) -> HarlRollout:
        steps = []
        for step in training.steps[self._recorded :]:
            if not step.evaluates:
                steps.append(step)
        previous, before = None, training.first
        if self._recorded:
            previous = training.steps[self._recorded - 1]
            before = (previous.obs, previous.share_obs)
        self._recorded = len(training.steps)
        buffers = getattr(self.runner, "actor_buffer", None)
        critic_buffer = getattr(self.runner, "critic_buffer", None)
        if not buffers or critic_buffer is None:
            return HarlRollout([], before, previous, [], {})
        if self.before_update is None:
            self.before_update = self._copies()
        normalizer = getattr(self.runner, "value_normalizer", None)
        rollout = HarlRollout(
            steps,
            before,
            previous,
            list(map(arrays_of, buffers)),
            arrays_of(critic_buffer),
            normalizer=copied(normalizer),
        )
        self._watch_advantages(rollout)
        return rollout

    def _copies(self) -> BeforeUpdate:
        runner = self.runner
        return BeforeUpdate(
            list(map(copied, runner.actor)),
            list(map(copied, runner.actor_buffer)),
            copied(runner.critic),
            copied(runner.critic_buffer),
            copied(getattr(runner, "value_normalizer", None)),
        )

    def _watch_advantages(self, rollout: HarlRollout) -> None:
        """Keep the advantages with which each actor is trained in the update that follows."""
        actors = self.runner.actor
        if self.settings.state_type == "FP" and len(set(map(id, actors))) < len(actors):
            return  # whose advantages they are is not known
        for agent, actor in enumerate(actors):
            original = getattr(actor.train, "original", actor.train)

            def train(
                buffer: Any, advantages: Any, *rest: Any, _agent: int = agent, _original: Any = original, **named: Any
            ) -> Any:
                if hasattr(advantages, "copy"):
                    rollout.advantages.setdefault(_agent, advantages.copy())
                return _original(buffer, advantages, *rest, **named)

            train.original = original  # type: ignore[attr-defined]
            with contextlib.suppress(AttributeError):
                actor.train = train

    def _watch_evaluation(self) -> None:
        original = getattr(self.runner, "eval", None)
        if original is None:
            return

        def evaluated(*arguments: Any, **named: Any) -> Any:
            training = self.training
            if training is None:
                return original(*arguments, **named)
            self.evaluations += 1
            steps, training.evaluates = training.num_steps, True
            try:
                return original(*arguments, **named)
            finally:
                training.evaluates = False
                self.steps_in_evaluations += training.num_steps - steps

        self.runner.eval = evaluated

    def _watch_logger(self) -> None:
        original = getattr(self.logger, "episode_log", None)
        output = self._output
        if original is None or output is None:
            return

        def logged(*arguments: Any, **named: Any) -> Any:
            call = LogCall(self.env_steps, self.logger_has_env(), arguments=arguments)
            self.logs.append(call)
            printed = output.length
            before = self._statistics_calls()
            self._in_log = True
            try:
                return original(*arguments, **named)
            finally:
                self._in_log = False
                call.printed = output.since(printed)
                after = self._statistics_calls()
                call.gets, call.resets = after["get"] - before["get"], after["reset"] - before["reset"]

        with contextlib.suppress(AttributeError):
            self.logger.episode_log = logged
            self._watch_data()

    def _watch_data(self) -> None:
        """Keep what the logger is told of each step."""
        original = self.logger.per_step

        def told(data: Any, *rest: Any, **named: Any) -> Any:
            if len(self.data) < MAX_DATA:
                self.data.append(data)
            return original(data, *rest, **named)

        self.logger.per_step = told

    def logger_has_env(self) -> bool:
        """Return whether an attribute of the logger is the training environment."""
        if self.envs is None:
            return False
        return any(value is self.envs for value in vars(self.logger).values())

    @property
    def kinds_of_statistics(self) -> List[str]:
        """Of each call of `statistics`, whether it reads or resets."""
        return [call.kind for call in self.statistics]

    def _statistics_calls(self) -> Dict[str, int]:
        kinds = self.kinds_of_statistics
        return {"get": kinds.count("get"), "reset": kinds.count("reset")}

    def _watch_statistics(self) -> None:
        """Watch the methods of the environment that the logger's code calls; a toy gets those that it lacks."""
        code = self.code
        if code is None:
            return
        for name in code.methods:
            kind = "reset" if name in code.resetters else "get"
            if self.maker is not None and not hasattr(self.envs, name):
                setattr(self.envs, name, getattr(self.envs, f"{kind}_statistics"))
            method = getattr(self.envs, name, None)
            if callable(method):
                self._watch_statistic(name, kind, method)

    def _watch_statistic(self, name: str, kind: str, method: Callable[..., Any]) -> None:
        def watched(*arguments: Any, **named: Any) -> Any:
            result = method(*arguments, **named)
            self.statistics.append(StatisticsCall(kind, self.env_steps, result, len(self.logs) - 1))
            return result

        with contextlib.suppress(AttributeError):
            setattr(self.envs, name, watched)

    def place_of_method(self, *names: str) -> Optional[str]:
        """Return where the runner defines the first of some methods in the user's files, else its class."""
        kind = type(self.runner)
        for name in names:
            place = place_of(getattr(kind, name, None))
            if place is not None and self.files.owns(place.rpartition(":")[0]):
                return place
        place = place_of(kind)
        if place is not None and self.files.owns(place.rpartition(":")[0]):
            return place
        return place_of(getattr(kind, names[0], kind)) or place
