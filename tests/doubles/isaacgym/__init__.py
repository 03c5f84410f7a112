"""A fake of Isaac Gym Preview 4, with the part that the fake of MQE and the adapter use.

The environment variable `ISAACGYM_DOUBLE` makes its import fail as the original: `python`, `libpython` or `numpy`.
"""

from __future__ import annotations

import os
import sys

if "torch" in sys.modules:
    raise ImportError("PyTorch was imported before isaacgym modules.  Please import torch after isaacgym modules.")
if os.environ.get("ISAACGYM_DOUBLE") == "python":
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise RuntimeError(f"No gym module found for the active version of Python ({version})")
if os.environ.get("ISAACGYM_DOUBLE") == "libpython":
    raise ImportError("libpython3.8m.so.1.0: cannot open shared object file: No such file or directory")
