"""Contracts of the configuration: every name exists everywhere, and no wrong name is accepted silently."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Set, Tuple

from harness.findings import ContractError
from harness.stack.stack_under_test import StackUnderTest, require_mujoco
from mapush import assembly, evaluate, objects, presets, train
from mapush.config import (
    MIXED_TASK,
    MixedRunConfig,
    PushRunConfig,
    RunConfig,
    SimConfig,
    TaskConfig,
    WalkRunConfig,
    run_config_from_dict,
    to_dict,
)
from mapush.errors import ConfigError
from mapush.upstream import harl_config

Section = Dict[str, Any]

HARL_KEYS = {
    "seed": "seed",
    "device": "cuda",
    "train": "n_rollout_threads",
    "eval": "eval_episodes",
    "render": "use_render",
    "model": "hidden_sizes",
    "algo": "clip_param",
    "logger": "log_dir",
}
"""One key of each section of HARL's happo.yaml."""
FLAGS = {"num_envs", "threads", "clip_param", "steps_per_decision", "approach", "push_force"}
"""One flag of each level of the command line."""


# -- task names ------------------------------------------------------------------------------------------------------


def task_names(stack: StackUnderTest) -> None:
    """Every task has object, presets and environment under one name; any other name is refused, with a suggestion.

    The names in all tables of tasks must be equal. Each preset must build a configuration that says what it is and
    survives its own dict. Each way to name a task, a preset or an object must refuse a misspelt name with an error that
    contains the right name. Each task must build an environment with the number of agents that its object has.
    """
    _require_same_names(
        {
            "mapush.assembly.TASKS": set(assembly.TASKS),
            "mapush.presets.PRESETS": set(presets.PRESETS),
            "mapush.objects.OBJECTS": set(objects.OBJECTS) | {MIXED_TASK, "walk"},
        }
    )
    for task in assembly.TASKS:
        _require_presets(task)
        _require_refused(task, functools.partial(presets.preset, name="default"), "task", "mapush.presets.preset")
        _require_refused(task, _parse_task, "task", "python -m mapush.train TASK")
        _evaluation_of(task)
        _require_refused(task, _evaluation_of, "task", "python -m mapush.evaluate TASK")
        _require_refused(task, _make_env_of_task, "task", "mapush.assembly.make_env")
    for name in objects.OBJECTS:
        _require_refused(name, _make_env_of_object, "object", "mapush.assembly.make_env")
    require_mujoco()
    for task in assembly.TASKS:
        _require_env(task)


def _require_same_names(tables: Dict[str, Set[str]]) -> None:
    every = set().union(*tables.values())
    for table, names in tables.items():
        missing = sorted(every - names)
        if missing:
            raise ContractError(
                f"task {missing[0]!r} is unknown to {table}",
                where=table,
                got=", ".join(sorted(names)),
                expected=", ".join(sorted(every)),
                cause="a task was added to one table and not to the others",
                fix=f"add {missing[0]!r} to {table}",
            )


def _require_presets(task: str) -> None:
    """Require that every preset of a task can be built, and that a misspelt preset is refused."""
    for name in presets.PRESETS[task]:
        _require_config(task, name)
        _require_refused(name, functools.partial(presets.preset, task), "preset", "mapush.presets.preset")


def _require_config(task: str, name: str) -> None:
    """Require that a preset can be built, is what its name says, and can be read from its own dict."""
    try:
        config = presets.preset(task, name)
    except Exception as error:
        what = f"preset {name!r} of task {task!r} cannot be built"
        raise ContractError(what, got=f"{type(error).__name__}: {error}") from error
    _require_field(task, name, "task_name", config.task_name, task)
    _require_field(task, name, "preset", config.preset, name)
    kinds = {MIXED_TASK: MixedRunConfig, "walk": WalkRunConfig}
    _require_field(task, name, "type", type(config), kinds.get(task, PushRunConfig))
    if isinstance(config, PushRunConfig):
        _require_field(task, name, "task.object", config.task.object, task)
    _require_field(task, name, "read from its own dict", run_config_from_dict(to_dict(config)), config)


def _require_field(task: str, name: str, field: str, got: Any, expected: Any) -> None:
    if got != expected:
        what = f"preset {name!r} of task {task!r} belongs to something else"
        raise ContractError(what, where=field, got=str(got), expected=str(expected))


def _require_env(task: str) -> None:
    """Require that a task builds an environment with the number of agents that its object has."""
    sim = SimConfig("mujoco", threads=1)
    config = dataclasses.replace(presets.preset(task, "default"), num_envs=6, sim=sim)
    agents = 1
    if isinstance(config, MixedRunConfig):
        agents = max(config.task.team_sizes)
    if task in objects.OBJECTS:
        agents = objects.OBJECTS[task].num_agents
    with contextlib.closing(assembly.make_env(config)) as env:
        if env.num_agents != agents:
            what = f"task {task!r} builds the environment of a different task"
            raise ContractError(what, got=f"{env.num_agents} agents", expected=str(agents))


def _evaluation_of(task: str) -> Any:
    return evaluate.EvaluateConfig(task_name=task)


def _parse_task(task: str) -> Any:
    return train.parse([task])


def _make_env_of_task(name: str) -> None:
    assembly.make_env(RunConfig(task_name=name, num_envs=2)).close()


def _make_env_of_object(name: str) -> None:
    config = PushRunConfig(num_envs=2, sim=SimConfig("mujoco", threads=1), task=TaskConfig(object=name))
    assembly.make_env(config).close()


# -- unknown keys ----------------------------------------------------------------------------------------------------


def unknown_keys(stack: StackUnderTest) -> None:
    """A setting that does not exist is refused with a suggestion, at every level and from every source.

    In each section of a configuration one setting is misspelt: in a dict, on the command line, and in a HARL file, as
    YAML and as JSON. Each must end in an error that contains the right name.
    """
    for config in (presets.preset("cuboid", "default"), presets.preset("walk", "default")):
        values = to_dict(config)
        for path, section in _sections(values):
            key = _longest_setting(section)
            _require_refused(key, functools.partial(_read_dict, values, path, key), "setting", "a dict")
            prefix = "--" + "".join(f"{part}." for part in path)
            for name in sorted(FLAGS & set(section)):
                parse = functools.partial(_parse_flag, config.task_name, prefix)
                _require_refused(name.replace("_", "-"), parse, "flag", "the command line")
    for section_name, key in HARL_KEYS.items():
        for write in (_write_yaml, _write_json):
            read = functools.partial(_read_harl_file, section_name, write)
            _require_refused(key, read, "key", f"a HARL file, section {section_name}")


def _sections(values: Section, path: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], Section]]:
    """Yield every section of a configuration with the names that lead to it."""
    yield path, values
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _sections(value, (*path, name))


def _longest_setting(section: Section) -> str:
    """Return the longest name of a setting; the longer a name, the clearer what its misspelling means."""
    settings = [name for name, value in section.items() if not isinstance(value, dict)]
    return max(settings, key=len)


def _read_dict(values: Section, path: Tuple[str, ...], key: str, wrong: str) -> RunConfig:
    """Read a configuration in which a key is spelt wrong."""
    changed = copy.deepcopy(values)
    section = changed
    for name in path:
        section = section[name]
    section[wrong] = section[key]
    return run_config_from_dict(changed)


def _parse_flag(task: str, prefix: str, name: str) -> Any:
    """Parse a command line with one flag.

    Raises:
      ConfigError: the parser refused it: it printed a message and exited with 2.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return train.parse([task, prefix + name, "1"])
    except SystemExit as error:
        if error.code != 2:
            raise ContractError(f"a wrong command line exits with code {error.code}", expected="2") from error
        raise ConfigError("the command line is refused", got=printed.getvalue()) from error


def _read_harl_file(section: str, write: Callable[[Path, Section], Path], key: str) -> RunConfig:
    """Apply a HARL file with one key."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), {section: {key: 1}})
        return harl_config.apply(presets.preset("cuboid", "default"), path)


def _write_yaml(folder: Path, values: Section) -> Path:
    lines = []
    for section, settings in values.items():
        lines.append(f"{section}:")
        for name, value in settings.items():
            lines.append(f"  {name}: {value}")
    path = folder / "happo.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _write_json(folder: Path, values: Section) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"main_args": {"algo": "happo"}, "algo_args": values, "env_args": {}}))
    return path


# -- refusals --------------------------------------------------------------------------------------------------------


def _require_refused(name: str, use: Callable[[str], Any], kind: str, where: str) -> None:
    """Require that a misspelt name raises a `ConfigError` that contains the right name.

    Args:
      name: the right name.
      use: uses a name.
      kind: what the name is of, such as "task".
      where: where it is used, for the finding.
    """
    wrong = _misspelt(name)
    try:
        use(wrong)
    except ConfigError as error:
        message = str(error)
    except Exception as error:
        raise ContractError(
            f"an unknown {kind} ends in {type(error).__name__}, not in a clear refusal",
            where=where,
            got=f"{wrong!r}: {error}",
            expected=f"ConfigError: unknown {kind} {wrong!r}; did you mean {name!r}?",
        ) from error
    else:
        raise ContractError(
            f"an unknown {kind} is accepted in silence: {wrong!r}",
            where=where,
            expected=f"ConfigError: unknown {kind} {wrong!r}; did you mean {name!r}?",
            cause="it falls through to a default, or is never looked at",
        )
    if name not in message:
        raise ContractError(
            f"the refusal of an unknown {kind} does not name the nearest {kind}",
            where=where,
            got=message,
            expected=f"{name!r} for {wrong!r}",
        )


def _misspelt(name: str) -> str:
    """Return a name with two neighbouring letters exchanged: the first two from the middle on that differ."""
    for index in range(len(name) // 2, len(name) // 2 + len(name)):
        here = index % len(name)
        if name[here - 1] != name[here]:
            letters = list(name)
            letters[here - 1], letters[here] = letters[here], letters[here - 1]
            return "".join(letters)
    raise ValueError(f"{name!r} cannot be misspelt: all letters are the same")
