"""HARL's saved models as checkpoints of ours, and the other way round.

HARL saves weights alone, a file for each network: no optimiser, random numbers, step count or configuration.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from mapush.config import RunConfig, run_config_from_dict
from mapush.errors import CheckpointError
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint

ACTOR, CRITIC, VALUE_NORM = "actor_agent{}.pt", "critic_agent.pt", "value_normalizer.pt"

_FIRST, _MEAN = "base.mlp.fc.0.weight", "act.action_out.fc_mean.weight"
_NETWORK = ("activation_func", "std_x_coef", "std_y_coef")  # what a network's weights do not tell


def recognises(path: Path) -> bool:
    """Return whether `path` is a folder with HARL's models, or a run of HARL's."""
    return folder_in(path) is not None


def folder_in(path: Path) -> Optional[Path]:
    """Return the folder with HARL's models: `path`, or `models` in a run of HARL's; None if neither holds them."""
    found = [folder for folder in (path, path / "models") if (folder / ACTOR.format(0)).is_file()]
    return found[0] if found else None


def read(folder: Path, config: RunConfig, step: int = 0) -> Checkpoint:
    """Return the policy that HARL saved in `folder`; nothing in its files is executed.

    Args:
      folder: with a file for each actor; critic and value statistics may be missing.
      config: of the task, unless the folder lies in a run of ours, whose own counts. Sizes are taken from the weights,
        and the activation from HARL's `config.json` beside the folder where there is one.
      step: env steps that it was trained for, which HARL does not save.
    Returns:
      A checkpoint without run and optimisers; `sizes` lacks `share_obs_dim` where there is no critic.
    Raises:
      CheckpointError: a file that is damaged, executes code or holds other networks.
    """
    agents = sorted(folder.glob(ACTOR.format("*")), key=lambda path: int(path.stem.split("agent")[1]))
    actors = [_weights(path) for path in agents]
    first, mean = actors[0][_FIRST], actors[0][_MEAN]
    sizes = {"num_agents": len(actors), "obs_dim": first.shape[1], "action_dim": mean.shape[0]}
    agent: Dict[str, Any] = {"actors": actors}
    if (folder / CRITIC).is_file():
        agent["critic"] = _weights(folder / CRITIC, head="v_out.weight")
        sizes["share_obs_dim"] = agent["critic"][_FIRST].shape[1]
    if (folder / VALUE_NORM).is_file():
        agent["value_norm"] = dict(checkpoints.read_tensors(folder / VALUE_NORM))
    beside = _beside(folder)
    if "task_name" in beside:
        config = run_config_from_dict(beside)
    told = beside.get("algo_args", {}).get("model", {})
    untold = {name: told[name] for name in _NETWORK if name in told}
    happo = dataclasses.replace(config.happo, **_network_of(actors[0]), **untold)
    return Checkpoint(dataclasses.replace(config, happo=happo), step, sizes, agent, {})


def write(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a policy of ours as HARL's models, which its runner restores with `model_dir`.

    Raises:
      CheckpointError: the disk is full or the folder cannot be written.
    """
    agent = checkpoint.agent
    files = {ACTOR.format(index): weights for index, weights in enumerate(agent["actors"])}
    files.update({CRITIC: agent.get("critic"), VALUE_NORM: agent.get("value_norm")})
    for name, weights in files.items():
        if weights:  # a run without value normalisation has no statistics, and some policies no critic
            checkpoints.write_tensors(dict(weights), folder / name)
    return folder


def _weights(path: Path, head: str = _MEAN) -> Dict[str, Any]:
    weights = checkpoints.read_tensors(path)
    if not isinstance(weights, Mapping) or not {_FIRST, head} <= set(weights) or any("rnn" in name for name in weights):
        holds = ", ".join(sorted(map(str, weights))[:8]) if isinstance(weights, Mapping) else type(weights).__name__
        raise CheckpointError(
            "these are not the weights of one of HARL's feed-forward networks",
            where=str(path),
            got=f"it holds {holds}",
            expected=f"{_FIRST} and {head}",
            cause="a recurrent policy, one of discrete actions, or a file of another program",
        )
    return dict(weights)


def _network_of(actor: Dict[str, Any]) -> Dict[str, Any]:
    """Return the settings that an actor's weights tell."""
    layers = sorted((name for name in actor if name.startswith("base.mlp.fc.") and actor[name].dim() == 2), key=_index)
    sizes = tuple(actor[name].shape[0] for name in layers)
    return {"hidden_sizes": sizes, "use_feature_normalization": "base.feature_norm.weight" in actor}


def _index(name: str) -> int:
    return int(name.split(".")[3])


def _beside(folder: Path) -> Dict[str, Any]:
    """Return the configuration beside the models, HARL's or ours; {} where there is none."""
    path = folder.parent / "config.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise CheckpointError("the configuration beside the models does not parse", where=str(path)) from error
