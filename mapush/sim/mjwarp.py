"""Physics on a GPU: MuJoCo Warp, with one world for each env.

`step` replays one recorded CUDA graph: `DECIMATION` physics steps, each followed by a kernel that records the largest
speed and the demand for buffers. Only `check` and `demand` wait for the device.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Optional

import mujoco
import mujoco_warp
import torch
import warp

from mapush.device import warp_graphs
from mapush.device.ordered_sums import order, ordered_sums
from mapush.device.warp_watch import Demand, Watch, announce_compilation, overflow_names
from mapush.errors import CheckpointError, SimulatorError
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.physics import DECIMATION, Physics, Randomization, State
from mapush.sim.qpos_layout import (
    CAUSE_OF_DIVERGENCE,
    MAX_SPEED,
    draw_fields,
    mj_data,
    rows_of,
    state_of,
    trunk_ids,
    where_envs,
)
from mapush.sim.scene import Scene, build_model

warp.config.log_level = warp.LOG_WARNING

_DERIVED_FROM_MASS = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0")
_STATE = ("qpos", "qvel", "ctrl", "qacc_warmstart", "xfrc_applied")

# Attributes that hold memory of the device; `close` drops them.
_BUFFERS = "_graph _m _d _watch _state _qpos _qvel _ctrl _fields _trunks".split()


class WarpPhysics(Physics):
    """`num_envs` copies of a scene on one device.

    On a GPU, two runs with one seed agree bitwise if `deterministic` is set, and otherwise statistically.

    Args:
      scene: the content of each env.
      num_envs: number of copies.
      seed: seeds what differs from env to env; the draws are the same as on the CPU.
      randomization: what differs from env to env, in addition to the object's friction.
      device: torch device: a GPU, or the CPU, on which tests run the same kernels.
      nconmax: size of the contact buffer, per env; 0 uses the size that was measured for the scene.
      njmax: size of the buffer of constraint rows of each env; 0 uses the size that was measured for the scene.
      deterministic: add in a fixed order, see `mapush.device.ordered_sums`.

    Attributes:
      model: the scene with its visuals, for rendering.

    Raises:
      ConfigError: the physics of this scene cannot be `deterministic`.
    """

    def __init__(
        self,
        scene: Scene,
        num_envs: int,
        seed: int = 0,
        randomization: Optional[Randomization] = None,
        device: str = "cuda",
        nconmax: int = 0,
        njmax: int = 0,
        deterministic: bool = False,
    ) -> None:
        self.scene, self.num_envs, self.num_agents = scene, num_envs, scene.num_agents
        self.device = torch.empty(0, device=device).device
        self.model = build_model(scene)
        self.nconmax, self.njmax = buffer_sizes(scene, nconmax, njmax)
        self._deterministic = deterministic
        warp.init()
        announce_compilation(self.device)
        self._warp_device = warp.device_from_torch(self.device)
        self.name = f"mujoco-warp {mujoco_warp.__version__}"
        model = build_model(scene, visuals=False)
        with warp.ScopedDevice(self._warp_device):
            self._upload(model, draw_fields(model, scene, num_envs, seed, randomization))
            self._share_with_torch(model)
            home = torch.from_numpy(model.key("home").qpos).float().to(self.device).expand(num_envs, -1)
            self._qpos.copy_(home)  # recording computes a step; at first, all bodies are at the origin
            self._graph = warp_graphs.record(self._advance, self._warp_device)
        everywhere = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.reset(everywhere, state_of(home, torch.zeros_like(self._qvel), scene))
        self._watch.forget()

    def _upload(self, model: mujoco.MjModel, drawn: dict[str, Any]) -> None:
        """Create model and data on the device; a field of the model that differs gets a copy for each env."""
        differing = [name for name, values in drawn.items() if (values != getattr(model, name)).any()]
        self._masses_differ = not {"body_mass", "body_ipos"}.isdisjoint(differing)
        batched = list(differing)
        if self._masses_differ:
            batched += _DERIVED_FROM_MASS
        if self._deterministic:
            model.opt.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
        self._m = mujoco_warp.put_model(model, batch_sizes=dict.fromkeys(batched, self.num_envs))
        self._m.opt.warn_overflow = False  # kernels print nothing; the overflow bits are still recorded
        if self._deterministic:
            order(model, self._m)
        self._d = mujoco_warp.make_data(model, nworld=self.num_envs, nconmax=self.nconmax, njmax=self.njmax)
        self._fields = {name: warp.to_torch(getattr(self._m, name)) for name in differing}
        self._assign({name: torch.from_numpy(drawn[name]) for name in differing})

    def _assign(self, fields: dict[str, torch.Tensor]) -> None:
        """Write the model fields that differ from env to env, and recompute those that are derived from them."""
        for name, values in fields.items():
            self._fields[name].copy_(values)
        if self._masses_differ:
            with warp.ScopedDevice(self._warp_device):
                mujoco_warp.set_const(self._m, self._d)

    def _share_with_torch(self, model: mujoco.MjModel) -> None:
        """Create torch tensors that share memory with Warp's arrays, which are never reallocated."""
        data = self._d
        self._watch = Watch(data, self.num_envs, self.nconmax, self.njmax)
        self._state = {name: warp.to_torch(getattr(data, name)) for name in _STATE}
        self._qpos = self._state["qpos"]
        self._qvel = self._state["qvel"]
        self._ctrl = self._state["ctrl"]
        self._trunks = torch.tensor(trunk_ids(model, self.scene), device=self.device)

    def _advance(self) -> None:
        sums: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self._deterministic:
            sums = ordered_sums()
        with sums:
            for _ in range(DECIMATION):
                mujoco_warp.step(self._m, self._d)
                self._watch.launch()

    def state(self) -> State:
        """Return a copy of the current state."""
        return state_of(self._qpos.clone(), self._qvel.clone(), self.scene)

    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state; see `Physics.step`."""
        self._ctrl.copy_(joint_targets.flatten(1))
        stream = None
        if self.device.type == "cuda":
            stream = warp.stream_from_torch(self.device)
        warp.capture_launch(self._graph, stream)
        return self.state()

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Set the envs of the mask `where` (E,) to their rows of `state`, without a wrench; see `Physics.reset`."""
        qpos, qvel = rows_of(state)
        mask = where.unsqueeze(1)
        self._qpos.copy_(torch.where(mask, qpos, self._qpos))
        self._qvel.copy_(torch.where(mask, qvel, self._qvel))
        self._ctrl.masked_fill_(mask, 0.0)
        self._state["qacc_warmstart"].masked_fill_(mask, 0.0)
        self._state["xfrc_applied"].masked_fill_(mask.unsqueeze(2), 0.0)

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Apply an external wrench to every trunk until the next call or reset; see `Physics.push`."""
        wrench = torch.cat((force_w, torque_w), -1)
        self._state["xfrc_applied"].index_copy_(1, self._trunks, wrench)

    def check(self) -> dict[str, float]:
        """Wait for the device and raise an error if something failed since the last call; see `Physics.check`."""
        speed = self._watch.speed.to("cpu", copy=True)
        fatal = self._watch.fatal().to("cpu", copy=True)
        demand = self._watch.demand()
        self._watch.forget()
        if bool(fatal.any()):
            raise _buffer_overflow(fatal, demand)
        diverged = (~(speed < MAX_SPEED)).nonzero().flatten().tolist()
        if diverged:
            raise SimulatorError(
                "the physics diverged",
                where=where_envs(diverged),
                got=f"largest velocity {float(speed[diverged].max()):g} in {len(diverged)} envs",
                expected=f"velocities below {MAX_SPEED:g} m/s or rad/s",
                cause=CAUSE_OF_DIVERGENCE,
            )
        return {name: float(value) for name, value in dataclasses.asdict(demand).items()}

    def demand(self) -> Demand:
        """Wait for the device and return the largest demand for buffers since the last `check`."""
        return self._watch.demand()

    def mj_data(self, env_id: int) -> mujoco.MjData:
        """Return the state of env `env_id` as data of `model`, ready to be rendered."""
        return mj_data(self.model, self._qpos[env_id].cpu().numpy(), self._qvel[env_id].cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all envs, and the model fields that differ from env to env."""
        state = {name: values.clone() for name, values in self._state.items()}
        fields = {name: values.clone() for name, values in self._fields.items()}
        return {"warp": state, "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which `state_dict` returned.

        Raises:
          CheckpointError: it was saved with a different simulator, scene or number of envs.
        """
        got, expected = _shapes(state), _shapes(self.state_dict())
        if got != expected:
            raise CheckpointError(
                "the saved physics does not fit this simulation",
                got=got or "the state of a different simulator",
                expected=expected,
                cause="it was saved with a different simulator, object, num_agents or num_envs",
                fix="resume with the configuration that is stored next to the checkpoint",
            )
        self._assign(state["fields"])
        for name, values in state["warp"].items():
            self._state[name].copy_(values)

    def close(self) -> None:
        """Release the device's memory. It can be called twice."""
        for name in _BUFFERS:
            self.__dict__.pop(name, None)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


def _shapes(state: dict[str, Any]) -> str:
    """Return the name and shape of each array in a `state_dict`; "" if a different simulator wrote it."""
    shapes = []
    if "warp" in state:
        for part in ("warp", "fields"):
            for name, values in state[part].items():
                shapes.append(f"{name} {tuple(values.shape)}")
    return ", ".join(sorted(shapes))


def _buffer_overflow(fatal: torch.Tensor, demand: Demand) -> SimulatorError:
    """Return the error for envs with one of the overflow bits `fatal` (E,)."""
    envs = fatal.nonzero().flatten().tolist()
    nconmax = max(demand.nconmax, round(2 * demand.contacts))
    njmax = max(demand.njmax, 2 * demand.rows)
    needed = f"{demand.contacts:.1f} contacts per env, {demand.rows} rows in one env"
    return SimulatorError(
        "contact or constraint buffer overflow: simulation results are invalid",
        where=where_envs(envs),
        got=f"{needed}; Warp reports {overflow_names(fatal)}",
        expected=f"at most {demand.nconmax} contacts per env and {demand.njmax} rows in each",
        cause="the buffers are smaller than this scene needs when robots pile up",
        fix=f"--sim.nconmax {nconmax} --sim.njmax {njmax}",
    )
