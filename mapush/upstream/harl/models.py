"""HARL's saved models as mapush checkpoints, and the reverse.

HARL saves only weights, one file for each network: no optimiser, random state, step count or configuration.

Source: HARL@d539bad, `save` and `restore` of `harl/runners/on_policy_base_runner.py`, and the names of the weights in
`harl/models/`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from mapush.config import RunConfig, run_config_from_dict
from mapush.errors import CheckpointError, ConfigError
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint

CRITIC = "critic_agent.pt"
VALUE_NORM = "value_normalizer.pt"
PATTERNS = ("actor_agent*.pt", CRITIC, VALUE_NORM)  # of the files that `write` writes

_FIRST_LAYER = "base.mlp.fc.0.weight"
_ACTION_MEAN = "act.action_out.fc_mean.weight"
_VALUE = "v_out.weight"
_NOT_IN_WEIGHTS = ("activation_func", "std_x_coef", "std_y_coef")
"""Settings of a network that its weights do not determine."""


def actor_file(index: object) -> str:
    """Return the name of the file with the weights of an agent's actor."""
    return f"actor_agent{index}.pt"


def recognises(path: Path) -> bool:
    """Return whether `path` is a folder with HARL's models, or the folder of a HARL run."""
    return folder_in(path) is not None


def folder_in(path: Path) -> Optional[Path]:
    """Return the folder with HARL's models: `path`, or `models` in the folder of a run; None if neither has any."""
    for folder in (path, path / "models"):
        if (folder / actor_file(0)).is_file():
            return folder
    return None


def is_of_a_run(folder: Path) -> bool:
    """Return whether a run of mapush left these models, whose configuration is next to them."""
    return "task_name" in _config_next_to(folder)


def refuse_to_continue(path: Path) -> None:
    """Refuse a folder with models that no run of mapush left: training cannot continue from it.

    Raises:
      ConfigError: it is one.
    """
    folder = folder_in(path)
    if folder is not None and not is_of_a_run(folder):
        raise ConfigError(
            "a run that HARL itself made cannot be continued",
            where=str(path),
            cause="HARL saves weights and value statistics, but no optimisers, step count or state of the environment",
            fix="train with --learner harl, whose runs can be; mapush evaluate --checkpoint evaluates its models",
        )


def read(folder: Path, config: RunConfig, step: int = 0) -> Checkpoint:
    """Return the policy that HARL saved in `folder`; no code in its files is executed.

    Args:
      folder: one file for each actor; the files of critic and value statistics may be missing.
      config: the task's configuration; in a mapush run, the configuration of that run is used instead.
        Sizes are taken from the weights, and the activation from HARL's `config.json` next to the folder, if there is
        one.
      step: env steps that it was trained for, which HARL does not save.

    Returns:
      A checkpoint without training state; `sizes` lacks `share_obs_dim` if there is no critic.

    Raises:
      CheckpointError: a file is damaged, asks to execute code, or holds a different kind of network.
    """
    actors = [_weights(path, head=_ACTION_MEAN) for path in _actor_files(folder)]
    agent: Dict[str, Any] = {"actors": actors}
    sizes = {
        "num_agents": len(actors),
        "obs_dim": actors[0][_FIRST_LAYER].shape[1],
        "action_dim": actors[0][_ACTION_MEAN].shape[0],
    }
    if (folder / CRITIC).is_file():
        agent["critic"] = _weights(folder / CRITIC, head=_VALUE)
        sizes["share_obs_dim"] = agent["critic"][_FIRST_LAYER].shape[1]
    if (folder / VALUE_NORM).is_file():
        agent["value_norm"] = dict(checkpoints.read_tensors(folder / VALUE_NORM))
    return Checkpoint(_config_of(folder, config, actors[0]), step, sizes, agent, run={})


def write(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a policy as HARL's models, which HARL's runner restores with `model_dir`.

    Raises:
      CheckpointError: HARL has no such network; or the disk is full or the folder cannot be written.
    """
    agent = checkpoint.agent
    if _FIRST_LAYER not in agent["actors"][0]:
        fix = "export it to .onnx, .jit or .pt"
        raise CheckpointError("HARL has no network for teams of any size", where=checkpoint.config.task_name, fix=fix)
    files: Dict[str, Any] = {CRITIC: agent.get("critic"), VALUE_NORM: agent.get("value_norm")}
    for index, weights in enumerate(agent["actors"]):
        files[actor_file(index)] = weights
    for name, weights in files.items():
        if weights:  # without value normalisation there are no statistics, and some policies have no critic
            checkpoints.write_tensors(dict(weights), folder / name)
    return folder


def _actor_files(folder: Path) -> List[Path]:
    """Return the files of all actors in the order of the agents; agent 10 comes after agent 9."""
    return sorted(folder.glob(actor_file("*")), key=lambda path: int(path.stem[len("actor_agent") :]))


def _weights(path: Path, head: str) -> Dict[str, Any]:
    """Return the weights of a feed-forward network.

    Args:
      path: the file.
      head: name of the weights of its last layer.
    """
    weights = checkpoints.read_tensors(path)
    if not isinstance(weights, Mapping):
        raise _wrong_network(path, head, holds=type(weights).__name__)
    recurrent = any("rnn" in str(name) for name in weights)
    if recurrent or _FIRST_LAYER not in weights or head not in weights:
        names = sorted(str(name) for name in weights)
        raise _wrong_network(path, head, holds=", ".join(names[:8]))
    return dict(weights)


def _wrong_network(path: Path, head: str, holds: str) -> CheckpointError:
    return CheckpointError(
        "these are not the weights of one of HARL's feed-forward networks",
        where=str(path),
        got=f"it holds {holds}",
        expected=f"{_FIRST_LAYER} and {head}",
        cause="it is a recurrent policy, a policy with discrete actions, or a file of a different program",
    )


def _config_of(folder: Path, config: RunConfig, actor: Dict[str, Any]) -> RunConfig:
    """Return the configuration of the models in `folder`; see `read`."""
    saved = _config_next_to(folder)
    if "task_name" in saved:
        config = run_config_from_dict(saved)
    network = _network_of(actor)
    harls_model = saved.get("algo_args", {}).get("model", {})
    for name in _NOT_IN_WEIGHTS:
        if name in harls_model:
            network[name] = harls_model[name]
    return dataclasses.replace(config, happo=dataclasses.replace(config.happo, **network))


def _network_of(actor: Dict[str, Any]) -> Dict[str, Any]:
    """Return the settings of a network that its weights determine."""
    sizes: Dict[int, int] = {}
    for name, weight in actor.items():
        if name.startswith("base.mlp.fc.") and weight.dim() == 2:
            index = int(name.split(".")[3])
            sizes[index] = weight.shape[0]
    hidden_sizes = tuple(size for _, size in sorted(sizes.items()))
    return {"hidden_sizes": hidden_sizes, "use_feature_normalization": "base.feature_norm.weight" in actor}


def _config_next_to(folder: Path) -> Dict[str, Any]:
    """Return the configuration next to the models, HARL's or ours; {} if there is none."""
    path = folder.parent / "config.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise CheckpointError("the configuration next to the models does not parse", where=str(path)) from error
