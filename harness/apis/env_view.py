"""What all views have in common."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from harness.findings import ContractError

BUILT_BY_THE_VIEW = "HARL's form of it is made by the view, not by the environment"
CLIPPED = "the interface promises actions within the space, so the view clips them"
OWN_RULES = "these are HARL's rules for spaces; the view could read the spaces of this interface"

Infos = List[List[Dict[str, Any]]]


class EnvView:
    """An environment of a different interface, in the form of HARL's vectorised environments.

    Subclasses provide `reset` and `step`.

    Attributes:
      api: name of the interface.
      env: the user's environment, or the first of several copies.
      num_envs: N.
      n_agents: A.
      observation_space: one space for each agent, as for HARL.
      share_observation_space: one space for each agent.
      action_space: one space for each agent.
      unjudged: the contracts that do not apply, each with the reason.
      notes: what the reader of the report should know.
      breaches: errors that were found since the player last took them, which leave the rest readable.
      takes_seed: whether the seed is passed to `reset`.
      makes_copies: whether the view made `num_envs` copies of what the factory returns.
    """

    api = ""
    takes_seed = False
    makes_copies = False

    def __init__(self, env: Any, num_envs: int, num_agents: int) -> None:
        self.env = env
        self.num_envs = num_envs
        self.n_agents = num_agents
        self.observation_space: List[Any] = []
        self.share_observation_space: List[Any] = []
        self.action_space: List[Any] = []
        self.unjudged = {
            "spaces": OWN_RULES,
            "infos": BUILT_BY_THE_VIEW,
            "infos-fresh": BUILT_BY_THE_VIEW,
            "share-obs-same": BUILT_BY_THE_VIEW,
            "available-actions": BUILT_BY_THE_VIEW,
        }
        self.notes: List[str] = []
        self.breaches: List[ContractError] = []
        if callable(getattr(env, "close", None)):
            self.close: Callable[[], Any] = env.close
        else:
            self.unjudged["close"] = "the environment has no close, and this interface does not ask for one"

    def set_spaces(self, obs: Any, share_obs: Any, action: Any) -> None:
        """Give each agent these spaces."""
        self.observation_space = [obs] * self.n_agents
        self.share_observation_space = [share_obs] * self.n_agents
        self.action_space = [action] * self.n_agents

    def available_actions(self) -> Any:
        """Return which actions are available: all of them."""
        space = self.action_space[0]
        if type(space).__name__ == "Discrete":
            return np.ones((self.num_envs, self.n_agents, space.n), np.float32)
        return [None] * self.num_envs

    def infos(self, truncated: np.ndarray, final_obs: Optional[Dict[int, np.ndarray]] = None) -> Infos:
        """Return the infos [N][A] of a step.

        Args:
          truncated: where a time limit ended the episode, (N,) bool.
          final_obs: the last observation (A, D) of each env whose episode ended, where it is known.
        """
        infos: Infos = []
        for env_id in range(self.num_envs):
            of_env: List[Dict[str, Any]] = []
            for agent in range(self.n_agents):
                info: Dict[str, Any] = {}
                if truncated[env_id]:
                    info["bad_transition"] = True
                if final_obs is not None and env_id in final_obs:
                    info["final_obs"] = final_obs[env_id][agent]
                of_env.append(info)
            infos.append(of_env)
        return infos

    def breach(self, contract: str, what: str, **details: Any) -> None:
        """Keep an error for the player, unless one of this contract is kept already."""
        if not any(error.contract == contract for error in self.breaches):
            self.breaches.append(ContractError(what, contract=contract, **details))

    def take_breaches(self) -> List[ContractError]:
        """Return the errors that were kept, and forget them."""
        taken, self.breaches = self.breaches, []
        return taken


def to_numpy(value: Any) -> Any:
    """Return a torch tensor as a numpy array, on the CPU in the same memory; anything else as it is."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


def require_parts(returned: Any, names: Tuple[str, ...], method: str, api: str) -> None:
    """Raise unless a method returned one value for each name.

    Raises:
      ContractError: it did not (contract "reset-form" or "step-form").
    """
    if isinstance(returned, (tuple, list)) and len(returned) == len(names):
        return
    got = type(returned).__name__
    if isinstance(returned, (tuple, list)):
        got = f"{len(returned)} values"
    raise ContractError(
        f"{method} returns {got}, not {len(names)} values",
        contract=f"{method}-form",
        expected=f"({', '.join(names)}), as {api} has it",
    )


def vector(name: str, value: Any, num_envs: int) -> np.ndarray:
    """Return what must be one number for each env as an array (N,).

    Raises:
      ContractError: it has a different shape or is no array (contract "step-form").
    """
    array = to_numpy(value)
    if isinstance(array, np.ndarray) and array.shape == (num_envs,) and array.dtype.kind in "fiub":
        return array
    raise ContractError(
        f"{name} is a {type(value).__name__} of shape {np.shape(array)}, not ({num_envs},)",
        contract="step-form",
        expected=f"one number for each of the {num_envs} envs",
    )


class ReturnedArrays:
    """Watches arrays that an environment returned, of which the view made copies, for later changes."""

    def __init__(self) -> None:
        self._kept: List[Tuple[str, np.ndarray, np.ndarray]] = []

    def keep(self, arrays: Dict[str, np.ndarray]) -> None:
        """Watch these arrays, and no others."""
        self._kept = [(name, array, array.copy()) for name, array in arrays.items()]

    def changed(self) -> Optional[str]:
        """Return the name of an array that no longer holds what it held; None if all do."""
        for name, array, copy in self._kept:
            if not np.array_equal(array, copy, equal_nan=array.dtype.kind == "f"):
                return name
        return None

    def require_unchanged(self, view: EnvView) -> None:
        """Let the view keep an error if an array has changed since it was returned."""
        name = self.changed()
        if name is not None:
            view.breach(
                "aliasing",
                f"the observation of {name} changes after it was returned",
                cause="the environment returns its own buffer, or one array for several agents",
                fix="return a copy",
            )
