"""Physics on a GPU: MuJoCo Warp, with one world for each env.

`step` replays one recorded CUDA graph and does not wait for the device. Errors are looked for now and then: the
flags are copied to the host behind the work, and read when they have arrived.
"""

from __future__ import annotations

import copy
import math

import mujoco
import mujoco_warp
import numpy as np
import torch
import warp

from isaac_standin.errors import BufferOverflow
from isaac_standin.physics.cpu import MAX_SPEED, diverged
from isaac_standin.physics.engine import SOURCES_OF_CONSTANTS, Engine, Fields, Start, differing
from isaac_standin.physics.speed_limits import cap_speeds
from mapush.device import warp_graphs
from mapush.device.warp_watch import Watch, announce_compilation, overflow_names
from mapush.errors import SimulatorError

warp.config.log_level = warp.LOG_WARNING

STEPS_BETWEEN_LOOKS = 64
_CONSTANTS = ("body_subtreemass", "body_invweight0", "dof_invweight0")
_STATE = ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat", "qacc_warmstart")
_RESULTS = ("xpos", "xquat", "xipos", "cvel", "subtree_com", "sensordata", "qfrc_actuator")


class GpuEngine(Engine):
    """Envs on one device.

    Args:
      model: the model.
      start: the initial state.
      fields: model fields that differ from env to env.
      substeps: physics steps in each `step`.
      device: torch device: a GPU, or the CPU, on which tests run the same kernels.
      nconmax: size of the contact buffer, per env.
      njmax: size of the buffer of constraint rows of each env.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        start: Start,
        fields: Fields,
        substeps: int,
        device: torch.device,
        nconmax: int,
        njmax: int,
    ) -> None:
        self.model = model
        self.num_envs = len(start.qpos)
        self.device = torch.empty(0, device=device).device
        self._substeps = substeps
        self.nconmax, self.njmax = nconmax, njmax
        warp.init()
        announce_compilation(self.device)
        self._warp_device = warp.device_from_torch(self.device)
        with warp.ScopedDevice(self._warp_device):
            self._upload(model, differing(model, fields))
            self._speed_limits = warp.full((self.num_envs, model.nv), value=math.inf, dtype=float)
            self._set_start(start)
            self._step_graph = warp_graphs.record(self._advance, self._warp_device)
            self._kinematics_graph = warp_graphs.record(self._place, self._warp_device)
            self._set_start(start)
        self._watch.forget()
        self._flags = torch.zeros(2, dtype=torch.bool, device=self.device)
        self._seen = torch.zeros(2, dtype=torch.bool, pin_memory=self.device.type == "cuda")
        self._arrived: torch.cuda.Event | None = None
        self._steps = 0

    def _upload(self, model: mujoco.MjModel, fields: Fields) -> None:
        batched = list(fields)
        if not SOURCES_OF_CONSTANTS.isdisjoint(fields):
            batched += _CONSTANTS
        self._m = mujoco_warp.put_model(_for_warp(model), batch_sizes=dict.fromkeys(batched, self.num_envs))
        self._m.opt.warn_overflow = False  # kernels print nothing; the overflow bits are still recorded
        self._d = mujoco_warp.make_data(model, nworld=self.num_envs, nconmax=self.nconmax, njmax=self.njmax)
        self._batched = set(fields)
        self.assign(fields)
        for name in _STATE + _RESULTS:
            setattr(self, name, warp.to_torch(getattr(self._d, name)))
        self._watch = Watch(self._d, self.num_envs, self.nconmax, self.njmax)

    def _set_start(self, start: Start) -> None:
        for name in ("qvel", "ctrl", "qfrc_applied", "xfrc_applied", "qacc_warmstart"):
            getattr(self, name).zero_()
        self.qpos.copy_(torch.from_numpy(start.qpos))
        if start.mocap_pos.size:
            self.mocap_pos.copy_(torch.from_numpy(start.mocap_pos))
            self.mocap_quat.copy_(torch.from_numpy(start.mocap_quat))

    def _advance(self) -> None:
        for _ in range(self._substeps):
            mujoco_warp.step(self._m, self._d)
            self._watch.launch()
            warp.launch(cap_speeds, dim=self._speed_limits.shape, inputs=(self._speed_limits, self._d.qvel))

    def _place(self) -> None:
        mujoco_warp.kinematics(self._m, self._d)
        mujoco_warp.com_pos(self._m, self._d)
        mujoco_warp.com_vel(self._m, self._d)

    def step(self) -> None:
        """Advance all envs; see `Engine.step`."""
        self._raise_what_arrived()
        warp.capture_launch(self._step_graph, self._stream())
        self._steps += 1
        if self._steps % STEPS_BETWEEN_LOOKS == 0:
            self._look()

    def kinematics(self) -> None:
        """Compute positions and velocities of all bodies; see `Engine.kinematics`."""
        warp.capture_launch(self._kinematics_graph, self._stream())

    def _stream(self) -> warp.Stream | None:
        if self.device.type == "cuda":
            return warp.stream_from_torch(self.device)
        return None

    def assign(self, fields: Fields) -> None:
        """Set fields of the model; see `Engine.assign`.

        Raises:
          SimulatorError: a field changes that was the same in all envs when the simulation was prepared.
        """
        fields = {name: values for name, values in fields.items() if values.size}
        late = set(differing(self.model, fields)) - self._batched
        if late:
            raise SimulatorError(
                "on a GPU this property cannot change after prepare_sim",
                got=", ".join(sorted(late)),
                cause="it was the same in all envs when the simulation was prepared, so that they share one value",
                fix="set it in at least one env before prepare_sim",
            )
        for name in self._batched & set(fields):
            array = warp.to_torch(getattr(self._m, name))
            array.copy_(torch.from_numpy(fields[name]).reshape(array.shape))
        if not SOURCES_OF_CONSTANTS.isdisjoint(self._batched):
            with warp.ScopedDevice(self._warp_device):
                mujoco_warp.set_const(self._m, self._d)

    def set_speed_limits(self, limits: np.ndarray) -> None:
        """Cap velocities after each physics step; see `Engine.set_speed_limits`."""
        warp.to_torch(self._speed_limits).copy_(torch.from_numpy(limits))

    def set_gravity(self, gravity: tuple[float, float, float]) -> None:
        """Set the gravity of all envs [m/s^2]."""
        array = warp.to_torch(self._m.opt.gravity)
        array.copy_(torch.tensor(gravity, device=self.device).expand_as(array))

    def _look(self) -> None:
        """Copy to the host whether an env diverged or a buffer overflowed, without waiting for it."""
        torch.any(self._watch.fatal() != 0, out=self._flags[0])
        torch.any(self._wild(), out=self._flags[1])
        self._seen.copy_(self._flags, non_blocking=True)
        if self.device.type == "cuda":
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        elif bool(self._seen.any()):
            self.check()

    def _raise_what_arrived(self) -> None:
        if self._arrived is not None and self._arrived.query():
            self._arrived = None
            if bool(self._seen.any()):
                self.check()

    def check(self) -> None:
        """Wait for the device and raise the error of the steps since the last check; see `Engine.check`."""
        fatal = self._watch.fatal().to("cpu", copy=True)
        speed = self._watch.speed.to("cpu", copy=True)
        wild = self._wild().nonzero().flatten().tolist()
        demand = self._watch.demand()
        self._watch.forget()
        if bool(fatal.any()):
            contacts = max(2 * demand.nconmax, round(2 * demand.contacts))
            rows = 2 * max(demand.njmax, demand.rows)
            raise BufferOverflow(
                "contact or constraint buffer overflow: simulation results are invalid",
                contacts,
                rows,
                got=f"{demand.contacts:.1f} contacts per env, {demand.rows} rows in one env; {overflow_names(fatal)}",
                expected=f"at most {demand.nconmax} contacts per env and {demand.njmax} rows in each",
                cause="the buffers, whose sizes were estimated from the shapes, are too small for this scene",
                fix=f"python -m isaac_standin --contacts-per-env {contacts} --rows-per-env {rows} -- ...",
            )
        if wild:
            raise diverged(wild, float(speed[wild].max()))

    def _wild(self) -> torch.Tensor:
        """Return whether an env was too fast since the last check, or has a state that is not finite, (E,) bool."""
        finite = self.qpos.isfinite().all(dim=1) & self.qvel.isfinite().all(dim=1)
        return ~finite | ~(self._watch.speed < MAX_SPEED)

    def close(self) -> None:
        """Release the device's memory. It can be called twice."""
        for name in ("_step_graph", "_kinematics_graph", "_m", "_d", "_watch", *_STATE, *_RESULTS):
            self.__dict__.pop(name, None)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


def _for_warp(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy with the options that suit MuJoCo Warp.

    Warp never resets an env by itself, and does not know the flag that forbids it. Boxes collide by their formula: in
    single precision, the general algorithm sees small boxes deep inside large ones that they only touch
    (google-deepmind/mujoco_warp, issue 1430), and throws them out at hundreds of metres per second.
    """
    suited = copy.copy(model)
    suited.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    suited.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    return suited
