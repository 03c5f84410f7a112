"""Contracts of the infos: one dict for each agent of each env at each step, which nobody changes later."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from harness.contracts.registry import contract
from harness.interface.infos import agents_of, describe, has_same_items, is_sequence, leaves
from harness.interface.moment import Moment

Owner = Tuple[int, int, int]  # step, env, agent


@contract("infos", every_step=True)
def infos(moment: Moment) -> None:
    """`infos` has an entry for each env, and in it a dict under each agent's number that HARL reads."""
    value, sizes = moment.parts["infos"], moment.sizes
    expected = f"num_envs = {sizes.num_envs} entries, each with a dict under 0 to {sizes.num_agents - 1}"
    cause = None
    if isinstance(value, dict) or not is_sequence(value):
        if isinstance(value, dict):
            cause = "gymnasium's form"
        raise moment.error(f"infos is {describe(value)}, not one entry for each env", expected=expected, cause=cause)
    if len(value) != sizes.num_envs:
        if len(value) == sizes.num_agents:
            cause = "envs and agents are transposed"
        raise moment.error(f"infos has {len(value)} entries for {sizes.num_envs} envs", expected=expected, cause=cause)
    for env in range(sizes.num_envs):
        for agent in range(sizes.num_agents):
            if agent > 0 and _is_never_read(moment, agent, value[env]):
                break
            _require_dict(moment, env, agent, value[env])


def _is_never_read(moment: Moment, agent: int, env_infos: Any) -> bool:
    """Return whether an agent has no info and HARL never asks for it; a note says so."""
    judged_for = moment.judged_for
    present = {key for key, _ in agents_of(env_infos)}
    if agent in present or judged_for.per_agent or not judged_for.forms().agent_0_is_enough:
        return False
    judged_for.note("infos hold agent 0 only: HARL's EP mode reads no other; FP mode would need every agent's")
    return True


def _require_dict(moment: Moment, env: int, agent: int, env_infos: Any) -> None:
    """Raise unless the infos of an env have a dict under an agent's number."""
    has_keys = hasattr(env_infos, "keys")
    try:
        info = env_infos[agent]
    except (KeyError, IndexError, TypeError):
        got = describe(env_infos)
        if has_keys:
            got = f"keys {list(env_infos.keys())[:4]}"
        raise moment.error(
            f"info of env {env} has no key {agent}",
            moment.at(env, agent),
            got=got,
            expected="a dict for each agent: HARL reads infos[env][agent]",
            fix="return [[{} for _ in range(n_agents)] for _ in range(num_envs)]",
        ) from None
    if not hasattr(info, "keys"):
        raise moment.error(f"the info of an agent is {describe(info)}, not a dict", moment.at(env, agent))
    num_agents = moment.sizes.num_agents
    if len(env_infos) > num_agents and not has_keys:
        raise moment.error(f"infos of env {env} has {len(env_infos)} entries for {num_agents} agents")


@contract("infos-fresh", every_step=True)
def infos_fresh(moment: Moment) -> None:
    """Each env, agent and step has an info dict of its own, which never changes later."""
    owners: Dict[int, Owner] = {}
    for kept in moment.kept:
        for env, agent, info, items in kept.infos:
            owners[id(info)] = (kept.step, env, agent)
            if not has_same_items(info, items):
                raise moment.error(
                    f"the info of step {kept.step} changed at step {moment.step}",
                    moment.at(env, agent),
                    got=f"{sorted(map(str, info))} after {sorted(map(str, items))}",
                    cause="the dict is reused: a flag of one step shows in other steps",
                    fix="make new dicts in every step",
                )
    for env, agent, info in leaves(moment.parts["infos"]):
        current = (moment.step, env, agent)
        owner = owners.setdefault(id(info), current)
        if owner != current:
            raise moment.error(
                f"one info dict is shared by {_in_words(owner)} and {_in_words(current)}",
                cause="[{}] * n repeats one dict: a flag that is set for one is set for all",
                fix="make a new dict for each env, agent and step",
            )


def _in_words(owner: Owner) -> str:
    step, env, agent = owner
    return f"env {env}, agent {agent} (step {step})"
