"""Helpers; the original uses an alias that numpy removed."""

import os

if os.environ.get("ISAACGYM_DOUBLE") == "numpy":
    raise AttributeError("module 'numpy' has no attribute 'float'.")
