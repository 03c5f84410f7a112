"""What the code of the user's logger says about its environment, read from its syntax tree."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from harness.harl.users_lines import Tree, UsersFiles, trees_of_class

NAMES_OF_ENV = ("envs", "env", "_envs", "_env", "train_envs", "venv")
PROBING = ("hasattr", "getattr")
WORDS_OF_RESET = ("reset", "clear", "zero")


@dataclasses.dataclass
class LoggersCode:
    """What a logger's code does with its environment.

    Attributes:
      kind: the logger's class.
      attribute: the attribute that holds the environment.
      methods: the methods of the environment that it calls, with the line of the first call.
      where: the first line that reads the attribute.
    """

    kind: type
    attribute: str
    methods: Dict[str, str]
    where: str

    @classmethod
    def of(cls, kind: type, files: UsersFiles) -> Optional[LoggersCode]:
        """Return what the code of a class does with its environment; None if it does nothing."""
        found: List[Tuple[str, str, str]] = []
        for tree in trees_of_class(kind, files):
            found += _uses(tree)
        if not found:
            return None
        attribute, _, where = found[0]
        methods: Dict[str, str] = {}
        for name, method, place in found:
            if name == attribute and method:
                methods.setdefault(method, place)
        return cls(kind, attribute, methods, where)

    @property
    def getters(self) -> List[str]:
        """Methods that read statistics."""
        return [name for name in self.methods if name not in self.resetters]

    @property
    def resetters(self) -> List[str]:
        """Methods that reset statistics."""
        return [name for name in self.methods if _resets(name)]


def _resets(method: str) -> bool:
    for word in WORDS_OF_RESET:
        if word in method:
            return True
    return False


def _uses(tree: Tree) -> List[Tuple[str, str, str]]:
    """Return (attribute, method, place) for every use of an environment in a class."""
    found = []
    for node in ast.walk(tree.node):
        if isinstance(node, ast.Attribute) and _env_of(node.value):
            found.append((_env_of(node.value), node.attr, tree.place(node)))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROBING:
            found += _probed(tree, node)
    return sorted(found, key=lambda use: int(use[2].rpartition(":")[2]))


def _probed(tree: Tree, call: ast.Call) -> List[Tuple[str, str, str]]:
    """Return the use of an environment in `hasattr(self.envs, "name")`, in a list; [] if it is something else."""
    if len(call.args) < 2:
        return []
    name, text = _env_of(call.args[0]), getattr(call.args[1], "value", "")
    if name and isinstance(text, str):
        return [(name, text, tree.place(call))]
    return []


def _env_of(node: Any) -> str:
    """Return the attribute of `self` that a node reads, if it is named as an environment is."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        if node.attr in NAMES_OF_ENV:
            return node.attr
    return ""


def who_sets(attribute: str, owners: List[type], files: UsersFiles) -> List[str]:
    """Return the lines in the user's classes that hand the environment to the logger.

    Args:
      attribute: the attribute of the logger.
      owners: the classes whose code is searched: of the runner.
      files: the user's own.
    """
    places: Set[str] = set()
    for owner in owners:
        for tree in trees_of_class(owner, files):
            places |= _lines_that_set(tree, attribute)
    return sorted(places)


def _lines_that_set(tree: Tree, attribute: str) -> Set[str]:
    places = set()
    for node in ast.walk(tree.node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr.startswith(("set_env", "set_envs")):
                places.add(tree.place(node))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == attribute and _is_logger(target.value):
                    places.add(tree.place(node))
    return places


def _is_logger(node: Any) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "logger"


def line_that_grows(trees: Iterable[Tree], name: str) -> Optional[str]:
    """Return the line that appends to an attribute of `self`; None if none is found."""
    for tree in trees:
        for node in ast.walk(tree.node):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("append", "extend", "add", "update", "setdefault") and name in _attributes(node):
                    return tree.place(node)
            if isinstance(node, ast.AugAssign) and name in _attributes(node.target):
                return tree.place(node)
    return None


def _attributes(node: Any) -> List[str]:
    return [part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)]
