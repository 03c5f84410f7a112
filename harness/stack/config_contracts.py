"""Contracts of the configuration: every name exists everywhere, and no wrong name is taken in silence."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Set, Tuple

from harness.findings import ContractError
from harness.stack.small_parts import require_simulator
from mapush import assembly, evaluate, objects, presets, train
from mapush.config import PushRunConfig, RunConfig, SimConfig, TaskConfig, WalkRunConfig, run_config_from_dict, to_dict
from mapush.errors import ConfigError
from mapush.upstream import harl_config

HARL_KEYS = {  # one of each section of HARL's happo.yaml
    "seed": "seed",
    "device": "cuda",
    "train": "n_rollout_threads",
    "eval": "eval_episodes",
    "render": "use_render",
    "model": "hidden_sizes",
    "algo": "clip_param",
    "logger": "log_dir",
}

_FLAGS = {"num_envs", "threads", "clip_param", "steps_per_decision", "approach", "push_force"}  # one of each level


def task_names() -> None:
    """Every task has object, presets and environment under one name; another name is refused, and the nearest told."""
    tasks = {
        "mapush.assembly.TASKS": set(assembly.TASKS),
        "mapush.presets.PRESETS": set(presets.PRESETS),
        "mapush.objects.OBJECTS": set(objects.OBJECTS) | {"walk"},
        "mapush.presets.PUBLISHED_REWARDS": set(presets.PUBLISHED_REWARDS) | {"walk"},
    }
    _require_same_names(tasks)
    for task in assembly.TASKS:
        for name in presets.PRESETS[task]:
            _require_config(task, name)
        _refused(task, functools.partial(presets.preset, name="default"), "task", "mapush.presets.preset")
        _refused(task, _from_word, "task", "python -m mapush.train TASK")
        _evaluation_of(task)
        _refused(task, _evaluation_of, "task", "python -m mapush.evaluate TASK")
        _refused(task, _env_of_task, "task", "mapush.assembly.make_env")
        for name in presets.PRESETS[task]:
            _refused(name, functools.partial(presets.preset, task), "preset", "mapush.presets.preset")
    for thing in objects.OBJECTS:
        _refused(thing, _env_of_object, "object", "mapush.assembly.make_env")
    require_simulator()
    for task in assembly.TASKS:
        _require_env(task)


def unknown_keys() -> None:
    """A setting that does not exist is refused by the nearest that does, at every level, wherever it comes from."""
    for config in (presets.preset("cuboid", "default"), presets.preset("walk", "default")):
        values = to_dict(config)
        for path, section in _sections(values):
            key = max((name for name in section if not isinstance(section[name], dict)), key=len)
            _refused(key, functools.partial(_from_dict, values, path, key), "setting", "a dict")
            prefix = "--" + "".join(part + "." for part in path)
            for name in sorted(set(section) & _FLAGS):
                flag = functools.partial(_from_flag, config.task_name, prefix)
                _refused(name.replace("_", "-"), flag, "flag", "the command line")
    for section_name, key in HARL_KEYS.items():
        for write in (_write_yaml, _write_json):
            read = functools.partial(_from_file, section_name, write)
            _refused(key, read, "key", f"a HARL file, section {section_name}")


def _require_same_names(registries: Dict[str, Set[str]]) -> None:
    every = set().union(*registries.values())
    for registry, names in registries.items():
        missing = sorted(every - names)
        if missing:
            raise ContractError(
                f"task {missing[0]!r} is unknown to {registry}",
                where=registry,
                got=", ".join(sorted(names)),
                expected=", ".join(sorted(every)),
                cause="a task was added to one table and not to the others",
                fix=f"add {missing[0]!r} to {registry}",
            )


def _require_config(task: str, name: str) -> None:
    try:
        config = presets.preset(task, name)
    except Exception as error:
        raise ContractError(
            f"preset {name!r} of task {task!r} cannot be built",
            got=f"{type(error).__name__}: {error}",
        ) from error
    kind = WalkRunConfig if task == "walk" else PushRunConfig
    says: Dict[str, Tuple[Any, Any]] = {
        "task_name": (config.task_name, task),
        "preset": (config.preset, name),
        "type": (type(config), kind),
    }
    if isinstance(config, PushRunConfig):
        says["task.object"] = (config.task.object, task)
    says["read from its own dict"] = (run_config_from_dict(to_dict(config)), config)
    for what, (got, expected) in says.items():
        if got != expected:
            raise ContractError(
                f"preset {name!r} of task {task!r} is of something else",
                where=what,
                got=str(got),
                expected=str(expected),
            )


def _require_env(task: str) -> None:
    config = dataclasses.replace(presets.preset(task, "default"), num_envs=2, sim=SimConfig("mujoco", threads=1))
    with contextlib.closing(assembly.make_env(config)) as env:
        agents = objects.OBJECTS[task].num_agents if task in objects.OBJECTS else 1
        if env.num_agents != agents:
            what = f"task {task!r} builds the environment of another"
            raise ContractError(what, got=f"{env.num_agents} agents", expected=str(agents))


def _refused(name: str, use: Callable[[str], Any], what: str, where: str) -> None:
    """Require that `use` refuses a misspelt `name`, and names the right one."""
    wrong = _misspelt(name)
    try:
        use(wrong)
    except ConfigError as error:
        answer = str(error)
    except Exception as error:
        raise ContractError(
            f"an unknown {what} ends in {type(error).__name__}, not in a clear refusal",
            where=where,
            got=f"{wrong!r}: {error}",
            expected=f"ConfigError: unknown {what} {wrong!r}; did you mean {name!r}?",
        ) from error
    else:
        raise ContractError(
            f"an unknown {what} is accepted in silence: {wrong!r}",
            where=where,
            expected=f"ConfigError: did you mean {name!r}?",
            cause="it falls through to a default, or is never looked at",
        )
    if name not in answer:
        raise ContractError(
            f"the refusal of an unknown {what} does not name the nearest one",
            where=where,
            got=answer,
            expected=f"{name!r} for {wrong!r}",
        )


def _misspelt(name: str) -> str:
    """Return a name with two of its letters exchanged."""
    middle = next(i for i in range(len(name) // 2, 2 * len(name)) if name[i % len(name) - 1] != name[i % len(name)])
    letters = list(name)
    letters[middle - 1], letters[middle] = letters[middle], letters[middle - 1]
    return "".join(letters)


def _evaluation_of(task: str) -> Any:
    return evaluate.EvaluateConfig(task_name=task)


def _from_word(task: str) -> Any:
    return train.parse([task])


def _env_of_task(name: str) -> None:
    assembly.make_env(RunConfig(task_name=name, num_envs=2)).close()


def _env_of_object(name: str) -> None:
    config = PushRunConfig(num_envs=2, sim=SimConfig("mujoco", threads=1), task=TaskConfig(object=name))
    assembly.make_env(config).close()


def _sections(values: Dict[str, Any], path: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], Dict[str, Any]]]:
    yield path, values
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _sections(value, path + (name,))


def _from_dict(values: Dict[str, Any], path: Tuple[str, ...], key: str, wrong: str) -> RunConfig:
    changed = json.loads(json.dumps(values))
    section = changed
    for name in path:
        section = section[name]
    section[wrong] = section[key]
    return run_config_from_dict(changed)


def _from_flag(task: str, prefix: str, name: str) -> Any:
    """Parse a command line; the parser's way to refuse it, an exit with a text, counts as a ConfigError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return train.parse([task, prefix + name, "1"])
    except SystemExit as error:
        if error.code != 2:
            raise ContractError(f"a wrong command line exits with code {error.code}", expected="2") from error
        raise ConfigError("the command line is refused", got=said.getvalue()) from error


def _from_file(section: str, write: Callable[[Path, Dict[str, Any]], Path], key: str) -> RunConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), {section: {key: 1}})
        return harl_config.apply(presets.preset("cuboid", "default"), path)


def _write_yaml(folder: Path, values: Dict[str, Any]) -> Path:
    path = folder / "happo.yaml"
    path.write_text("".join(f"{name}:\n  {next(iter(keys))}: 1\n" for name, keys in values.items()))
    return path


def _write_json(folder: Path, values: Dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"main_args": {"algo": "happo"}, "algo_args": values, "env_args": {}}))
    return path
