"""Bugs of the configuration: names and keys that do not exist and are accepted."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import Any, Dict, Iterator

from harness.faults.plant import Broken, planted, replaced, replaces

TASKS = ("cuboid", "cylinder", "tblock", "walk")


@planted("configuration", "task-names", "mission bug 8")
def unknown_task_falls_through(_: int = 1) -> Iterator[None]:
    """A chain of ifs on the task's name has no else, and returns a variable that nobody set."""
    from mapush import presets

    def broken(original: Any, task: str, *args: Any, **kwargs: Any) -> Any:
        if task in ("cuboid", "cylinder", "walk"):
            config = original(task, *args, **kwargs)
        return config

    with _in_all_modules(presets.preset, broken):
        yield


@planted("configuration", "task-names", "HARL's get_task_name", says="an unknown task is accepted in silence")
def unknown_task_is_the_default(_: int = 1) -> Iterator[None]:
    """An unknown task silently trains the first one."""
    from mapush import presets

    def broken(original: Any, task: str, *args: Any, **kwargs: Any) -> Any:
        if task not in TASKS:
            task = TASKS[0]
        return original(task, *args, **kwargs)

    with _in_all_modules(presets.preset, broken):
        yield


@replaces(
    "mapush.config.run_config:_from_dict",
    "configuration",
    "unknown-keys",
    "HARL's update_args",
    says="an unknown setting is accepted in silence",
)
def unknown_keys_ignored(original: Any, kind: Any, values: Dict[str, Any], prefix: str) -> Any:
    """A misspelled key of a configuration has no effect, and no error reports it."""
    names = {field.name for field in dataclasses.fields(kind)}
    known = {name: value for name, value in values.items() if name in names}
    return original(kind, known, prefix)


@replaces(
    "mapush.upstream.harl_config:_place",
    "configuration",
    "unknown-keys",
    "HARL's update_args",
    says="an unknown key is accepted in silence",
)
def unknown_harl_keys_ignored(original: Any, key: str, *args: Any) -> None:
    """A misspelled key of a HARL configuration has no effect, and no error reports it."""
    from mapush.errors import ConfigError

    with contextlib.suppress(ConfigError):
        original(key, *args)


@contextlib.contextmanager
def _in_all_modules(function: Any, broken: Broken) -> Iterator[None]:
    """Replace a function in each of our modules that imported it by name."""
    own_name = function.__name__
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            ours = name.startswith(("mapush", "harness"))
            if ours and vars(module).get(own_name) is function:
                stack.enter_context(replaced(module, own_name, broken))
        yield
