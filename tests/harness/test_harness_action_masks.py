"""Tests of masks of available actions, on runs written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts.action_masks import require_one_mask_for_each_state
from harness.findings import ContractError
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, CHOICES = 5, 2, 6


def masks(*available):
    """Return a run in which all envs show two states in turn, with these masks by step."""
    history = []
    for step, mask in enumerate(available):
        obs = np.arange(NUM_ENVS * AGENTS, dtype=float).reshape(NUM_ENVS, AGENTS, 1)
        share_obs = np.repeat(obs[:, :1] + 100.0 * (step % 2), AGENTS, axis=1)
        history.append(Seen(obs, share_obs, available=np.tile(mask, (NUM_ENVS, AGENTS, 1))))
    return history


def test_state_that_comes_with_two_masks_is_found():
    """Masks may alternate as the states do; in five states or more, a different mask is a finding."""
    usual, other = np.ones(CHOICES), np.arange(CHOICES) % 2
    assert require_one_mask_for_each_state(masks(usual, other, usual, other)) is None
    without = masks(usual, other, other)
    for seen in without:
        seen.available = None  # as where actions need no mask
    assert require_one_mask_for_each_state(without) is None
    with pytest.raises(ContractError) as caught:
        require_one_mask_for_each_state(masks(usual, other, other))
    assert caught.value.where == "env 0, agent 0, step 2; it was seen in env 0 at step 0"
    assert caught.value.got == "[0, 1, 0, 1, 0, 1], in 10 states"
    few = masks(usual, other, usual)
    few[2].available[:2] = other
    assert require_one_mask_for_each_state(few) is None  # four states are no more than an accident
