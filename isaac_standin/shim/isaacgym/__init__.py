"""What `import isaacgym` finds while a program runs on the stand-in; not NVIDIA's Isaac Gym, and not affiliated.

This file is also read by Pythons that are too old for the rest, so that they can say so.
"""

import importlib.util
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError(
        "isaac_standin needs Python 3.11 or later, and this is Python {}.{}: {}".format(  # noqa: UP032
            sys.version_info[0], sys.version_info[1], sys.executable
        )
    )

_ROOT = Path(__file__).resolve().parents[3]
if importlib.util.find_spec("isaac_standin") is None and (_ROOT / "pyproject.toml").is_file():
    sys.path.append(str(_ROOT))  # a checkout that is not installed
if importlib.util.find_spec("isaac_standin") is None:
    raise ImportError(
        f"isaac_standin is not installed for the Python that runs the program: {sys.executable} -m pip install "
        "mapush-stack, or name the Python that has it after --"
    )

from isaac_standin.install import activate  # noqa: E402

activate(sys.modules[__name__])
