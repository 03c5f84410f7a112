"""Tests of the observations that infos keep of ended episodes, on runs that are written down."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts.episode_spans import episodes
from harness.contracts.terminal_observation import (
    require_kept_at_limits,
    require_kept_field,
    require_kept_shape,
    require_own_end,
)
from harness.findings import ContractError
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM = 5, 2, 3
TOGETHER = ((4, 9), (4, 12), (7, 12), (7, 9), (5, 11))  # steps at which the episodes of each env end
APART = ((4, 9), (5, 12), (7, 13), (8, 10), (6, 11))


def run_of(ends, kept=lambda obs, env, together: obs[env], form="original_obs"):
    """Return a run in which infos hold `kept(obs, env, together)`, where `together` are the envs that end in a step.

    Args:
      ends: steps at which the episodes of each env end.
      kept: what is kept of the observations (N, A, D) before the reset.
      form: the key; all but HARL's hold an observation for each agent.
    """
    random = np.random.default_rng(3)
    obs = random.random((NUM_ENVS, AGENTS, OBS_DIM))
    nothing = np.zeros((NUM_ENVS, AGENTS, 4))
    history = [Seen(obs.copy(), nothing)]
    for step in range(1, 15):
        obs = obs + 0.1 * random.random(obs.shape)
        together = [env for env in range(NUM_ENVS) if step in ends[env]]
        dones = np.zeros((NUM_ENVS, AGENTS), bool)
        infos = [[{} for _ in range(AGENTS)] for _ in range(NUM_ENVS)]
        for env in together:
            dones[env] = True
            last = kept(obs, env, together)
            for agent in range(AGENTS):
                infos[env][agent] = {form: last if form == "original_obs" else last[agent]}
        obs[together] = random.random((len(together), AGENTS, OBS_DIM))
        history.append(
            Seen(obs.copy(), nothing, rewards=np.zeros((NUM_ENVS, AGENTS)), dones=dones, truncated=dones, infos=infos)
        )
    return history


def judge(history):
    """Return the error of a run, or None."""
    try:
        require_own_end(history, episodes(history))
    except ContractError as error:
        return error
    return None


@pytest.mark.parametrize("form", ["original_obs", "final_obs"])
def test_last_observation_of_a_different_env_is_found(form):
    """All envs that end in one step have that of the first."""
    error = judge(run_of(TOGETHER, lambda obs, env, together: obs[together[0]], form))
    assert error is not None
    assert error.where == "infos of envs 0 and 1, step 4"
    assert "in all 4 latest pairs" in error.got


def test_own_last_observations_hold():
    """Also if no two envs end in one step, and if infos hold nothing."""
    assert judge(run_of(TOGETHER)) is None
    assert judge(run_of(APART, lambda obs, env, together: obs[together[0]])) is None
    assert judge(run_of(TOGETHER, form="something_else")) is None


def test_last_observations_that_are_alike_for_a_reason_hold():
    """Ends that always show the same, a single accident, and envs that did the same all the time."""
    assert judge(run_of(TOGETHER, lambda obs, env, together: np.ones((AGENTS, OBS_DIM)))) is None

    def once(obs, env, together):
        first = together[0]
        return obs[first if env == 1 and first == 0 else env]

    assert judge(run_of(TOGETHER, once)) is None

    def all_but_at_step_9(obs, env, together):
        return obs[env if together == [0, 3] else together[0]]

    assert judge(run_of(TOGETHER, all_but_at_step_9)) is None  # one pair after it is too few
    twins = run_of(TOGETHER)
    for seen in twins:
        seen.obs[...] = seen.obs[:1]
    for step in (4, 7, 9, 12):
        for infos in twins[step].infos:
            for info in infos:
                if info:
                    info["original_obs"] = twins[step - 1].obs[0] + step
    assert judge(twins) is None


@pytest.mark.parametrize("ends, is_found", [(((4, 9), (4, 9)), True), (((4, 9), (4, 10)), False)])
def test_one_pair_may_be_an_accident(ends, is_found):
    """Two pairs of envs that end together and show the same are enough."""
    ends = (*ends, (5, 11), (6, 12), (7, 13))
    assert (judge(run_of(ends, lambda obs, env, together: obs[together[0]])) is not None) is is_found


def kept_of_next(num_ends, field, name, distinct=9):
    """Return a run in which infos keep what is shown of the next episode, at its first ends."""
    history = run_of(TOGETHER)
    random = np.random.default_rng(5)
    ends = 0
    for seen in history:
        shown = np.zeros((NUM_ENVS, AGENTS, 7))
        shown[:, 0, :distinct] = random.integers(0, 2, (NUM_ENVS, 7))[:, :distinct]
        setattr(seen, field, shown)
        for env in range(NUM_ENVS):
            if seen.infos and seen.infos[env][0]:
                kept = shown[env] if ends < num_ends else 1.0 - shown[env]
                seen.infos[env][0][name] = kept
                ends += 1
    return history


@pytest.mark.parametrize("field, name", [("share_obs", "original_state"), ("available", "original_avail_actions")])
def test_state_and_masks_of_the_next_episode_are_found(field, name):
    """At all ends, if they differ from each other; one that is its own is enough."""

    def judged(history):
        try:
            require_kept_field(history, episodes(history), field, name)
        except ContractError as error:
            return error.what
        return ""

    assert judged(kept_of_next(10, field, name)) == f"{name} is that of the next episode"
    assert judged(kept_of_next(9, field, name)) == ""
    assert judged(kept_of_next(10, field, name, distinct=0)) == ""
    assert judged(kept_of_next(10, field, "something_else")) == ""


@pytest.mark.parametrize("shape", [(AGENTS * OBS_DIM,), (OBS_DIM,), (OBS_DIM, AGENTS)])
def test_last_observations_of_a_different_shape_are_found(shape):
    """Flat ones, that of one agent, and a transposed one."""
    history = run_of(TOGETHER, lambda obs, env, together: np.resize(obs[env], shape))
    with pytest.raises(ContractError, match="original_obs has a different shape than obs") as caught:
        require_kept_shape(history, episodes(history))
    assert caught.value.got == f"shape {shape}"
    assert caught.value.where == "infos[0][0]['original_obs'], step 4"
    good = run_of(TOGETHER)
    assert require_kept_shape(good, episodes(good)) is None
    other = run_of(TOGETHER, form="final_obs")
    assert require_kept_shape(other, episodes(other)) is None


@pytest.mark.parametrize("missing", [None, "absent"])
@pytest.mark.parametrize("limits, is_found", [(5, True), (4, False)])
def test_last_observation_that_is_missing_at_time_limits_is_found(missing, limits, is_found):
    """Five limits without one, and at least three other ends that all have one."""
    history = run_of(TOGETHER)
    count = 0
    for seen in history[1:]:
        seen.truncated = np.zeros_like(seen.dones)
        for env in np.flatnonzero(seen.ended):
            count += 1
            seen.truncated[env] = count <= limits
            if count <= limits and missing is None:
                seen.infos[env][0]["original_obs"] = None
            elif count <= limits:
                del seen.infos[env][0]["original_obs"]
    if is_found:
        with pytest.raises(ContractError, match="missing where a time limit ends an episode"):
            require_kept_at_limits(history, episodes(history))
    else:
        assert require_kept_at_limits(history, episodes(history)) is None
    kept = run_of(TOGETHER)
    for step, seen in enumerate(kept[1:], start=1):
        seen.truncated = seen.dones & (step not in (9, 11))
        for env in np.flatnonzero(seen.ended & (step < 9)):
            del seen.infos[env][0]["original_obs"]
    assert require_kept_at_limits(kept, episodes(kept)) is None  # the latest limits have one
    history[9].infos[0][0].pop("original_obs")  # a real end without one
    assert require_kept_at_limits(history, episodes(history)) is None
