"""Environments that a user may have, with HARL's interface and episodes whose outcome is known beforehand."""

from __future__ import annotations

import numpy as np

from mapush.env.harl_view import Box

NUM_AGENTS, OBS_DIM, ACTION_DIM = 3, 4, 2


class Countdown:
    """Episode k of env i takes 2 steps and succeeds where (i + k) is a multiple of 3; the others take 7 and collide.

    Args:
      num_envs: number of envs.
      as_dict: infos in the form {0: info}, with which HARL's EP mode is content.
      tells: whether the infos have an outcome.
    """

    def __init__(self, num_envs, as_dict=False, tells=True):
        self.num_envs, self.n_agents, self._as_dict, self._tells = num_envs, NUM_AGENTS, as_dict, tells
        self.observation_space = [Box(-9.0, 9.0, (OBS_DIM,)) for _ in range(NUM_AGENTS)]
        self.share_observation_space = [Box(-9.0, 9.0, (5,)) for _ in range(NUM_AGENTS)]
        self.action_space = [Box(-1.0, 1.0, (ACTION_DIM,)) for _ in range(NUM_AGENTS)]
        self._age = np.zeros(num_envs, int)
        self._episode = np.arange(num_envs)

    def _see(self):
        obs = np.zeros((self.num_envs, NUM_AGENTS, OBS_DIM), np.float32)
        return obs, np.zeros((self.num_envs, NUM_AGENTS, 5), np.float32)

    def reset(self):
        """Start new episodes."""
        return (*self._see(), None)

    def step(self, actions):
        """Take a step."""
        self._age += 1
        won = self._episode % 3 == 0
        done = self._age == np.where(won, 2, 7)
        infos = []
        for env_id in range(self.num_envs):
            info = {}
            if done[env_id] and self._tells:
                info = {"outcome": {"success": bool(won[env_id]), "collision": not won[env_id], "effort": 2.5}}
            infos.append({0: info} if self._as_dict else [dict(info) for _ in range(NUM_AGENTS)])
        self._age[done] = 0
        self._episode[done] += 1
        rewards = np.ones((self.num_envs, NUM_AGENTS, 1), np.float32)
        return (*self._see(), rewards, np.repeat(done[:, None], NUM_AGENTS, axis=1), infos, None)

    def close(self):
        """Do nothing."""


def countdown(num_envs=5, seed=0):
    """Return envs that tell their outcomes."""
    return Countdown(num_envs)


def countdown_ep(num_envs=5, seed=0):
    """Return envs whose infos have the form of the mission's notes."""
    return Countdown(num_envs, as_dict=True)


def silent():
    """Return six envs, whatever was asked for, that tell no outcome."""
    return Countdown(6, tells=False)


def twenty(num_envs=5, seed=0):
    """Return another number of envs than was asked for."""
    return Countdown(20)
