"""The configuration of a run: frozen dataclasses, with a unit in every docstring and each default in one place.

`happo_config` and `task_config` have the settings of learner and tasks; `run_config` has those of a run, and its form
as a dict; `groups` divides a run that mixes objects and teams.
"""

from __future__ import annotations

from mapush.config.groups import groups_of, with_one_object
from mapush.config.happo_config import HappoConfig
from mapush.config.run_config import (
    MIXED_TASK,
    OWN_OBJECT,
    Backend,
    HarlConfig,
    MixedRunConfig,
    PushRunConfig,
    RunConfig,
    SimConfig,
    WalkRunConfig,
    bytes_of,
    require_full_minibatches,
    require_trainable,
    run_config_from_dict,
    seats_of,
    steps_per_decision,
    to_dict,
)
from mapush.config.task_config import (
    MixedTaskConfig,
    RewardConfig,
    TaskConfig,
    WalkConfig,
    pushed_object,
    team_size,
)

__all__ = [
    "MIXED_TASK",
    "OWN_OBJECT",
    "Backend",
    "HappoConfig",
    "HarlConfig",
    "MixedRunConfig",
    "MixedTaskConfig",
    "PushRunConfig",
    "RewardConfig",
    "RunConfig",
    "SimConfig",
    "TaskConfig",
    "WalkConfig",
    "WalkRunConfig",
    "bytes_of",
    "groups_of",
    "pushed_object",
    "require_full_minibatches",
    "require_trainable",
    "run_config_from_dict",
    "seats_of",
    "steps_per_decision",
    "team_size",
    "to_dict",
    "with_one_object",
]
