"""The networks of a walking policy, from the checkpoints of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch

from mapush.config import to_dict
from mapush.evaluation.policy_formats import is_run, load_checkpoint
from mapush.run import checkpoint as checkpoints
from mapush.sim.walking import Network, WalkingPolicy

TASK = "walk"


def walking_policy(
    walk: Path, stand: Optional[Path] = None, device: str = "cpu"
) -> Tuple[WalkingPolicy, Dict[str, Any]]:
    """Return a walking policy, and the origin of its networks as JSON types.

    Args:
      walk: the checkpoint, or the run with the newest checkpoint, of the network that walks.
      stand: the same of the network that stands; None takes the network that walks.
      device: where it computes.

    Raises:
      CheckpointError: a checkpoint is missing, damaged, or of a different task.
    """
    networks = []
    card: Dict[str, Any] = {}
    for name, source in (("walk", walk), ("stand", stand or walk)):
        path = source
        if is_run(source):
            path = checkpoints.latest(source)
        saved = load_checkpoint(path, TASK)
        actor = saved.agent["actors"][0]
        networks.append(Network.from_actor(actor, saved.config.happo.activation_func, torch.device(device)))
        card[name] = {"config": to_dict(saved.config), "steps": saved.step}
    return WalkingPolicy(*networks), card
