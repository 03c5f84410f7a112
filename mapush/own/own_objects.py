"""Objects of the user's own: registered under their names, stored in a run, and compared with their file later."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, List, Mapping, Optional

from mapush.errors import ConfigError, MapushError, unknown
from mapush.objects import BUILT_IN, OBJECTS, Part, PushObject
from mapush.own import named_code

FLAG = "--object"
TASKS_WITHOUT_OBJECT = ("any", "walk")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SOURCES: Dict[str, str] = {}  # name of a registered object: the reference that it was loaded from, or ""


def register(item: PushObject, source: str = "") -> PushObject:
    """Let tasks name this object, and return it; registering it twice does nothing.

    Args:
      item: the object.
      source: where it comes from, as `FILE.py:NAME`.

    Raises:
      ConfigError: its name is not a word, or names a task or a different object.
    """
    if not isinstance(item, PushObject):
        fix = "mapush.objects.PushObject(name=..., parts=(...,))"
        raise ConfigError(f"{FLAG}: not an object to push", got=type(item).__name__, expected="a PushObject", fix=fix)
    if _NAME.fullmatch(item.name) is None:
        expected = "a letter, then letters, digits, - and _"
        raise ConfigError("an object has no proper name", got=repr(item.name), expected=expected)
    if item.name in [built_in.name for built_in in BUILT_IN] or item.name in TASKS_WITHOUT_OBJECT:
        raise ConfigError("this is the name of a built-in task", got=repr(item.name), fix="choose a different name")
    if OBJECTS.get(item.name, item) != item:
        raise ConfigError(
            f"two different objects are called {item.name!r}",
            got=source or "an object of this process",
            expected=_SOURCES.get(item.name) or "the one that was registered first",
            fix="give one of them a different name, or use one object in each command",
        )
    OBJECTS[item.name] = item
    _SOURCES.setdefault(item.name, source)
    return item


def forget(name: str) -> None:
    """Remove an object that was registered; does nothing if there is none."""
    if name in _SOURCES:
        del _SOURCES[name], OBJECTS[name]


def load_object(reference: str, flag: str = FLAG) -> PushObject:
    """Return and register the object that `FILE.py:NAME` or `package.module:NAME` names.

    Raises:
      ConfigError: there is no such file or name, it is not an object, or its name is taken.
    """
    found = named_code.load(reference, flag)
    try:
        return register(found, named_code.absolute(reference))
    except ConfigError as error:
        error.add_where(f"{flag} {reference}")
        raise


# -- in a run --------------------------------------------------------------------------------------------------------


def stored(name: str) -> Optional[Dict[str, Any]]:
    """Return a registered object as JSON types, for the configuration of a run; None for a built-in one."""
    if name not in _SOURCES:
        return None
    values = json.loads(json.dumps(dataclasses.asdict(OBJECTS[name])))
    return {"source": _SOURCES[name], "definition": values}


def restore(values: Mapping[str, Any]) -> PushObject:
    """Register the object that `stored` returned; no code of its file is executed.

    Raises:
      ConfigError: it is damaged, or a different object has this name in this process.
    """
    try:
        definition = dict(values["definition"])
        definition["parts"] = tuple(_part_of(part) for part in definition["parts"])
        item = PushObject(**_with_tuples(definition))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("the stored object does not parse", where="own_object", got=str(error)) from error
    return register(item, str(values.get("source", "")))


def _part_of(values: Mapping[str, Any]) -> Part:
    return Part(**_with_tuples(values))


def _with_tuples(values: Mapping[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name, value in values.items():
        found[name] = _as_tuple(value)
    return found


def _as_tuple(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_as_tuple(one) for one in value)
    return value


def change_of(name: str) -> Optional[str]:
    """Return, as a line, how the file of a registered object differs from the stored object; None if it does not."""
    source = _SOURCES.get(name)
    if not source:
        return None
    kept = f"this run keeps the object {name!r} as it is stored"
    try:
        found = named_code.load(source, FLAG)
    except MapushError as error:
        return f"{source} cannot be compared ({error.what}); {kept}"
    if found == OBJECTS[name]:
        return None
    return f"{source} has changed ({_differences(OBJECTS[name], found)}); {kept}"


def _differences(before: PushObject, now: Any) -> str:
    if not isinstance(now, PushObject):
        return f"it is of type {type(now).__name__}"
    changed: List[str] = []
    if before.mass != now.mass:
        changed.append(f"mass {before.mass:g} -> {now.mass:g} kg")
    for field in dataclasses.fields(PushObject):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new:
            text = field.name
            if not isinstance(old, tuple):
                text = f"{field.name} {old} -> {new}"
            changed.append(text)
    return ", ".join(changed)


def task_names() -> List[str]:
    """Return the name of every task: those of all objects, any and walk."""
    return [*OBJECTS, *TASKS_WITHOUT_OBJECT]


def require_task(name: str) -> None:
    """Raise ConfigError if no task has this name."""
    if name in task_names():
        return
    error = unknown("task", name, task_names())
    error.fix = f"your own object: {FLAG} FILE.py:NAME; your own environment: --env FILE.py:FUNCTION"
    raise error
