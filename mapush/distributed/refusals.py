"""What several ranks cannot do, and on which device a rank computes."""

from __future__ import annotations

import re

from mapush.config import RunConfig
from mapush.device.gpu_errors import why_no_gpu
from mapush.distributed.place import Place
from mapush.errors import ConfigError
from mapush.sim import OF_MQE

_ON_CPU = "--device cpu trains with several processes on the CPU"


def require_supported(config: RunConfig, size: int) -> None:
    """Refuse settings with which only one process can train.

    Args:
      config: configuration of the run.
      size: how many ranks it is to have.

    Raises:
      ConfigError: such a setting.
    """
    if size == 1:
        return
    if config.learner == "harl":
        raise ConfigError(
            "HARL's runner trains in one process",
            got=f"--learner harl with {size} ranks",
            fix="--learner native, or start one process",
        )
    if config.sim.backend in OF_MQE:
        raise ConfigError(
            "MAPush's own environment trains in one process",
            got=f"--sim {config.sim.backend} with {size} ranks",
            fix="--sim mujoco or --sim warp, or start one process",
        )
    if re.fullmatch(r"cuda:\d+", config.device):
        raise ConfigError(
            "each rank has a GPU of its own",
            got=f"--device {config.device} with {size} ranks",
            fix="--device cuda; CUDA_VISIBLE_DEVICES chooses the GPUs",
        )


def require_enough_gpus(ranks: int, gpus: int, what: str) -> None:
    """Refuse more ranks on a node than it has GPUs.

    Args:
      ranks: how many ranks the node is to have.
      gpus: how many GPUs it has.
      what: what asked for so many ranks.

    Raises:
      ConfigError: there are more ranks than GPUs.
    """
    if ranks > gpus:
        raise ConfigError(
            "more ranks than GPUs",
            got=f"{what}: {ranks} ranks, {gpus} GPUs",
            fix=f"--gpus {gpus}, or torchrun --nproc-per-node {gpus}; {_ON_CPU}",
        )


def wants_gpu(config: RunConfig) -> bool:
    """Whether the learner or the simulator of a run computes on a GPU if there is one."""
    return config.device != "cpu" or config.sim.backend == "warp"


def require_possible(config: RunConfig, place: Place) -> str:
    """Return the device of this rank's learner, and make the rank's GPU torch's current one, which the simulator uses.

    A bare "cuda" is the GPU with the number of the rank on its node.

    Args:
      config: configuration of the run.
      place: this process in the job.

    Raises:
      ConfigError: a setting with which only one process can train, or more ranks than GPUs.
    """
    require_supported(config, place.size)
    if not wants_gpu(config):
        return "cpu"
    import torch

    count = torch.cuda.device_count()
    if count > 0:
        require_enough_gpus(place.local_rank + 1, count, f"LOCAL_RANK={place.local_rank}")
        torch.cuda.set_device(place.local_rank)
    if config.device == "cpu" or (config.device == "auto" and why_no_gpu() is not None):
        return "cpu"
    return f"cuda:{place.local_rank}"
