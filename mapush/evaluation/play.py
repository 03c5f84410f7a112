"""Play the episodes of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from mapush.env.metrics import FirstEpisodes
    from mapush.env.vec_env import Team, VecEnv


def first_episodes(env: VecEnv, agent: Team, episodes: Optional[int] = None) -> FirstEpisodes:
    """Play until every env has ended its share of the episodes, with deterministic actions; return these.

    Args:
      env: the environment.
      agent: chooses the actions.
      episodes: number of episodes; by default one of each env.
    """
    from mapush.env.metrics import FirstEpisodes

    observation = env.reset()
    first = FirstEpisodes(env.num_envs, episodes)
    while not first.complete:
        actions = agent.act_deterministic(observation.obs.to(agent.device))
        transition = env.step(actions.to(env.device))
        first.add(transition.done, transition.outcome)
        observation = transition.observation
    env.check()
    return first
