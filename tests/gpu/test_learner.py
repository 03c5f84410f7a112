"""The learner on the GPU: captured updates agree with uncaptured ones and with the CPU, and rollouts never wait."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import io
import warnings

import pytest
import torch

from mapush.config import HappoConfig
from mapush.device.cuda_graphs import Captured
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout

pytestmark = pytest.mark.gpu

NUM_STEPS, NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 7, 5, 2, 8, 11, 3
CPU, GPU = torch.device("cpu"), torch.device("cuda")
CFG = HappoConfig(hidden_sizes=(16, 12), fixed_order=True, use_linear_lr_decay=True)
SMALL_BATCHES = dataclasses.replace(CFG, fixed_order=False, actor_num_mini_batch=3, critic_num_mini_batch=2)
BETWEEN_DEVICES = 1e-4
"""Largest difference of a weight between devices after two updates; one step moves it by up to 5e-4."""
ON_ONE_DEVICE = 1e-5
"""Largest difference of a weight between two orders of the same kernels."""


def _learner(cfg=CFG, device=GPU, seed=4):
    sizes = {"obs_dim": OBS_DIM, "share_obs_dim": SHARE_OBS_DIM, "action_dim": ACTION_DIM, "num_agents": NUM_AGENTS}
    return Happo(cfg, device=device, seed=seed, **sizes)


def _world(device, seed, num_steps=NUM_STEPS):
    """Return the results of a fake env: (reward, terminated, truncated, obs, share_obs) of each step."""
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for _ in range(num_steps):
        reward, ended = torch.randn(NUM_ENVS, 1, generator=generator), torch.rand(NUM_ENVS, generator=generator)
        obs = torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM, generator=generator)
        share_obs = torch.randn(NUM_ENVS, SHARE_OBS_DIM, generator=generator)
        steps.append([value.to(device) for value in (reward, ended < 0.15, ended > 0.85, obs, share_obs)])
    return steps


def _empty(device):
    return Rollout(
        num_steps=NUM_STEPS,
        num_envs=NUM_ENVS,
        num_agents=NUM_AGENTS,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        device=device,
    )


def _act_through(learner, rollout, world):
    for reward, terminated, truncated, obs, share_obs in world:
        decision = learner.act(rollout.obs[rollout.step], rollout.share_obs[rollout.step])
        rollout.insert(decision, reward, terminated, truncated, obs, share_obs)


def _filled(seed):
    """Return a rollout on the CPU that an untrained learner filled."""
    learner, rollout = _learner(device=CPU), _empty(CPU)
    _act_through(learner, rollout, _world(CPU, seed))
    return rollout


def _update(learner, seed):
    """Learn from `_filled(seed)`, on the learner's device."""
    rollout = _empty(learner.device)
    rollout.load_state_dict(_filled(seed).state_dict())
    return learner.update(rollout)


def _weights(learner):
    modules = learner.actors + [learner.critic, learner.value_norm]
    values = []
    for module in modules:
        for value in module.state_dict().values():
            values.append(value.detach().flatten().cpu())
    return torch.cat(values)


def _equal_weights(before, after):
    """Return, as a set, whether each weight of the modules is the same in both lists of state_dicts."""
    equal = set()
    for one, two in zip(before, after):
        for name in one:
            equal.add(torch.equal(one[name], two[name]))
    return equal


def _saved(learner):
    """Return a learner's state after it was saved to a file and loaded."""
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def _assert_alike(one, two, tolerance):
    torch.testing.assert_close(_weights(one), _weights(two), rtol=0.0, atol=tolerance)


@contextlib.contextmanager
def _nobody_waits():
    """Raise an error for every operation for which the host would wait."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -- captured functions ----------------------------------------------------------------------------------------------


class Counted:
    """A function with state, which counts how often Python runs it."""

    def __init__(self):
        self.offset, self.scale, self.runs = torch.zeros(3, device=GPU), 2.0, 0

    def __call__(self, x, y):
        """Return x + y, and a pair of scale * x + the number of calls (replays included) and y."""
        self.runs += 1
        self.offset.add_(1.0)
        return {"sum": x + y, "pair": (self.scale * x + self.offset, y)}


def test_captured_replays_with_new_arguments_and_state():
    """Each call returns and changes the same as the function, although Python runs it only three times."""
    function = Counted()
    captured = Captured(function)
    for number in range(1, 8):
        x, y = torch.full((5, 3), float(number), device=GPU), torch.randn(5, 3, device=GPU)
        result = captured(x, y)
        assert torch.equal(result["sum"], x + y)
        assert torch.equal(result["pair"][0], 2.0 * x + number)
        assert torch.equal(result["pair"][1], y)
        assert function.offset.tolist() == [float(number)] * 3
    assert function.runs == 3


def test_captured_result_is_overwritten_by_the_next_call():
    """A replay writes where the last one wrote, and never into the caller's arguments."""
    captured = Captured(lambda x: x + 1.0, warmups=1)
    arguments = [torch.full((5, 3), float(number), device=GPU) for number in range(4)]
    results = [captured(argument) for argument in arguments]
    assert results[1].data_ptr() == results[2].data_ptr() == results[3].data_ptr()
    assert results[3].eq(4.0).all()
    assert [float(argument[0, 0]) for argument in arguments] == [0.0, 1.0, 2.0, 3.0]


def test_captured_forgets_and_records_again():
    """Decisions of Python are fixed in the recording until `forget`; arguments with different shapes also drop it."""
    function = Counted()
    captured = Captured(function)
    x, y = torch.ones(5, 3, device=GPU), torch.zeros(5, 3, device=GPU)
    for _ in range(4):
        captured(x, y)
    function.scale = 10.0
    assert captured(x, y)["pair"][0][0].tolist() == [7.0] * 3
    captured.forget()
    assert captured(x, y)["pair"][0][0].tolist() == [16.0] * 3
    runs = function.runs
    assert captured(x[:2], y[:2])["sum"].shape == (2, 3)
    assert function.runs == runs + 1


def test_captured_backward_pass_gives_the_gradients_of_each_call():
    """The gradients of a captured function are those of the arguments of this call, not accumulated or stale."""
    layer = torch.nn.Linear(3, 2).to(GPU)
    twin = copy.deepcopy(layer)

    def loss_of(layer, x):
        layer.zero_grad(set_to_none=True)
        loss = (layer(x) ** 2).sum()
        loss.backward()
        return loss.detach()

    captured = Captured(lambda x: loss_of(layer, x))
    for _ in range(6):
        x = torch.randn(5, 3, device=GPU)
        torch.testing.assert_close(captured(x), loss_of(twin, x))
        torch.testing.assert_close(layer.weight.grad, twin.weight.grad)
        torch.testing.assert_close(layer.bias.grad, twin.bias.grad)


def test_captured_survives_garbage_graphs():
    """A graph in a garbage reference cycle is destroyed before the next one is recorded, not during the recording."""

    def collect_and_add(x):
        gc.collect()
        return x + 1.0

    x = torch.ones(5, 3, device=GPU)
    gc.disable()
    try:
        garbage = Captured(collect_and_add)
        garbage.itself = garbage
        for _ in range(3):
            garbage(x)
        del garbage
        captured = Captured(collect_and_add, warmups=0)
        assert captured(x).eq(2.0).all()
    finally:
        gc.enable()


# -- the update ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share_param", [True, False])
def test_update_on_the_gpu_agrees_with_the_cpu(share_param):
    """Two updates, of which the second only replays, with half the learning rate, agree with those on the CPU."""
    cfg = dataclasses.replace(CFG, share_param=share_param)
    cpu, gpu = _learner(cfg, CPU), _learner(cfg)
    _assert_alike(cpu, gpu, 0.0)
    for seed in range(2):
        metrics = []
        for learner in (cpu, gpu):
            learner.set_progress(0.5 * seed)
            metrics.append(_update(learner, seed))
        _assert_alike(cpu, gpu, BETWEEN_DEVICES)
        assert metrics[1] == pytest.approx(metrics[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("share_param", [True, False])
def test_update_captured_equals_uncaptured(monkeypatch, share_param):
    """With several shuffled minibatches, replaying the steps gives the same result as calling them."""
    cfg = dataclasses.replace(SMALL_BATCHES, share_param=share_param)
    captured, plain = _learner(cfg), _learner(cfg)
    for seed in range(3):
        _update(captured, seed)
        with monkeypatch.context() as patch:
            patch.setattr(Captured, "__call__", lambda self, *arguments: self._function(*arguments))
            _update(plain, seed)
    _assert_alike(captured, plain, ON_ONE_DEVICE)


def test_update_follows_the_learning_rate_in_its_graphs():
    """With the learning rate of the end of a run no weight changes; with that of its beginning all do."""
    learner = _learner()
    for seed in range(2):
        _update(learner, seed)
    learner.set_progress(1.0)
    before = [copy.deepcopy(module.state_dict()) for module in learner.actors + [learner.critic]]
    _update(learner, 2)
    after = [module.state_dict() for module in learner.actors + [learner.critic]]
    assert _equal_weights(before, after) == {True}
    learner.set_progress(0.0)
    _update(learner, 3)
    after = [module.state_dict() for module in learner.actors + [learner.critic]]
    assert _equal_weights(before, after) == {False}


def test_updates_do_not_accumulate_memory():
    """The allocated memory after 23 updates is that after 3."""
    learner, allocated = _learner(SMALL_BATCHES), []
    for seed in range(23):
        _update(learner, seed)
        allocated.append(torch.cuda.memory_allocated())
    assert allocated[22] == allocated[2]


def test_deleted_learner_releases_its_memory_at_once():
    """Graphs are not in reference cycles: without garbage collection, a deleted learner leaves no memory allocated."""

    def allocated_after_a_learner():
        learner = _learner(SMALL_BATCHES)
        for seed in range(2):
            _update(learner, seed)
        del learner
        return torch.cuda.memory_allocated()

    allocated_after_a_learner()
    gc.collect()
    allocated = torch.cuda.memory_allocated()
    gc.disable()
    try:
        assert allocated_after_a_learner() == allocated
    finally:
        gc.enable()


# -- nobody waits ----------------------------------------------------------------------------------------------------


def test_waiting_is_noticed():
    """The guard of the next test works: reading a number from the device raises an error."""
    number = torch.ones((), device=GPU)
    with pytest.raises(RuntimeError, match="synchroniz"), _nobody_waits():
        number.item()


def test_rollout_never_waits_for_the_device():
    """The host does not wait while it acts, stores, begins rollouts, computes values and sets the learning rate."""
    learner, rollout = _learner(), _empty(GPU)
    world, obs, share_obs = _world(GPU, 0, 3 * NUM_STEPS), rollout.obs[0].clone(), rollout.share_obs[0].clone()
    active = torch.ones(NUM_ENVS, NUM_AGENTS, device=GPU)
    _update(learner, 0)
    with _nobody_waits():
        rollout.start(obs, share_obs)
        for first in range(0, 3 * NUM_STEPS, NUM_STEPS):
            _act_through(learner, rollout, world[first : first + NUM_STEPS])
            rollout.finish()
        rollout.insert(learner.act(obs, share_obs), *world[0], active=active)
        learner.act_deterministic(obs)
        learner.value(share_obs)
        learner.set_progress(0.25)


# -- saved and loaded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin, target", [(GPU, CPU), (CPU, GPU), (GPU, GPU)], ids=["to-cpu", "to-gpu", "on-gpu"])
@pytest.mark.parametrize("share_param", [True, False])
def test_learner_saved_on_one_device_continues_on_a_different_one(origin, target, share_param):
    """A learner that loads a state acts and learns as the saved one, even if it had recorded graphs before."""
    cfg = dataclasses.replace(CFG, share_param=share_param)
    saved, loaded = _learner(cfg, origin), _learner(cfg, target, seed=9)
    _update(loaded, 3)
    saved.set_progress(0.4)
    for seed in range(2):
        _update(saved, seed)
    loaded.load_state_dict(_saved(saved))
    obs = torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM)
    actions = [learner.act_deterministic(obs.to(learner.device)).cpu() for learner in (saved, loaded)]
    torch.testing.assert_close(actions[1], actions[0], rtol=0.0, atol=1e-5)
    for seed in range(2, 4):
        metrics = [_update(learner, seed) for learner in (saved, loaded)]
        assert metrics[1] == pytest.approx(metrics[0], rel=1e-3, abs=1e-4)
    _assert_alike(saved, loaded, BETWEEN_DEVICES)


def test_learner_loaded_on_the_gpu_continues_its_random_numbers():
    """After loading, actions and minibatches are drawn as if training had not been interrupted."""
    saved, loaded = _learner(SMALL_BATCHES), _learner(SMALL_BATCHES, seed=9)
    for seed, learner in enumerate((saved, loaded)):
        _update(learner, seed)
    loaded.load_state_dict(_saved(saved))
    obs, share_obs = torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM), torch.randn(NUM_ENVS, SHARE_OBS_DIM)
    actions = [learner.act(obs.to(GPU), share_obs.to(GPU)).action for learner in (saved, loaded)]
    torch.testing.assert_close(actions[1], actions[0], rtol=0.0, atol=ON_ONE_DEVICE)
    for learner in (saved, loaded):
        for seed in range(2):
            _update(learner, seed)
    _assert_alike(saved, loaded, ON_ONE_DEVICE)


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_saved_optimiser_does_not_depend_on_its_device(device):
    """The settings of Adam in a checkpoint are plain numbers and do not depend on the device."""
    learner = _learner(device=device)
    learner.set_progress(0.75)
    _update(learner, 0)
    [group] = _saved(learner)["critic_optimizer"]["param_groups"]
    assert type(group["lr"]) is float
    assert group["lr"] == CFG.critic_lr * 0.25
    assert (group["capturable"], group["fused"]) == (False, None)
