"""What a run leaves when it fails: the envs that failed, as they were before their last decisions, and the actions.

Such a bundle is small and stands for itself: on any machine, without a GPU, it takes these decisions again on the CPU
simulator, whichever simulator they were taken on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Sequence, Tuple

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.errors import CheckpointError, MapushError, NonFiniteError, SimulatorError
from mapush.run.checkpoint import Checkpoint
from mapush.run.versions import versions

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import VecEnv
    from mapush.train import Run

    Moment = Dict[str, torch.Tensor]

FORMAT = "mapush failure 1"
FILE = "failure.pt"
TRANSITIONS = 4  # decisions that are kept
MOST_ENVS = 8
UNCHECKED = ("action", "_previous_object_xy")  # a NaN there is a reason to fail, or means that it is not known
WILD = 1000.0  # of a velocity [m/s or rad/s]; what moves faster has diverged


class DecisionRecorder:
    """Keeps where every env was before the last decisions, and the actions.

    On a GPU, where a failure is noticed at the end of the rollout, an env that has left the physical world keeps what
    it was before that.
    """

    def __init__(self) -> None:
        self._table: Optional[_Table] = None
        self._past: Deque[torch.Tensor] = deque(maxlen=TRANSITIONS)

    def note(self, env: VecEnv, action: torch.Tensor) -> None:
        """Remember where every env is and what is to be done there, (E, A, action_dim)."""
        import torch

        moment = env.moment()
        if not moment:
            return
        moment = dict(moment, action=action.to(next(iter(moment.values())).device))
        self._table = self._table or _Table(moment)
        rows = self._table.pack(moment)
        if env.device.type != "cpu" and self._past:
            rows = torch.where(self._table.sane(rows).unsqueeze(1), rows, self._past[-1])
        self._past.append(rows)

    def transitions(self, env_ids: Sequence[int]) -> List[Moment]:
        """Return the moments of some envs, oldest first, on the CPU; the last one is before the failure."""
        rows = [rows[list(env_ids)].cpu() for rows in self._past]
        changes = [index == 0 or not _same(one, rows[index - 1]) for index, one in enumerate(rows)]
        return [self._table.unpack(one) for one, changed in zip(rows, changes) if changed]

    def insane(self, env: VecEnv) -> List[int]:
        """Return the envs in which something is not finite or moves impossibly fast."""
        moment = env.moment()
        if not moment or self._table is None:
            return []
        action = self._table.unpack(self._past[-1])["action"]
        return (~self._table.sane(self._table.pack(dict(moment, action=action)))).nonzero().flatten().tolist()


class _Table:
    """Moments as one tensor, with a row for each env, so that a GPU has little to launch.

    Args:
      moment: one of those that are to be packed.
    """

    def __init__(self, moment: Moment) -> None:
        import torch

        names = sorted(moment, key=lambda name: name in UNCHECKED)
        self._columns = [(name, moment[name].shape[1:], moment[name].dtype) for name in names]
        device = moment["action"].device
        limits = [
            torch.full((shape.numel(),), WILD if "vel" in name else math.inf, device=device)
            for name, shape, _ in self._columns
            if name not in UNCHECKED
        ]
        self._limits = torch.cat(limits)

    def pack(self, moment: Moment) -> torch.Tensor:
        """Return a moment as (E, D) float32."""
        import torch

        parts = [moment[name].reshape(len(moment[name]), shape.numel()) for name, shape, _ in self._columns]
        return torch.cat([part.float() for part in parts], dim=1)

    def unpack(self, rows: torch.Tensor) -> Moment:
        """Return what `pack` was given."""
        parts = rows.split([shape.numel() for _, shape, _ in self._columns], dim=1)
        return {
            name: part.reshape((len(rows),) + tuple(shape)).to(dtype)
            for part, (name, shape, dtype) in zip(parts, self._columns)
        }

    def sane(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (E,) bool: what is checked is finite, and nothing moves impossibly fast."""
        return (rows[:, : len(self._limits)].abs() < self._limits).all(dim=1)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


@dataclasses.dataclass(frozen=True)
class Failure:
    """Some envs that failed, and how.

    Attributes:
      config: of the run, with its seed.
      env_ids: which of the run's envs they are.
      step: env steps that the run had taken.
      error: what it died of: `kind`, `what` and the fields of a `MapushError`.
      transitions: what `DecisionRecorder.transitions` returned.
      fields: of the physics, that differ from env to env, each (n, ...).
      versions: of Python and of the packages.
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
        torch.save(dict(values, format=FORMAT, config=to_dict(self.config)), str(path))
        return path

    @classmethod
    def load(cls, path: Path) -> Failure:
        """Read a bundle; nothing in it is executed.

        Raises:
          CheckpointError: it is not one.
        """
        values = _read(path)
        if values.pop("format", None) != FORMAT:
            raise CheckpointError("this is no bundle of a failed run", where=str(path))
        return cls(**dict(values, config=run_config_from_dict(values["config"])))


def _read(path: Path) -> Dict[str, Any]:
    import torch

    try:
        values = torch.load(str(path), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        got = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError("this file cannot be replayed", where=str(path), got=got) from error
    return dict(values) if isinstance(values, dict) else {}


def is_failure(path: Path) -> bool:
    """Return whether a file is such a bundle; one that cannot be read is not."""
    with contextlib.suppress(CheckpointError):
        return _read(path).get("format") == FORMAT
    return False


def keep(run: Run, start: Checkpoint, error: MapushError, folder: Path) -> Optional[Path]:
    """Write the bundle of a run that failed into a folder; return its path, None if there is nothing to write.

    Args:
      run: as the failure left it.
      start: a snapshot of it.
      error: what it died of.
      folder: where.
    """
    env_ids = failed_envs(run.env, run.recorder, error)[:MOST_ENVS]
    transitions = run.recorder.transitions(env_ids)
    if not env_ids or not transitions:
        return None
    details = {name: getattr(error, name) for name in ("what", "where", "got", "expected", "cause")}
    told = {name: value for name, value in dict(details, kind=type(error).__name__).items() if value}
    fields = {name: value[env_ids].cpu() for name, value in _fields(start.run["env"]).items()}
    failure = Failure(run.config, env_ids, run.step, told, transitions, fields, versions())
    with contextlib.suppress(OSError, RuntimeError):  # a full disk must not hide the error itself
        return failure.save(folder / FILE)
    return None


def _fields(state: Dict[str, Any]) -> Moment:
    """Return what differs from env to env in the physics, out of the state of an environment."""
    return state.get("simulator", state)["physics"]["fields"]


def failed_envs(env: VecEnv, recorder: DecisionRecorder, error: MapushError) -> List[int]:
    """Return the envs that an error names; if none, those that have left the physical world; all break a contract."""
    named = re.search(r"\b(?:num_envs|envs?) (\d+(?:, \d+)*)", error.where or "")
    if named:
        return [int(number) for number in named.group(1).split(", ") if int(number) < env.num_envs]
    if not isinstance(error, (NonFiniteError, SimulatorError)):
        return list(range(env.num_envs))
    return recorder.insane(env)


def replay(failure: Failure) -> List[str]:
    """Take the last decisions again, each from where it began, on the CPU simulator.

    Returns:
      For each decision but the last, in words, how far the outcome is from the recorded one; if all went well.
    Raises:
      MapushError: what the run died of, or something like it.
    """
    from mapush import train

    sim = dataclasses.replace(failure.config.sim, backend="mujoco", threads=1)
    config = dataclasses.replace(failure.config, num_envs=len(failure.env_ids), sim=sim)
    with contextlib.closing(train.make_env(config)) as env:
        env.reset()
        _set_fields(env, failure.fields)
        return [_repeat(env, failure.transitions, index) for index in range(len(failure.transitions))]


def _set_fields(env: VecEnv, fields: Moment) -> None:
    """Give the physics what differs from env to env, as far as it knows it."""
    state = env.state_dict()
    own = _fields(state)
    own.update({name: value for name, value in fields.items() if name in own and own[name].shape == value.shape})
    env.load_state_dict(state)


def _repeat(env: VecEnv, transitions: Sequence[Moment], index: int) -> str:
    moment = transitions[index]
    where = f"decision {index + 1} of {len(transitions)} in the bundle"
    env.place({name: value for name, value in moment.items() if name != "action"})
    try:
        result = env.step(moment["action"])
        env.check()
    except MapushError as error:
        error.where = "{}{}".format(error.where + ", " if error.where else "", where)
        raise
    for name, value in (("reward", result.reward), ("obs", result.final_observation.obs)):
        if not bool(value.isfinite().all()):
            env_id = int((~value.isfinite()).flatten(1).any(dim=1).nonzero()[0])
            raise NonFiniteError(f"{name} is not finite", where=f"env {env_id}, {where}")
    return f"{where}: {_deviation(env.moment(), transitions[index + 1 :][:1], result.done)}"


def _deviation(moment: Moment, recorded: Sequence[Moment], done: torch.Tensor) -> str:
    """Say how far positions are from what was recorded, in envs whose episode goes on."""
    if not recorded or bool(done.all()):
        return "went well"
    names: Tuple[str, ...] = tuple(name for name in ("robot_pos_w", "object_pos_w") if name in moment)
    gap = max(float((moment[name] - recorded[0][name])[~done].abs().max()) for name in names)
    return f"went well, positions within {gap:.2g} m of the recorded ones"
