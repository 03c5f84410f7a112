"""Load what a user names: `FILE.py:NAME`, or `package.module:NAME`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple

from mapush.errors import ConfigError, MapushError, unknown

FORM = "FILE.py:NAME or package.module:NAME"
TERMS_FLAG = "--task.reward-terms"


def split(reference: str, flag: str) -> Tuple[str, str]:
    """Return the file or module, and the name in it.

    Args:
      reference: what the user wrote.
      flag: where it was written, for the error.

    Raises:
      ConfigError: it does not have this form.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise ConfigError(f"{flag} names nothing to load", got=repr(reference), expected=FORM)
    return place, name


def is_file(place: str) -> bool:
    """Return whether the first part of a reference is a file and not a module."""
    return place.endswith(".py") or os.sep in place


def title(reference: str, flag: str) -> str:
    """Return a short name for what a reference names: that of its file or module, without folders.

    Raises:
      ConfigError: the reference has a different form.
    """
    place, name = split(reference, flag)
    if is_file(place):
        return Path(place).stem
    return place.rpartition(".")[2]


def absolute(reference: str) -> str:
    """Return a reference that means the same from every folder."""
    place, colon, name = reference.rpartition(":")
    if not is_file(place):
        return reference
    return f"{os.path.abspath(place)}{colon}{name}"


def weighted(text: str) -> Tuple[str, float]:
    """Return the function and the weight of a reward term: FILE.py:function=weight.

    Raises:
      ConfigError: the text does not have this form, or the weight is not a number.
    """
    reference, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not reference or not math.isfinite(weight):
        expected = "FILE.py:function=weight or package.module:function=weight"
        raise ConfigError(f"{TERMS_FLAG} names no function and weight", got=repr(text), expected=expected)
    split(reference, TERMS_FLAG)
    return reference, weight


def load(reference: str, flag: str) -> Any:
    """Return what a reference names; a module may also lie in the current folder.

    A file is executed once in a process, as a module of its own. Modules next to it can be imported from it.

    Raises:
      ConfigError: there is no such file, module or name, or its code fails.
    """
    place, name = split(reference, flag)
    found: Any = _module(place, flag)
    for part in name.split("."):
        if not hasattr(found, part):
            error = unknown("name", part, _public(found))
            error.add_where(f"{flag} {reference}")
            raise error
        found = getattr(found, part)
    return found


def load_function(reference: str, flag: str) -> Callable[..., Any]:
    """Return the function that a reference names; see `load`.

    Raises:
      ConfigError: see `load`; or it is not a function.
    """
    found = load(reference, flag)
    if not callable(found):
        got = f"{reference} is of type {type(found).__name__}"
        raise ConfigError(f"{flag} names no function", got=got, expected="a function")
    return found


def accepted(function: Callable[..., Any], wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Return those of the arguments that a function has."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return wanted
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in wanted.items() if name in names}


def _public(module: Any) -> List[str]:
    names: List[str] = []
    for name, value in vars(module).items():
        if not name.startswith("_") and name != "annotations" and not isinstance(value, ModuleType):
            names.append(name)
    return names


def _module(place: str, flag: str) -> ModuleType:
    if is_file(place):
        return _run_file(Path(place).absolute(), flag)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except MapushError as error:
        error.add_where(f"{flag} {place}")
        raise
    except ModuleNotFoundError as error:
        fix = f"start from the folder that {place.split('.')[0]} is in, install it, or name a file: FILE.py:NAME"
        raise ConfigError(f"{flag} cannot be imported", where=place, got=str(error), fix=fix) from error
    except Exception as error:
        raise _fails(place, flag, error) from error


def _run_file(path: Path, flag: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{flag}: there is no such file", where=str(path), expected=FORM)
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"mapush_own_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "the name of a Python file ends with .py"
    assert spec.loader is not None, "a spec from a file has a loader"
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module  # dataclasses and pickle look a module up there
    try:
        spec.loader.exec_module(module)
    except MapushError as error:
        del sys.modules[name]
        error.add_where(f"{flag} {path}")
        raise
    except Exception as error:
        del sys.modules[name]
        raise _fails(str(path), flag, error) from error
    return module


def _fails(place: str, flag: str, error: Exception) -> ConfigError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename}, line {last.lineno}"
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    got = f"{type(error).__name__}: {error}"
    return ConfigError(f"{flag}: the code of {place} fails", where=where, got=got)


def source_file(reference: str) -> Optional[Path]:
    """Return the file of a reference; None if it names a module or the file is gone."""
    place = reference.rpartition(":")[0]
    if is_file(place) and Path(place).is_file():
        return Path(place)
    return None
