"""The bug zoo: bugs that people had, each planted into the real code by one switch, with the contracts that find it."""

from harness.faults import (  # noqa: F401  (each registers its bugs)
    action_bugs,
    checkpoint_bugs,
    config_bugs,
    edge_bugs,
    episode_bugs,
    form_bugs,
    independence_bugs,
    info_bugs,
    learner_bugs,
    logger_bugs,
    mask_bugs,
    outcome_bugs,
    process_bugs,
    rank_bugs,
    told_bugs,
    unplanted_bugs,
    view_bugs,
    wear_bugs,
)
from harness.faults.plant import FAULTS, Fault, find

__all__ = ["FAULTS", "Fault", "find"]
