"""The view of gymnasium's vector environments, one agent in each env.

gymnasium has three ways of going on after an episode; `metadata["autoreset_mode"]` says which an environment has:

- same-step: the step that ends an episode returns the first observation of the next one. This is HARL's form.
- next-step: it returns the last observation of the old episode, and the next step ignores the action and starts the
  new one with a reward of 0. The view reports the end with that step, so that the end comes with a new start.
- disabled: the caller resets. The view resets the envs that ended, in the same step.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, Tuple

import numpy as np

from harness.apis.env_view import CLIPPED, EnvView, require_parts, to_numpy, vector
from harness.apis.vector_spaces import action_space_of, as_vectors, flat_dim, to_users_actions
from harness.findings import ContractError

NAME = "gymnasium"
SAME_STEP, NEXT_STEP, DISABLED = "same-step", "next-step", "disabled"
MODES = {"samestep": SAME_STEP, "nextstep": NEXT_STEP, "disabled": DISABLED}
NO_LAST_REWARD = "in next-step mode the view reports an end with the step that resets, whose reward is 0 by rule"
FINAL_NAMES = ("final_obs", "final_observation")  # since gymnasium 1.0, and before
STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")


class GymnasiumVector(EnvView):
    """A gymnasium vector environment in HARL's form.

    Args:
      env: the environment.
      seed: passed to the first `reset`.

    Attributes:
      mode: how it goes on after an episode.
    """

    api = NAME
    takes_seed = True

    def __init__(self, env: Any, seed: int) -> None:
        super().__init__(env, int(env.num_envs), 1)
        self._single_action_space = env.single_action_space
        flat_dim(env.single_observation_space, "single_observation_space")
        obs_space = as_vectors(env.single_observation_space)
        self.set_spaces(obs_space, obs_space, action_space_of(env.single_action_space, "single_action_space"))
        self.unjudged["actions-any-range"] = CLIPPED
        self.mode = self._stated_mode()
        if self.mode == NEXT_STEP:
            self.unjudged["no-lost-reward"] = NO_LAST_REWARD
        self.notes.append(f"autoreset mode: {self.mode}")
        self._seed: Optional[int] = seed
        self._ended = np.zeros(self.num_envs, bool)  # in next-step mode: in the step before
        self._truncated = np.zeros(self.num_envs, bool)
        self._last_obs = np.zeros((self.num_envs, 1, *obs_space.shape))

    def _stated_mode(self) -> str:
        """Return the autoreset mode that the metadata state, or what the installed gymnasium takes for granted."""
        metadata = getattr(self.env, "metadata", None) or {}
        stated = metadata.get("autoreset_mode")
        if stated is None:
            mode = _mode_of_version()
            self.notes.append(f"metadata states no autoreset_mode; as gymnasium does, {mode} is assumed")
            return mode
        name = str(getattr(stated, "value", stated)).replace("_", "").replace("-", "").lower()
        if name in MODES:
            return MODES[name]
        raise ContractError(
            f"metadata states an unknown autoreset_mode {stated!r}",
            contract="factory",
            expected="AutoresetMode.SAME_STEP, NEXT_STEP or DISABLED",
        )

    def reset(self) -> Tuple[Any, Any, Any]:
        """Start a new episode in every env; the first time with the seed."""
        seed, self._seed = self._seed, None
        returned = self.env.reset() if seed is None else self.env.reset(seed=seed)
        require_parts(returned, ("observations", "infos"), "reset", NAME)
        self._ended[:] = False
        obs = self._stacked(returned[0])
        self._last_obs = obs.copy()
        return obs, obs, self.available_actions()

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Take one step in HARL's form."""
        users = to_users_actions(actions[:, 0], self._single_action_space)
        given = users.copy()
        returned = self.env.step(users)
        if not np.array_equal(users, given):
            actions[:, 0] = users.reshape(actions[:, 0].shape)  # so that the player sees what the environment wrote
        require_parts(returned, STEP_PARTS, "step", NAME)
        obs = self._stacked(returned[0])
        rewards = vector(STEP_PARTS[1], returned[1], self.num_envs)
        terminated = vector(STEP_PARTS[2], returned[2], self.num_envs)
        truncated = vector(STEP_PARTS[3], returned[3], self.num_envs)
        ended = terminated | truncated
        by_time = (truncated != 0) & (terminated == 0)
        infos = returned[4]
        if self.mode == NEXT_STEP:
            ended, by_time, final_obs = self._one_step_later(ended, by_time, rewards, infos)
        elif self.mode == SAME_STEP:
            final_obs = self._kept_ends(ended != 0, infos)
        else:
            obs, final_obs = self._reset_by_hand(ended != 0, obs)
        self._last_obs = obs.copy()
        made = self.infos(by_time, final_obs)
        return obs, obs, rewards[:, None, None], ended[:, None], made, self.available_actions()

    def _stacked(self, obs: Any) -> np.ndarray:
        """Return observations (N, 1, D) in the memory of what was returned, as far as the type of number allows."""
        array = to_numpy(obs)
        dim = self.observation_space[0].shape[0]
        users = self.env.single_observation_space
        if not isinstance(array, np.ndarray) or array.shape != (self.num_envs, *users.shape):
            raise ContractError(
                f"observations are a {type(obs).__name__} of shape {np.shape(array)}",
                expected=f"an array {(self.num_envs, *users.shape)}, as single_observation_space says",
            )
        array = array.reshape(self.num_envs, 1, dim)
        if array.dtype == users.dtype and array.dtype.kind in "fiub":
            return array.astype(np.float32, copy=False)
        return array

    def _one_step_later(
        self, ended: np.ndarray, by_time: np.ndarray, rewards: np.ndarray, infos: Any
    ) -> Tuple[np.ndarray, np.ndarray, Dict[int, np.ndarray]]:
        """Return the ends of the step before, whose envs were reset in this one, and keep those of this step."""
        before, by_time_before = self._ended, self._truncated
        not_reset = before & ((rewards != 0) | (ended != 0))
        if not_reset.any():
            self._wrong_mode(
                "the step after an end is no reset",
                got=f"env {int(not_reset.argmax())}: a reward of {rewards[not_reset][0]:g}",
                expected="an ignored action and a reward of 0",
            )
        if _has_final_obs(infos) and (ended != 0).any():
            self._wrong_mode(
                "infos hold a final observation",
                got=f"keys {sorted(map(str, infos))}",
                expected="the last observation of the episode with its end, and so none in the infos",
            )
        final_obs = {int(env_id): self._last_obs[env_id] for env_id in np.flatnonzero(before)}
        self._ended, self._truncated = ended != 0, by_time
        if ended.dtype == bool:
            return before, by_time_before, final_obs
        return before.astype(ended.dtype), by_time_before, final_obs

    def _kept_ends(self, ended: np.ndarray, infos: Any) -> Dict[int, np.ndarray]:
        """Return the last observation (1, D) of each env whose episode ended, from the infos."""
        final_obs: Dict[int, np.ndarray] = {}
        for env_id in np.flatnonzero(ended):
            kept = _final_obs(infos, int(env_id))
            if kept is None:
                self._wrong_mode(
                    "an end comes without a final observation",
                    got=f"env {env_id}: keys {sorted(map(str, infos))}",
                    expected="infos['final_obs'][env]",
                )
                continue
            final_obs[int(env_id)] = np.asarray(kept, np.float32).reshape(1, -1)
        return final_obs

    def _wrong_mode(self, what: str, **details: str) -> None:
        other = {SAME_STEP: NEXT_STEP, NEXT_STEP: SAME_STEP}[self.mode]
        cause = f"metadata says {self.mode}, the environment resets as in {other}"
        fix = "let metadata['autoreset_mode'] say what step does"
        self.breach(
            "auto-reset", f"{what}, although the autoreset mode is {self.mode}", cause=cause, fix=fix, **details
        )

    def _reset_by_hand(self, ended: np.ndarray, obs: np.ndarray) -> Tuple[np.ndarray, Dict[int, np.ndarray]]:
        """Reset the envs whose episode ended, and return the observations of all, and the last ones of these."""
        if not ended.any():
            return obs, {}
        final_obs = {int(env_id): obs[env_id].copy() for env_id in np.flatnonzero(ended)}
        returned = self.env.reset(options={"reset_mask": ended.copy()})
        require_parts(returned, ("observations", "infos"), "reset", NAME)
        return self._stacked(returned[0]), final_obs


def _mode_of_version() -> str:
    """Return what the gymnasium of this process does by default: same-step before 1.0, next-step since."""
    gymnasium: Any = sys.modules.get("gymnasium")
    if str(getattr(gymnasium, "__version__", "1")).startswith("0."):
        return SAME_STEP
    return NEXT_STEP


def _has_final_obs(infos: Any) -> bool:
    return any(name in infos for name in FINAL_NAMES)


def _final_obs(infos: Any, env_id: int) -> Any:
    """Return the last observation of an env from the infos of a step; None if there is none."""
    for name in FINAL_NAMES:
        mask = infos.get(f"_{name}")
        if name in infos and (mask is None or mask[env_id]):
            return infos[name][env_id]
    return None
