"""The contract of the observations at an end: the one that is returned, and the old one that infos may hold.

An observation of the old episode in the infos is lost if it equals the first of the new episode. It belongs to somebody
else if it is far from the step before: further than a usual large change, and further than a good part of the way to a
new start; or if envs that end in one step always have the same one, although they differed in the step before. The same
holds for the states and masks that HARL's wrappers keep.
"""

from __future__ import annotations

import collections
import itertools
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from harness.contracts.auto_reset import require_timely_ends
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.registry import contract
from harness.contracts.timeline import MIN_START_DISTANCE, Jumps, inner_ends, jumps_at_ends, usual_change
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen, stack

FINAL_NAMES = ("final_obs", "final_observation", "terminal_observation", "terminal_obs")
FINAL_NAME_OF_ALL = "original_obs"  # HARL's wrappers keep those of all agents, (A, D), in the info of agent 0
KEPT_OF_ALL = {"share_obs": "original_state", "available": "original_avail_actions"}  # all agents', in agent 0's info
MIN_WAY_TO_START = 0.3  # fraction of the distance to a new start; a nearer observation follows from the step before

MIN_SHARED = 2  # pairs of envs that end in one step with the same observation
MIN_DISTINCT = 3  # last observations in a run; with fewer, they say little
MIN_KEPT = 5  # last observations of episodes that a time limit ended
MIN_OTHER = 1e-3  # by which a number differs, relative to itself or to 1


@contract("terminal-observation")
def terminal_observation(subject: EnvUnderTest) -> None:
    """The observation that comes with a done is the first of the next episode; infos may hold the old one's last."""
    history = subject.long_run().seen
    jumps = subject.once(jumps_at_ends)
    if jumps is None:
        raise NotJudgedError("fewer than 3 episodes ended")
    ended = inner_ends(history)
    require_timely_ends(jumps, ended)
    require_usual_values(history, episodes(history))
    require_kept_end(history, ended, jumps)
    require_kept_shape(history, ended)
    require_kept_at_limits(history, episodes(history))
    require_own_end(history, episodes(history))
    for field, name in KEPT_OF_ALL.items():
        require_kept_field(history, episodes(history), field, name)


def require_kept_end(history: List[Seen], ended: List[EpisodeSpan], jumps: Jumps) -> None:
    """Raise if infos hold an observation that is not the last of the old episode."""
    usual = usual_change(history, "obs")
    changes, where = [], ""
    for span in ended:
        seen, before = history[span.end], history[span.end - 1].obs[span.env]
        for agent in range(seen.obs.shape[1]):
            kept = _kept_obs(seen, span.env, agent)
            if kept is None or kept.obs.shape != seen.obs.shape[2:]:
                continue
            is_first = np.array_equal(kept.obs, seen.obs[span.env, agent])
            if is_first and not np.array_equal(kept.obs, before[agent]):  # else nothing has changed, which may be right
                raise ContractError(
                    f"the terminal observation is lost: {kept.name} is the first of the next episode",
                    where=f"env {span.env}, agent {agent}, step {span.end}",
                    cause="it is read after the reset, or it is a view of what the reset overwrites",
                )
            changes.append((abs(kept.obs - before[agent]) / usual[agent]).max())
            where = f"{kept.name}, in env {span.env} at step {span.end}"
    if changes and np.median(changes) > max(MIN_START_DISTANCE, MIN_WAY_TO_START * jumps.to_start):
        raise ContractError(
            "the terminal observation is not the last of the old episode",
            where=where,
            got=f"{float(np.median(changes)):.1f} times a usual large change from the step before",
            expected="what would have been seen if the env had not been reset",
            cause="it belongs to a different env, agent or step",
        )


def require_own_end(history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if all envs that end in the same step have the same last observation in their infos."""
    by_step: Dict[int, List[int]] = collections.defaultdict(list)
    for span in ended:
        by_step[span.end].append(span.env)
    shared: List[Tuple[int, int, int]] = []
    distinct: Set[bytes] = set()
    for step, envs in sorted(by_step.items()):
        kept = {env: _kept_bits(history[step], env) for env in envs}
        distinct.update(kept.values())
        for one, other in itertools.combinations(envs, 2):
            if np.array_equal(history[step - 1].obs[one], history[step - 1].obs[other]):
                continue  # twins
            if kept[one] and kept[one] == kept[other]:
                shared.append((step, one, other))
            else:
                shared = []  # only what is always so from some step on is a finding
    if len(shared) < MIN_SHARED or len(distinct) < MIN_DISTINCT:
        return
    step, one, other = shared[0]
    raise ContractError(
        "the terminal observation is that of a different env",
        step=step,
        where=f"infos of envs {one} and {other}, step {step}",
        got="the same numbers, though their obs differed in the step before; so it is in all "
        f"{len(shared)} latest pairs of envs that ended in one step",
        expected="of each env what would have been seen if it had not been reset",
        cause="the infos of all envs that end are filled from one row, such as that of the first index",
        fix="take row i of the observations for env i",
    )


def require_kept_shape(history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if infos hold the observations of all agents in a different shape than they are returned in."""
    for span in ended:
        seen = history[span.end]
        kept = _kept_of_all(seen, span.env, FINAL_NAME_OF_ALL)
        if kept is not None and kept.shape != seen.obs.shape[1:]:
            raise ContractError(
                f"{FINAL_NAME_OF_ALL} has a different shape than obs",
                step=span.end,
                where=f"infos[{span.env}][0][{FINAL_NAME_OF_ALL!r}], step {span.end}",
                got=f"shape {kept.shape}",
                expected=f"{seen.obs.shape[1:]}: number of agents, width of an observation",
                cause="it is flattened, or it is that of one agent",
                fix="keep the array (A, D) that would have been returned for this env",
            )


def require_kept_at_limits(history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if infos keep the last observation at real ends only, and never where a time limit ends an episode."""
    at_limits: List[EpisodeSpan] = []
    at_ends: List[bool] = []
    for span in ended:
        kept = _kept_obs(history[span.end], span.env, 0)
        is_kept = kept is not None and kept.obs.shape == history[0].obs.shape[2:]
        if not span.truncated:
            at_ends.append(is_kept)
        elif is_kept:
            at_limits = []  # only what is always so from some step on is a finding
        else:
            at_limits.append(span)
    if len(at_limits) < MIN_KEPT or len(at_ends) < MIN_DISTINCT or not all(at_ends):
        return
    raise ContractError(
        "the terminal observation is missing where a time limit ends an episode",
        where=f"infos of the last {len(at_limits)} episodes that a time limit ended",
        got=f"none there, and one at all {len(at_ends)} other ends",
        expected="one at every end: at a time limit, the value of the last observation is estimated with it",
        cause="it is only kept for terminations, or it is None",
        fix="keep it wherever an env is reset within a step",
    )


def require_kept_field(history: List[Seen], ended: List[EpisodeSpan], field: str, name: str) -> None:
    """Raise if infos always keep what comes with the first observation of the next episode.

    Args:
      history: the run.
      ended: its episodes.
      field: name of the field of `Seen`.
      name: the key in the info of agent 0.
    """
    seen_first = set()
    num_kept, where = 0, ""
    for span in ended:
        first = getattr(history[span.end], field)
        kept = _kept_of_all(history[span.end], span.env, name)
        if first is None or kept is None or kept.shape != first.shape[1:]:
            continue
        if not np.array_equal(kept, first[span.env]):
            return
        num_kept += 1
        seen_first.add(kept.tobytes())
        where = f"infos[{span.env}][0][{name!r}], step {span.end}"
    if num_kept < MIN_KEPT or len(seen_first) < MIN_DISTINCT:
        return
    raise ContractError(
        f"{name} is that of the next episode",
        where=where,
        got=f"what {field} shows of the new episode, at all {num_kept} ends",
        expected="what would have been returned if the env had not been reset",
        cause="it is read after the reset, or it is a view of what the reset overwrites",
        fix="copy it before the envs that are done are reset",
    )


def _kept_of_all(seen: Seen, env: int, name: str) -> Optional[np.ndarray]:
    """Return what the info of agent 0 holds of all agents, or None."""
    try:
        return np.asarray(seen.infos[env][0][name], np.float64)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _kept_bits(seen: Seen, env: int) -> bytes:
    """Return what the infos hold as the last observation of all agents of an env, as bytes; none if they hold none."""
    bits = b""
    for agent in range(seen.obs.shape[1]):
        kept = _kept_obs(seen, env, agent)
        if kept is not None:
            bits += kept.obs.tobytes()
    return bits


def require_usual_values(history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if a number that never changes in obs has a different value in the last obs of all marked episodes.

    A share of the time that is left, rounded to an integer, is such a number: it only changes where the time is up.
    """
    obs = stack(history, "obs")
    is_constant = (obs == obs[:1, :1]).all(axis=(0, 1))  # (A, D)
    for agent in range(obs.shape[2]):
        kept = []
        for span in ended:
            last = _kept_obs(history[span.end], span.env, agent)
            if span.truncated and last is not None and last.obs.shape == obs.shape[3:]:
                kept.append(last)
        if len(kept) < MIN_KEPT:
            continue
        usual = obs[0, 0, agent]
        is_other = abs(np.stack([last.obs for last in kept]) - usual) > MIN_OTHER * np.maximum(abs(usual), 1.0)
        for entry in np.flatnonzero(is_constant[agent] & is_other.all(axis=0)):
            raise ContractError(
                f"entry {entry} of obs changes only in the last observation of an episode",
                where=f"agent {agent}; {kept[0].name} of the {len(kept)} latest episodes that a time limit ended",
                got=f"{usual[entry]:g} in every obs, {kept[0].obs[entry]:g} there",
                expected="a number that the policy sees change, too, as the value of the last obs is estimated with it",
                cause="the time that is left is rounded to an integer, as by //, or a flag that no policy ever sees",
            )


class _KeptObs(NamedTuple):
    """The last observation of an episode, and the key under which infos hold it."""

    name: str
    obs: np.ndarray


def _kept_obs(seen: Seen, env: int, agent: int) -> Optional[_KeptObs]:
    """Return what the infos hold as the last observation of an agent, or None."""
    try:
        return _read_kept_obs(seen.infos[env], agent)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _read_kept_obs(env_infos: Any, agent: int) -> Optional[_KeptObs]:
    info = env_infos[agent]
    for name in FINAL_NAMES:
        if name in info:
            return _KeptObs(name, np.asarray(info[name], np.float64))
    if FINAL_NAME_OF_ALL in env_infos[0]:
        of_all = np.asarray(env_infos[0][FINAL_NAME_OF_ALL], np.float64)
        return _KeptObs(FINAL_NAME_OF_ALL, of_all[agent])
    return None
