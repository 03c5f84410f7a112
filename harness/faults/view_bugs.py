"""Bugs in what agents see: of another moment, of the episode before, or of a clock that stands still."""

from __future__ import annotations

import numpy as np

from harness.faults.plant import Result, Returned, changes_result


@changes_result("views", "terminal-observation", "a blind hold-out", resets=True)
def time_left_rounded(_: Returned, result: Result) -> Result:
    """The time that is left is rounded up to an integer, so it is 1 until it is up."""
    obs = result.obs.copy()
    obs[..., -1] = np.ceil(obs[..., -1])
    for env_id, infos in enumerate(result.infos or ()):
        for agent in range(obs.shape[1]):
            if result.dones[env_id].all():
                infos[agent]["final_obs"][-1] = np.ceil(infos[agent]["final_obs"][-1])
    return result._replace(obs=obs)
