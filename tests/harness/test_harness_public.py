"""Contracts of what a user meets first: the public names of `harness`, and its command line."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.__main__ import COMMANDS, main

pytestmark = pytest.mark.harness


def parse(path):
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def functions_of(path):
    """Return the names of the functions of a module, without importing it: some need packages that may be missing."""
    return [node.name for node in parse(path).body if isinstance(node, ast.FunctionDef)]


def names_for_editors():
    """Return the names that the package imports for type checkers and editors only."""
    names = []
    for node in parse(harness.__file__).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                names += [alias.name for alias in statement.names]
    return names


@pytest.mark.parametrize("name", harness.__all__)
def test_public_name_is_there_with_a_docstring(name):
    """Every public name is found, once and again, and says what it is."""
    value = getattr(harness, name)
    assert value.__doc__
    assert getattr(harness, name) is value
    assert name in dir(harness)


def test_editors_see_the_public_names():
    """What is imported for type checkers is what can be used."""
    assert sorted(names_for_editors()) == sorted(harness.__all__)


def test_public_names_are_explained_in_the_docstring():
    """The docstring of the package mentions every public name."""
    assert [name for name in harness.__all__ if f"`{name}`" not in harness.__doc__] == []


def test_name_that_does_not_exist_is_an_attribute_error():
    """A misspelled name fails as in any module."""
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'chek_env'"):
        harness.chek_env  # noqa: B018


def test_import_of_the_package_loads_no_library():
    """`import harness` is quick: libraries are loaded with the names that need them."""
    code = "import sys, harness; print(sorted({'numpy', 'torch', 'psutil', 'mapush'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_there_and_listed(name, capsys):
    """Every command has a `main`, and a line of its own in the help."""
    spec = importlib.util.find_spec(COMMANDS[name].module)
    assert spec is not None
    assert "main" in functions_of(spec.origin)
    assert main(["--help"]) == 0
    assert f"\n  {name:<8} {COMMANDS[name].about}\n" in capsys.readouterr().out


def test_command_that_does_not_exist_is_refused_with_the_nearest(capsys):
    """A misspelled command is exit code 2, and the right one is named."""
    assert main(["docter"]) == 2
    assert "unknown command 'docter'; did you mean 'doctor'?" in capsys.readouterr().err


def test_no_command_is_refused_with_the_list(capsys):
    """Without a command, the list of commands goes to the standard error."""
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("usage: python -m harness COMMAND")
    assert output.out == ""


def test_version_is_printed(capsys):
    """`--version` prints the version of the package and of Python."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mapush ")
