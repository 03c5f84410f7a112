"""The pushing task under HARL's interface."""

import argparse
from collections import deque

import numpy as np
import torch
from harl_mapush.push_world import custom_cfg, make_push_env


class Box:
    """A space; HARL reads its class's name and its shape."""

    def __init__(self, low, high, shape):
        self.shape = shape
        self.low = np.full(shape, low, np.float32)
        self.high = np.full(shape, high, np.float32)


class MAPushEnv:
    """A batch of envs, made whole."""

    def __init__(self, env_args):
        args = argparse.Namespace()
        args.task = env_args.get("task", "go1push_mid")
        args.num_envs = env_args.get("num_envs", env_args.get("n_threads", 500))
        args.episode_limit = env_args.get("episode_limit", 200)
        self.env, self.env_cfg = make_push_env(args.task, args, custom_cfg=custom_cfg(args))
        self.n_envs = self.env.num_envs
        self.n_agents = self.env.num_agents
        self.observation_space = [Box(-np.inf, np.inf, (8,)) for _ in range(self.n_agents)]
        self.share_observation_space = [Box(-np.inf, np.inf, (19,)) for _ in range(self.n_agents)]
        self.action_space = [Box(-1.0, 1.0, (3,)) for _ in range(self.n_agents)]
        self.reset_statistics()

    def reset(self):
        """Start new episodes."""
        obs, state = self.env.reset()
        return obs.numpy().copy(), self._states(state), None

    def step(self, actions):
        """Take a step."""
        actions_torch = torch.from_numpy(np.ascontiguousarray(actions))
        obs, state, reward, done, info = self.env.step(actions_torch)
        dones_np = np.repeat(done.numpy()[:, None], self.n_agents, axis=1)
        rewards_np = np.repeat(reward.numpy()[:, None], self.n_agents, axis=1)[..., None]
        infos_list = [{0: {}} for _ in range(self.n_envs)]
        for env_idx in range(self.n_envs):
            if info.timed_out[env_idx]:
                infos_list[env_idx][0]["bad_transition"] = True
            if dones_np[env_idx, 0]:
                self.episode_success.append(float(info.success[env_idx]))
                self.episode_lengths.append(int(info.length[env_idx]))
        available_actions = None
        return obs.numpy().copy(), self._states(state), rewards_np, dones_np, infos_list, available_actions

    def _states(self, state):
        return np.repeat(state.numpy()[:, None], self.n_agents, axis=1)

    def get_statistics(self):
        """Return what happened in the episodes since the last reset of the statistics."""
        return {
            "success_rate": float(np.mean(self.episode_success)) if self.episode_success else 0.0,
            "mean_length": float(np.mean(self.episode_lengths)) if self.episode_lengths else 0.0,
            "num_episodes": len(self.episode_success),
        }

    def reset_statistics(self):
        """Forget the episodes so far."""
        self.episode_success = deque(maxlen=1000)
        self.episode_lengths = deque(maxlen=1000)

    def close(self):
        """Do nothing."""
