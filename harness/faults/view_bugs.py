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


@changes_result("views", "clean-start", "a blind hold-out", resets=True)
def flag_survives_resets(moment: Returned, result: Result) -> Result:
    """An env shows, from then on and in all later episodes, that the disc was once within reach of the goal."""
    distance = abs(result.share_obs[:, 0, :2] - result.share_obs[:, 0, 2:4]).sum(axis=1)
    reached = moment.memory.get("reached", np.zeros(len(distance), bool)) | (distance < 0.3)
    moment.memory["reached"] = reached
    obs = result.obs.copy()
    obs[..., -1] += reached[:, None]
    return result._replace(obs=obs)
