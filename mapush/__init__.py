"""Train and evaluate teams of quadrupeds that push an object to a goal.

Importing this package does nothing and loads nothing: Isaac Gym has to be imported before torch, so torch is
loaded by the modules that compute, after the simulator has been chosen.
"""

__version__ = "0.1.0"
