"""Check an environment of your own from Python: `python examples/check_your_env.py [--broken]`.

`MeetingEnv` stands for your environment: some lines of numpy with the interface of HARL's vectorised environments.
With `--broken`, it does not report which episodes ended by their time limit; the learner would then treat a time limit
as a failure. The harness finds this, and says how to repair it.
"""

from __future__ import annotations

import sys
from typing import Any, Tuple

import numpy as np

import harness

HORIZON = 16  # [steps]


class Box:
    """A box of real numbers; HARL recognises a space by the name of its class, and reads its shape."""

    def __init__(self, limit: float, size: int) -> None:
        self.shape = (size,)
        self.low = np.full(size, -limit, np.float32)
        self.high = np.full(size, limit, np.float32)


class MeetingEnv:
    """Two robots on a line are to meet: N envs of 2 agents, whose actions are velocities."""

    n_agents = 2

    def __init__(self, num_envs: int = 4, seed: int = 0, broken: bool = False) -> None:
        self.num_envs, self.broken = num_envs, broken
        self.observation_space = [Box(2.0, 3), Box(2.0, 3)]  # own place, offset to the other robot, time
        self.share_observation_space = [Box(1.0, 4), Box(1.0, 4)]  # both places, distance / 2, time
        self.action_space = [Box(1.0, 1), Box(1.0, 1)]
        self.generators = [np.random.default_rng([seed, env]) for env in range(num_envs)]
        self.place, self.age = np.zeros((num_envs, 2)), np.zeros(num_envs, int)

    def start(self, env: int) -> None:
        """Put the robots of one env in new places."""
        self.place[env], self.age[env] = self.generators[env].uniform(-1.0, 1.0, 2), 0

    def observe(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, 2, 3) and share_obs (N, 2, 4)."""
        first, second, time = self.place[:, 0], self.place[:, 1], self.age / HORIZON
        obs = np.array([[first, second - first, time], [second, first - second, time]])
        share_obs = np.array([[first, second, abs(first - second) / 2.0, time]] * 2)
        return obs.transpose(2, 0, 1).astype(np.float32), share_obs.transpose(2, 0, 1).astype(np.float32)

    def reset(self) -> Tuple[Any, ...]:
        """Start a new episode in every env; return obs, share_obs and available actions."""
        for env in range(self.num_envs):
            self.start(env)
        return (*self.observe(), [None] * self.num_envs)

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Return obs, share_obs, rewards (N, 2, 1), dones (N, 2), infos [N][2] and available actions."""
        before = abs(self.place[:, 0] - self.place[:, 1])
        self.place = np.clip(self.place + 0.1 * np.clip(actions[..., 0], -1.0, 1.0), -1.0, 1.0)
        self.age += 1
        distance = abs(self.place[:, 0] - self.place[:, 1])
        met, late = distance < 0.1, self.age >= HORIZON
        infos: Any = [[{}, {}] for _ in range(self.num_envs)]
        last_obs, last_share_obs = self.observe()
        for env in np.flatnonzero(met | late).tolist():
            for agent, info in enumerate(infos[env]):
                info.update(final_obs=last_obs[env, agent], final_share_obs=last_share_obs[env, agent])
                if not met[env] and not self.broken:
                    info["bad_transition"] = True  # HARL's name for the end by a time limit
            self.start(env)
        rewards = np.array([[before - distance]] * 2).transpose(2, 0, 1).astype(np.float32)
        dones = np.array([met | late] * 2).T
        return (*self.observe(), rewards, dones, infos, [None] * self.num_envs)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class MeetingTask(harness.Task):
    """What the reward is for: it rises as the robots come closer."""

    def reward(self, previous: Any, current: Any) -> np.ndarray:
        """Return the progress in each env, (N,)."""
        return abs(previous.obs[:, 0, 1]) - abs(current.obs[:, 0, 1])


def main() -> int:
    """Check the environment, print the report, and return 1 if a contract is broken."""
    broken = "--broken" in sys.argv[1:]
    report = harness.check_env(MeetingEnv, kwargs={"broken": broken}, task=MeetingTask())
    print(report)
    return int(not report.ok)


if __name__ == "__main__":
    sys.exit(main())
