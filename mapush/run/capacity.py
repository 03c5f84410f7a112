"""How much of the GPU's memory a run will take, told before anything is allocated.

What can be counted is: the simulator's arrays, the rollout, the learner's weights and activations. What cannot, the
CUDA context with its kernels and the slack of PyTorch's allocator, was measured; every such number says how.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Tuple

from mapush.config import PushRunConfig, RunConfig, bytes_of
from mapush.errors import CapacityError
from mapush.objects import OBJECTS
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.physics import Randomization
from mapush.sim.scene import Scene

GIB, MIB = 2**30, 2**20
FLOAT = 4  # [bytes]

BARE_CONTEXT = 527 * MIB
"""What an empty CUDA context takes: measured on an H100, driver 580, PyTorch 2.11."""
KERNELS = 314 * MIB
"""Loaded kernels, their stacks and cuBLAS' workspaces: what nothing else explained there, in eight configurations."""
WARP_CHUNK = 32 * MIB
"""What Warp's pool and that of its graph grow by: read from the driver there."""
TASK = 8192
"""Bytes per robot of states, observations and the recorded functions that turn one into the other: fitted there."""
RECORDED = 2
"""Pools of the recorded functions of walking and judging."""
POOL = 22 * MIB
"""Smallest memory of a pool of PyTorch's allocator: one segment for small and one for large tensors."""


@dataclasses.dataclass(frozen=True)
class VramPrediction:
    """Memory on the GPU [bytes].

    Attributes:
      parts: of `context` (CUDA, kernels, workspaces), `simulator`, `task`, `rollout` and `learner`.
    """

    parts: Dict[str, int]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        named = (f"{name} {gib(size)}" for name, size in self.parts.items())
        return "{}: {}".format(gib(self.total), ", ".join(named))


@dataclasses.dataclass(frozen=True)
class _Sizes:
    num_agents: int
    obs_dim: int
    share_obs_dim: int
    action_dim: int


def require_fit(config: RunConfig) -> None:
    """Refuse a run on the GPU that would not fit there; call it before anything is allocated.

    With `vram_limit`, PyTorch is told to stop at its share of it; MuJoCo Warp's share and the context's are predicted
    and not enforced, for neither grows after the start.

    Raises:
      CapacityError: it does not fit; the message names the largest `num_envs` that does.
    """
    if config.sim.backend != "warp":
        return
    predicted, free = predict(config), free_memory()
    limit = free if config.vram_limit is None else min(free, bytes_of(config.vram_limit))
    if predicted.total > limit:
        raise _does_not_fit(config, predicted, limit)
    if config.vram_limit is not None:
        _limit_torch(limit - predicted.parts["context"] - predicted.parts["simulator"])


def outlook(config: RunConfig) -> str:
    """Return one line about the memory that a run on the GPU takes."""
    limit = _properties().total_memory if config.vram_limit is None else bytes_of(config.vram_limit)
    return f"VRAM: {gib(predict(config).total)} predicted of {gib(limit)}"


def predict(config: RunConfig) -> VramPrediction:
    """Return how much of the GPU's memory a run will take at its peak."""
    sizes = _sizes(config)
    learner_too = not config.device.startswith("cpu")
    return VramPrediction(
        {
            "context": BARE_CONTEXT + KERNELS,
            "simulator": _simulator_bytes(config),
            "task": TASK * config.num_envs * sizes.num_agents + RECORDED * POOL,
            "rollout": _rollout_bytes(config, sizes) if learner_too else 0,
            "learner": _learner_bytes(config, sizes) if learner_too else 0,
        }
    )


def free_memory() -> int:
    """Return how much of the GPU a run may take [bytes]: what is free, and the context that is there already."""
    import torch

    return torch.cuda.mem_get_info()[0] + BARE_CONTEXT


def gib(size: int) -> str:
    """Return `size` [bytes] for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / MIB:.0f} MiB"


def _does_not_fit(config: RunConfig, predicted: VramPrediction, limit: int) -> CapacityError:
    largest = largest_num_envs(config, limit)
    source = "which are free" if config.vram_limit is None else "by --vram-limit and what is free"
    return CapacityError(
        f"{config.num_envs} envs do not fit in the memory of the GPU",
        where=_properties().name,
        got=f"{predicted} predicted",
        expected=f"at most {gib(limit)}, {source}",
        fix=f"--num-envs {largest} is the most that fits"
        if largest
        else "not even one env fits: free the GPU (nvidia-smi shows who uses it), or raise --vram-limit",
    )


def largest_num_envs(config: RunConfig, limit: int) -> int:
    """Return the largest `num_envs` below that of `config` whose prediction is within `limit` [bytes]; 0 for none."""
    fits, too_many = 0, config.num_envs
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if predict(dataclasses.replace(config, num_envs=middle)).total <= limit:
            fits = middle
        else:
            too_many = middle
    return fits


def _limit_torch(size: int) -> None:
    import torch

    torch.cuda.set_per_process_memory_fraction(max(size, 0) / _properties().total_memory)


def _properties() -> Any:
    import torch

    return torch.cuda.get_device_properties("cuda")


def _simulator_bytes(config: RunConfig) -> int:
    from mapush.sim.footprint import footprint

    if isinstance(config, PushRunConfig):
        thing = OBJECTS[config.task.object]
        scene, randomization = Scene(thing.num_agents, thing, config.task.upstream_quirks), None
    else:
        scene, randomization = Scene(1), Randomization()
    size = footprint(scene, *buffer_sizes(scene, config.sim.nconmax, config.sim.njmax), randomization)
    arrays, scratch = size.fixed + config.num_envs * size.per_world, config.num_envs * size.scratch_per_world
    return sum(math.ceil(part / WARP_CHUNK) * WARP_CHUNK for part in (arrays, scratch))


def _sizes(config: RunConfig) -> _Sizes:
    if isinstance(config, PushRunConfig):
        from mapush.env import observations

        num_agents = OBJECTS[config.task.object].num_agents
        return _Sizes(num_agents, observations.obs_dim(num_agents), observations.share_obs_dim(num_agents), 3)
    from mapush.env.walk import OBS_DIM, PRIVILEGED_DIM

    return _Sizes(1, OBS_DIM, OBS_DIM + PRIVILEGED_DIM, 12)


def _rollout_bytes(config: RunConfig, sizes: _Sizes) -> int:
    agents, steps = sizes.num_agents, config.num_steps
    per_observation = agents * sizes.obs_dim + sizes.share_obs_dim + 3 + agents  # with value and masks
    per_step = 2 * agents * sizes.action_dim + 1  # actions and their log-probabilities; the reward
    return FLOAT * config.num_envs * ((steps + 1) * per_observation + steps * per_step)


def _learner_bytes(config: RunConfig, sizes: _Sizes) -> int:
    """Return what weights, batch and activations take.

    The whole batch passes through an actor without gradients, which keeps two layers alive. A minibatch keeps two
    tensors for each layer and its gradients those of one more; this happens once in the pool of the warm-up, and once
    in that of each captured optimiser step.
    """
    happo, hidden = config.happo, config.happo.hidden_sizes
    actors = 1 if happo.share_param else sizes.num_agents
    samples = config.num_envs * config.num_steps
    inputs = max(sizes.obs_dim + 2 * sizes.action_dim + 3, sizes.share_obs_dim + 2)
    batch = inputs + 4 * sizes.action_dim + 8 + 2 * max(hidden)
    minibatch = inputs + 2 * sum(hidden) + hidden[-1]
    rows = samples // min(happo.actor_num_mini_batch, happo.critic_num_mini_batch)
    pools = actors + 2  # one for each captured optimiser step: the actors' and the critic's; one for the warm-up
    weights = actors * _weights(sizes.obs_dim, hidden, sizes.action_dim) + _weights(sizes.share_obs_dim, hidden, 1)
    return FLOAT * (4 * weights + samples * batch + pools * rows * minibatch) + (pools + 1) * POOL


def _weights(inputs: int, hidden: Tuple[int, ...], outputs: int) -> int:
    """Return the number of weights of a network; the optimiser keeps three more numbers for each: gradient, moments."""
    layers = (inputs,) + hidden
    return (
        sum((below + 3) * above for below, above in zip(layers, layers[1:])) + (layers[-1] + 2) * outputs + 2 * inputs
    )
