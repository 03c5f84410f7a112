"""Bugs in what an environment does with its actions."""

from __future__ import annotations

import numpy as np

from harness.faults.plant import (
    Returned,
    changes_actions,
)


@changes_actions("actions", "impulse", "mission bug 4")
def transposed_actions(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env reads its actions as (num_agents, num_envs, action_dim)."""
    num_envs, num_agents, action_dim = actions.shape
    return actions.reshape(num_agents, num_envs, action_dim).swapaxes(0, 1)


@changes_actions("actions", "impulse")
def actions_read_from_raw_memory(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env ignores the strides of HARL's view and reads the memory behind it."""
    return actions.ravel(order="K").reshape(actions.shape)


@changes_actions("actions", "impulse")
def agents_swapped(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The agents get each other's actions: the first agent that of the last, and so on."""
    return actions[:, ::-1]


@changes_actions("actions", "impulse", "public reports: joint order differs between simulators")
def permuted_axes(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The components of an action are read in the wrong order."""
    return np.roll(actions, 1, axis=-1)


@changes_actions("actions", "impulse")
def last_agent_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The last agent stands still, whatever its action."""
    actions = actions.copy()
    actions[:, -1] = 0.0
    return actions


@changes_actions("actions", "impulse")
def first_action_for_all_envs(_: Returned, actions: np.ndarray) -> np.ndarray:
    """All envs execute the actions of the first env."""
    return np.broadcast_to(actions[:1], actions.shape).copy()


@changes_actions("actions", "impulse")
def actions_one_step_late(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """The env executes the actions of the step before."""
    late = moment.memory.get("actions", np.zeros_like(actions))
    moment.memory["actions"] = actions.copy()
    return late


@changes_actions("actions", "impulse")
def actions_late_in_some_envs(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """Every second env executes the actions of the step before."""
    acted = actions.copy()
    acted[1::2] = moment.memory.get("actions", np.zeros_like(actions))[1::2]
    moment.memory["actions"] = actions.copy()
    return acted


@changes_actions("actions", "impulse")
def last_env_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The last env stands still, whatever the actions of its agents."""
    acted = actions.copy()
    acted[-1] = 0.0
    return acted


@changes_actions("actions", "actions-untouched", "HARL contract S12")
def actions_clipped_in_place(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env clips the learner's own array."""
    return np.clip(actions, -1.0, 1.0, out=actions)


@changes_actions("actions", ("actions-any-range", "step-form"), "HARL contract S24")
def large_actions_refused(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env asserts that actions lie in the box, but HARL does not clip them."""
    assert np.abs(actions).max() <= 1.0, "action out of bounds"
    return actions
