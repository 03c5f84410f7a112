"""`python -m harness doctor --harl DIR --mqe DIR`: known traps in checkouts, which are read without running them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from harness.doctor import harl_traps, integration_traps
from harness.doctor.growing_lists import growing_lists
from harness.doctor.line import OK, WRONG, Line
from harness.doctor.sources import Checkout, SourceFile, Trap, name_of, number

PAIRS = "max_gpu_contact_pairs"


def examine_checkouts(harl: Optional[Path], mqe: Optional[Path], env: str) -> List[Line]:
    """Return one line for each known trap; one line that says so if there is none.

    Args:
      harl: a checkout of HARL with the user's environment, or None.
      mqe: a checkout of MAPush or MQE, or None.
      env: name under which HARL should know the environment.
    """
    lines: List[Line] = []
    opened = []
    for folder, package in ((harl, "harl"), (mqe, "mqe")):
        checkout = None
        if folder is not None and (folder / package).is_dir():
            checkout = Checkout(folder.resolve())
            lines += checkout.unreadable
        elif folder is not None:
            fix = f"name the folder of the git checkout, which contains {package}/"
            lines.append(Line(f"--{package}", WRONG, f"{folder} has no folder {package}", fix))
        opened.append(checkout)
    traps = list(_traps(opened[0], opened[1], env))
    lines += map(Trap.as_line, traps)
    count = sum(len(checkout.files) for checkout in opened if checkout)
    if count and not traps:
        lines.append(Line("source code", OK, f"no known trap in {count} files"))
    return lines


def _traps(harl: Optional[Checkout], mqe: Optional[Checkout], env: str) -> Iterator[Trap]:
    own: List[SourceFile] = []
    if mqe is not None:
        yield from contact_pairs(mqe)
        yield from growing_lists(mqe.files, mqe.files)
        own += mqe.files
    if harl is not None:
        mine = _of_the_user(harl, env)
        own += mine
        yield from harl_traps.tables(harl, env)
        yield from _runner_lines(harl, mine)
        yield from integration_traps.transposed_actions(mine)
        yield from integration_traps.loggers_without_envs(mine, harl.files)
        yield from growing_lists([*mine, *harl.below("harl", "common"), *harl.below("harl", "runners")], harl.files)
    yield from integration_traps.wrong_arguments(own, mqe)


def _of_the_user(harl: Checkout, env: str) -> List[SourceFile]:
    """Return the files of the environment, and those of packages beside `harl`, such as runners of the user's own."""
    mine = harl.below("harl", "envs", env)
    upstream = {harl.folder / "harl", harl.folder / "examples"}
    for source in harl.files:
        if source.path.parent != harl.folder and upstream.isdisjoint(source.path.parents):
            mine.append(source)
    return mine


def _runner_lines(harl: Checkout, mine: Sequence[SourceFile]) -> Iterator[Trap]:
    """Yield lines of the runners that an environment breaks: the user's, or one that is not there yet."""
    files = [*harl.below("harl", "runners"), *mine]
    masks = list(harl_traps.unguarded_masks(files))
    infos = list(harl_traps.unguarded_infos(files))
    yield from integration_traps.wrong_infos(mine, infos)
    yield from integration_traps.wrong_masks(mine, masks)
    if any(list(source.functions("step")) for source in mine):
        return  # what this environment returns has been compared with these lines
    for reader in masks:
        found = "available_actions is indexed without a guard: TypeError if an environment returns None"
        fix = "if available_actions is not None and ..., or return [None] * num_envs"
        yield Trap("runner", reader.source.path, reader.line, found, fix, is_certain=False)
    for reader in infos:
        found = "info of every env is indexed by agent without a guard: KeyError if an environment returns flat dicts"
        fix = "return {0: {}} for each env (state_type EP), or a list with a dict for each agent"
        yield Trap("runner", reader.source.path, reader.line, found, fix, is_certain=False)


def contact_pairs(mqe: Checkout) -> Iterator[Trap]:
    """Yield the lines that multiply the capacity of PhysX's buffer for contact pairs."""
    configured = _configured(mqe)
    for source in mqe.files:
        for node in ast.walk(source.tree):
            factor = _factor(node)
            if factor is not None and factor > 1:
                found = f"{PAIRS} is multiplied by {factor:g}: {_costs(configured, factor)}"
                fix = "*= 1 on a card of 8 GiB; PhysX reserves the buffer at once, and a process that gets less crashes"
                line = getattr(node, "lineno", 1)
                yield Trap("contact pairs", source.path, line, found, fix, is_certain=False)


def _factor(node: ast.AST) -> Optional[float]:
    """Return the number by which a statement multiplies the contact pairs; None if it does not."""
    if isinstance(node, ast.AugAssign) and name_of(node.target) == PAIRS:
        if isinstance(node.op, ast.Mult):
            return number(node.value)
        if isinstance(node.op, ast.LShift) and number(node.value) is not None:
            return 2.0 ** float(number(node.value) or 0.0)
    if isinstance(node, ast.Assign) and name_of(node.targets[0]) == PAIRS and isinstance(node.value, ast.BinOp):
        factors = (node.value.left, node.value.right)
        is_product = isinstance(node.value.op, ast.Mult) and PAIRS in map(name_of, factors)
        if is_product:
            return next((number(part) for part in factors if name_of(part) != PAIRS), None)
    return None


def _configured(mqe: Checkout) -> Optional[int]:
    """Return the capacity that the configuration states; None if it states none."""
    for source in mqe.files:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assign) and name_of(node.targets[0]) == PAIRS:
                value = number(node.value)
                if value is not None:
                    return int(value)
    return None


def _costs(configured: Optional[int], factor: float) -> str:
    """Return what a multiplied buffer takes on the GPU, compared with the configured one."""
    try:
        from mapush.upstream.contact_pairs import DEFAULT_PAIRS, ContactPairs
    except ImportError:  # without torch; the line matters all the more
        return "so much more memory of the GPU"
    before = ContactPairs(configured or DEFAULT_PAIRS)
    after = ContactPairs(int(before.pairs * factor))
    return f"{after} of GPU memory instead of {_size(str(before))}"


def _size(text: str) -> str:
    return text.rpartition("about ")[2]
