"""The bug zoo: bugs that people had, each planted into the real code by one switch, and what must find them."""

from harness.faults import dynamics_bugs, interface_bugs, stack_bugs  # noqa: F401  (each registers its bugs)
from harness.faults.plant import FAULTS, Fault, find

__all__ = ["FAULTS", "Fault", "find"]
