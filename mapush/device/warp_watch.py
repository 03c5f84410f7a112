"""Watch MuJoCo Warp's buffers and velocities on the device, without waiting for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mujoco_warp
import torch
import warp

Overflow = mujoco_warp.OverflowType
NOT_FATAL = Overflow.ITERATIONS | Overflow.LS_ITERATIONS


@dataclasses.dataclass(frozen=True)
class Demand:
    """The largest demand for buffers since the last `Watch.forget`, and the sizes of the buffers.

    Attributes:
      contacts: largest number of contacts, or of pairs close enough to be tested, averaged over the envs.
      nconmax: size of the contact buffer, per env.
      rows: largest number of constraint rows of one env.
      njmax: size of the buffer of constraint rows of each env.
      unconverged: number of envs whose solver stopped at its limit of iterations.
    """

    contacts: float
    nconmax: int
    rows: int
    njmax: int
    unconverged: int


@warp.kernel
def _watch(
    ctrl: warp.array2d[float],
    qvel: warp.array2d[float],
    nefc: warp.array[int],
    ncollision: warp.array[int],
    nacon: warp.array[int],
    speed: warp.array[float],
    rows: warp.array[int],
    contacts: warp.array[int],
):
    world = warp.tid()
    fastest = speed[world]
    for dof in range(qvel.shape[1]):
        value = warp.abs(qvel[world, dof])
        if not warp.isnan(fastest) and not value <= fastest:  # nan counts as the largest value
            fastest = value
    for servo in range(ctrl.shape[1]):
        if not warp.isfinite(ctrl[world, servo]):  # it would stay hidden, because the servo's torque is clamped
            fastest = warp.abs(ctrl[world, servo])
    speed[world] = fastest
    rows[world] = warp.max(rows[world], nefc[world])
    if world == 0:
        contacts[0] = warp.max(contacts[0], warp.max(ncollision[0], nacon[0]))


def announce_compilation(device: torch.device) -> None:
    """Print that compilation takes long, if it has to be done.

    This module's kernel is compiled last, so if they are in Warp's cache, all kernels are.
    """
    compiled = Path(warp.config.kernel_cache_dir).glob(f"wp_{__name__}_*/*.sm*")
    if device.type == "cuda" and not any(compiled):
        print("compiling the GPU kernels: about two minutes the first time", flush=True)


class Watch:
    """The largest speed and demand for buffers of `num_envs` worlds since the last `forget`.

    Args:
      data: MuJoCo Warp's data.
      num_envs: number of worlds.
      nconmax: size of its contact buffer, per env.
      njmax: size of its buffer of constraint rows of each env.

    Attributes:
      speed: largest absolute velocity of each env [m/s or rad/s], nan and infinity included, (E,).
      overflow: bits of `Overflow` of each env, (E,) int32.
    """

    def __init__(self, data: Any, num_envs: int, nconmax: int, njmax: int) -> None:
        self._data, self._num_envs, self._nconmax, self._njmax = data, num_envs, nconmax, njmax
        self._arrays = (
            warp.zeros(num_envs, dtype=float),  # largest speed of each env
            warp.zeros(num_envs, dtype=int),  # most constraint rows of each env
            warp.zeros(1, dtype=int),  # most contacts of all envs together
        )
        self.speed, self._rows, self._contacts = map(warp.to_torch, self._arrays)
        self.overflow = warp.to_torch(data.overflow)

    def launch(self) -> None:
        """Look at the present state; can be recorded in a CUDA graph."""
        data = self._data
        inputs = (data.ctrl, data.qvel, data.nefc, data.ncollision, data.nacon) + self._arrays
        warp.launch(_watch, dim=self._num_envs, inputs=inputs)

    def fatal(self) -> torch.Tensor:
        """Return the bits of `overflow` that make results invalid, (E,) int32."""
        return self.overflow & int(Overflow.ALL & ~NOT_FATAL)

    def demand(self) -> Demand:
        """Wait for the device and return the largest demand for buffers."""
        unconverged = int(((self.overflow & int(NOT_FATAL)) != 0).sum())
        return Demand(
            contacts=int(self._contacts) / self._num_envs,
            nconmax=self._nconmax,
            rows=int(self._rows.max()),
            njmax=self._njmax,
            unconverged=unconverged,
        )

    def forget(self) -> None:
        """Start over."""
        for values in (self.overflow, self.speed, self._rows, self._contacts):
            values.zero_()


def overflow_names(fatal: torch.Tensor) -> str:
    """Return the names of the overflow bits that are set in any env, (E,) int32."""
    names = []
    for flag in Overflow:
        is_one_bit = flag.bit_count() == 1
        if is_one_bit and bool((fatal & int(flag)).any()):
            names.append(flag.name)
    return ", ".join(names)
