"""Contracts of the infos: one dict for each agent of each env at each step, which nobody changes later.

`infos-fresh`: HARL's runner reads infos in the step that returns them, and keeps none. So it does no harm if the same
dict comes again in a later step, as from PettingZoo, which makes its dicts in `reset`; whoever keeps infos sees them
change, and a note says so. A flag that is left over from an earlier step breaks `bad-transition`. A dict that stands
for two envs in one step is a finding: a flag that is set for one is set for both.

`infos-keys`: a key that tells of an event is rare, and one that comes with an end is only there. So a key is looked at
only if most steps within episodes have it, or most ends by a time limit, and only if its values are not all the same;
for each env and agent by itself, as a key may be of one env only. The first step of an episode may lack a key, as
differences to a step before do not exist there.
"""

from __future__ import annotations

import collections
from typing import Any, Counter, Dict, List, NamedTuple, Set, Tuple

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.infos import agents_of, describe, has_same_items, is_sequence, leaves
from harness.interface.moment import Moment
from harness.interface.player import Seen

MIN_STEPS = 20  # of each env, for a statement about its keys
LEAST = {"step": MIN_STEPS, "time limit": 6}  # infos of each agent of each env, for a statement about their keys
USUAL = 0.5  # fraction of the steps that have a key that should not come and go
MIN_LACKING = {"step": 2, "time limit": 1}  # that lack it
TAIL_STEPS = 90  # at the end of the run, which are also judged by themselves
MAX_NAMED = 3  # keys in a message
REUSED = "infos: dicts are used again in later steps: kept ones change, which HARL, reading them at once, never notices"
SHARED_BY_AGENTS = "infos: the agents of an env share one dict: HARL reads only flags that are the same for all of them"


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
    """Each env has info dicts of its own; dicts that are used again in later steps or for several agents are a note."""
    owners: Dict[int, Tuple[int, int]] = {}
    for env, agent, info in leaves(moment.parts["infos"]):
        if not hasattr(info, "keys"):
            continue
        owner = owners.setdefault(id(info), (env, agent))
        if owner[0] != env:
            raise moment.error(
                f"one info dict is shared by env {owner[0]}, agent {owner[1]} and env {env}, agent {agent}",
                cause="the dict is reused, as in [{}] * n: a flag that is set for one env is set for all",
                fix="make a new dict for each env, agent and step",
            )
        if owner[1] != agent:
            moment.judged_for.note(SHARED_BY_AGENTS)
    for kept in moment.kept:
        for _, _, info, items in kept.infos:
            if id(info) in owners or not has_same_items(info, items):
                moment.judged_for.note(REUSED)
                return


class _Place(NamedTuple):
    """Where keys are counted: the infos of one agent of one env, at steps of one kind."""

    kind: str
    env: int
    agent: int


class _Keys:
    """Counts how often infos have a key, and with how many values.

    Attributes:
      steps: number of steps by place.
    """

    def __init__(self) -> None:
        self.steps: Counter[_Place] = collections.Counter()
        self._counts: Dict[_Place, Counter[str]] = collections.defaultdict(collections.Counter)
        self._lacking: Dict[Tuple[_Place, str], int] = {}
        self._values: Dict[Tuple[_Place, str], Set[str]] = collections.defaultdict(set)

    def add(self, place: _Place, step: int, info: Any) -> None:
        """Count the keys of an info."""
        self.steps[place] += 1
        counts = self._counts[place]
        for key in map(str, info.keys()):
            counts[key] += 1
            if counts[key] < self.steps[place]:
                self._lacking.setdefault((place, key), step)
        for key, value in info.items():
            values = self._values[place, str(key)]
            if len(values) < 2:
                values.add(repr(value)[:60])
        for key in counts.keys() - set(map(str, info.keys())):
            self._lacking.setdefault((place, key), step)

    def that_come_and_go(self) -> List[Tuple[_Place, str, int, int]]:
        """Return place, key, number of steps that lack it, and the first of these."""
        found = []
        for place, counts in self._counts.items():
            steps = self.steps[place]
            for key, count in counts.items():
                lacking = steps - count
                is_usual = count > USUAL * steps and len(self._values[place, key]) > 1
                if steps >= LEAST[place.kind] and is_usual and lacking >= MIN_LACKING[place.kind]:
                    found.append((place, key, lacking, self._lacking[place, key]))
        return found


@contract("infos-keys")
def infos_keys(subject: EnvUnderTest) -> None:
    """A key that infos usually have is in all of them: none comes and goes within an episode, or at time limits."""
    history = subject.long_run().seen
    if len(history) <= MIN_STEPS:
        raise subject.too_few("steps", len(history) - 1, MIN_STEPS)
    keys = _keys_of(history)
    if not keys.steps:
        raise NotJudgedError("infos have no dict of an agent")
    if subject.errors.of("infos-fresh") is not None:
        raise NotJudgedError("infos are shared, so the keys of different envs mix")
    found = keys.that_come_and_go()
    if not found and len(history) > 2 * TAIL_STEPS:
        keys = _keys_of(history[-TAIL_STEPS:], len(history) - TAIL_STEPS)
        found = keys.that_come_and_go()
    if not found:
        return
    place, key, lacking, step = found[0]
    others = sorted({other for _, other, _, _ in found})
    raise ContractError(
        f"the key {key!r} of infos comes and goes",
        step=step,
        where=f"env {place.env}, agent {place.agent}, first missing at step {step}",
        got=f"missing in {lacking} of {keys.steps[place]} infos at a {place.kind}; "
        f"keys that come and go: {', '.join(others[:MAX_NAMED])}",
        expected="the same keys in every step of a kind: a logger that reads one raises KeyError",
        cause="it is set under a condition",
        fix="set it in every step, to nan or 0 where there is nothing to say",
    )


def _keys_of(history: List[Seen], first_step: int = 0) -> _Keys:
    """Count the keys of infos within episodes, their first steps apart, and at ends by a time limit.

    Args:
      history: the run, or a part of it.
      first_step: the step of its first entry.
    """
    keys = _Keys()
    previous_ended = None
    for step, seen in enumerate(history[1:], start=first_step + 1):
        for env, agent, info in leaves(seen.infos):
            is_first = previous_ended is None or previous_ended[env]
            if not hasattr(info, "keys") or env >= len(seen.ended):
                continue
            if seen.ended[env]:
                if seen.truncated[env].all():
                    keys.add(_Place("time limit", env, agent), step, info)
            elif not is_first:
                keys.add(_Place("step", env, agent), step, info)
        previous_ended = seen.ended
    return keys
