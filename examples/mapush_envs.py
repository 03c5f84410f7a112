"""MAPush's own environment with HARL's interface, for `python -m harness check`: by hand, and by our adapter.

    export MAPUSH_DIR=MAPush                            # a checkout
    python -m harness check examples.mapush_envs:raw --kwargs '{"name": "cuboid"}' --budget 240
    python -m harness check examples.mapush_envs:adapted --kwargs '{"name": "cuboid"}' --budget 240

It runs on the stand-in for Isaac Gym, which needs Python 3.11; docs/mapush-findings.md says what was found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from mapush.config import TaskConfig
from mapush.env.harl_view import HarlView
from mapush.sim import standin

PAIRS = 2**23


class RawView:
    """MAPush's wrapper with HARL's interface and nothing else: N envs of A agents.

    MAPush has no global state, so the observations of all agents, one after the other, take its place.

    Args:
      name: cuboid, Tblock or cylinder, a folder in MAPush's `task`.
      num_envs: number of envs.
      seed: MAPush seeds the global generators with it.
      seconds: length of an episode [s]; MAPush's is 20.
      time_limits: set `bad_transition` where the time limit ended an episode; MAPush's own training does not.
    """

    def __init__(self, name: str, num_envs: int, seed: int, seconds: float, time_limits: bool) -> None:
        _load()
        import torch
        from mqe.envs.utils import ENV_DICT, custom_cfg, make_mqe_env

        from mapush.upstream.mqe_upstream import _load_config, arguments

        self._torch = torch
        os.chdir(os.environ["MAPUSH_DIR"])  # MAPush's paths are relative to it
        ENV_DICT["go1push_mid"]["config"] = _load_config(Path("task", name, "config.py").resolve())
        ENV_DICT["go1push_mid"]["config"].env.episode_length_s = seconds
        args = arguments(num_envs, seed, window=False, camera=False, use_gpu=False)
        self._time_limits = time_limits
        self.env, _ = make_mqe_env("go1push_mid", args, custom_cfg(args))
        self.num_envs, self.n_agents = num_envs, int(self.env.num_agents)
        width = self.env.observation_space.shape[0]
        self.observation_space = [_Box(np.inf, width) for _ in range(self.n_agents)]
        self.share_observation_space = [_Box(np.inf, width * self.n_agents) for _ in range(self.n_agents)]
        self.action_space = [_Box(1.0, 3) for _ in range(self.n_agents)]

    def reset(self) -> Tuple[Any, ...]:
        """Return obs, share_obs and available actions."""
        return (*self._views(self.env.reset()), [None] * self.num_envs)

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Return obs, share_obs, rewards (N, A, 1), dones (N, A), infos [N][A] and available actions."""
        obs, rewards, dones, _ = self.env.step(self._torch.from_numpy(np.array(actions, np.float32)))
        infos: List[List[Dict[str, Any]]] = []
        for _ in range(self.num_envs):
            infos.append([{} for _ in range(self.n_agents)])
        if self._time_limits:
            for env_id in self.env.time_out_buf.nonzero().flatten().tolist():
                for info in infos[env_id]:
                    info["bad_transition"] = True
        rewards = rewards.numpy()[..., None].copy()
        dones = np.repeat(dones.numpy().astype(bool)[:, None], self.n_agents, axis=1)
        return (*self._views(obs), rewards, dones, infos, [None] * self.num_envs)

    def close(self) -> None:
        """Close MAPush's environment."""
        self.env.close()

    def _views(self, obs: Any) -> Tuple[np.ndarray, np.ndarray]:
        seen = obs.numpy().copy()
        shared = seen.reshape(self.num_envs, 1, -1).repeat(self.n_agents, axis=1)
        return seen, shared


class _Box:
    """A space; HARL recognises it by the name of its class."""

    def __init__(self, limit: float, size: int) -> None:
        self.shape = (size,)
        self.low = np.full(size, -limit, np.float32)
        self.high = np.full(size, limit, np.float32)


_Box.__name__ = "Box"


def raw(
    name: str = "cuboid", num_envs: int = 5, seed: int = 0, seconds: float = 20.0, time_limits: bool = False
) -> RawView:
    """Make MAPush's wrapper behind HARL's interface; see `RawView`."""
    return RawView(name, num_envs, seed, seconds, time_limits)


def adapted(
    name: str = "cuboid", num_envs: int = 5, seed: int = 0, quirks: bool = False, seconds: float = 20.0
) -> HarlView:
    """Make our adapter over MAPush's code, with or without its quirks."""
    _load()
    from mapush.upstream.mqe_standin import StandinEnv

    env = StandinEnv(TaskConfig(object=name, upstream_quirks=quirks), num_envs, seed, PAIRS)
    env.max_episode_length = env._upstream.max_episode_length = round(seconds / 0.02)
    return HarlView(env)


def _load() -> None:
    error = standin.load()
    if error is not None:
        raise error
