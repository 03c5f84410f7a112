"""The view of rsl_rl's VecEnv, as legged_gym, Isaac Lab and mjlab provide it: torch tensors, one agent in each env.

Its forms differ: observations are a tensor, or groups of tensors (a TensorDict, or a dict); `step` returns four values,
or five with the critic's observations second. What the runner of rsl_rl reads is read here: the flags of time limits
from `extras["time_outs"]`, the critic's observations from the group "critic".

The runner keeps a reference to the observations until the next step and clones rewards and ends at once. Therefore the
view shows observations in the memory of the environment, so that later changes show, and copies the rest. Nothing
writes into observations, so they are shown read-only.
"""

from __future__ import annotations

import importlib
from typing import Any, List, NamedTuple, Tuple

import numpy as np

from harness.apis.env_view import EnvView, to_numpy, vector
from harness.apis.vector_spaces import action_space_of, unbounded
from harness.findings import ContractError, NotJudgedError

NAME = "rsl_rl"
ACTOR_GROUPS = ("actor", "policy")
CRITIC_GROUPS = ("critic", "privileged")
STEP_FORM = "(observations, rewards, dones, extras), or with the critic's observations second"


class ActorAndCritic(NamedTuple):
    """What actor and critic observe, (N, D) and (N, S), in the memory of the environment."""

    actor: np.ndarray
    critic: np.ndarray


class RslRlView(EnvView):
    """A VecEnv of rsl_rl in HARL's form.

    Args:
      env: the environment.
    """

    api = NAME

    def __init__(self, env: Any) -> None:
        super().__init__(env, int(env.num_envs), 1)
        self._torch: Any = importlib.import_module("torch")
        self._is_new = True
        first = self._observed(env.get_observations(), self._privileged(), "reset-form")
        action_space: Any = unbounded(int(env.num_actions))
        space = getattr(env, "single_action_space", None)
        if type(space).__name__ == "Box":
            action_space = action_space_of(space, "single_action_space")
        self.set_spaces(unbounded(first.actor.shape[1]), unbounded(first.critic.shape[1]), action_space)
        self.notes.append("what the contracts call bad_transition is extras['time_outs']")

    def reset(self) -> Tuple[Any, Any, Any]:
        """Start a new episode in every env, or read the first observations if there is no `reset`.

        Raises:
          NotJudgedError: there is none, and this is not the first call.
        """
        if callable(getattr(self.env, "reset", None)):
            returned = self.env.reset()
        elif self._is_new:
            returned = None
        else:
            raise NotJudgedError("the environment has no reset, which rsl_rl does not ask for")
        self._is_new = False
        extras = None
        if isinstance(returned, tuple) and len(returned) == 2:
            returned, extras = returned
        if returned is None:
            returned = self.env.get_observations()
        if extras is None:
            extras = self._privileged()
        return (*self._shown(self._observed(returned, extras, "reset-form")), self.available_actions())

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Take one step in HARL's form."""
        users = self._torch.tensor(actions[:, 0], device=getattr(self.env, "device", "cpu"))
        given = users.clone()
        returned = self.env.step(users)
        if not self._torch.equal(users, given):
            actions[:, 0] = to_numpy(users)  # so that the player sees what the environment wrote
        if not isinstance(returned, tuple) or len(returned) not in (4, 5):
            got = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
            raise ContractError(f"step returns {got}", contract="step-form", expected=STEP_FORM)
        critic = extras = returned[-1]
        if len(returned) == 5 and returned[1] is not None:
            critic = returned[1]
        observed = self._observed(returned[0], critic, "step-form")
        rewards = vector("rewards", returned[-3], self.num_envs).copy()
        dones = vector("dones", returned[-2], self.num_envs) != 0
        infos = self.infos(self._time_outs(extras))
        return (*self._shown(observed), rewards[:, None, None], dones[:, None], infos, self.available_actions())

    def _privileged(self) -> Any:
        """Return what the critic observes, from the method of rsl_rl 1; None if there is none."""
        if callable(getattr(self.env, "get_privileged_observations", None)):
            return self.env.get_privileged_observations()
        return None

    def _time_outs(self, extras: Any) -> np.ndarray:
        """Return `extras["time_outs"]`, (N,) bool; False if it is not there."""
        if not hasattr(extras, "keys"):
            got = type(extras).__name__
            raise ContractError(f"extras is a {got}, not a dict", contract="step-form", expected=STEP_FORM)
        if "time_outs" not in extras:
            return np.zeros(self.num_envs, bool)
        return vector("extras['time_outs']", extras["time_outs"], self.num_envs) != 0

    def _observed(self, obs: Any, critic: Any, contract: str) -> ActorAndCritic:
        """Return what actor and critic observe.

        Args:
          obs: a tensor, groups of tensors, or a pair of one of these and extras.
          critic: the critic's observations, or extras that may hold them.
          contract: which is broken if they cannot be read.
        """
        if isinstance(obs, tuple) and len(obs) == 2:
            obs, critic = obs
        if hasattr(obs, "keys"):
            groups = obs
            obs = _first_group(groups, ACTOR_GROUPS)
            critic = _first_group(groups, CRITIC_GROUPS)
        elif hasattr(critic, "keys"):
            critic = _first_group(critic.get("observations") or {}, CRITIC_GROUPS)
        if critic is None:
            critic = obs
        return ActorAndCritic(self._matrix(obs, "observations", contract), self._matrix(critic, "critic", contract))

    def _matrix(self, value: Any, name: str, contract: str) -> np.ndarray:
        array = to_numpy(value)
        if isinstance(array, np.ndarray) and array.ndim == 2 and len(array) == self.num_envs:
            return array
        raise ContractError(
            f"{name} are a {type(value).__name__} of shape {np.shape(array)}",
            contract=contract,
            expected=f"a tensor ({self.num_envs}, dim), or groups of tensors with one called 'policy' or 'actor'",
        )

    def _shown(self, observed: ActorAndCritic) -> List[np.ndarray]:
        """Return obs and share_obs, (N, 1, dim) each, read-only."""
        shown: List[np.ndarray] = []
        for array in observed:
            view = array[:, None].view()
            view.flags.writeable = False
            shown.append(view)
        return shown


def _first_group(groups: Any, names: Tuple[str, ...]) -> Any:
    for name in names:
        if name in groups.keys():
            return groups[name]
    return None
