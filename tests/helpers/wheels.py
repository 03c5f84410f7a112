"""Build the wheel as the Dockerfile does, and install it with the packages of this environment."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

from documented import ROOT

OURS = ("mapush", "harness", "isaac_standin", "pytest_mapush_harness", "__editable__")
"""What the names of our files begin with where the package is installed."""
MISLEADING_VARIABLES = (
    "PYTHONPATH",
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_CURRENT_TEST",
)


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, such as COPY, and what follows it on its line."""

    name: str
    rest: str


def dockerfile() -> List[Instruction]:
    """Return the instructions of the Dockerfile; a continued line is one."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line]


def all_of(name: str) -> List[str]:
    """Return what follows every instruction of this name."""
    return [instruction.rest for instruction in dockerfile() if instruction.name == name]


def copied() -> Iterator[str]:
    """Yield every file and folder that the Dockerfile copies, in order."""
    for rest in all_of("COPY"):
        *sources, _ = shlex.split(rest)
        yield from sources


def copy_sources(folder: Path) -> None:
    """Put into `folder` what the Dockerfile copies into the image."""
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def link_packages(place: Path, site_packages: Path) -> None:
    """Make links to all installed files of `place`, but ours."""
    for path in place.iterdir():
        link = site_packages / path.name
        if not path.name.startswith(OURS) and path.suffix != ".pth" and not link.exists():
            link.symlink_to(path)


def pip(interpreter: str, *words: str) -> None:
    """Run pip without a network."""
    command = [interpreter, "-m", "pip", "--no-input", "--disable-pip-version-check", *words]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def clean_environment() -> Dict[str, str]:
    """Return the environment variables without those that change what pytest, pip and Python load."""
    environment = dict(os.environ, PIP_NO_INDEX="1")
    for name in MISLEADING_VARIABLES:
        environment.pop(name, None)
    return environment
