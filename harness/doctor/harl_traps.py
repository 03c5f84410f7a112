"""Known traps in a checkout of HARL: tables that do not know an environment, and lines that some environments break.

Source: HARL@d539bad; an environment is known by name in eight places.
"""

from __future__ import annotations

import ast
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from harness.doctor.sources import Checkout, Reader, SourceFile, Trap, constants, name_of

CHAINS = (  # file, function, what happens without a branch, whether in every run
    ("configs_tools.py", "get_task_name", "UnboundLocalError: task, before the first step", True),
    ("envs_tools.py", "make_train_env", "NotImplementedError where the environment is made", True),
    ("envs_tools.py", "make_eval_env", "NotImplementedError if use_eval is on", False),
    ("envs_tools.py", "make_render_env", "NotImplementedError if use_render is on", False),
    ("envs_tools.py", "get_num_agents", "None agents, then TypeError in range(self.num_agents)", True),
)
MASKS = ("available_actions", "eval_available_actions")


def tables(harl: Checkout, env: str) -> Iterator[Trap]:
    """Yield the tables of HARL in which the name of an environment is missing."""
    for file, function, consequence, is_certain in CHAINS:
        source = harl.file("harl", "utils", file)
        if source is None:
            continue
        for node in source.functions(function):
            branch = _branch(node, env)
            if branch is None and not _has_default(node, function):
                found = f"{function} does not know {env!r}: {consequence}"
                fix = f"add a branch for {env!r}"
                yield Trap("HARL's tables", source.path, node.lineno, found, fix, is_certain)
            elif branch is not None and function == "get_task_name":
                yield from _same_for_all(source, branch, env)
    yield from _loggers(harl, env)
    yield from _choices(harl, env)
    config = harl.folder / "harl" / "configs" / "envs_cfgs"
    if config.is_dir() and not (config / f"{env}.yaml").is_file():
        found = f"there is no {env}.yaml: FileNotFoundError in get_defaults_yaml_args"
        yield Trap("HARL's tables", config / f"{env}.yaml", 1, found, "write one, or pass --load_config", False)


def _branch(function: ast.FunctionDef, env: str) -> Optional[ast.If]:
    """Return the branch of a chain of comparisons that is for a name."""
    for node in ast.walk(function):
        if isinstance(node, ast.If):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Constant) and part.value == env:
                    return node
    return None


def _has_default(function: ast.FunctionDef, name: str) -> bool:
    """Return whether a chain has an `else` that does not raise, or a value that was set before."""
    if name.startswith("make_"):
        return not _raises(function)
    last = function.body[-1]
    if isinstance(last, ast.If):
        return bool(_else_of(last))
    chain = [node for node in function.body if isinstance(node, ast.If)]
    begins_with_a_value = isinstance(function.body[0], (ast.Assign, ast.AnnAssign))
    if not chain:
        return True
    default = _else_of(chain[-1])
    returns_value = isinstance(last, ast.Return) and last.value is not None and name == "get_num_agents"
    return begins_with_a_value or returns_value or (bool(default) and not any(map(_raises, default)))


def _raises(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Raise) for part in ast.walk(node))


def _else_of(chain: ast.If) -> List[ast.stmt]:
    while len(chain.orelse) == 1 and isinstance(chain.orelse[0], ast.If):
        chain = chain.orelse[0]
    return chain.orelse


def _same_for_all(source: SourceFile, branch: ast.If, env: str) -> Iterator[Trap]:
    """Yield a task name that is the same for every task, so that their runs share a folder."""
    for statement in branch.body:
        value = getattr(statement, "value", None)
        if isinstance(statement, (ast.Assign, ast.Return)) and isinstance(value, ast.Constant):
            found = f"every task of {env!r} is called {value.value!r}: runs of different tasks share a folder"
            fix = 'task = env_args.get("task", ...)'
            yield Trap("task names", source.path, statement.lineno, found, fix)


def _loggers(harl: Checkout, env: str) -> Iterator[Trap]:
    source = harl.file("harl", "envs", "__init__.py")
    if source is None:
        return
    for node in source.tree.body:
        if not isinstance(node, ast.Assign) or name_of(node.targets[0]) != "LOGGER_REGISTRY":
            continue
        if isinstance(node.value, ast.Dict) and not _is_registered(source, node.value, env):
            found = f"LOGGER_REGISTRY does not know {env!r}: KeyError where the runner makes its logger"
            fix = f'add "{env}": a subclass of BaseLogger'
            yield Trap("HARL's tables", source.path, node.lineno, found, fix)


def _is_registered(source: SourceFile, table: ast.Dict, env: str) -> bool:
    """Return whether a name is a key of a table, there or in a later assignment."""
    names: List[object] = []
    for key in table.keys:
        names += constants(key) if key is not None else []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and name_of(node.value) == "LOGGER_REGISTRY":
            names += constants(node.slice)
    return env in names


def _choices(harl: Checkout, env: str) -> Iterator[Trap]:
    """Yield the script that refuses the name on its command line."""
    source = harl.file("examples", "train.py")
    if source is None:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or name_of(node.func) != "add_argument" or not node.args:
            continue
        if getattr(node.args[0], "value", None) != "--env":
            continue
        for keyword in node.keywords:
            if keyword.arg == "choices" and env not in constants(keyword.value):
                found = f"--env {env} is refused by this script, because it is none of its choices"
                fix = f'add "{env}" to the choices, or start runs with a script of your own'
                yield Trap("HARL's tables", source.path, keyword.value.lineno, found, fix, is_certain=False)


# -- lines of the runners --------------------------------------------------------------------------------------------


def unguarded_masks(files: Sequence[SourceFile]) -> Iterator[Reader]:
    """Yield the lines that read `available_actions[0]` without asking first whether there is any."""
    for source, function, node in _conditions(files):
        for compared in _reads_first(node.test):
            yield Reader(source, compared.lineno, function.name, "available_actions")


def _conditions(files: Sequence[SourceFile]) -> Iterator[Tuple[SourceFile, ast.FunctionDef, Any]]:
    """Yield every `if`, as a statement and in an expression, with the function that contains it."""
    for source in files:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, (ast.IfExp, ast.If)):
                    yield source, function, node


def _reads_first(test: ast.expr) -> Iterator[ast.Compare]:
    """Yield `x[0] is not None` in a condition that does not ask `x is not None` before."""
    guarded = set()
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and name_of(node.left) in MASKS:
            guarded.add(name_of(node.left))
        elif isinstance(node, ast.BoolOp):
            guarded.update(map(name_of, node.values))
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Subscript):
            name = name_of(node.left.value)
            if isinstance(node.left.value, ast.Name) and name in MASKS and name not in guarded:
                yield node


def unguarded_infos(files: Sequence[SourceFile]) -> Iterator[Reader]:
    """Yield the lines that look for `bad_transition` in `info[0]` without asking whether there is such a key."""
    for source, function, node in _conditions(files):
        if "bad_transition" not in constants(node.test) or _asks_for_key(node.test):
            continue
        reads = []
        for part in ast.walk(node.test):
            if isinstance(part, ast.Subscript) and name_of(part.value) in ("info", "infos"):
                reads.append(part)
        if reads:
            first = min(reads, key=lambda part: (part.lineno, part.col_offset))
            key = getattr(first.slice, "value", first.slice)  # Python 3.8 wraps it in an ast.Index
            yield Reader(source, first.lineno, function.name, str(getattr(key, "value", key)))


def _asks_for_key(test: ast.expr) -> bool:
    """Return whether a condition asks, before anything else, whether something is in `info` itself."""
    if isinstance(test, ast.BoolOp):
        test = test.values[0]
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.In):
        return False
    return isinstance(test.comparators[0], ast.Name)
