"""A run that is written down: what the infos of its ends say is up to the test."""

from __future__ import annotations

import numpy as np

from harness.interface.player import Seen

ENVS, AGENTS = 4, 2
LONGEST = 9
LENGTHS = ((3, 9, 4, 9, 5), (9, 2, 7, 3, 9), (4, 9, 2, 9, 6), (9, 7, 5, 3, 6))  # of the episodes of each env


def told_run(say, say_in_steps=lambda: {}):
    """Return a run in which a time limit ends the longest episodes.

    Args:
      say: `say(speeds, rewards, earlier)` is the info of an end, `earlier` the speeds of the env before.
      say_in_steps: what the infos of all steps say besides.
    """
    draw = np.random.default_rng(5)
    steps = sum(LENGTHS[0])
    ends = [np.cumsum(one) for one in LENGTHS]
    start = np.zeros((ENVS, AGENTS, 3))
    history = [Seen(start, start)]
    speeds, rewards, earlier = ([[] for _ in range(ENVS)] for _ in range(3))
    for step in range(1, steps + 1):
        reward = draw.normal(size=(ENVS, 1)).repeat(AGENTS, axis=1)
        dones, truncated = np.zeros((ENVS, AGENTS), bool), np.zeros((ENVS, AGENTS), bool)
        infos = []
        for env in range(ENVS):
            speeds[env].append(float(draw.normal()))
            rewards[env].append(float(reward[env, 0]))
            info = {"speed": speeds[env][-1], **say_in_steps()}
            if step in ends[env]:
                dones[env] = True
                truncated[env] = len(rewards[env]) == LONGEST
                info.update(say(np.array(speeds[env]), np.array(rewards[env]), np.array(earlier[env])))
                earlier[env] += speeds[env]
                speeds[env], rewards[env] = [], []
            infos.append([dict(info) for _ in range(AGENTS)])
        obs = start + step
        history.append(Seen(obs, obs, None, obs, reward, dones, truncated, infos))
    return history
