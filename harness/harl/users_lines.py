"""Which line of the user's own files a finding is about.

The user's own files are those outside HARL as upstream ships it, installed packages, Python and this harness. Additions
to a copy of HARL, such as `harl/envs/mapush/`, are the user's; lines are found by reading syntax trees.
"""

from __future__ import annotations

import ast
import inspect
import sysconfig
import textwrap
import traceback
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Set

HARNESS = Path(__file__).resolve().parents[1]
OF_UPSTREAM = {
    "algorithms": None,
    "common": None,
    "models": None,
    "runners": {
        "__init__.py",
        "on_policy_base_runner.py",
        "on_policy_ha_runner.py",
        "on_policy_ma_runner.py",
        "off_policy_base_runner.py",
        "off_policy_ha_runner.py",
        "off_policy_ma_runner.py",
    },
    "utils": {
        "__init__.py",
        "configs_tools.py",
        "discrete_util.py",
        "envs_tools.py",
        "models_tools.py",
        "trans_tools.py",
        "trpo_util.py",
    },
    "envs": {
        "__init__.py",
        "env_wrappers.py",
        "dexhands",
        "football",
        "gym",
        "lag",
        "mamujoco",
        "pettingzoo_mpe",
        "smac",
        "smacv2",
    },
}
"""What upstream's package contains: for each folder the names in it, or None for all."""


class UsersFiles:
    """Tells the user's own files from those of HARL and of packages.

    Args:
      harl: the folder of the package `harl`.
    """

    def __init__(self, harl: Path) -> None:
        self._harl = harl.resolve()
        self._others = [HARNESS, Path(sysconfig.get_path("stdlib")).resolve()]

    def owns(self, file: str) -> bool:
        """Return whether a file is the user's own."""
        if file.startswith("<"):
            return False
        path = Path(file).resolve()
        if any(part in ("site-packages", "dist-packages") for part in path.parts):
            return False
        if self._harl in path.parents:
            return not self._is_upstreams(path)
        return not any(folder in path.parents for folder in self._others)

    def _is_upstreams(self, path: Path) -> bool:
        parts = path.relative_to(self._harl).parts
        if len(parts) == 1:
            return True
        if parts[0] not in OF_UPSTREAM:
            return False
        names: Optional[Set[str]] = OF_UPSTREAM[parts[0]]
        return names is None or parts[1] in names

    def innermost(self, error: BaseException, preferred: Optional[Set[str]] = None) -> Optional[str]:
        """Return the innermost line of the user's own files in a traceback; None if there is none.

        Args:
          error: what was raised.
          preferred: files of the user's classes; a line in them comes first.
        """
        places: List[str] = []
        first: List[str] = []
        for frame in traceback.extract_tb(error.__traceback__):
            if self.owns(frame.filename):
                places.append(f"{frame.filename}:{frame.lineno}")
                if preferred and frame.filename in preferred:
                    first.append(places[-1])
        chosen = first or places
        if chosen:
            return chosen[-1]
        return None


def innermost_place(error: BaseException) -> str:
    """Return file and line where an error was raised, outside of the harness."""
    place = "unknown line"
    for frame in traceback.extract_tb(error.__traceback__):
        if HARNESS not in Path(frame.filename).parents:
            place = f"{frame.filename}:{frame.lineno}"
    return place


def place_of(thing: Any) -> Optional[str]:
    """Return file and line of a class or function; None if it has no source."""
    try:
        file = inspect.getsourcefile(thing)
        _, line = inspect.getsourcelines(thing)
    except (TypeError, OSError):
        return None
    return f"{file}:{max(line, 1)}"


class Tree(NamedTuple):
    """The syntax tree of a class or function.

    Attributes:
      node: its definition.
      file: where it is.
      offset: what is to be added to the tree's lines.
    """

    node: Any
    file: str
    offset: int

    def place(self, node: Any) -> str:
        """Return file and line of a part of the tree."""
        return f"{self.file}:{node.lineno + self.offset}"


def tree_of(thing: Any) -> Optional[Tree]:
    """Return the syntax tree of a class or function; None if it has no source."""
    try:
        file = inspect.getsourcefile(thing)
        lines, first = inspect.getsourcelines(thing)
        module = ast.parse(textwrap.dedent("".join(lines)))
    except (TypeError, OSError, SyntaxError, ValueError):
        return None
    if file is None or not module.body:
        return None
    return Tree(module.body[0], file, max(first, 1) - 1)


def trees_of_class(kind: type, files: UsersFiles) -> Iterator[Tree]:
    """Yield the syntax trees of a class and of its bases, as far as they are in the user's own files."""
    for base in kind.__mro__:
        tree = tree_of(base)
        if tree is not None and files.owns(tree.file):
            yield tree


def files_of_class(kind: type, files: UsersFiles) -> Set[str]:
    """Return the user's files that define a class and its bases."""
    return {tree.file for tree in trees_of_class(kind, files)}


def returned_place(function: Any, index: int) -> Optional[str]:
    """Return the line where the part `index` of the tuple that a function returns gets its value.

    It is the last assignment to the name that is returned, or to an entry of it, else the line of the last return.
    """
    tree = tree_of(function)
    if tree is None:
        return place_of(function)
    returned: Any = None
    for node in ast.walk(tree.node):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and index < len(node.value.elts):
            if returned is None or node.lineno >= returned.lineno:
                returned = node
    if returned is None:
        return place_of(function)
    part = returned.value.elts[index]
    place = part
    if isinstance(part, ast.Name):
        for node in ast.walk(tree.node):
            if isinstance(node, ast.Assign) and _assigns(node, part.id):
                if place is part or node.lineno > place.lineno:
                    place = node
    return tree.place(place)


def _assigns(node: ast.Assign, name: str) -> bool:
    """Return whether an assignment is to a name, or to one entry of it."""
    for target in node.targets:
        if _names(target, name):
            return True
    return False


def _names(target: Any, name: str) -> bool:
    """Return whether an assignment is to a name, or to one entry of it."""
    if isinstance(target, ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id == name


def place_of_text(path: Path, *texts: str) -> Optional[str]:
    """Return the first line of a file that contains all of some texts; None if no line does."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for number, line in enumerate(lines, start=1):
        if all(text in line for text in texts):
            return f"{path}:{number}"
    return None
