"""Train and evaluate teams of quadrupeds that push an object to a goal.

    import mapush

    folder = mapush.run_training(mapush.preset("cuboid", "quick"))
    policy = mapush.load_policy(folder)
    actions = policy.act(obs)

Importing this package loads nothing else: each name below is imported when it is first used. Isaac Gym has to be
imported before torch, so torch is loaded by the modules that compute, after the simulator was chosen.

`mapush.train` and `mapush.evaluate` are modules, because `python -m mapush.train` runs them; so their functions `train`
and `evaluate` are exported here as `run_training` and `run_evaluation`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

__version__ = "0.1.0"

_MODULES = {
    "Box": "mapush.env.harl_view",
    "EvaluateConfig": "mapush.evaluation.evaluate_config",
    "Happo": "mapush.happo.happo",
    "HappoConfig": "mapush.config",
    "HarlEnv": "mapush.env.harl_env",
    "HarlView": "mapush.env.harl_view",
    "MapushError": "mapush.errors",
    "Observation": "mapush.env.vec_env",
    "PushRunConfig": "mapush.config",
    "RewardConfig": "mapush.config",
    "RunConfig": "mapush.config",
    "SimConfig": "mapush.config",
    "TaskConfig": "mapush.config",
    "TeamPolicy": "mapush.evaluation.load_policy",
    "Transition": "mapush.env.vec_env",
    "VecEnv": "mapush.env.vec_env",
    "WalkRunConfig": "mapush.config",
    "load_policy": "mapush.evaluation.load_policy",
    "make_agent": "mapush.assembly",
    "make_env": "mapush.assembly",
    "own_env": "mapush.presets",
    "preset": "mapush.presets",
    "run_evaluation": "mapush.evaluate",
    "run_training": "mapush.train",
}
"""Where each public name is defined."""

_NAMES_THERE = {"run_evaluation": "evaluate", "run_training": "train"}
"""What those names are called there, if not the same."""

__all__ = [
    "Box",
    "EvaluateConfig",
    "Happo",
    "HappoConfig",
    "HarlEnv",
    "HarlView",
    "MapushError",
    "Observation",
    "PushRunConfig",
    "RewardConfig",
    "RunConfig",
    "SimConfig",
    "TaskConfig",
    "TeamPolicy",
    "Transition",
    "VecEnv",
    "WalkRunConfig",
    "__version__",
    "load_policy",
    "make_agent",
    "make_env",
    "own_env",
    "preset",
    "run_evaluation",
    "run_training",
]

if TYPE_CHECKING:  # for editors and mypy
    from mapush.assembly import make_agent, make_env
    from mapush.config import HappoConfig, PushRunConfig, RewardConfig, RunConfig, SimConfig, TaskConfig, WalkRunConfig
    from mapush.env.harl_env import HarlEnv
    from mapush.env.harl_view import Box, HarlView
    from mapush.env.vec_env import Observation, Transition, VecEnv
    from mapush.errors import MapushError
    from mapush.evaluate import evaluate as run_evaluation
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.load_policy import TeamPolicy, load_policy
    from mapush.happo.happo import Happo
    from mapush.presets import own_env, preset
    from mapush.train import train as run_training


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mapush' has no attribute {name!r}")
    module = importlib.import_module(_MODULES[name])
    value = getattr(module, _NAMES_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    """List the public names, before and after their import."""
    return sorted(set(globals()) | set(__all__))
