"""The contract that returned arrays belong to the caller.

At every step, arrays that were returned earlier must not have changed, and must share no memory with new ones. Nor may
arrays in the infos of an end change. Then the long run is played again while everything that is returned is
overwritten: if the run diverges, the environment reads what it has given away.
"""

from __future__ import annotations

import numpy as np

from harness.contracts.comparison import first_divergence
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.infos import changed_arrays, leaves
from harness.interface.moment import SHAPES, Moment
from harness.interface.same_bytes import same_bytes


@contract("aliasing")
def aliasing(subject: EnvUnderTest) -> None:
    """Returned arrays belong to the caller: they never change later, and writing in them changes nothing."""
    original = subject.long_run().seen
    steps = subject.steps(len(original) - 1, runs=1)
    overwritten = subject.replay(steps, scribble=True)
    found = first_divergence(original, overwritten)
    if found is None:
        return
    step, difference = found
    if first_divergence(original, subject.replay(step)) is not None:
        raise NotJudgedError("the same seed gives a different run, so runs cannot be compared")
    raise ContractError(
        "a returned array is the environment's own state: writing in it changed the run",
        step=step,
        where=difference.where(),
        got=difference.value(overwritten[step]),
        expected=difference.value(original[step]),
        cause="a view of the state is returned instead of a copy",
        fix="return copies",
    )


@contract("aliasing", every_step=True)
def aliasing_step(moment: Moment) -> None:
    """No array that was returned earlier changes or is returned again."""
    for kept in moment.kept:
        for name, array, copy in kept.arrays:
            has_nan = array.dtype.kind == "f"
            if not same_bytes(array, copy) and not np.array_equal(array, copy, equal_nan=has_nan):
                raise _reused(moment, name, f"the array of step {kept.step} changed at step {moment.step}")
            current = moment.parts.get(name)
            if array.size and isinstance(current, np.ndarray) and np.may_share_memory(array, current):
                raise _reused(moment, name, f"the arrays of steps {kept.step} and {moment.step} share memory")
    _require_kept_infos(moment)
    for name in SHAPES:
        if np.may_share_memory(moment.parts[name], moment.parts["actions"]):
            raise moment.error(f"{name} shares memory with the actions", fix=f"return {name}.copy()")


def _require_kept_infos(moment: Moment) -> None:
    """Raise if an array in an info of an end has changed since; dicts that are used again are for `infos-fresh`."""
    current = {id(info) for _, _, info in leaves(moment.parts["infos"])}
    for kept in moment.kept:
        for env, agent, info, items in kept.infos:
            if id(info) in current or info.keys() != items.keys() or not kept.ended(env):
                continue
            for key in changed_arrays(info, items):
                raise moment.error(
                    f"an array in infos changes later: {key!r}",
                    f"infos[{env}][{agent}][{key!r}] of step {kept.step}, at step {moment.step}",
                    got=f"{info[key]}",
                    expected=f"{items[key]}, as it was returned",
                    cause="infos hold a view of the env's own numbers: after the reset, those of the new episode",
                    fix="put a copy or a plain number into infos: x[i].copy(), float(x[i])",
                )


def _reused(moment: Moment, name: str, what: str) -> ContractError:
    return moment.error(
        f"the {name} buffer is reused: {what}",
        cause="a buffer is returned instead of a copy: whoever keeps it sees later values",
        fix=f"return {name}.copy()",
    )
