"""What the contracts of an environment work on: a factory, the sizes of its environments, and the runs they share."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar

from harness.apis.env_view import EnvView
from harness.contracts.comparison import first_divergence
from harness.contracts.effort import USUAL_EFFORT, Effort
from harness.contracts.episode_spans import advice_for_more
from harness.contracts.factory_call import EnvFactory, Recipe, close_quietly, seed_global_generators
from harness.contracts.long_run import FIT, RUNGS, LongRunPlan, drive_far
from harness.contracts.registry import step_checks
from harness.contracts.task import Task
from harness.contracts.time_shares import TimeShares
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.far_env import FarEnv, of_env, player_of
from harness.interface.harl_forms import HarlForms, JudgedFor, upstream
from harness.interface.moment import StepCheck, StepErrors
from harness.interface.player import Player, Seen
from harness.interface.spaces import Sizes, read_sizes

LONG_RUN_SHARE = 0.2  # of the budget
MIN_COMPARED_STEPS = 8  # however little time there is
LOAD = "the verdict may depend on how busy the machine is"
ONE_PER_PROCESS = "the environment is built once in a process, and this is about several"
NUM_ENVS_CANDIDATES = (5, 7, 11, 13, 17)  # the first that equals no other size is used

Fact = TypeVar("Fact")


def _leave_as_it_is(error: ContractError, contract: str, subject: EnvUnderTest) -> None:
    pass


class EnvUnderTest(TimeShares):
    """A factory of environments under test.

    Args:
      make_env: the factory.
      kwargs: its fixed arguments.
      task: what the user states about the task, or None.
      seed: seed for environments and actions.
      budget_s: how long all contracts may take together [s].
      shares: factor of the share of the budget that each contract may take; more than 1 if only few contracts run.
      effort: upper limits of the work.
      harl: returns what the user's HARL accepts.
      one_per_process: build each environment in a process of its own, one at a time.
      api: name of the interface of the environments; "" to recognise it.

    Attributes:
      errors: the first error of each contract at a step of any run. Players record them, `check_env` reports them.
      notes: what the reader of the report should know. Contracts write them.
      build_s: how long the last call of the factory took [s].
      step_s: how long a step takes [s], measured in the run that was played last.
      make_env: the factory.
      one_per_process: whether each environment is in a process of its own.
      forms: names of the contracts that run, if all of them are about forms, else none.
      complete: adds to a broken contract what is known of its cause; `check_env` sets it.
      running: name of the contract that runs.
      env_class: class of the environment that was built last; None before the first one.
    """

    def __init__(
        self,
        make_env: Callable[..., Any],
        kwargs: Optional[Dict[str, Any]] = None,
        task: Optional[Task] = None,
        *,
        seed: int = 0,
        budget_s: float = 60.0,
        shares: float = 1.0,
        effort: Effort = USUAL_EFFORT,
        harl: Callable[[], HarlForms] = upstream,
        one_per_process: bool = False,
        api: str = "",
    ) -> None:
        super().__init__(budget_s, shares)
        self.task = task
        self.seed = seed
        self.effort = effort
        self.notes: List[str] = []
        self.errors = StepErrors(JudgedFor(harl, task.state_type if task else "EP", self.notes))
        self.build_s = 0.0
        self.step_s = 0.0
        self.make_env = make_env
        self.one_per_process = one_per_process
        self.forms: Sequence[str] = ()
        self.complete: Callable[..., None] = _leave_as_it_is
        self.env_class: Optional[type] = None
        self._make_env = make_env
        self._kwargs = dict(kwargs or {})
        self._factory = EnvFactory(make_env, self._kwargs, api)
        self._api = api
        self._long_step_s = 0.0
        self._num_envs: Optional[int] = None
        self._sizes: Optional[Sizes] = None
        self._long_run: Optional[Player] = None
        self._replayed: Optional[List[Seen]] = None
        self._failure: Optional[Exception] = None
        self._facts: Dict[Callable[..., Any], Any] = {}
        self._far: Optional[FarEnv] = None
        self._num_far = 0
        self.running = ""
        self._shortened: List[str] = []

    @property
    def varied(self) -> Dict[str, str]:
        """What the factory lets vary of "num_envs", "num_agents" and "seed", and the names of these arguments."""
        return self._factory.varied

    @property
    def sizes(self) -> Sizes:
        """The sizes of the environments.

        Raises:
          ContractError: the factory or the spaces are broken.
        """
        if self._sizes is None:
            self._sizes = self._choose_sizes()
        return self._sizes

    @property
    def known_sizes(self) -> Optional[Sizes]:
        """The sizes of the environments; None if they have not been read, or cannot be."""
        return self._sizes

    def once(self, find: Callable[[EnvUnderTest], Fact]) -> Fact:
        """Return what `find` returns for this environment; it is called only the first time.

        Several contracts may need a fact that is expensive to find, such as a run. A fact has one function that finds
        it, and whoever needs the fact asks for it by that function.
        """
        if find not in self._facts:
            self._facts[find] = find(self)
        return self._facts[find]

    def build(self, seed: Optional[int] = None, **sizes: int) -> Any:
        """Call the factory.

        Args:
          seed: seed of the environment, by default the seed of the check.
          sizes: `num_envs` and `num_agents` if they differ from the usual ones; ignored if the factory takes none.

        Raises:
          ContractError: the factory raised or returned something else (contract "factory").
        """
        if seed is None:
            seed = self.seed
        if self._num_envs is not None:
            sizes.setdefault("num_envs", self._num_envs)
        started = time.perf_counter()
        if self.one_per_process:
            env = self._build_far(seed, sizes)
        else:
            env = self._build_here(seed, sizes)
        self.build_s = time.perf_counter() - started
        return env

    def _build_here(self, seed: int, sizes: Dict[str, int]) -> Any:
        env = self._factory.build(seed, **sizes)
        self.env_class = type(env)
        if self._factory.view is not None:
            self.env_class = type(self._factory.view.env)
            self._note_all(self._factory.view)
        return env

    def _note_all(self, view: EnvView) -> None:
        """Let the report say which interface was recognised, and what its view has to say."""
        for note in [f"interface: {view.api}", *view.notes]:
            if note not in self.notes:
                self.notes.append(note)

    @property
    def unjudged(self) -> Dict[str, str]:
        """The contracts that do not apply to the interface of the environments, each with the reason."""
        view = self._factory.view
        if view is None:
            return {}
        return {name: f"{view.api}: {reason}" for name, reason in view.unjudged.items()}

    @property
    def api(self) -> str:
        """Name of the interface of the environments if they are seen through a view, else ""."""
        view = self._factory.view
        if view is None:
            return ""
        return view.api

    def step_checks(self) -> List[StepCheck]:
        """Return the checks of every step that apply to the interface of the environments."""
        unjudged = self.unjudged
        return [check for check in step_checks() if check.contract not in unjudged]

    def require_applies(self, name: str) -> None:
        """Give up a contract that does not apply to the interface of the environments.

        Raises:
          NotJudgedError: it does not apply.
        """
        if name != "factory" and self._sizes is None:
            self._sizes = self._choose_sizes()
        if name in self.unjudged:
            raise NotJudgedError(self.unjudged[name])

    def _build_far(self, seed: int, sizes: Dict[str, int]) -> Any:
        """Build an environment in a new process, after the end of the one before."""
        if self._far is not None:
            close_quietly(self._far)
        self._num_far += 1
        number = self._num_far

        def make() -> Any:
            seed_global_generators(number)  # as this process has them in the same state every time
            return self._build_here(seed, sizes)

        def settle(error: ContractError) -> None:
            self.complete(error, error.contract or "step-form", self)

        self._far = FarEnv(make, settle, self.errors.judged_for)
        self.env_class = self._far.env_class
        return self._far

    def require_several_in_a_process(self) -> None:
        """Give up the running contract if a process can hold only one environment.

        Raises:
          NotJudgedError: it can.
        """
        if self.one_per_process:
            raise NotJudgedError(ONE_PER_PROCESS)

    def recipe(self) -> Recipe:
        """Return how to build the environment in a different process."""
        self._sizes = self.sizes  # which number of envs it has
        return Recipe(self._make_env, self._kwargs, self.seed, self._num_envs, self._api)

    def player(self, seed: Optional[int] = None, scribble: bool = False, watch: bool = True) -> Player:
        """Build an environment and reset it.

        Args:
          seed: seed of the environment, by default the seed of the check.
          scribble: whether to overwrite everything that the environment returns.
          watch: whether to make the step checks; not needed if a watched run is played again.
        """
        sizes = self.sizes
        checks = []
        if watch:
            checks = self.step_checks()
        player = player_of(self.build(seed), sizes, self.errors, checks, scribble)
        player.before_step = self.require_time
        player.reset()
        return player

    def long_run(self) -> Player:
        """Return the run that most contracts look at: every kind of actions, for as many steps as time allows.

        Raises:
          ContractError: the run failed; everyone who asks gets the same error.
        """
        if self._failure is not None:
            raise self._failure
        if self._long_run is None:
            try:
                player = self.player()
                share_s, most_s = self.time_for(LONG_RUN_SHARE), self.time_for(FIT * LONG_RUN_SHARE)
                forms = bool(self.forms)
                plan = LongRunPlan(self.effort.long_run_steps, share_s, most_s, forms, self._forms_are_broken)
                self.step_s = drive_far(player, ActionDriver(self.sizes, self.seed), plan)
                self._long_step_s = self.step_s
            except Exception as error:
                self._failure = error
                raise
            self._long_run = player
            steps = len(player.seen) - 1
            ends = sum(int(seen.ended.sum()) for seen in player.seen[1:])
            self.notes.append(f"long run: {steps} steps of {self.sizes.num_envs} envs, {ends} episodes")
        return self._long_run

    def _forms_are_broken(self) -> bool:
        """Whether only forms are looked at, and all of them are broken already."""
        return bool(self.forms) and all(self.errors.of(name) is not None for name in self.forms)

    def replay(self, steps: int, scribble: bool = False) -> List[Seen]:
        """Play the first steps of the long run again in a new environment, and return what is seen."""
        player = self.player(scribble=scribble, watch=False)
        started = time.perf_counter()
        player.replay(self.long_run().seen[1 : steps + 1])
        if steps:  # steps without checks take less time than those of the long run
            self.step_s = (time.perf_counter() - started) / steps
        close_quietly(player.env)
        return player.seen

    @property
    def replayed(self) -> List[Seen]:
        """The long run played again, for as many steps as time allows."""
        if self._replayed is None:
            steps = self.steps(len(self.long_run().seen) - 1, runs=1)
            self._replayed = self.replay(steps)
        return self._replayed

    def require_same_again(self) -> None:
        """Give up the running contract if runs cannot be compared.

        Raises:
          NotJudgedError: the same seed and the same actions give a different run.
        """
        if first_divergence(self.long_run().seen, self.replayed) is not None:
            raise NotJudgedError("the same seed gives a different run, so runs cannot be compared")

    def steps(self, wanted: int, runs: int, share: float = 0.1) -> int:
        """Return how many steps each of several runs may take.

        Args:
          wanted: the most steps that are useful.
          runs: the number of runs, each in a new environment.
          share: share of the budget for all of them.

        Returns:
          At least `MIN_COMPARED_STEPS`.
        """
        self.long_run()
        left_s = self.time_for(share) - runs * self.build_s
        affordable = left_s / (runs * max(self.step_s, 1e-6))
        if wanted <= FIT * affordable:
            return max(wanted, MIN_COMPARED_STEPS)
        if self.running not in self._shortened:
            self._shortened.append(self.running)
        return max(rung for rung in RUNGS if rung <= max(affordable, MIN_COMPARED_STEPS))

    def note_shortage(self) -> None:
        """Say in the notes where the time was too short for the usual number of steps."""
        if self._long_run is None:
            return
        steps, usual = len(self._long_run.seen) - 1, self.effort.long_run_steps
        where = ", ".join(filter(None, self._shortened))
        if steps < usual and not self.forms:
            budget = math.ceil(usual * self._long_step_s / (LONG_RUN_SHARE * self._shares))
            short = f"time for {steps:,} of {usual:,} steps in the long run"
            self.notes.append(f"{short}: {LOAD}; --budget {budget} has it")
        elif where:
            self.notes.append(f"time for fewer steps than usual in {where}: {LOAD}; a larger --budget has it")

    def too_few(self, what: str, seen: int, needed: int) -> NotJudgedError:
        """Return the reason why a contract cannot be judged if the long run shows too little.

        Args:
          what: what it shows too little of, in the plural.
          seen: how many it shows.
          needed: how many are needed.
        """
        steps = len(self.long_run().seen) - 1
        reason = f"{seen} {what} in {steps:,} steps, {needed} are needed"
        most = self.effort.long_run_steps
        if steps >= most:
            advice = advice_for_more(self.long_run().seen)
            if not seen and advice:
                reason += f"; no budget gives more: {advice}"
            return NotJudgedError(reason)
        wanted = most
        if seen:
            wanted = min(most, math.ceil(1.2 * steps * needed / seen))
        budget = math.ceil(wanted * self._long_step_s / (LONG_RUN_SHARE * self._shares))
        return NotJudgedError(f"{reason}; --budget {budget} allows {wanted:,} steps")

    def _choose_sizes(self) -> Sizes:
        sizes = self._read_sizes()
        if "num_envs" in self.varied:
            others = (sizes.num_agents, sizes.obs_dim, sizes.share_obs_dim, sizes.action_dim)
            self._num_envs = next(count for count in NUM_ENVS_CANDIDATES if count not in others)
            sizes = self._read_sizes()
        if sizes.num_envs == 1:
            raise ContractError(
                "the environment has only one env",
                contract="factory",
                got=str(sizes),
                expected="at least two: with one, HARL silently broadcasts wrong shapes",
                fix="let the factory take num_envs, or build a larger batch",
            )
        if sizes.alike():
            equal = ", ".join(sizes.alike())
            self.notes.append(f"equal sizes ({equal}): a swap of these axes may go unnoticed")
        return sizes

    def _read_sizes(self) -> Sizes:
        env = self.build()
        try:
            return of_env(env, read_sizes, self._num_envs)
        finally:
            close_quietly(env)
