"""Stands for the simulator: two robots and a box that drifts with them, in torch, with MAPush's spaces."""

from types import SimpleNamespace

import torch

DEFAULT_NUM_ENVS = 20


class PushWorld:
    """A batch of worlds. `step` takes actions (num_envs, num_agents, 3)."""

    num_agents = 2

    def __init__(self, num_envs, episode_limit):
        self.num_envs = num_envs
        self.episode_limit = episode_limit
        self.generator = torch.Generator().manual_seed(3)
        self.action_scale = torch.full((num_envs, self.num_agents, 1), 0.5)
        self.robots = torch.zeros(num_envs, self.num_agents, 3)
        self.box = torch.zeros(num_envs, 3)
        self.length = torch.zeros(num_envs, dtype=torch.long)

    def _start(self, which):
        count = int(which.sum())
        self.robots[which] = torch.randn(count, self.num_agents, 3, generator=self.generator)
        self.box[which] = torch.randn(count, 3, generator=self.generator)
        self.length[which] = 0

    def _obs(self):
        others = self.robots.flip(1)
        box = self.box[:, None].expand(-1, self.num_agents, -1)
        return torch.cat([box[..., :2] - self.robots[..., :2], self.robots, others], dim=-1)

    def _share_obs(self):
        flat = torch.cat([self.robots.flatten(1), self.box, self.robots.flatten(1) ** 2], dim=-1)
        return torch.cat([flat, self.box, self.length[:, None].float()], dim=-1)

    def reset(self):
        """Start new episodes."""
        self._start(torch.ones(self.num_envs, dtype=torch.bool))
        return self._obs(), self._share_obs()

    def step(self, actions):
        """Take a step."""
        command = self.action_scale * torch.clip(actions, -1.0, 1.0)
        self.robots = self.robots + 0.1 * command
        self.box = self.box + 0.05 * command.mean(dim=1)
        self.length = self.length + 1
        reward = -self.box.norm(dim=-1)
        success = self.box.norm(dim=-1) < 1.0
        timed_out = self.length >= self.episode_limit
        done = success | timed_out
        info = SimpleNamespace(success=success, timed_out=timed_out & ~success, length=self.length.clone())
        self._start(done)
        return self._obs(), self._share_obs(), reward, done, info


def custom_cfg(args):
    """Return a function that writes the arguments into the world's settings."""

    def change(cfg):
        cfg.num_envs = args.num_envs
        return cfg

    return change


def make_push_env(task, args, custom_cfg=None):
    """Return a world and its settings; without `custom_cfg` it has its own default number of envs."""
    cfg = SimpleNamespace(num_envs=DEFAULT_NUM_ENVS, episode_limit=args.episode_limit)
    if custom_cfg is not None:
        cfg = custom_cfg(cfg)
    return PushWorld(cfg.num_envs, cfg.episode_limit), cfg
