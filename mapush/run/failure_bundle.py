"""The bundle of a failed run: the envs that failed, their states before the last decisions, and the actions.

A bundle is small and self-contained. On any machine, without a GPU, `mapush.replay` repeats these decisions on the
CPU simulator, whichever simulator the run used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Sequence

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.errors import CheckpointError, MapushError, NonFiniteError, SimulatorError
from mapush.run.versions import versions

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import VecEnv

    Moment = Dict[str, torch.Tensor]

FORMAT = "mapush failure 1"
FILE = "failure.pt"
KEPT_DECISIONS = 4
MAX_ENVS = 8
MAX_SPEED = 1000.0  # of a body or joint that has not diverged [m/s or rad/s]
UNCHECKED = ("action", "_previous_object_xy")  # NaN here is a cause of failure, or means "unknown"

_ENVS_IN_ERROR = re.compile(r"\b(?:num_envs|envs?) (\d+(?:, \d+)*)")


class DecisionRecorder:
    """Keeps the state of every env before the last decisions, and the actions.

    On a GPU a failure is noticed only at the end of the rollout. There, an env whose state is no longer physical keeps
    its last physical state.
    """

    def __init__(self) -> None:
        self._table: Optional[_Table] = None
        self._past: Deque[torch.Tensor] = deque(maxlen=KEPT_DECISIONS)

    def note(self, env: VecEnv, action: torch.Tensor) -> None:
        """Record the state of every env and the action (E, A, action_dim) that it is about to take."""
        import torch

        moment = env.moment()
        if not moment:
            return
        some_tensor = next(iter(moment.values()))
        moment = dict(moment, action=action.to(some_tensor.device))
        if self._table is None:
            self._table = _Table(moment)
        rows = self._table.pack(moment)
        if env.device.type != "cpu" and self._past:
            physical = self._table.is_physical(rows)
            rows = torch.where(physical.unsqueeze(1), rows, self._past[-1])
        self._past.append(rows)

    def transitions(self, env_ids: Sequence[int]) -> List[Moment]:
        """Return the recorded moments of some envs, oldest first, on the CPU; the last one precedes the failure."""
        if self._table is None:
            return []
        moments = []
        previous: Optional[torch.Tensor] = None
        for recorded in self._past:
            rows = recorded[list(env_ids)].cpu()
            if previous is None or not _same(rows, previous):
                moments.append(self._table.unpack(rows))
            previous = rows
        return moments

    def unphysical_envs(self, env: VecEnv) -> List[int]:
        """Return the envs in which a value is not finite or a speed exceeds `MAX_SPEED`."""
        moment = env.moment()
        if not moment or self._table is None:
            return []
        last = self._table.unpack(self._past[-1])
        rows = self._table.pack(dict(moment, action=last["action"]))
        physical = self._table.is_physical(rows)
        return (~physical).nonzero().flatten().tolist()


class _Table:
    """Packs a moment into one tensor with a row for each env, so that a GPU launches few kernels.

    Args:
      moment: an example of the moments to pack.
    """

    def __init__(self, moment: Moment) -> None:
        import torch

        names = sorted(moment, key=lambda name: name in UNCHECKED)  # unchecked columns come last
        self._columns = [(name, moment[name].shape[1:], moment[name].dtype) for name in names]
        limits = []
        for name, shape, _ in self._columns:
            if name in UNCHECKED:
                continue
            limit = MAX_SPEED if "vel" in name else math.inf
            limits.append(torch.full((shape.numel(),), limit, device=moment["action"].device))
        self._limits = torch.cat(limits)

    def pack(self, moment: Moment) -> torch.Tensor:
        """Return a moment as (E, D) float32."""
        import torch

        parts = []
        for name, shape, _ in self._columns:
            value = moment[name]
            parts.append(value.reshape(len(value), shape.numel()).float())
        return torch.cat(parts, dim=1)

    def unpack(self, rows: torch.Tensor) -> Moment:
        """Invert `pack`."""
        moment = {}
        start = 0
        for name, shape, dtype in self._columns:
            end = start + shape.numel()
            moment[name] = rows[:, start:end].reshape((len(rows),) + tuple(shape)).to(dtype)
            start = end
        return moment

    def is_physical(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (E,) bool: every checked value is finite and no speed exceeds `MAX_SPEED`."""
        checked = rows[:, : len(self._limits)]
        return (checked.abs() < self._limits).all(dim=1)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    equal = (one == other) | (one.isnan() & other.isnan())
    return bool(equal.all())


@dataclasses.dataclass(frozen=True)
class Failure:
    """Some envs that failed, and how.

    Attributes:
      config: configuration of the run, with its seed.
      env_ids: indices of these envs in the run.
      step: env steps that the run had taken.
      error: the error that ended the run: `kind`, `what` and the other fields of a `MapushError`.
      transitions: as returned by `DecisionRecorder.transitions`.
      fields: physics parameters that differ between envs, each (n, ...).
      versions: versions of Python and of the packages.
    """

    config: RunConfig
    env_ids: List[int]
    step: int
    error: Dict[str, str]
    transitions: List[Moment]
    fields: Moment
    versions: Dict[str, str]

    def save(self, path: Path) -> Path:
        """Write the bundle and return its path."""
        import torch

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values.update(format=FORMAT, config=to_dict(self.config))
        torch.save(values, str(path))
        return path

    @classmethod
    def load(cls, path: Path) -> Failure:
        """Read a bundle; nothing in it is executed.

        Raises:
          CheckpointError: the file is not a bundle.
        """
        values = _read(path)
        if values.pop("format", None) != FORMAT:
            raise CheckpointError("not the bundle of a failed run", where=str(path))
        values["config"] = run_config_from_dict(values["config"])
        return cls(**values)


def _read(path: Path) -> Dict[str, Any]:
    import torch

    try:
        values = torch.load(str(path), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        message = str(error) or type(error).__name__
        raise CheckpointError("this file cannot be replayed", where=str(path), got=message.splitlines()[0]) from error
    if not isinstance(values, dict):
        return {}
    return dict(values)


def is_failure(path: Path) -> bool:
    """Return whether a file is such a bundle; an unreadable file is not."""
    with contextlib.suppress(CheckpointError):
        return _read(path).get("format") == FORMAT
    return False


def keep(
    error: MapushError,
    path: Path,
    *,
    config: RunConfig,
    env: VecEnv,
    recorder: DecisionRecorder,
    step: int,
    env_state: Dict[str, Any],
) -> Optional[Path]:
    """Write the bundle of a failed run; return its path, or None if there is nothing to write.

    Args:
      error: the error that ended the run.
      path: where the bundle is written.
      config: configuration of the run.
      env: the environment, as the failure left it.
      recorder: the last decisions.
      step: env steps that the run had taken.
      env_state: `env.state_dict()` from the beginning of the iteration.
    """
    env_ids = failed_envs(env, recorder, error)[:MAX_ENVS]
    transitions = recorder.transitions(env_ids)
    if not env_ids or not transitions:
        return None
    fields = {name: value[env_ids].cpu() for name, value in physics_fields(env_state).items()}
    failure = Failure(
        config=config,
        env_ids=env_ids,
        step=step,
        error=_fields_of(error),
        transitions=transitions,
        fields=fields,
        versions=versions(),
    )
    with contextlib.suppress(OSError, RuntimeError):  # a full disk must not hide the error itself
        return failure.save(path)
    return None


def _fields_of(error: MapushError) -> Dict[str, str]:
    """Return the kind and the fields of an error that are set."""
    fields = {}
    for name in ("what", "where", "got", "expected", "cause"):
        value = getattr(error, name)
        if value:
            fields[name] = value
    fields["kind"] = type(error).__name__
    return fields


def physics_fields(env_state: Dict[str, Any]) -> Moment:
    """Return the physics parameters that differ between envs, from the `state_dict` of an environment."""
    state = env_state.get("simulator", env_state)
    return state.get("physics", {}).get("fields", {})


def failed_envs(env: VecEnv, recorder: DecisionRecorder, error: MapushError) -> List[int]:
    """Return the envs that an error is about.

    These are the envs that the error names; else, after a failure of the physics, the envs whose state is not physical;
    else, after a broken contract, all of them.
    """
    named = _ENVS_IN_ERROR.search(error.where or "")
    if named:
        numbers = [int(number) for number in named.group(1).split(", ")]
        return [number for number in numbers if number < env.num_envs]
    if not isinstance(error, (NonFiniteError, SimulatorError)):
        return list(range(env.num_envs))
    return recorder.unphysical_envs(env)
