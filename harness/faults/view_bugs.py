"""Bugs in what agents see: of another moment, of the episode before, or of a clock that stands still."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from harness.faults.plant import Result, Returned, changes_result, planted, replaced


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


@planted("views", "timely-views", "a blind hold-out")
def others_seen_a_step_late(start: int = 1) -> Iterator[None]:
    """The last robot sees where the others were in the step before; new episodes begin with the truth."""
    from harness.toys import PointMass

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        env.__dict__["_late_count"] = env.__dict__.get("_late_count", 0) + 1
        env.__dict__["_late_robots"] = env._robots.copy()
        return original(env, actions)

    def begin(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        if "_late_robots" in env.__dict__:
            env._late_robots[env_id] = env._robots[env_id]

    def observe(original: Any, env: Any) -> Any:
        obs, share_obs = original(env)
        if env.__dict__.get("_late_count", 0) < start:
            return obs, share_obs
        robots = env._robots
        last = robots[:, -1].copy()
        env._robots = env._late_robots.copy()
        env._robots[:, -1] = last
        late, _ = original(env)
        env._robots = robots
        obs[:, -1, 4:-1] = late[:, -1, 4:-1]
        return obs, share_obs

    with replaced(PointMass, "step", step), replaced(PointMass, "_start", begin), replaced(
        PointMass, "_observe", observe
    ):
        yield
