"""Known traps in the code that connects an environment to HARL: its `step`, its logger, and the arguments of MQE.

Sources: HARL@d539bad and MAPush@0e61e1b.
"""

from __future__ import annotations

import ast
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

from harness.causes.transposes import swapped_actions
from harness.doctor.sources import Checkout, Reader, SourceFile, Trap, constants, keywords, name_of, own_attribute

STEP_PARTS = 6  # obs, share_obs, rewards, dones, infos, available_actions
INFOS, AVAILABLE = 4, 5
ARGUMENTS = (
    "physics_engine",
    "use_gpu",
    "subscenes",
    "use_gpu_pipeline",
    "num_threads",
    "seed",
    "sim_device",
    "headless",
    "num_envs",
)
"""What MQE's `make_env` reads from its arguments in every run on PhysX; see `mqe/utils/helpers.py`."""
MAKERS = ("make_mqe_env",)
NUMBERS_OF_ENVS = ("num_envs", "n_envs")


def transposed_actions(files: Sequence[SourceFile]) -> Iterator[Trap]:
    """Yield the lines that transpose HARL's actions for MQE, which expects them as they are."""
    for source in files:
        if not _imports_mqe(source):
            continue
        for function in source.functions("step", "step_async"):
            for call in swapped_actions(function):
                found = "the actions are transposed: HARL's are [num_envs, num_agents, 3] already, as MQE expects them"
                yield Trap("actions", source.path, call.lineno, found, "torch.from_numpy(actions), without transpose")


def _imports_mqe(source: SourceFile) -> bool:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mqe":
            return True
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "mqe" for alias in node.names):
            return True
    return False


# -- what step returns -----------------------------------------------------------------------------------------------


def wrong_infos(files: Sequence[SourceFile], readers: Sequence[Reader]) -> Iterator[Trap]:
    """Yield the infos without the key 0, which lines of the runner look for."""
    readers = sorted(readers, key=lambda reader: reader.code != "0")  # those of state_type EP first
    for source, function, returned in _returned_by_step(files):
        value = _value(function, returned[INFOS])
        if not readers or value is None or not _is_flat(value):
            continue
        found = f"infos have no key 0, which {readers[0].place} looks for: KeyError: 0 in the first step"
        is_certain = readers[0].code == "0"
        if not is_certain:
            found += " if state_type is FP"
        fix = "[{0: {}} for _ in range(num_envs)], or a list with a dict for each agent"
        yield Trap("infos", source.path, value.lineno, found, fix, is_certain)


def wrong_masks(files: Sequence[SourceFile], readers: Sequence[Reader]) -> Iterator[Trap]:
    """Yield available actions that lines of the runner cannot index."""
    on_policy = []
    for reader in readers:
        if not reader.source.path.name.startswith("off_policy"):
            on_policy.append(reader)
    on_policy.sort(key=lambda reader: ("evaluation" in reader.when) + 2 * ("renders" in reader.when))
    for source, function, returned in _returned_by_step(files):
        value = _value(function, returned[AVAILABLE])
        if value is None:
            continue
        fix = "return [None] * num_envs"
        if isinstance(value, ast.Constant) and value.value is None and on_policy:
            first = on_policy[0]
            found = f"available_actions is None, and {first.place} indexes it: TypeError {first.when}"
            fix += ", or guard that line: if available_actions is not None and ..."
            yield Trap("masks", source.path, value.lineno, found, fix, is_certain="step" in first.when)
        elif _is_nested_none(value):
            found = "there is a None for each agent, which HARL takes for a mask: TypeError in the first step"
            yield Trap("masks", source.path, value.lineno, found, fix)


def _returned_by_step(files: Sequence[SourceFile]) -> Iterator[Tuple[SourceFile, ast.FunctionDef, List[ast.expr]]]:
    """Yield what methods `step` of many envs at once return as HARL expects it: six values.

    An environment of one env returns the same six for itself, and HARL stacks those of all envs.
    """
    for source in files:
        if not _has_many_envs(source):
            continue
        for function in source.functions("step", "step_wait"):
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
                    if len(node.value.elts) == STEP_PARTS:
                        yield source, function, node.value.elts


def _has_many_envs(source: SourceFile) -> bool:
    """Return whether a file is about many envs at once: it speaks of their number."""
    return not set(NUMBERS_OF_ENVS).isdisjoint(map(name_of, ast.walk(source.tree)))


def _value(function: ast.FunctionDef, node: ast.expr) -> Optional[ast.expr]:
    """Return the expression that a returned name stands for; None if the function assigns it more than once."""
    if not isinstance(node, ast.Name):
        return node
    values = []
    for inner in ast.walk(function):
        if isinstance(inner, ast.Assign) and node.id in map(name_of, inner.targets):
            values.append(inner.value)
    return values[0] if len(values) == 1 else None


def _is_flat(value: ast.expr) -> bool:
    """Return whether infos are a list with a dict without numbered keys for each env."""
    entry: Optional[ast.AST] = None
    if isinstance(value, ast.ListComp):
        entry = value.elt
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult) and isinstance(value.left, ast.List):
        entry = value.left.elts[0] if value.left.elts else None
    if not isinstance(entry, ast.Dict):
        return False
    for key in entry.keys:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return False
    return True


def _is_nested_none(value: ast.AST) -> bool:
    """Return whether an expression is a list, or an array of lists, with several None in each."""
    if isinstance(value, ast.Call) and name_of(value.func) in ("array", "asarray") and value.args:
        value = value.args[0]
    inner: Optional[ast.AST] = None
    if isinstance(value, ast.BinOp) and isinstance(value.left, ast.List) and value.left.elts:
        inner = value.left.elts[0]
    elif isinstance(value, ast.ListComp):
        inner = value.elt
    if not isinstance(inner, (ast.List, ast.ListComp, ast.BinOp)):
        return False
    return None in constants(inner)


# -- loggers ---------------------------------------------------------------------------------------------------------


def loggers_without_envs(files: Sequence[SourceFile], all_files: Sequence[SourceFile]) -> Iterator[Trap]:
    """Yield the loggers that ask an environment which nobody gives them.

    Args:
      files: whose loggers are examined.
      all_files: the code that could give it to them.
    """
    given = _given_to_loggers(all_files)
    for source in files:
        for owner in source.classes():
            if not owner.name.endswith("Logger"):
                continue
            assigned, setters, reads = _uses_of_envs(owner)
            if not reads or "logger.envs" in given or setters & given:
                continue
            place = reads[0].lineno
            if "envs" in assigned:
                found = f"{owner.name}.envs stays None: nobody gives it the environment, so its statistics never appear"
            else:
                found = f"{owner.name} reads self.envs, which nobody sets: AttributeError at the first log line"
            yield Trap("logger", source.path, place, found, "self.logger.envs = self.envs in the runner's __init__")


def _uses_of_envs(owner: ast.ClassDef) -> Tuple[Dict[str, int], Set[str], List[ast.Attribute]]:
    """Return where a class sets `self.envs`, which methods set it to an argument, and where it is read."""
    assigned: Dict[str, int] = {}
    setters: Set[str] = set()
    reads: List[ast.Attribute] = []
    for method in owner.body:
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and "envs" in map(own_attribute, node.targets):
                assigned["envs"] = node.lineno
                if not isinstance(node.value, ast.Constant) and isinstance(method, ast.FunctionDef):
                    setters.add(method.name)
            elif isinstance(node, ast.Attribute) and own_attribute(node) == "envs" and isinstance(node.ctx, ast.Load):
                reads.append(node)
    return assigned, setters, reads


def _given_to_loggers(files: Sequence[SourceFile]) -> Set[str]:
    """Return the names of the methods that are called, and "logger.envs" if some code sets that attribute."""
    given: Set[str] = {"__init__"}  # a constructor with the environment as an argument
    for source in files:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call):
                given.add(name_of(node.func))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if name_of(target) == "envs" and "logger" in name_of(getattr(target, "value", target)).lower():
                        given.add("logger.envs")
    return given


# -- arguments of MQE ------------------------------------------------------------------------------------------------


def wrong_arguments(files: Sequence[SourceFile], mqe: Optional[Checkout]) -> Iterator[Trap]:
    """Yield the namespaces that lack what MQE reads, and calls without the function that configures it."""
    needed = _read_by(mqe)
    films = mqe is not None and _films(mqe)
    for source in files:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and name_of(call.func) in MAKERS:
                    yield from _of_call(source, function, call, needed, films)


def _of_call(
    source: SourceFile, function: ast.FunctionDef, call: ast.Call, needed: Sequence[str], films: bool
) -> Iterator[Trap]:
    given = _given_arguments(function, call)
    missing = []
    if given is not None:
        missing = [name for name in needed if name not in given]
    if missing:
        found = f"the arguments lack {', '.join(missing)}, which MQE reads: AttributeError where it is made"
        yield Trap("MQE's arguments", source.path, call.lineno, found, f"args.{missing[0]} = ...")
    names = keywords(call)
    if len(call.args) < 3 and "custom_cfg" not in names and None not in names and films:
        found = "without custom_cfg, record_video stays True: each environment makes a camera (Vulkan, memory)"
        fix = "make_mqe_env(task, args, custom_cfg=custom_cfg(args)) with args.record_video = False"
        yield Trap("MQE's arguments", source.path, call.lineno, found, fix, is_certain=False)


def _given_arguments(function: ast.FunctionDef, call: ast.Call) -> Optional[Set[str]]:
    """Return the attributes of the namespace that a call is given; None if they cannot be told from the code."""
    passed = list(call.args[1:2])
    passed += [keyword.value for keyword in call.keywords if keyword.arg == "args"]
    if not passed or not isinstance(passed[0], ast.Name):
        return None
    name = passed[0].id
    given: Optional[Set[str]] = None
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    given = _of_namespace(node.value)
        elif isinstance(node, ast.Call) and name_of(node.func) in ("setattr", "vars", "update"):
            return None
    if given is None:
        return None
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and name_of(node.value) == name:
            given.add(node.attr)
    return given


def _of_namespace(value: ast.expr) -> Optional[Set[str]]:
    """Return the keywords of `SimpleNamespace(...)` or `Namespace(...)`; None for anything else."""
    if not isinstance(value, ast.Call) or name_of(value.func) not in ("SimpleNamespace", "Namespace") or value.args:
        return None
    names = keywords(value)
    if None in names:  # **settings
        return None
    return set(map(str, names))


def _read_by(mqe: Optional[Checkout]) -> List[str]:
    """Return which of `ARGUMENTS` the functions of a checkout read; all of them if there is no checkout."""
    source = mqe.file("mqe", "utils", "helpers.py") if mqe else None
    if source is None:
        return list(ARGUMENTS)
    read = set()
    for function in source.functions("make_env", "parse_sim_params", "update_cfg_from_args"):
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and name_of(node.value) == "args":
                read.add(node.attr)
    return [name for name in ARGUMENTS if name in read]


def _films(mqe: Checkout) -> bool:
    """Return whether a configuration of a checkout records videos unless it is told otherwise."""
    for source in mqe.below("mqe"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "record_video":
                if isinstance(node.value, ast.Constant) and node.value.value is True:
                    return True
    return False
