"""How much of the GPU's memory a run will take, predicted before anything is allocated.

The simulator's arrays, the rollout, the learner's weights and activations are counted. The CUDA context with its
kernels, and the slack of PyTorch's allocator, cannot be counted and were measured; each such number says how.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Optional, Tuple

from mapush.config import MixedRunConfig, PushRunConfig, RunConfig, bytes_of, groups_of, pushed_object, seats_of
from mapush.errors import CapacityError
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.physics import Randomization
from mapush.sim.scene import Scene

GIB = 2**30
MIB = 2**20
FLOAT = 4  # [bytes]

BARE_CONTEXT = 527 * MIB
"""Size of an empty CUDA context: measured on an H100, driver 580, PyTorch 2.11."""
KERNELS = 314 * MIB
"""Loaded kernels, their stacks and the workspaces of cuBLAS: the part that nothing else explained in eight
configurations on that machine."""
WARP_CHUNK = 32 * MIB
"""Step by which Warp's pool and the pool of its graph grow: read from the driver on that machine."""
TASK_BYTES_PER_ROBOT = 8192
"""States, observations and the recorded functions that turn one into the other: fitted on that machine."""
TASK_POOLS = 2
"""Memory pools of the recorded functions of pushing: one for walking, one for the task."""
WALK_TASK_POOLS = 6
"""The same of the walking task: four pieces of an env step, and two for the bookkeeping of episodes."""
NUMBERS_PER_ROW = 308
"""Numbers that an optimiser step keeps for each row of a set, of two layers of 64: fitted on a CPU."""
POOL = 22 * MIB
"""Smallest pool of PyTorch's allocator: one segment for small and one for large tensors."""


@dataclasses.dataclass(frozen=True)
class VramPrediction:
    """Memory on the GPU [bytes].

    Attributes:
      parts: by name: `context` (CUDA, kernels, workspaces), `simulator`, `task`, `rollout` and `learner`.
    """

    parts: Dict[str, int]

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gib(size)}" for name, size in self.parts.items())
        return f"{gib(self.total)}: {parts}"


@dataclasses.dataclass(frozen=True, order=True)
class _Sizes:
    """Sizes of the environment, under the names of `assembly.sizes_of`."""

    num_agents: int
    obs_dim: int
    share_obs_dim: int
    action_dim: int


def require_fit(config: RunConfig, ranks: int = 1) -> None:
    """Refuse a run on the GPU that would not fit in its memory; call it before anything is allocated.

    With `vram_limit`, PyTorch is limited to its share. The shares of MuJoCo Warp and of the context are only
    predicted; they do not grow after the start.

    Args:
      config: configuration of the envs on one GPU.
      ranks: number of GPUs that have as many envs each.

    Raises:
      CapacityError: it does not fit; the message names the largest `num_envs` that does.
    """
    if config.sim.backend != "warp":
        return
    predicted = predict(config)
    limit = free_memory()
    if config.vram_limit is not None:
        limit = min(limit, bytes_of(config.vram_limit))
    if predicted.total > limit:
        raise _does_not_fit(config, predicted, limit, ranks)
    if config.vram_limit is not None:
        limit_torch(limit - predicted.parts["context"] - predicted.parts["simulator"])


def outlook(config: RunConfig) -> str:
    """Return a line about the memory that a run on the GPU takes."""
    if config.vram_limit is None:
        limit = _properties().total_memory
    else:
        limit = bytes_of(config.vram_limit)
    return f"VRAM: {gib(predict(config).total)} predicted of {gib(limit)}"


def predict(config: RunConfig) -> VramPrediction:
    """Return how much of the GPU's memory a run will take at its peak."""
    sizes = _sizes(config)
    groups = _groups(config)
    parts = {
        "context": BARE_CONTEXT + KERNELS,
        "simulator": sum(_simulator_bytes(group) for group in groups),
        "task": sum(_task_bytes(group) for group in groups),
        "rollout": 0,
        "learner": 0,
    }
    if not config.device.startswith("cpu"):
        parts["rollout"] = _rollout_bytes(config, sizes)
        parts["learner"] = _learner_bytes(config, sizes)
    return VramPrediction(parts)


def _groups(config: RunConfig) -> List[RunConfig]:
    """Return the configuration of each simulator: a mixed run has one for each of its groups."""
    if isinstance(config, MixedRunConfig):
        return list(groups_of(config))
    return [config]


def _task_bytes(config: RunConfig) -> int:
    return TASK_BYTES_PER_ROBOT * config.num_envs * _sizes(config).num_agents + _task_pools(config) * POOL


def free_memory() -> int:
    """Return how much of the GPU a run may take [bytes]: the free memory and the context that exists already."""
    import torch

    return torch.cuda.mem_get_info()[0] + BARE_CONTEXT


def gib(size: int) -> str:
    """Return `size` [bytes] as text for people."""
    if size >= GIB / 10:
        return f"{size / GIB:.1f} GiB"
    return f"{size / MIB:.0f} MiB"


def _does_not_fit(config: RunConfig, predicted: VramPrediction, limit: int, ranks: int) -> CapacityError:
    source = "which is free"
    if config.vram_limit is not None:
        source = "by --vram-limit and the free memory"
    largest = largest_num_envs(config, limit)
    fix = f"--num-envs {ranks * largest} is the most that fits"
    if ranks > 1:
        fix += f", {largest} on each of {ranks} GPUs"
    if largest == 0:
        fix = "not even one env fits: free the GPU (nvidia-smi shows who uses it), or raise --vram-limit"
    return CapacityError(
        f"{config.num_envs} envs do not fit in the memory of the GPU",
        where=_properties().name,
        got=f"{predicted} predicted",
        expected=f"at most {gib(limit)}, {source}",
        fix=fix,
    )


def largest_num_envs(config: RunConfig, limit: int) -> int:
    """Return the largest `num_envs` below that of `config` whose prediction is within `limit` [bytes], or 0.

    The prediction grows with `num_envs`, so the largest one is found by bisection, in envs of each group.
    """
    groups = len(_groups(config))
    fits = 0
    too_many = config.num_envs // groups
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if predict(dataclasses.replace(config, num_envs=middle * groups)).total <= limit:
            fits = middle
        else:
            too_many = middle
    return fits * groups


def limit_torch(size: int) -> None:
    """Let PyTorch take at most `size` of the GPU's memory [bytes]."""
    import torch

    torch.cuda.set_per_process_memory_fraction(max(size, 0) / _properties().total_memory)


def _properties() -> Any:
    import torch

    return torch.cuda.get_device_properties("cuda")


def _simulator_bytes(config: RunConfig) -> int:
    from mapush.sim.footprint import footprint

    randomization: Optional[Randomization] = None
    if isinstance(config, PushRunConfig):
        pushed = pushed_object(config.task)
        scene = Scene(pushed.num_agents, pushed, config.task.upstream_quirks)
    else:
        scene = Scene(1)
        randomization = Randomization()
    nconmax, njmax = buffer_sizes(scene, config.sim.nconmax, config.sim.njmax)
    size = footprint(scene, nconmax, njmax, randomization)
    arrays = size.fixed + config.num_envs * size.per_world
    scratch = config.num_envs * size.scratch_per_world
    return _in_chunks(arrays) + _in_chunks(scratch)


def _in_chunks(size: int) -> int:
    """Return the size of a pool of Warp that holds `size` [bytes]."""
    return math.ceil(size / WARP_CHUNK) * WARP_CHUNK


def _task_pools(config: RunConfig) -> int:
    if isinstance(config, PushRunConfig):
        return TASK_POOLS
    return WALK_TASK_POOLS


def _sizes(config: RunConfig) -> _Sizes:
    if isinstance(config, MixedRunConfig):
        return max(_sizes(group) for group in groups_of(config))
    if isinstance(config, PushRunConfig):
        import torch

        from mapush.env.views import view_of

        item = pushed_object(config.task)
        view = view_of(config.task, item, torch.device("cpu"))
        return _Sizes(item.num_agents, view.obs_dim, view.share_obs_dim, 3)
    from mapush.env.walk import OBS_DIM, PRIVILEGED_DIM

    return _Sizes(1, OBS_DIM, OBS_DIM + PRIVILEGED_DIM, 12)


def _rollout_bytes(config: RunConfig, sizes: _Sizes) -> int:
    agents = sizes.num_agents
    observation = agents * sizes.obs_dim + sizes.share_obs_dim
    value_and_masks = 3 + agents
    actions_and_log_probs = 2 * agents * sizes.action_dim
    reward = 1
    steps = config.num_steps
    numbers = (steps + 1) * (observation + value_and_masks) + steps * (actions_and_log_probs + reward)
    return FLOAT * config.num_envs * numbers


def _learner_bytes(config: RunConfig, sizes: _Sizes) -> int:
    """Return the memory of weights, batch and activations.

    The complete batch passes through an actor without gradients, which keeps two layers alive. A minibatch keeps two
    tensors for each layer, and its gradients keep those of one more; this happens once in the pool of the warm-up, and
    once in that of each captured optimiser step.
    """
    happo = config.happo
    hidden = happo.hidden_sizes
    actors = 1 if happo.share_param else sizes.num_agents
    weights = actors * _weights(sizes.obs_dim, hidden, sizes.action_dim) + _weights(sizes.share_obs_dim, hidden, 1)
    samples = config.num_envs * config.num_steps
    inputs = max(sizes.obs_dim + 2 * sizes.action_dim + 3, sizes.share_obs_dim + 2)
    batch = inputs + 4 * sizes.action_dim + 8 + 2 * max(hidden)
    minibatch = inputs + 2 * sum(hidden) + hidden[-1]
    set_rows = seats_of(config) or 0  # the critic's; an actor does not see itself among its team mates
    batch += NUMBERS_PER_ROW // 2 * set_rows
    minibatch += NUMBERS_PER_ROW * set_rows
    rows = samples // min(happo.actor_num_mini_batch, happo.critic_num_mini_batch)
    pools = actors + 2  # one for each captured optimiser step, of the actors and the critic; one for the warm-up
    numbers = 4 * weights + samples * batch + pools * rows * minibatch
    return FLOAT * numbers + (pools + 1) * POOL


def _weights(inputs: int, hidden: Tuple[int, ...], outputs: int) -> int:
    """Return the number of weights of a network; the optimiser keeps three more numbers for each: gradient, moments."""
    count = 2 * inputs  # the LayerNorm on the observation
    below = inputs
    for above in hidden:
        count += (below + 3) * above  # weights, bias, and a LayerNorm
        below = above
    return count + (below + 2) * outputs
