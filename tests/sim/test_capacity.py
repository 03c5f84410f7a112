"""Contracts of capacity: memory is predicted, and a run that does not fit is refused before anything is made."""

from __future__ import annotations

import dataclasses
import types

import pytest
import still
import torch
from fakes import KinematicSimulator
from torch.profiler import ProfilerActivity, profile

from mapush.assembly import make_agent, sizes_of
from mapush.config import bytes_of, groups_of
from mapush.device.cuda_graphs import Captured
from mapush.env.push import PushEnv
from mapush.env.walk import WalkEnv
from mapush.errors import CapacityError, ConfigError
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout
from mapush.presets import preset
from mapush.run import capacity
from mapush.run.capacity import GIB, MIB, largest_num_envs, predict, require_fit
from mapush.train import Run

pytestmark = pytest.mark.sim

SIMULATOR = 100_000  # bytes of an env on the simulator of these tests


@pytest.fixture(autouse=True)
def card(monkeypatch):
    """Return a fake GPU with 40 GiB, of which 20 are free; the simulator's arrays are counted without Warp."""
    gpu = types.SimpleNamespace(
        name="a card", total_memory=40 * GIB, multi_processor_count=100, max_threads_per_multi_processor=2048
    )
    monkeypatch.setattr(capacity, "_properties", lambda: gpu)
    monkeypatch.setattr(capacity, "free_memory", lambda: 20 * GIB)
    monkeypatch.setattr(capacity, "_simulator_bytes", lambda config: SIMULATOR * config.num_envs)
    shares = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    gpu.shares_of_torch = shares
    return gpu


def on_gpu(task_name="cuboid", num_envs=500, **changes):
    config = preset(task_name, "default")
    sim = dataclasses.replace(config.sim, backend="warp")
    return dataclasses.replace(config, num_envs=num_envs, sim=sim, **changes)


@pytest.mark.parametrize(
    "text, size",
    [("8GiB", 8 * GIB), ("8000MiB", 8000 * MIB), ("8GB", 8 * 10**9), ("1.5 GiB", 3 * GIB // 2), ("9MB", 9_000_000)],
)
def test_size_with_unit_is_read_as_bytes(text, size):
    """GiB and MiB count in powers of 2, GB and MB in powers of 10."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["8", "GiB", "8gib", "-8GiB", "8GiBs", "8 Gi B", "0GiB", "nanGiB", "1e9GiB", ""])
def test_vram_limit_that_is_not_a_size_is_refused(text):
    """A configuration whose limit is not a size cannot be made."""
    with pytest.raises(ConfigError, match="size of memory"):
        on_gpu(vram_limit=text)


@pytest.mark.parametrize("task_name", ["cuboid", "cylinder", "walk"])
def test_rollout_part_is_the_size_of_the_rollout(task_name):
    """The predicted rollout has the size of the arrays of a real one."""
    config = on_gpu(task_name, num_envs=5, num_steps=7)
    sizes = dataclasses.asdict(capacity._sizes(config))
    rollout = Rollout(7, 5, device=torch.device("cpu"), **sizes)
    arrays = [value for value in vars(rollout).values() if isinstance(value, torch.Tensor)]
    assert predict(config).parts["rollout"] == sum(array.nbytes for array in arrays)


def test_mixed_run_takes_what_its_groups_take():
    """Each group has a simulator and recorded functions of its own; rollout and learner are common."""
    config = on_gpu("any", num_envs=42, num_steps=7)
    parts = predict(config).parts
    groups = [predict(group).parts for group in groups_of(config)]
    assert len(groups) == 6
    for name in ("simulator", "task"):
        assert parts[name] == sum(group[name] for group in groups)
    sizes = dataclasses.asdict(capacity._sizes(config))
    assert sizes == {"num_agents": 4, "obs_dim": 35, "share_obs_dim": 54, "action_dim": 3}
    rollout = Rollout(7, 42, device=torch.device("cpu"), **sizes)
    arrays = [value for value in vars(rollout).values() if isinstance(value, torch.Tensor)]
    assert parts["rollout"] == sum(array.nbytes for array in arrays)


def test_largest_mixed_run_that_fits_has_groups_of_one_size():
    """The number of envs that the error names can be shared evenly, and the next such number does not fit."""
    config = on_gpu("any", num_envs=600_000)
    largest = largest_num_envs(config, 20 * GIB)
    assert largest % 6 == 0
    assert predict(dataclasses.replace(config, num_envs=largest)).total <= 20 * GIB
    assert predict(dataclasses.replace(config, num_envs=largest + 6)).total > 20 * GIB


@pytest.mark.parametrize("task_name", ["tblock", "walk"])
def test_sizes_are_those_of_the_env(task_name):
    """The prediction assumes the sizes that the env declares."""
    config = on_gpu(task_name)
    env = still.make_env(config.task) if task_name == "walk" else PushEnv(KinematicSimulator(5, 2), config.task, 0)
    assert dataclasses.asdict(capacity._sizes(config)) == sizes_of(env)


def test_pools_of_walking_are_its_recorded_functions(monkeypatch):
    """Each recorded function has a memory pool: the prediction counts those of the env and of its metrics."""
    monkeypatch.setattr(WalkEnv, "recorded", True)
    config = on_gpu("walk")
    env = still.make_env(config.task)
    parts = list(vars(env).values()) + list(vars(env.metrics).values())
    recorded = [part for part in parts if isinstance(part, Captured)]
    assert len(recorded) == 6
    few, more = on_gpu("walk", num_envs=3), on_gpu("walk", num_envs=5)
    per_env = (predict(more).parts["task"] - predict(few).parts["task"]) // 2
    assert predict(few).parts["task"] == 3 * per_env + len(recorded) * capacity.POOL


@pytest.mark.parametrize("task_name, hidden_sizes", [("cuboid", (96, 64)), ("cuboid", (64, 64, 32)), ("any", (96, 64))])
def test_learner_part_counts_what_an_optimiser_step_keeps(task_name, hidden_sizes, monkeypatch):
    """Halving the minibatch saves as much as half of a step's activations and gradients take on the CPU."""
    rows = 4000
    monkeypatch.setattr(update, "CPU_CHUNK_ROWS", rows)
    config = on_gpu(task_name, num_envs=504, num_steps=8)
    happo = dataclasses.replace(
        config.happo, hidden_sizes=hidden_sizes, actor_num_mini_batch=1, critic_num_mini_batch=1
    )
    config = dataclasses.replace(config, happo=happo)
    sizes = capacity._sizes(config)
    agent = make_agent(config, dataclasses.asdict(sizes), "cpu")
    batch = [torch.randn(rows, width) for width in (sizes.share_obs_dim, 1, 1)]
    agent._critic_step(update.CriticBatch(*batch))
    expected = peak_bytes(lambda: agent._critic_step(update.CriticBatch(*batch)))
    halves = dataclasses.replace(happo, actor_num_mini_batch=2, critic_num_mini_batch=2)
    whole, half = (predict(dataclasses.replace(config, happo=each)).parts["learner"] for each in (happo, halves))
    pools = 3  # the steps of the shared actor and of the critic, and the warm-up
    assert 2 * (whole - half) / pools == pytest.approx(expected, rel=0.1)


def peak_bytes(function):
    """Return the peak of the CPU memory that `function` uses [bytes]."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    in_use = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        in_use += event.nbytes()
        peak = max(peak, in_use)
    return peak


def test_weights_are_counted():
    """The predicted number of weights is that of a real learner."""
    config = on_gpu()
    sizes = capacity._sizes(config)
    agent = Happo(config.happo, device=torch.device("cpu"), seed=0, **dataclasses.asdict(sizes))
    for network, inputs, outputs in ((agent.actors[0], sizes.obs_dim, 3), (agent.critic, sizes.share_obs_dim, 1)):
        counted = capacity._weights(inputs, config.happo.hidden_sizes, outputs)
        assert counted == pytest.approx(sum(weight.numel() for weight in network.parameters()), rel=0.01)


def test_learner_on_the_cpu_takes_nothing_of_the_gpu():
    """With the learner on the CPU, neither it nor its rollout uses the GPU."""
    there, elsewhere = predict(on_gpu()), predict(on_gpu(device="cpu"))
    assert elsewhere.parts == dict(there.parts, rollout=0, learner=0)


@pytest.mark.parametrize("task_name", ["cuboid", "walk"])
def test_prediction_grows_with_num_envs(task_name):
    """More envs never need less memory in any part, and need more in total."""
    few, many = (predict(on_gpu(task_name, num_envs)) for num_envs in (500, 513))
    assert all(few.parts[name] <= many.parts[name] for name in few.parts)
    assert few.total < many.total


@pytest.mark.parametrize("limit", [None, "8GiB"])
def test_refusal_names_the_largest_num_envs_that_fits(limit):
    """The number in the message fits, and one env more does not."""
    config = on_gpu(num_envs=10_000_000, vram_limit=limit)
    with pytest.raises(CapacityError) as refused:
        require_fit(config)
    largest = int(refused.value.fix.split()[1])
    require_fit(dataclasses.replace(config, num_envs=largest))
    with pytest.raises(CapacityError):
        require_fit(dataclasses.replace(config, num_envs=largest + 1))
    for part in predict(config).parts:
        assert part in refused.value.got
    assert ("8.0 GiB" if limit else "20.0 GiB") in refused.value.expected


def test_refusal_with_several_gpus_names_the_num_envs_of_all():
    """--num-envs is of all ranks; each has its part of them on a GPU of its own."""
    config = on_gpu(num_envs=10_000_000)
    with pytest.raises(CapacityError) as of_one:
        require_fit(config)
    with pytest.raises(CapacityError) as of_three:
        require_fit(config, ranks=3)
    largest = int(of_one.value.fix.split()[1])
    assert of_three.value.fix == f"--num-envs {3 * largest} is the most that fits, {largest} on each of 3 GPUs"


def test_limit_above_what_is_free_does_not_help():
    """A limit of 30 GiB allows no more than the 20 GiB of free memory."""
    fits_in_30 = on_gpu(num_envs=160_000, vram_limit="30GiB")
    assert 20 * GIB < predict(fits_in_30).total < 30 * GIB
    with pytest.raises(CapacityError):
        require_fit(fits_in_30)


def test_limit_below_one_env_is_refused_without_an_offer():
    """If not even one env fits, the message says so instead of a number."""
    with pytest.raises(CapacityError) as refused:
        require_fit(on_gpu(vram_limit="100MiB"))
    assert "not even one env" in refused.value.fix


def test_torch_may_use_what_the_rest_leaves_of_the_limit(card):
    """PyTorch's limit is the run's limit minus context and simulator; without a limit nothing is set."""
    require_fit(on_gpu())
    assert card.shares_of_torch == []
    config = on_gpu(vram_limit="8GiB")
    require_fit(config)
    parts = predict(config).parts
    assert card.shares_of_torch == [(8 * GIB - parts["context"] - parts["simulator"]) / (40 * GIB)]


def test_refusal_comes_before_anything_is_made():
    """A run that cannot fit ends before its env is made."""
    made = []
    with pytest.raises(CapacityError):
        Run.start(on_gpu(num_envs=10_000_000), make_env=made.append)
    assert made == []


def test_run_on_the_cpu_is_not_checked(monkeypatch):
    """The memory of a GPU does not limit a run whose simulator is on the CPU."""
    monkeypatch.setattr(capacity, "free_memory", lambda: 0)
    config = preset("cuboid", "default")
    require_fit(dataclasses.replace(config, sim=dataclasses.replace(config.sim, backend="mujoco")))


def test_outlook_says_how_much_of_the_limit():
    """The line at the start gives the prediction, and the limit or the size of the GPU."""
    config = on_gpu()
    predicted = capacity.gib(predict(config).total)
    assert capacity.outlook(config) == f"VRAM: {predicted} predicted of 40.0 GiB"
    assert capacity.outlook(on_gpu(vram_limit="8GiB")) == f"VRAM: {predicted} predicted of 8.0 GiB"
