"""A stand-in for Isaac Gym Preview 4: what MQE's stand-in and the adapter use of it.

`ISAACGYM_DOUBLE` makes its import fail as the original's does: `python`, `libpython` or `numpy`.
"""

from __future__ import annotations

import os
import sys

if "torch" in sys.modules:
    raise ImportError("PyTorch was imported before isaacgym modules.  Please import torch after isaacgym modules.")
if os.environ.get("ISAACGYM_DOUBLE") == "python":
    raise RuntimeError("No gym module found for the active version of Python ({}.{})".format(*sys.version_info[:2]))
if os.environ.get("ISAACGYM_DOUBLE") == "libpython":
    raise ImportError("libpython3.8m.so.1.0: cannot open shared object file: No such file or directory")
