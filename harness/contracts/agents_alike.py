"""Contracts of what the agents of an env must have in common."""

from __future__ import annotations

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import NotJudgedError
from harness.interface.moment import Moment


@contract("dones", every_step=True)
def dones(moment: Moment) -> None:
    """`dones` is bool, and the agents of an env are done together."""
    value = moment.parts["dones"]
    differing = np.argwhere(value != value[:, :1])
    if len(differing) == 0 or np.isnan(value.astype(float)).any():
        return
    env, agent = differing[0]
    raise moment.error(
        "the agents of an env are not done together",
        moment.at(env, agent),
        got=f"dones {value[env].tolist()}",
        expected="the same for all agents of an env",
        cause="HARL ends an episode only when all agents are done: it would learn across the reset",
    )


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
