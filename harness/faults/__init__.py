"""The bug zoo: bugs that people had, each planted into the real code by one switch, with the contracts that find it."""

from harness.faults import (  # noqa: F401  (each registers its bugs)
    checkpoint_bugs,
    config_bugs,
    dynamics_bugs,
    interface_bugs,
    learner_bugs,
    logger_bugs,
)
from harness.faults.plant import FAULTS, Fault, find

__all__ = ["FAULTS", "Fault", "find"]
