"""Helpers, of which the original's use an alias of numpy's that numpy dropped."""

import os

if os.environ.get("ISAACGYM_DOUBLE") == "numpy":
    raise AttributeError("module 'numpy' has no attribute 'float'.")
