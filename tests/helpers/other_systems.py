"""Run commands of mapush without what Windows lacks: `python other_systems.py '[["train", "cuboid"], ...]'`.

The packages of other people are imported first, because they choose by the name of the system, which stays; then
modules, calls and signals are taken away. What our code needs of them becomes an error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import List

import without_unix

MORE_CALLS = ("statvfs", "uname")


def import_foreign_packages() -> None:
    """Import what mapush builds on, except MuJoCo: before that, mapush chooses an OpenGL library."""
    import filelock  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import psutil  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import viser  # noqa: F401

    import mapush.run.versions

    mapush.run.versions.versions()  # the name of this system is found once


def take_away() -> None:
    """Remove the modules, calls and signals that Windows lacks."""
    without_unix.take_away()
    for name in MORE_CALLS:
        if hasattr(os, name):
            delattr(os, name)


def main(commands: List[List[str]]) -> None:
    """Run the commands one after the other, and print the exit code of each."""
    import_foreign_packages()
    take_away()
    from mapush.__main__ import main as mapush

    for words in commands:
        code = mapush(words)
        print(f"exit code {code} of {words[0]}", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
