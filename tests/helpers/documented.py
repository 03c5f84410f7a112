"""What the README and the pages say to type: the commands of their code blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Iterator, List

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/install.md")
PYTORCH_INDEX = re.compile(r"https://download\.pytorch\.org/whl/(cpu|cu\d{3})")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S+")


def commands(page: str) -> Iterator[List[str]]:
    """Yield the words of every command in the code blocks of a page, without variables that are set before it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            for command in re.split(r"&&|;", line.partition(" #")[0]):
                words = shlex.split(command.replace("\\", "/"))
                while words and _ASSIGNMENT.fullmatch(words[0]):
                    words.pop(0)
                if words and words[0] != "#":
                    yield words


def arguments_of(program: str, page: str) -> List[List[str]]:
    """Return the arguments of each command that runs `program`, wherever it is installed."""
    found = []
    for words in commands(page):
        name = Path(words[0]).name
        if name == program:
            found.append(words[1:])
        if words[:3] == ["python", "-m", program]:
            found.append(words[3:])
    return found


def pip_installs(page: str) -> List[List[str]]:
    """Return the arguments of each `pip install`."""
    return [words[1:] for words in arguments_of("pip", page) if words[0] == "install"]


def extras() -> List[str]:
    """Return the extras of the distribution."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)


def pinned(package: str) -> str:
    """Return the version of a package in constraints.txt."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{re.escape(package)}==(\S+)$", constraints, re.MULTILINE)
    return str(version)


def project_version() -> str:
    """Return the version in pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    return str(version)
