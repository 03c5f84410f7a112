"""Checks of the tables of HARL that know environments by name."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Optional

from harness.findings import ContractError, NotJudgedError
from harness.harl.harl_tables import CONTRACT_OF, REGISTRY
from harness.harl.runner_checks import judges
from harness.harl.trial import Trial
from harness.harl.users_lines import place_of

KEYS_OF_TASKS = ("task", "scenario", "map_name", "env_name", "object", "object_type")
OTHER_TASK = "other"  # appended to the name of a task


@judges("table-settings")
def settings(trial: Trial) -> None:
    """HARL has a yaml file with the settings of the environment, or they are given."""
    missing = trial.settings.missing
    if missing is None:
        return
    env = trial.settings.main_args["env"]
    raise ContractError(
        f"HARL has no settings of the environment {env!r}: {env}.yaml is missing",
        where=missing,
        cause="get_defaults_yaml_args opens this file before anything else: FileNotFoundError",
        fix=f"write envs_cfgs/{env}.yaml, or give the settings of your own script with --config FILE",
    )


def _of_table(trial: Trial, name: str) -> None:
    """Raise the problem of a table."""
    problem = trial.tables.problems.get(CONTRACT_OF[name])
    if problem is not None:
        raise problem
    if name not in trial.tables.asked:
        reason = f"the runner does not ask {name}"
        if trial.error is not None:
            reason = f"the run ended while {trial.error_in}, before {name} was asked"
        raise NotJudgedError(reason)


@judges("table-train-env")
def train_env(trial: Trial) -> None:
    """`make_train_env` knows the environment."""
    _of_table(trial, "make_train_env")


@judges("table-eval-env")
def eval_env(trial: Trial) -> None:
    """`make_eval_env` knows the environment, if the runner evaluates."""
    if trial.tables.problems.get("table-eval-env") is None:
        if not trial.settings.algo_args.get("eval", {}).get("use_eval", False):
            raise NotJudgedError("use_eval is False")
        if any("make_eval_env" in note for note in trial.tables.notes):
            raise NotJudgedError("make_eval_env does not know the environment, and nobody asked for an evaluation")
    _of_table(trial, "make_eval_env")


@judges("table-num-agents")
def num_agents(trial: Trial) -> None:
    """`get_num_agents` returns how many agents the environment has."""
    _of_table(trial, "get_num_agents")


@judges("table-task-name")
def task_name(trial: Trial) -> None:
    """`get_task_name` names the task."""
    _of_table(trial, "get_task_name")


@judges("table-logger")
def logger(trial: Trial) -> None:
    """`LOGGER_REGISTRY` has a logger for the environment."""
    _of_table(trial, REGISTRY)


@judges("task-names-differ")
def task_names_differ(trial: Trial) -> None:
    """Different tasks have different names: folders of results, lines of the log, and titles."""
    if "table-task-name" in trial.tables.problems:
        raise NotJudgedError(f"table-task-name: {trial.tables.problems['table-task-name'].what}")
    namers: List[Callable[..., Any]] = list(dict.fromkeys(trial.tables.task_namers))
    if not namers:
        raise NotJudgedError("the runner does not ask get_task_name")
    for namer in namers:
        _require_different(trial, namer, lambda args: namer(trial.settings.main_args["env"], args))  # noqa: B023
    if trial.logger is not None and trial.code is not None:
        _require_different(trial, type(trial.logger).get_task_name, _name_of_logger(trial))


def _name_of_logger(trial: Trial) -> Callable[[Dict[str, Any]], Any]:
    def name(env_args: Dict[str, Any]) -> Any:
        logger = copy.copy(trial.logger)
        logger.env_args = env_args
        return logger.get_task_name()

    return name


def _require_different(trial: Trial, function: Any, name_of: Callable[[Dict[str, Any]], Any]) -> None:
    """Raise if no setting that names a task changes what `name_of` returns."""
    env_args = trial.settings.env_args
    keys = []
    for key in KEYS_OF_TASKS:
        if isinstance(env_args.get(key), str):
            keys.append(key)
    if not keys:
        raise NotJudgedError(f"the settings of the environment have none of {', '.join(KEYS_OF_TASKS)}")
    usual = name_of(env_args)
    for key in keys:
        value = f"{env_args[key]}_{OTHER_TASK}"
        other = _try(name_of, dict(env_args, **{key: value}))
        if other is None:
            raise NotJudgedError(f"get_task_name refuses {key} = {value!r}")
        if other != usual:
            return
    key = keys[0]
    raise ContractError(
        f"all tasks have one name: get_task_name returns {usual!r} whatever {key} is",
        where=place_of(function),
        got=f"{usual!r} for {key} = {env_args[key]!r} and for {key} = {env_args[key] + '_' + OTHER_TASK!r}",
        expected="a name for each task",
        cause="the name is a constant, so results of different tasks go to one folder",
        fix=f'return env_args["{key}"]',
    )


def _try(function: Callable[..., Any], *arguments: Any) -> Optional[Any]:
    try:
        return function(*arguments)
    except Exception:
        return None
