"""What a failed iteration leaves in the run's folder, and how its error says to replay it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mapush.config import RunConfig
from mapush.distributed.ranks import Ranks
from mapush.distributed.replayed_rank import with_rank
from mapush.errors import MapushError
from mapush.run import checkpoint as checkpoints
from mapush.run import failure_bundle as failures
from mapush.run.checkpoint import Checkpoint
from mapush.sim import OF_MQE

if TYPE_CHECKING:
    from mapush.env.vec_env import VecEnv

NON_FINITE = "nonfinite.pt"


def keep_iteration(
    error: MapushError,
    start: Checkpoint,
    folder: Path,
    *,
    share: RunConfig,
    env: VecEnv,
    recorder: failures.DecisionRecorder,
    step: int,
    ranks: Ranks,
) -> None:
    """Save the state from which the failed iteration began, and the failed envs; add to the error how to replay them.

    Args:
      error: the error that ends the run.
      start: the rank's state at the beginning of the iteration.
      folder: the run's folder.
      share: configuration of the rank's envs.
      env: the rank's envs, as the failure left them.
      recorder: their last decisions.
      step: env steps that the run had taken.
      ranks: this process among the others; each writes files of its own.
    """
    bundle = failures.keep(
        error,
        folder / of_rank(failures.FILE, ranks),
        config=share,
        env=env,
        recorder=recorder,
        step=step,
        env_state=start.run["env"],
    )
    dump = checkpoints.save(with_rank(start, ranks), folder / of_rank(NON_FINITE, ranks))
    ways = [f"replay it: python -m mapush.replay {dump}"]
    if share.sim.backend in OF_MQE:
        ways = [f"{dump} has the learner as it was before that iteration"]
    if error.fix:
        ways.insert(0, error.fix)
    if bundle is not None:
        ways.append(f"only the failed envs, on any CPU: python -m mapush.replay {bundle}")
    error.fix = "; ".join(ways)


def of_rank(name: str, ranks: Ranks) -> str:
    """Return the name of a file that any rank may write: ranks other than 0 add their number."""
    if ranks.is_main:
        return name
    path = Path(name)
    return f"{path.stem}-rank{ranks.rank}{path.suffix}"
