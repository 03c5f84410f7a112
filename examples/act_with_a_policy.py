"""Load the shipped policy and act: `python examples/act_with_a_policy.py`.

Two robots push a box to its goal on MuJoCo, in a few envs at once, until every env has ended an episode.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Optional, Sequence

import tyro

import mapush


@dataclasses.dataclass(frozen=True)
class Options:
    """Act with the shipped policy."""

    num_envs: int = 4
    """Number of envs that run in parallel."""
    max_steps: int = 200
    """Number of decisions after which to stop, whatever has ended."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Act, and print in which envs the first episode succeeded."""
    options = tyro.cli(Options, args=argv)
    policy = mapush.load_policy("cuboid")
    config = dataclasses.replace(policy.config, num_envs=options.num_envs, seed=0, sim=mapush.SimConfig())
    with contextlib.closing(mapush.make_env(config)) as env:
        obs = env.reset().obs
        waiting = set(range(options.num_envs))
        for _ in range(options.max_steps):
            step = env.step(policy.act(obs))
            obs = step.observation.obs
            for env_id in step.done.nonzero().flatten().tolist():
                if env_id in waiting:
                    waiting.remove(env_id)
                    success = bool(step.outcome["success"][env_id])
                    print(f"env {env_id}: success {success}")
            if not waiting:
                break
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
