"""Planting bugs inside the environments of this repository: the toy and the pushing task."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Callable, Iterator, List, MutableMapping

from harness.faults.plant import replaced


@contextlib.contextmanager
def replaced_in_push(name: str, broken: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of our pushing task, if torch is installed."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ModuleNotFoundError):
            from mapush.env.push import PushEnv

            stack.enter_context(replaced(PushEnv, name, broken))
        yield


@contextlib.contextmanager
def in_new_episodes(start: int, in_toy: Callable[..., Any], in_push: Callable[..., Any]) -> Iterator[None]:
    """Replace what starts an episode, within steps from the `start`-th on.

    The first episode, which `reset` starts, stays as it is: only what starts while an env is in a step is replaced.

    Args:
      start: the first step with the bug, counted from 1 for each env.
      in_toy: `in_toy(original, env, env_id)` is called in place of what starts an episode of `PointMass`.
      in_push: `in_push(original, env, where)` is called in place of what starts episodes of `PushEnv`.
    """
    from harness.toys import PointMass

    steps: MutableMapping[Any, int] = weakref.WeakKeyDictionary()
    stepping: List[bool] = []

    def step(original: Any, env: Any, actions: Any) -> Any:
        steps[env] = steps.get(env, 0) + 1
        stepping.append(steps[env] >= start)
        try:
            return original(env, actions)
        finally:
            stepping.pop()

    def switched(broken: Callable[..., Any]) -> Callable[..., Any]:
        def call(original: Any, *args: Any) -> Any:
            if stepping and stepping[-1]:
                return broken(original, *args)
            return original(*args)

        return call

    with replaced(PointMass, "step", step), replaced(PointMass, "_start", switched(in_toy)):
        with replaced_in_push("step", step), replaced_in_push("_respawn", switched(in_push)):
            yield
