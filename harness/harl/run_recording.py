"""What happens in a small run: the steps of the environments, the rollouts before each update, and what is logged."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from harness.interface.infos import TRUNCATION

MAX_RECORDED = 2000  # steps of an environment


@dataclasses.dataclass
class RecordedStep:
    """What went into a step of an environment and came out of it, as copies.

    Attributes:
      actions: what it was given.
      obs: what it returned, like `share_obs`, `rewards` and `dones`; None if it is no array.
      flags: `bad_transition` of each agent, (N, A); NaN where HARL would find no dict.
      evaluates: whether the step was taken during an evaluation.
    """

    actions: Any
    obs: Any
    share_obs: Any
    rewards: Any
    dones: Any
    flags: Any
    evaluates: bool


class EnvRecorder:
    """Records the steps of an environment.

    Args:
      env: the environment, whose `step` and `reset` are watched from now on.
      num_agents: A.

    Attributes:
      steps: what was recorded.
      first: obs and share_obs of the last reset.
      returned: what the last call returned, as it is.
      last_call: "reset" or "step".
      num_steps: steps so far.
      evaluates: whether an evaluation runs at present.
    """

    def __init__(self, env: Any, num_agents: int) -> None:
        self.env = env
        self.steps: List[RecordedStep] = []
        self.first: Tuple[Any, Any] = (None, None)
        self.returned: Any = None
        self.last_call = ""
        self.num_steps = 0
        self.evaluates = False
        self._num_agents = num_agents
        self._step, self._reset = env.step, env.reset
        env.step, env.reset = self._watched_step, self._watched_reset

    def _watched_reset(self, *arguments: Any, **named: Any) -> Any:
        self.last_call = "reset"
        self.returned = self._reset(*arguments, **named)
        with contextlib.suppress(TypeError, ValueError):
            obs, share_obs, _ = self.returned
            self.first = (_copy(obs), _copy(share_obs))
        return self.returned

    def _watched_step(self, actions: Any, *arguments: Any, **named: Any) -> Any:
        given = _copy(actions)
        self.last_call = "step"
        self.returned = self._step(actions, *arguments, **named)
        self.num_steps += 1
        with contextlib.suppress(TypeError, ValueError):
            obs, share_obs, rewards, dones, infos, _ = self.returned
            flags = self._flags(infos)
            step = RecordedStep(
                given, _copy(obs), _copy(share_obs), _copy(rewards), _copy(dones), flags, self.evaluates
            )
            if len(self.steps) < MAX_RECORDED:
                self.steps.append(step)
        return self.returned

    def _flags(self, infos: Any) -> np.ndarray:
        flags = np.full((len(infos), self._num_agents), np.nan)
        for env, info in enumerate(infos):
            for agent in range(self._num_agents):
                with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
                    flags[env, agent] = bool(info[agent].get(TRUNCATION) == True)  # noqa: E712
        return flags


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return None


@dataclasses.dataclass
class HarlRollout:
    """The buffers of a runner before an update, and the steps that should be in them.

    Attributes:
      steps: the steps of the training environment.
      before: obs and share_obs before the first of them.
      previous: the last step of the rollout before; None in the first rollout.
      actor_buffers: arrays of the buffer of each actor, by name.
      critic_buffer: the same of the critic.
      advantages: what each actor was trained with, by agent.
      normalizer: the value normaliser before the update; None if there is none.
    """

    steps: List[RecordedStep]
    before: Tuple[Any, Any]
    previous: Optional[RecordedStep]
    actor_buffers: List[Dict[str, np.ndarray]]
    critic_buffer: Dict[str, np.ndarray]
    advantages: Dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    normalizer: Any = None


def arrays_of(buffer: Any) -> Dict[str, np.ndarray]:
    """Return copies of the arrays of a buffer, by name."""
    arrays = {}
    for name, value in vars(buffer).items():
        if isinstance(value, np.ndarray):
            arrays[name] = value.copy()
    return arrays


@dataclasses.dataclass
class LoggedScalar:
    """A number that was written.

    Attributes:
      tag: its name.
      value: the number.
      step: the number of env steps that was given.
      log: the number of the log, counted from 0, in which it was written.
    """

    tag: str
    value: float
    step: Any
    log: int


@dataclasses.dataclass
class StatisticsCall:
    """A call of a method of the environment that reads or resets statistics.

    Attributes:
      kind: "get" or "reset".
      env_steps: steps of the training environment so far.
      result: what it returned.
      log: the number of the log, counted from 0; -1 before the first.
    """

    kind: str
    env_steps: int
    result: Any
    log: int


@dataclasses.dataclass
class LogCall:
    """A call of the logger's `episode_log`.

    Attributes:
      env_steps: steps of the training environment so far.
      has_env: whether an attribute of the logger was the training environment.
      printed: what was printed meanwhile.
      gets: calls of the environment's methods that read statistics, meanwhile.
      resets: calls of its methods that reset them, meanwhile.
      arguments: what it was called with.
    """

    env_steps: int
    has_env: bool
    printed: str = ""
    gets: int = 0
    resets: int = 0
    arguments: Tuple[Any, ...] = ()


class Tee(io.TextIOBase):
    """Writes to a stream, and keeps what was written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._kept = io.StringIO()

    def write(self, text: str) -> int:
        """Write text."""
        self._kept.write(text)
        self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    @property
    def length(self) -> int:
        """How many characters were written so far."""
        return self._kept.tell()

    def since(self, length: int) -> str:
        """Return what was written after the first `length` characters."""
        return self._kept.getvalue()[length:]


@contextlib.contextmanager
def kept_output() -> Any:
    """Keep what is printed, besides printing it."""
    tee = Tee(sys.stdout)
    with contextlib.redirect_stdout(tee):
        yield tee


def watch_writer(writer: Any, scalars: List[LoggedScalar], log: Callable[[], int]) -> None:
    """Record every number that a TensorBoard writer is given.

    Args:
      writer: the writer.
      scalars: to which the numbers are added.
      log: returns the number of the present log.
    """

    def keep(tag: str, value: Any, step: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):
            scalars.append(LoggedScalar(tag, float(value), step, log()))

    add_scalars: Any = getattr(writer, "add_scalars", None)
    add_scalar: Any = getattr(writer, "add_scalar", None)

    def watched_scalars(main_tag: str, values: Any, global_step: Any = None, *rest: Any, **named: Any) -> Any:
        with contextlib.suppress(AttributeError, TypeError):
            for tag, value in values.items():
                keep(f"{main_tag}/{tag}", _number(value), global_step)
        return add_scalars(main_tag, values, global_step, *rest, **named)

    def watched_scalar(tag: str, value: Any, global_step: Any = None, *rest: Any, **named: Any) -> Any:
        keep(tag, _number(value), global_step)
        return add_scalar(tag, value, global_step, *rest, **named)

    with contextlib.suppress(AttributeError):
        if add_scalars is not None:
            writer.add_scalars = watched_scalars
        if add_scalar is not None:
            writer.add_scalar = watched_scalar


def _number(value: Any) -> Any:
    if hasattr(value, "detach"):
        return value.detach().cpu()
    return value


def copied(thing: Any) -> Any:
    """Return a deep copy of a network or buffer; None if it cannot be copied."""
    try:
        return copy.deepcopy(thing)
    except Exception:
        return None
