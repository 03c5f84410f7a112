"""Contracts of what the agents of an env must have in common."""

from __future__ import annotations

from typing import Optional

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import Moment
from harness.interface.player import stack

EPISODES_AWAY = 2  # ends of an env's episodes, over which an agent that stays done is never there again


@contract("dones")
def dones(subject: EnvUnderTest) -> None:
    """`dones` is bool, and the agents of an env are done together, or an agent that has left stays done until then.

    HARL leaves an agent that is done out of the policy's loss until all agents of its env are done.
    """
    history = subject.long_run().seen
    over = stack(history[1:], "dones").astype(bool)
    ended = stack(history[1:], "ended")
    for env, agent in np.ndindex(over.shape[1:]):
        there = np.flatnonzero(~over[:, env, agent])
        gone_since = 0
        if len(there):
            gone_since = int(there[-1]) + 1
        ends = int(ended[gone_since:, env].sum())
        if ends < EPISODES_AWAY or ended[gone_since:, env].all():
            continue
        raise ContractError(
            "the agents of an env are not done together",
            step=gone_since + 1,
            where=f"step {gone_since + 1}, env {env}, agent {agent}",
            got=f"done in every step from here on, over {ends} ends of its env's episode",
            expected="an agent that takes part in the next episode",
            cause="a flag that is set once and never cleared",
        )


@contract("dones", every_step=True)
def dones_step(moment: Moment) -> None:
    """An agent that is done before its team mates stays done until all of them are."""
    value = moment.parts["dones"]
    before = _dones_before(moment)
    if before is None or before.shape != value.shape or np.isnan(value.astype(float)).any():
        return
    had_left = before.astype(bool) & ~before.astype(bool).all(axis=1, keepdims=True)
    for env, agent in np.argwhere(had_left & ~value.astype(bool))[:1]:
        raise moment.error(
            "the agents of an env are not done together",
            moment.at(env, agent),
            got=f"dones {before[env].tolist()} a step before, {value[env].tolist()} now",
            expected="the same for all agents of an env; or an agent that has left stays done until all are",
            cause="HARL ends an episode only when all agents are done: it would learn across the reset",
        )


def _dones_before(moment: Moment) -> Optional[np.ndarray]:
    """Return the `dones` of the step before this one; None after a reset."""
    if not moment.kept or moment.kept[-1].step != moment.step - 1:
        return None
    for name, _, copy in moment.kept[-1].arrays:
        if name == "dones" and copy.ndim == 2:
            return copy
    return None


@contract("share-obs-same")
def share_obs_same(subject: EnvUnderTest) -> None:
    """In HARL's EP mode, all agents of an env are given the same global state and the same reward."""
    state_type = getattr(subject.task, "state_type", "EP")
    if state_type != "EP":
        subject.errors.withdraw("share-obs-same")
        raise NotJudgedError(f"the task is trained with state_type {state_type}")
    subject.long_run()


@contract("share-obs-same", every_step=True, at_reset=True)
def share_obs_same_step(moment: Moment) -> None:
    """All agents of an env are given the same global state and the same reward."""
    for name in ("share_obs", "rewards"):
        value = moment.parts.get(name)
        if value is None:
            continue
        first_agents = np.broadcast_to(value[:, :1], value.shape)
        if np.array_equal(value, first_agents, equal_nan=True):
            continue
        env, agent, entry = np.argwhere(value != first_agents)[0]
        raise moment.error(
            f"{name} differs between the agents of an env",
            moment.at(env, agent, entry),
            got=f"{value[env, agent, entry]:g} for agent {agent}, {value[env, 0, entry]:g} for agent 0",
            expected="the same for all: in EP mode HARL uses only agent 0's",
            fix="give all agents the team's value; if you train with state_type FP, pass Task(state_type='FP')",
        )
