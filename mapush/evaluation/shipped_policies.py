"""The policies that come with mapush, and which of them is taken where the user names none.

No file is opened for the choice, because it is made before Isaac Gym, which must be imported before torch.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from mapush.config import MIXED_TASK
from mapush.errors import CheckpointError
from mapush.objects import OBJECTS
from mapush.run import checkpoint as checkpoints
from mapush.sim import OF_MQE

if TYPE_CHECKING:
    from mapush.evaluation.evaluate_config import EvaluateConfig

POLICIES = Path(__file__).resolve().parents[1] / "policies"
"""Folder of the shipped policies."""


@dataclasses.dataclass(frozen=True)
class ShippedPolicy:
    """A policy that comes with mapush, chosen for an evaluation.

    Attributes:
      path: its file.
      name: what results call it.
      reason: why it was chosen, in a few words.
    """

    path: Path
    name: str
    reason: str

    def __str__(self) -> str:
        return f"policy {self.path.name} ({self.reason})"


def shipped_policies() -> List[str]:
    """Return the names of the policies that come with mapush."""
    return sorted(path.stem for path in POLICIES.glob("*" + checkpoints.SUFFIX))


def shipped_path(name: str) -> Path:
    """Return where the shipped policy of a name is, or would be."""
    return POLICIES / f"{name}{checkpoints.SUFFIX}"


def shipped_for(config: EvaluateConfig) -> ShippedPolicy:
    """Return the policy of the task if it has the right team size, otherwise the one for any object and team.

    Raises:
      CheckpointError: there is none, or the one for any object and team does not know a setting.
    """
    own = shipped_path(config.task_name)
    misfit = _misfit(own, config)
    if not misfit:
        return ShippedPolicy(own, "shipped policy", "shipped for this task")
    for_any = shipped_path(MIXED_TASK)
    newest = _newest_run(config)
    if not for_any.is_file():
        raise _no_policy(config, newest)
    if config.sim.backend in OF_MQE:
        cause = f"{misfit}, and {for_any.name} does not run in MAPush's own environment"
        raise _no_policy(config, newest, cause, "--sim mujoco or --sim warp")
    if config.upstream_quirks:
        cause = f"{misfit}, and {for_any.name} was not trained with upstream's bugs"
        raise _no_policy(config, newest, cause, "leave --upstream-quirks out")
    reason = f"for any object and team; {misfit}"
    if newest is not None:
        reason = f"{reason}; your newest run: --checkpoint {newest}"
    return ShippedPolicy(for_any, "shipped policy for any team", reason)


def _misfit(own: Path, config: EvaluateConfig) -> str:
    """Return why the policy of a task does not fit, in a few words; "" if it fits."""
    if not own.is_file():
        return f"{config.task_name} has no policy of its own"
    item = OBJECTS.get(config.task_name)
    if item is None or config.num_agents in (None, item.num_agents):
        return ""
    return f"{own.name} is for {item.num_agents} robots"


def _newest_run(config: EvaluateConfig) -> Optional[Path]:
    """Return the newest run of a task, unless a team size is given, which the run might not have."""
    if config.num_agents is not None:
        return None
    paths = list(Path("runs", config.task_name).glob(f"*/{checkpoints.FOLDER}/step_*{checkpoints.SUFFIX}"))
    if not paths:
        return None
    newest = max(paths, key=lambda path: path.stat().st_mtime)
    return newest.parent.parent


def _no_policy(config: EvaluateConfig, newest: Optional[Path], cause: str = "", fix: str = "") -> CheckpointError:
    """Return the error that no shipped policy fits.

    Args:
      config: what was to be evaluated.
      newest: the user's newest run of the task, if there is one.
      cause: why not even the policy for any object and team fits.
      fix: what makes it fit.
    """
    what, train = "no policy is shipped for this task", f"python -m mapush.train {config.task_name}"
    if config.object is not None:
        train = f"python -m mapush.train --object {config.object}"
    if config.num_agents is not None:
        what, train = "no policy is shipped for this team", f"{train} --num-agents {config.num_agents}"
    own = f"train one: {train}"
    if newest is not None:
        own = f"python -m mapush.evaluate {config.task_name} --checkpoint {newest}"
    if fix:
        own = f"{fix}; or {own}"
    return CheckpointError(what, where=str(shipped_path(config.task_name)), cause=cause, fix=own)
