"""Finds lists that a class appends to during a run, and that nothing bounds or empties."""

from __future__ import annotations

import ast
from typing import Dict, Iterable, Iterator, List, Set, Tuple

from harness.doctor.sources import SourceFile, Trap, keywords, name_of, own_attribute

ADDING = ("append", "extend", "appendleft")
REMOVING = ("clear", "pop", "popleft", "popitem", "remove")
ONCE = ("__init__", "__post_init__", "init", "setup", "load", "build", "create", "prepare", "make", "parse")
"""Methods, and beginnings of their names, that run once: what they append has an end."""
CALLED_ANYWAY = ("step", "reset", "run", "train", "init", "episode_init", "per_step", "episode_log", "eval_init")


def growing_lists(files: Iterable[SourceFile], readers: Iterable[SourceFile]) -> Iterator[Trap]:
    """Yield the lists on `self` that grow during a run.

    Args:
      files: whose classes are examined.
      readers: the code that may call their methods, such as one that empties a list.
    """
    called = _called_methods(readers)
    for source in files:
        for owner in source.classes():
            yield from _of_class(source, owner, called)


def _called_methods(files: Iterable[SourceFile]) -> Set[str]:
    """Return the names of the methods that are called anywhere but in a constructor of the object itself."""
    called = set(CALLED_ANYWAY)
    for source in files:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.FunctionDef) or _runs_once(function.name):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    called.add(name_of(node.func))
    return called


def _fix(name: str) -> str:
    return f"self.{name} = deque(maxlen=1000), or sums instead of a list"


def _runs_once(name: str) -> bool:
    return name.lstrip("_").startswith(tuple(word.strip("_") for word in ONCE))


def _of_class(source: SourceFile, owner: ast.ClassDef, called: Set[str]) -> Iterator[Trap]:
    methods = []
    for node in owner.body:
        if isinstance(node, ast.FunctionDef):
            methods.append(node)
    lists, bounded = _lists(methods, called)
    reported: Set[str] = set()
    for method in methods:
        if _runs_once(method.name):
            continue
        for name, line in _appended(method):
            if name in lists - bounded - reported and name not in _assigned(method):
                reported.add(name)
                found = f"{owner.name}.{name} grows with every call, and nothing that is called bounds or empties it"
                yield Trap("growing list", source.path, line, found, _fix(name))


def _lists(methods: List[ast.FunctionDef], called: Set[str]) -> Tuple[Set[str], Set[str]]:
    """Return which attributes are lists, and which have a bound or are emptied by a method that is called."""
    lists: Set[str] = set()
    bounded: Set[str] = set()
    for method in methods:
        is_called = method.name in called and not _runs_once(method.name)
        for name, value in _assigned(method).items():
            if _is_list(value):
                lists.add(name)
            if is_called or not _is_list(value):
                bounded.add(name)
        if is_called:
            bounded |= _emptied(method)
    return lists, bounded


def _assigned(method: ast.FunctionDef) -> Dict[str, ast.expr]:
    """Return what a method assigns to attributes of `self`."""
    assigned: Dict[str, ast.expr] = {}
    for node in ast.walk(method):
        targets: List[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and own_attribute(target):
                assigned[own_attribute(target)] = node.value  # type: ignore[attr-defined]
    return assigned


def _is_list(value: ast.AST) -> bool:
    """Return whether an expression is a new list, or a dict of lists, without a bound."""
    if isinstance(value, (ast.List, ast.ListComp)):
        return True
    if not isinstance(value, ast.Call):
        return False
    if name_of(value.func) == "deque":
        return "maxlen" not in keywords(value) and len(value.args) < 2
    return name_of(value.func) in ("list", "defaultdict")


def _emptied(method: ast.FunctionDef) -> Set[str]:
    """Return the attributes from which a method removes something."""
    found = set()
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REMOVING:
            found.add(own_attribute(node.func.value))
        elif isinstance(node, ast.Delete):
            found.update(map(own_attribute, node.targets))
    return found


def _appended(method: ast.FunctionDef) -> Iterator[Tuple[str, int]]:
    """Yield the attributes that a method appends to, with the lines."""
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ADDING:
            name = own_attribute(node.func.value)
            if name:
                yield name, node.lineno
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            if own_attribute(node.target) and isinstance(node.value, (ast.List, ast.ListComp)):
                yield own_attribute(node.target), node.lineno
