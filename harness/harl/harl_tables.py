"""The functions and tables of HARL that know environments by name, watched while the user's runner is made.

A gap is noted and filled, so that one run finds all of them: an environment that a function does not know is replaced
by a toy, a missing name by the environment's own.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
import types
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from harness.findings import ContractError
from harness.harl.settings import Settings
from harness.harl.toy_env import ToyMaker
from harness.harl.users_lines import place_of, place_of_text, tree_of

REGISTRY = "LOGGER_REGISTRY"
CONTRACT_OF = {
    "make_train_env": "table-train-env",
    "make_eval_env": "table-eval-env",
    "get_num_agents": "table-num-agents",
    "get_task_name": "table-task-name",
    REGISTRY: "table-logger",
}


class Tables:
    """Watches HARL's tables.

    Args:
      settings: of the run.
      maker: makes the toy; None to make the user's own environment.

    Attributes:
      asked: the tables that the runner asked.
      problems: the first problem of each table.
      notes: what the reader should know.
      module_of_env: the module of the user's environment, as far as its name is known.
      task_namers: the functions `get_task_name` that were asked.
    """

    def __init__(self, settings: Settings, maker: Optional[ToyMaker]) -> None:
        self.asked: List[str] = []
        self.problems: Dict[str, ContractError] = {}
        self.notes: List[str] = []
        self.task_namers: List[Callable[..., Any]] = []
        self.module_of_env = ""
        self._settings = settings
        self._env = settings.main_args["env"]
        self._maker = maker
        self._wrapped: Dict[int, Any] = {}

    def watch(self) -> None:
        """Replace the functions and the registry under their names, in every module that has them."""
        watchers: Dict[str, Callable[..., Any]] = {
            "make_train_env": self._make_env,
            "make_eval_env": self._make_env,
            "get_num_agents": self._num_agents,
            "get_task_name": self._task_name,
        }
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            for name, watcher in watchers.items():
                if isinstance(names.get(name), types.FunctionType):
                    setattr(module, name, self._once(names[name], name, watcher))
            if isinstance(names.get(REGISTRY), dict):
                setattr(module, REGISTRY, self._watched_registry(names[REGISTRY]))

    def _once(self, original: Any, name: str, watcher: Callable[..., Any]) -> Any:
        """Return what replaces a function, the same object for the same function."""
        if id(original) in self._wrapped:
            return self._wrapped[id(original)]

        def watched(*arguments: Any, **named: Any) -> Any:
            self.asked.append(name)
            return watcher(name, original, arguments, named)

        self._wrapped[id(original)] = watched
        self._wrapped[id(watched)] = watched
        return watched

    def _problem(self, name: str, what: str, **details: Any) -> None:
        self.problems.setdefault(CONTRACT_OF[name], ContractError(what, **details))

    # -- environments ------------------------------------------------------------------------------------------------

    def _make_env(self, name: str, original: Any, arguments: Any, named: Any) -> Any:
        section, key, role = "train", "n_rollout_threads", "training"
        if name == "make_eval_env":
            section, key, role = "eval", "n_eval_rollout_threads", "evaluation"
        known = knows(original, self._env)
        if not known:
            self._unknown_env(name, original)
        if self._maker is None:
            return original(*arguments, **named)
        made_by = returned_name(original, self._env)
        if made_by is not None:
            self.module_of_env = made_by.module or original.__module__
        self._maker.role, self._maker.num_envs = role, self._settings.algo_args[section][key]
        if not known or made_by is None:
            return self._maker()
        with replaced(original, made_by, self._maker):
            return self._made(name, original, arguments, named)

    def _made(self, name: str, original: Any, arguments: Any, named: Any) -> Any:
        """Call the user's function, which makes a toy; a refusal to evaluate is no defect."""
        try:
            return original(*arguments, **named)
        except NotImplementedError:
            if name == "make_train_env":
                raise
            self._unknown_env(name, original)
            return self._maker_or_fail()()

    def _maker_or_fail(self) -> ToyMaker:
        assert self._maker is not None
        return self._maker

    def _unknown_env(self, name: str, original: Any) -> None:
        if name == "make_eval_env" and not self._settings.evaluation_is_asked_for:
            self.notes.append(
                f"make_eval_env does not know {self._env!r}, so the runner works only with use_eval False; "
                "evaluation was judged on a toy"
            )
            return
        self._problem(
            name,
            f"{name} does not know the environment {self._env!r}",
            where=place_of(original),
            got="a chain of names that ends in NotImplementedError, in a child process for each env",
            expected=f"a branch for {self._env!r} that returns the whole batch of envs",
            cause="the environment was added to other tables of HARL, but not to this function",
            fix=f'if env_name == "{self._env}": return YourEnv({{"n_threads": n_threads, **env_args}})',
        )

    # -- numbers and names -------------------------------------------------------------------------------------------

    def _num_agents(self, name: str, original: Any, arguments: Any, named: Any) -> Any:
        envs = named.get("envs", arguments[-1] if arguments else None)
        expected = num_agents_of(envs)
        count = original(*arguments, **named)
        if count is None:
            self._problem(
                name,
                f"get_num_agents does not know the environment {self._env!r}: it returns None",
                where=place_of(original),
                expected=f"{expected}",
                cause="it ends without a return; range(self.num_agents) then fails in the runner's constructor",
                fix=f'elif env == "{self._env}": return envs.n_agents',
            )
            return expected
        if expected is not None and count != expected:
            self._problem(
                name,
                f"get_num_agents returns {count} for an environment of {expected} agents",
                where=place_of(original),
                fix="return envs.n_agents",
            )
            return expected
        return count

    def _task_name(self, name: str, original: Any, arguments: Any, named: Any) -> Any:
        self.task_namers.append(original)
        error: Optional[Exception] = None
        task = None
        try:
            task = original(*arguments, **named)
        except Exception as raised:
            error = raised
        if isinstance(task, str) and task:
            return task
        self._problem(name, self._why_no_task(error, task), **self._task_details(original, error))
        return self._env

    def _why_no_task(self, error: Optional[Exception], task: Any) -> str:
        if isinstance(error, KeyError):
            return f"get_task_name reads the setting {error} of {self._env!r}, which does not exist"
        why = f"returns {task!r}"
        if error is not None:
            why = f"raises {type(error).__name__}"
        return f"get_task_name does not know the environment {self._env!r}: it {why}"

    def _task_details(self, original: Any, error: Optional[Exception]) -> Dict[str, Optional[str]]:
        got = None
        if error is not None:
            got = f"{type(error).__name__}: {error}"
        return {
            "where": place_of(original),
            "got": got,
            "expected": "the name of the task, by which folders of results are told apart",
            "cause": "no branch for this environment: the name is never assigned",
            "fix": f'elif env == "{self._env}": task = env_args["task"]',
        }

    # -- loggers -----------------------------------------------------------------------------------------------------

    def _watched_registry(self, registry: Dict[str, Any]) -> Dict[str, Any]:
        if id(registry) in self._wrapped:
            return self._wrapped[id(registry)]
        watched = _Registry(self, registry)
        self._wrapped[id(registry)] = watched
        self._wrapped[id(watched)] = watched
        return watched

    def logger_of_nobody(self) -> Any:
        """Note that the registry has no logger for the environment, and return HARL's plain one."""
        module = sys.modules.get("harl.envs")
        file = getattr(module, "__file__", None)
        where = None
        if file:
            where = place_of_text(Path(file), REGISTRY, "=") or file
        self._problem(
            REGISTRY,
            f"LOGGER_REGISTRY has no logger for the environment {self._env!r}",
            where=where,
            got=f"KeyError: {self._env!r}",
            cause="the logger exists, but was never entered in the table from which HARL's runner takes it",
            fix=f'LOGGER_REGISTRY["{self._env}"] = YourLogger, in harl/envs/__init__.py or before the runner is made',
        )
        base = importlib.import_module("harl.common.base_logger").BaseLogger
        return type("PlainLogger", (base,), {"get_task_name": lambda logger: self._env})


class _Registry(Dict[str, Any]):
    """HARL's table of loggers, which notes that it was asked."""

    def __init__(self, tables: Tables, entries: Dict[str, Any]) -> None:
        super().__init__(entries)
        self._tables = tables

    def __getitem__(self, name: str) -> Any:
        self._tables.asked.append(REGISTRY)
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        return self._tables.logger_of_nobody()

    def get(self, name: str, default: Any = None) -> Any:  # type: ignore[override]
        self._tables.asked.append(REGISTRY)
        return dict.get(self, name, default)


def num_agents_of(envs: Any) -> Optional[int]:
    """Return how many agents an environment has: one for each action space."""
    with contextlib.suppress(TypeError, AttributeError):
        return len(envs.action_space)
    return None


# -- what a function does for a name ---------------------------------------------------------------------------------


class MadeBy(NamedTuple):
    """What a function calls to make a batch of environments.

    Attributes:
      name: the class or function, as the code names it.
      module: from where the function imports it by itself; "" if it is a global name of the function's module.
      imported: its name in that module.
    """

    name: str
    module: str = ""
    imported: str = ""


def knows(function: Any, env: str) -> bool:
    """Return whether a function has a branch for an environment, or compares no name at all."""
    tree = tree_of(function)
    if tree is None:
        return True
    compared = []
    for node in ast.walk(tree.node):
        if isinstance(node, ast.Compare):
            compared += _texts(node)
    return not compared or env in compared or not tree.node.args.args


def _texts(node: ast.AST) -> List[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def returned_name(function: Any, env: str) -> Optional[MadeBy]:
    """Return what a function calls in `return Name(...)` for an environment; None if it does something else."""
    tree = tree_of(function)
    if tree is None:
        return None
    body = _branch(tree.node.body, env)
    for statement in body:
        value = getattr(statement, "value", None)
        if isinstance(statement, ast.Return) and isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            return _imported(tree.node, value.func.id)
    return None


def _branch(body: List[Any], env: str) -> List[Any]:
    """Return the statements that run for an environment, at the level of the function itself."""
    for statement in body:
        if isinstance(statement, ast.If):
            if env in _texts(statement.test):
                return statement.body
            inner = _branch(statement.orelse, env)
            if inner is not statement.orelse:
                return inner
    return body


def _imported(function: Any, name: str) -> MadeBy:
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return MadeBy(name, node.module, alias.name)
    return MadeBy(name)


@contextlib.contextmanager
def replaced(function: Any, made_by: MadeBy, maker: ToyMaker) -> Iterator[None]:
    """Let a function call `maker` instead of what it calls, without importing the module of that."""
    if not made_by.module:
        space = function.__globals__
        old = space.get(made_by.name)
        space[made_by.name] = maker
        try:
            yield
        finally:
            space[made_by.name] = old
        return
    known = sys.modules.get(made_by.module)
    stub: Any = types.ModuleType(made_by.module)
    if known is not None:
        stub.__dict__.update(known.__dict__)
    setattr(stub, made_by.imported, maker)
    sys.modules[made_by.module] = stub
    try:
        yield
    finally:
        if known is not None:
            sys.modules[made_by.module] = known
        else:
            del sys.modules[made_by.module]
