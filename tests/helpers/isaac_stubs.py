"""What `isaacgym-stubs` says of Isaac Gym's module `gymapi`: names and signatures, read without importing it."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

PACKAGE = "isaacgym-stubs"


@dataclasses.dataclass(frozen=True)
class Signature:
    """The parameters of a method of `Gym`, without self.

    Attributes:
      names: of all parameters.
      defaults: how many of them, from the end, may be left out.
    """

    names: list[str]
    defaults: int

    @property
    def positional_only(self) -> bool:
        """Whether the binding has no names, so that only the order counts."""
        return all(re.fullmatch(r"arg\d+", name) for name in self.names)


def stub_file() -> Path:
    """Return the file with the signatures."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None, "tests that use it have the marker stubs"
    return Path(spec.submodule_search_locations[0]) / "gymapi.pyi"


def tree() -> ast.Module:
    """Return the parsed file; two of its properties are called `lambda`, which is no valid name."""
    return ast.parse(stub_file().read_text(encoding="utf-8").replace("def lambda(", "def lambda_("))


def methods(module: ast.Module) -> dict[str, Signature]:
    """Return the methods of `Gym`; of an overloaded one the first signature."""
    found = {}
    for item in classes(module)["Gym"].body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and item.name not in found:
            found[item.name] = _signature(item)
    return found


def classes(module: ast.Module) -> dict[str, ast.ClassDef]:
    """Return the classes by name."""
    found = {}
    for item in module.body:
        if isinstance(item, ast.ClassDef):
            found[item.name] = item
    return found


def fields(definition: ast.ClassDef) -> list[str]:
    """Return the attributes that a class declares."""
    found = []
    for item in definition.body:
        if isinstance(item, ast.AnnAssign) and not item.target.id.startswith("_"):
            found.append(item.target.id)
    return found


def is_enum(definition: ast.ClassDef) -> bool:
    """Return whether a class is an enumeration; its fields are its members then."""
    return any(isinstance(item, ast.AnnAssign) and item.target.id == "__members__" for item in definition.body)


def other_names(module: ast.Module) -> set[str]:
    """Return the constants and functions of the module."""
    found = set()
    for item in module.body:
        if isinstance(item, ast.AnnAssign):
            found.add(item.target.id)
        elif isinstance(item, ast.FunctionDef):
            found.add(item.name)
    return found


def _signature(item: ast.FunctionDef) -> Signature:
    """Return the signature; where it says only *args, that of the first line of its docstring."""
    if item.args.vararg is None:
        return Signature([arg.arg for arg in item.args.args[1:]], len(item.args.defaults))
    line = (ast.get_docstring(item) or "").splitlines()[0]
    parameters = re.findall(r"(\w+): ", line.split("->")[0])[1:]
    return Signature(parameters, line.count(" = "))
