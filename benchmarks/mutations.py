"""Mutants: modules with one small change each, made by mutmut's operators; see `benchmarks.mutants`.

Texts are not mutated: literals, `format`, and whatever is raised.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import libcst
from libcst import matchers
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

ROOMS = {
    "env": "mapush/env/*.py",
    "happo": "mapush/happo/*.py",
    "logger": "mapush/run/logger.py",
    "checkpoint": "mapush/run/checkpoint.py",
    "contracts": "harness/contracts/*.py",
}
UNCHANGED = -1  # the number of a "mutant" without a change

_TEXT = (mutators.operator_string, mutators.operator_dict_arguments)
_NOT_MUTATED = (libcst.Annotation, libcst.Decorator, libcst.Raise)
_NOT_MUTATED_CALLS = ("len", "isinstance", "cast", "format")
_NOT_MUTATED_FUNCTIONS = ("__repr__", "__str__")
_TYPE_ALIAS = matchers.Assign(
    targets=[matchers.AssignTarget(matchers.Name(matchers.MatchRegex("[A-Z].*[a-z].*")))], value=matchers.Subscript()
)

Site = Tuple[libcst.CSTNode, libcst.CSTNode, CodeRange]  # a node, what it is changed to, and where it is


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One small change.

    Attributes:
      room: of `ROOMS`.
      path: of the module.
      number: of the change, among those of the module.
      lines: the first and the last line of the expression that is changed.
      change: the lines that differ, before and after.
    """

    room: str
    path: str
    number: int
    lines: Tuple[int, int]
    change: str


class _Sites(libcst.CSTVisitor):
    """Collects what can be changed."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: List[Site] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        """Collect the changes of a node; return whether to visit its children."""
        if _is_left_alone(node):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if place is None:
            return True
        for kind, operator in mutators.mutation_operators:
            if isinstance(node, kind) and operator not in _TEXT:
                self.found += [(node, other, place) for other in operator(node)]
        return True


def _is_left_alone(node: libcst.CSTNode) -> bool:
    """Return whether a node is text, type or decoration."""
    if isinstance(node, libcst.FunctionDef):
        return node.name.value in _NOT_MUTATED_FUNCTIONS
    if isinstance(node, libcst.Call):
        name = getattr(node.func, "attr", node.func)
        called = ""
        if isinstance(name, libcst.Name):
            called = name.value
        return called in _NOT_MUTATED_CALLS or called.endswith(("Error", "error"))
    return isinstance(node, _NOT_MUTATED) or matchers.matches(node, _TYPE_ALIAS)


@functools.lru_cache(maxsize=None)
def _sites(path: str) -> Tuple[libcst.Module, List[Site]]:
    sites = _Sites()
    module = MetadataWrapper(libcst.parse_module(Path(path).read_text()), unsafe_skip_copy=True).visit(sites)
    return module, sites.found


def mutated(mutant: Mutant) -> str:
    """Return the source of the mutated module."""
    module, sites = _sites(mutant.path)
    if mutant.number == UNCHANGED:
        return module.code
    node, other, _ = sites[mutant.number]
    return module.deep_replace(node, other).code


def sample(rooms: Sequence[str], size: Optional[int], draw: random.Random) -> List[Mutant]:
    """Return about `size` mutants in random order, from each module in proportion; all if `size` is None."""
    modules: List[Tuple[str, str]] = []
    total = 0
    for room in rooms:
        for path in map(str, sorted(Path().glob(ROOMS[room]))):
            modules.append((room, path))
            total += len(_sites(path)[1])
    share = 1.0
    if size is not None:
        share = min(1.0, size / total)
    chosen = []
    for room, path in modules:
        module, sites = _sites(path)
        count = int(len(sites) * share + draw.random() * (share < 1.0))  # rounds up or down at random
        for number in draw.sample(range(len(sites)), count):
            node, other, place = sites[number]
            change = _change(module.code, module.deep_replace(node, other).code)
            chosen.append(Mutant(room, path, number, (place.start.line, place.end.line), change))
    draw.shuffle(chosen)
    print(f"{len(chosen)} of {total} mutants")
    return chosen


def _change(before: str, after: str) -> str:
    """Return the lines that differ, in one line."""
    old, new = before.split("\n"), after.split("\n")
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return f"{_joined(old)}  ->  {_joined(new)}"


def _joined(lines: List[str]) -> str:
    return " ".join(map(str.strip, lines))
