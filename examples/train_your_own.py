"""Train a team in an environment of your own: `python examples/train_your_own.py`.

Two robots on a plane have to meet. The environment is plain numpy with HARL's interface; `mapush.HarlEnv` puts it in
front of the learner. After less than a minute on one CPU core the team's return has risen, and the policy is loaded and
used.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

import mapush

STEPS = 20  # of an episode
SPEED = 0.2  # of an action of 1 [m per step]


class Rendezvous:
    """Two robots that shall meet on a plane, in N copies.

    A robot sees the offset to the other one, and its action is a velocity. The reward of a step is the distance by
    which they came closer. An episode ends after `STEPS` steps.

    Args:
      num_envs: N.
      seed: seeds the initial positions.
    """

    def __init__(self, num_envs: int, seed: int) -> None:
        self.num_envs = num_envs
        self.n_agents = 2
        self.observation_space = [mapush.Box(-10.0, 10.0, (2,))] * 2
        self.share_observation_space = [mapush.Box(-10.0, 10.0, (4,))] * 2
        self.action_space = [mapush.Box(-1.0, 1.0, (2,))] * 2
        self._random = np.random.default_rng(seed)

    def reset(self) -> Tuple[np.ndarray, np.ndarray, List[None]]:
        """Start a new episode in every env."""
        self._positions = self._random.uniform(-1.5, 1.5, (self.num_envs, 2, 2))
        self._age = 0
        obs, share_obs = self._observe()
        return obs, share_obs, [None] * self.num_envs

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Move the robots; (N, 2, 2) actions."""
        before = self._distances()
        self._positions = self._positions + SPEED * actions
        self._age += 1
        rewards = np.repeat((before - self._distances())[:, None, None], 2, axis=1)
        ended = self._age == STEPS
        dones = np.full((self.num_envs, 2), ended)
        infos: List[List[Dict[str, Any]]] = [[{}, {}] for _ in range(self.num_envs)]
        if ended:  # by the time limit, in all envs at once
            infos = [[{"bad_transition": True}, {}] for _ in range(self.num_envs)]
            self.reset()
        obs, share_obs = self._observe()
        return obs, share_obs, rewards, dones, infos, [None] * self.num_envs

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _distances(self) -> np.ndarray:
        return np.linalg.norm(self._positions[:, 1] - self._positions[:, 0], axis=1)

    def _observe(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, 2, 2), the offset to the other robot, and share_obs (N, 2, 4), all positions."""
        obs = self._positions[:, ::-1] - self._positions
        world = self._positions.reshape(self.num_envs, 1, 4)
        return obs.astype(np.float32), np.repeat(world, 2, axis=1).astype(np.float32)


def make_env(config: mapush.RunConfig) -> mapush.VecEnv:
    """Make the environment of a run."""
    return mapush.HarlEnv(Rendezvous(config.num_envs, config.seed))


def returns_of(folder: Path) -> List[float]:
    """Return the mean return of the latest episodes, for each row of a run's log."""
    with (folder / "progress.csv").open(newline="") as file:
        return [float(row["episode/return"]) for row in csv.DictReader(file)]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train, and show that it helped."""
    parser = argparse.ArgumentParser(description="Train a team in an environment of your own.")
    parser.add_argument("--total-steps", type=int, default=60_000, help="env steps of the training")
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: a new one below runs/)")
    options = parser.parse_args(argv)
    config = mapush.own_env("rendezvous", total_steps=options.total_steps)
    folder = mapush.run_training(config, options.run_dir, make_env=make_env)
    returns = returns_of(folder)
    print(f"mean return of an episode: {returns[0]:.2f} at first, {returns[-1]:.2f} at the end")

    policy = mapush.load_policy(folder)
    env = Rendezvous(num_envs=1, seed=7)
    obs, _, _ = env.reset()
    print(f"a test: {np.linalg.norm(obs[0, 0]):.2f} m apart at the start,", end=" ")
    for _ in range(STEPS - 1):
        obs = env.step(policy.act(obs).clip(-1.0, 1.0))[0]
    print(f"{np.linalg.norm(obs[0, 0]):.2f} m apart at the end")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
