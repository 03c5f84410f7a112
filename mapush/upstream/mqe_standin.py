"""MAPush's own environment on the stand-in for Isaac Gym: on MuJoCo, or on MuJoCo Warp where there is a GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Callable, Dict, Iterator

import torch

from isaac_standin import install
from isaac_standin.errors import BufferOverflow, StandinError
from mapush.config import PushRunConfig, SimConfig, bytes_of
from mapush.env.vec_env import Transition
from mapush.errors import CapacityError
from mapush.run import capacity
from mapush.upstream.contact_pairs import DEFAULT_PAIRS
from mapush.upstream.mqe import MqeEnv

MAX_ENVS_ON_ONE_THREAD = 200
"""With fewer envs, waking PyTorch's threads takes longer than MAPush's own tensor operations (measured: 64 and 500)."""


class StandinEnv(MqeEnv):
    """`MqeEnv` on the stand-in, of which a process can have any number."""

    simulator_name = "stand-in for Isaac Gym"
    once_per_process = False
    not_finite = (
        "the physics diverged",
        "look at the actions of that env; docs/standin.md says what differs from PhysX",
    )

    @classmethod
    def uses_gpu(cls) -> bool:
        """Return whether physics and tensors are on a GPU."""
        return install.choose_backend(install.settings()) == "gpu"

    def step(self, actions: Any) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`."""
        try:
            with _few_threads(self.num_envs):
                return super().step(actions)
        except BufferOverflow as error:
            raise _with_our_flags(error) from None

    def check(self) -> Dict[str, float]:
        """Raise the error that occurred on the device since the last call; see `VecEnv.check`."""
        try:
            self._upstream.sim.simulation.engine.check()
        except BufferOverflow as error:
            raise _with_our_flags(error) from None
        return super().check()


@contextlib.contextmanager
def _few_threads(num_envs: int) -> Iterator[None]:
    """Compute with one of PyTorch's threads if there are few envs; the physics has its own."""
    threads = torch.get_num_threads()
    if num_envs > MAX_ENVS_ON_ONE_THREAD or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make(config: PushRunConfig, window: bool, camera: bool, say: Callable[[str], Any] = print) -> StandinEnv:
    """Make MAPush's environment.

    Args:
      config: the run's resolved configuration.
      window: open the viewer.
      camera: make a camera that can record.
      say: is called with lines about settings that mean something different here.

    Raises:
      StandinError: there is no display for the window.
      CapacityError: on a GPU, the simulation takes more than `config.vram_limit`.
    """
    _export(config.sim)
    pairs = int(config.sim.contact_pairs * DEFAULT_PAIRS)
    if config.sim.contact_pairs != SimConfig.contact_pairs:
        say("--sim.contact-pairs is a buffer of PhysX, and costs nothing on the stand-in: --sim.nconmax is its own")
    limited = config.vram_limit is not None and StandinEnv.uses_gpu()
    free = 0
    if limited:
        free = capacity.free_memory()
    try:
        env = StandinEnv(config.task, config.num_envs, config.seed, pairs, window, camera)
    except StandinError as error:
        if window:
            error.fix = "--record FILE.mp4 needs no display; or use a virtual one: xvfb-run -a mapush watch ..."
        raise
    if limited:
        try:
            _limit(config, free - capacity.free_memory() + capacity.BARE_CONTEXT)
        except CapacityError:
            env.close()
            raise
    return env


def _export(sim: SimConfig) -> None:
    """Hand over the settings that were given; the stand-in reads the others from the environment or estimates them."""
    given: Dict[str, Any] = {}
    for ours, name in (("threads", "threads"), ("nconmax", "contacts_per_env"), ("njmax", "rows_per_env")):
        if getattr(sim, ours):
            given[name] = getattr(sim, ours)
    dataclasses.replace(install.settings(), **given).export(os.environ)


def _limit(config: PushRunConfig, taken: int) -> None:
    """Refuse a simulation that leaves nothing of `vram_limit`, and limit PyTorch to the rest.

    Args:
      config: the run's resolved configuration.
      taken: what context and simulation take on the GPU [bytes].
    """
    assert config.vram_limit is not None, "the caller has checked it"
    limit = bytes_of(config.vram_limit)
    if taken >= limit:
        raise CapacityError(
            f"{config.num_envs} envs do not fit in the memory of the GPU",
            got=f"{capacity.gib(taken)} for the simulation and the CUDA context",
            expected=f"less than {capacity.gib(limit)}, by --vram-limit",
            fix="lower --num-envs, or raise --vram-limit",
        )
    capacity.limit_torch(limit - taken)


def _with_our_flags(error: BufferOverflow) -> BufferOverflow:
    error.fix = f"--sim.nconmax {error.contacts} --sim.njmax {error.rows}"
    return error
