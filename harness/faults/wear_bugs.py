"""Bugs that end an environment only after many episodes, steps or calls of `reset`: tables of a fixed length."""

from __future__ import annotations

import numpy as np

from harness.faults.plant import Result, Returned, changes_result


@changes_result("wear", "many-episodes", "a blind hold-out")
def table_of_100_episodes(moment: Returned, result: Result) -> Result:
    """The results of each env's episodes are written into a table of 100: the 101st raises an IndexError."""
    table = vars(moment.env).setdefault("_results", np.zeros((len(result.dones), 100)))
    counts = moment.memory.setdefault("counts", np.zeros(len(result.dones), int))
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        table[env_id, counts[env_id]] = result.rewards[env_id, 0, 0]
        counts[env_id] += 1
    return result


@changes_result("wear", "many-episodes")
def schedule_of_600_episodes(moment: Returned, result: Result) -> Result:
    """A schedule has a level for each of 600 episodes of all envs together, and no level after that."""
    levels = vars(moment.env).setdefault("_levels", list(range(600)))
    moment.memory["count"] = moment.memory.get("count", 0) + int(result.dones.all(axis=1).sum())
    moment.env._level = levels[moment.memory["count"]]
    return result


@changes_result("wear", "many-episodes", "a blind hold-out")
def noise_for_2000_steps(moment: Returned, result: Result) -> Result:
    """Sensor noise is drawn in advance for 2,000 steps, and a step after that has none."""
    noise = vars(moment.env).get("_noise")
    if noise is None:
        noise = moment.env._noise = 1e-3 * np.random.default_rng(0).standard_normal(2000)
    return result._replace(obs=(result.obs + noise[moment.step - 1]).astype(result.obs.dtype))


@changes_result("wear", "many-episodes", resets=True)
def places_for_150_resets(moment: Returned, result: Result) -> Result:
    """There are places for 150 calls of `reset`: the next one raises an IndexError."""
    places = vars(moment.env).setdefault("_places", list(range(150)))
    if moment.actions is None:
        moment.memory["count"] = moment.memory.get("count", -1) + 1
        moment.env._place = places[moment.memory["count"]]
    return result
