"""The learner creates every tensor on its own device, not on torch's default device."""

from __future__ import annotations

import sys

import pytest
import torch

from mapush.config import HappoConfig
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout
from mapush.spec import SetLayout

pytestmark = pytest.mark.contracts

NUM_STEPS, NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 7, 5, 2, 8, 11, 3
ELSEWHERE = torch.device("meta")  # a device that stores no values; as a context, it becomes torch's default device
CPU = torch.device("cpu")
NO_SETS = (None, None)
SETS = (SetLayout(rows=2, width=3), SetLayout(rows=3, width=2))


@pytest.mark.skipif(sys.version_info < (3, 9), reason="its last PyTorch makes Adam's count on the default device")
@pytest.mark.parametrize("minibatches, active_masks, sets", [(1, True, NO_SETS), (3, False, NO_SETS), (3, True, SETS)])
def test_update_makes_every_tensor_on_the_learners_device(minibatches, active_masks, sets):
    """Acting, storing, learning and the optimisers do not rely on a default device."""
    cfg = HappoConfig(
        hidden_sizes=(16, 12),
        actor_num_mini_batch=minibatches,
        critic_num_mini_batch=minibatches,
        use_policy_active_masks=active_masks,
        use_linear_lr_decay=True,
    )
    sizes = {"obs_dim": OBS_DIM, "share_obs_dim": SHARE_OBS_DIM, "action_dim": ACTION_DIM, "num_agents": NUM_AGENTS}
    learner = Happo(cfg, device=CPU, seed=4, sets=sets, **sizes)
    obs, share_obs = torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM), torch.randn(NUM_ENVS, SHARE_OBS_DIM)
    active = torch.ones(NUM_ENVS, NUM_AGENTS)
    reward, ended = torch.randn(NUM_ENVS, 1), torch.rand(NUM_ENVS) < 0.4
    with ELSEWHERE:
        rollout = Rollout(NUM_STEPS, NUM_ENVS, device=CPU, **sizes)
        rollout.start(obs, share_obs, active)
        for _ in range(2):
            for _ in range(NUM_STEPS):
                decision = learner.act(obs, share_obs)
                rollout.insert(decision, reward, ended, ~ended, obs, share_obs, active)
            learner.set_progress(0.5)
            metrics = learner.update(rollout)
            rollout.load_state_dict(rollout.state_dict())
            rollout.finish()
            learner.load_state_dict(learner.state_dict())
    assert all(value == value for value in metrics.values())
    arrays = [value for value in vars(rollout).values() if isinstance(value, torch.Tensor)]
    assert {array.device for array in arrays} == {CPU}
    assert len(arrays) == 9
