"""The light toy, with changes that a test makes to it."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from harness.contracts import Effort, check_env
from harness.findings import Report
from harness.toys import make_pointmass

SHORT = Effort(long_run_steps=90, max_searches=0, episodes=20, growth_steps=40, max_kept_entries=150)

OBS, SHARE_OBS, REWARDS, DONES, INFOS, AVAILABLE = range(6)


def report_of(make_env: Callable[..., Any], **options: Any) -> Report:
    """Check a factory with few steps."""
    return check_env(make_env, **dict({"effort": SHORT}, **options))


class Wrapped:
    """An environment with changed results of `step`, changed actions, or a changed `reset`.

    Args:
      env: the environment.
      result: called with this environment and the list that `step` returns, which it changes or replaces.
      actions: called with this environment and the actions; returns the actions to take.
      reset: called with this environment and what `reset` returns; returns what to return instead.
    """

    def __init__(self, env: Any, result: Any = None, actions: Any = None, reset: Any = None) -> None:
        self._env, self._result, self._actions, self._reset = env, result, actions, reset
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self) -> Any:  # noqa: D102
        returned = self._env.reset()
        if self._reset:
            returned = self._reset(self, returned)
        return returned

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        self.count += 1
        if self._actions:
            actions = self._actions(self, actions)
        returned = list(self._env.step(actions))
        if self._result:
            returned = self._result(self, returned) or returned
        return tuple(returned)


def factory(**wrap: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory of wrapped environments; the arguments are those of `Wrapped`."""

    def make_env(num_envs: int = 6, num_agents: int = 2, seed: int = 0) -> Any:
        return Wrapped(make_pointmass(num_envs, num_agents, seed), **wrap)

    return make_env


def check(make_env: Callable[..., Any], contract: str, **options: Any) -> str:
    """Return the first line of the finding of a contract, or an empty text."""
    report = report_of(make_env, contracts=[contract], **options)
    assert not any("check itself raised" in one.what for one in report.findings), report
    return next((one.what for one in report.findings if one.contract == contract), "")


def convert(part: int, change: Callable[[Any], Any]) -> Callable[..., Any]:
    def result(env: Wrapped, returned: List[Any]) -> None:
        returned[part] = change(returned[part])

    return factory(result=result)


def with_entry(part: int, value: Any, *place: int) -> Callable[..., Any]:
    def result(env: Wrapped, returned: List[Any]) -> None:
        if env.count >= 7:
            returned[part][place] = value

    return factory(result=result)


def flagged(flag: Callable[[Wrapped, int, bool, Dict[str, Any]], None]) -> Callable[..., Any]:
    """Return a factory whose infos are changed: `flag(env, env_id, done, info)`."""

    def result(env: Wrapped, returned: List[Any]) -> None:
        for env_id, infos in enumerate(returned[INFOS]):
            for info in infos:
                flag(env, env_id, bool(returned[DONES][env_id].all()), info)

    return factory(result=result)
