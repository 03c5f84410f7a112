"""A checkpoint of several ranks: rank 0 writes what each of them needs, and hands it out when the run is resumed."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Tuple

from mapush.distributed.ranks import Ranks
from mapush.run.checkpoint import Checkpoint

OTHER_RANKS = "other_ranks"
"""Key of a checkpoint's `run`: env and rollout of rank 1, 2, ...; absent after a run of one process."""
_OF_A_RANK = ("env", "rollout")


def gathered(own: Checkpoint, ranks: Ranks) -> Checkpoint:
    """Return the checkpoint of the complete run on rank 0, and `own` on the others, which keep nothing of it.

    Args:
      own: snapshot of this rank.
      ranks: this process among the others.
    """
    if ranks.size == 1:
        return own
    part = {name: on_cpu(own.run[name]) for name in _OF_A_RANK}
    if ranks.is_main:
        part = {}  # rank 0 has its own already
    parts = ranks.gather(part)
    if not ranks.is_main:
        return own
    return dataclasses.replace(own, run=dict(own.run, **{OTHER_RANKS: parts[1:]}))


def scattered(saved: Optional[Checkpoint], ranks: Ranks) -> Tuple[Checkpoint, int]:
    """Return this rank's part of a checkpoint, and with how many ranks it was saved.

    On a different number of ranks no part has env and rollout: the envs begin new episodes.

    Args:
      saved: as rank 0 has loaded it; None on the others.
      ranks: this process among the others.
    """
    common: Optional[Checkpoint] = None
    parts: List[Dict[str, Any]] = []
    if saved is not None:
        run = dict(saved.run)
        first = {name: run.pop(name) for name in _OF_A_RANK if name in run}
        parts = [first] + run.pop(OTHER_RANKS, [])
        common = dataclasses.replace(saved, run=run)
    common, saved_ranks = ranks.share((common, len(parts)))
    assert common is not None, "rank 0 has loaded it"
    if saved_ranks != ranks.size:
        return common, saved_ranks
    return dataclasses.replace(common, run=dict(common.run, **ranks.scatter(parts))), saved_ranks


def on_cpu(structure: Any) -> Any:
    """Return nested dicts, lists and tuples with their tensors on the CPU."""
    if isinstance(structure, dict):
        return {name: on_cpu(value) for name, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(on_cpu(value) for value in structure)
    if hasattr(structure, "cpu"):
        return structure.cpu()
    return structure
