"""Physics on a GPU: MuJoCo Warp, one world for each env.

A call of `step` replays one recorded graph: `DECIMATION` physics steps, each followed by a look at speeds and at the
demand for room. Nothing waits for the device but `check` and `demand`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional

import mujoco
import mujoco_warp
import torch
import warp

from mapush.device.cuda_graphs import no_garbage_collection
from mapush.errors import CheckpointError, SimulatorError
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.physics import DECIMATION, Physics, Randomization, State
from mapush.sim.qpos_layout import MAX_SPEED, draw_fields, mj_data, rows_of, state_of, trunk_ids
from mapush.sim.scene import Scene, build_model

warp.config.log_level = warp.LOG_WARNING

Overflow = mujoco_warp.OverflowType
NOT_FATAL = Overflow.ITERATIONS | Overflow.LS_ITERATIONS

_DERIVED_FROM_MASS = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0")
_SAVED = ("qpos", "qvel", "ctrl", "qacc_warmstart", "xfrc_applied")


@dataclasses.dataclass(frozen=True)
class Demand:
    """What the contact-rich moments since the last look needed of the buffers, and what they hold.

    Attributes:
      contacts: most contacts, or pairs that might touch, at one time, in the mean over the envs.
      nconmax: how many have room, in the mean over the envs.
      rows: most constraint rows of one env.
      njmax: how many each env has room for.
      unconverged: envs whose solver stopped at its limit of iterations.
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
        if not warp.isnan(fastest) and not value <= fastest:  # a nan is faster than anything
            fastest = value
    for servo in range(ctrl.shape[1]):
        if not warp.isfinite(ctrl[world, servo]):  # the limit of a servo's torque would hide it
            fastest = warp.abs(ctrl[world, servo])
    speed[world] = fastest
    rows[world] = warp.max(rows[world], nefc[world])
    if world == 0:
        contacts[0] = warp.max(contacts[0], warp.max(ncollision[0], nacon[0]))


def _announce_compilation(device: torch.device) -> None:
    """Say that it will take long if no GPU kernel of this module, the last to be compiled, is in Warp's cache."""
    compiled = Path(warp.config.kernel_cache_dir).glob(f"wp_{__name__}_*/*.sm*")
    if device.type == "cuda" and not any(compiled):
        print("compiling the GPU kernels: about two minutes the first time", flush=True)


class WarpPhysics(Physics):
    """`num_envs` copies of a scene on one device; a run is repeated in its statistics, not in its bits.

    Args:
      scene: what stands in each env.
      num_envs: copies.
      seed: of what differs from env to env; the same as on the CPU.
      randomization: what differs from env to env besides the object's friction.
      device: torch device; a GPU, or the CPU, on which tests run the same kernels.
      nconmax: contacts with room, in the mean over the envs; 0 takes the scene's measured size.
      njmax: constraint rows of an env; 0 takes the scene's measured size.

    Attributes:
      model: the scene with everything that is only there to be seen.
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
    ) -> None:
        self.scene, self.num_envs, self.num_agents = scene, num_envs, scene.num_agents
        self.device = torch.empty(0, device=device).device
        self.model = build_model(scene)
        self.nconmax, self.njmax = buffer_sizes(scene, nconmax, njmax)
        warp.init()
        _announce_compilation(self.device)
        self._warp_device = warp.device_from_torch(self.device)
        self.name = f"mujoco-warp {mujoco_warp.__version__}"
        model = build_model(scene, visuals=False)
        with warp.ScopedDevice(self._warp_device):
            self._put(model, draw_fields(model, scene, num_envs, seed, randomization))
            self._share_with_torch(model)
            self._record()
        home = torch.from_numpy(model.key("home").qpos).float().to(self.device).expand(num_envs, -1)
        everywhere = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.reset(everywhere, state_of(home, torch.zeros_like(self._qvel), scene))
        self._forget_demand()

    def _put(self, model: mujoco.MjModel, drawn: dict[str, Any]) -> None:
        """Put model and data on the device, with a copy for each env of what differs."""
        differing = [name for name, values in drawn.items() if (values != getattr(model, name)).any()]
        self._masses_differ = not {"body_mass", "body_ipos"}.isdisjoint(differing)
        own = differing + list(_DERIVED_FROM_MASS if self._masses_differ else ())
        self._m = mujoco_warp.put_model(model, batch_sizes=dict.fromkeys(own, self.num_envs))
        self._m.opt.warn_overflow = False  # no printing from kernels; the bits are recorded all the same
        self._d = mujoco_warp.make_data(model, nworld=self.num_envs, nconmax=self.nconmax, njmax=self.njmax)
        self._fields = {name: warp.to_torch(getattr(self._m, name)) for name in differing}
        self._assign({name: torch.from_numpy(drawn[name]) for name in differing})

    def _assign(self, fields: dict[str, torch.Tensor]) -> None:
        """Write what differs from env to env, and what follows from it."""
        for name, values in fields.items():
            self._fields[name].copy_(values)
        if self._masses_differ:
            with warp.ScopedDevice(self._warp_device):
                mujoco_warp.set_const(self._m, self._d)

    def _share_with_torch(self, model: mujoco.MjModel) -> None:
        """Let torch see Warp's arrays; neither ever replaces them."""
        data = self._d
        self._speed = warp.zeros(self.num_envs, dtype=float)
        self._rows = warp.zeros(self.num_envs, dtype=int)
        self._contacts = warp.zeros(1, dtype=int)
        self._saved = {name: warp.to_torch(getattr(data, name)) for name in _SAVED}
        self._qpos, self._qvel, self._ctrl = (self._saved[name] for name in ("qpos", "qvel", "ctrl"))
        self._overflow = warp.to_torch(data.overflow)
        self._trunks = torch.tensor(trunk_ids(model, self.scene), device=self.device)

    def _record(self) -> None:
        self._advance()  # loads the kernels, which is not allowed while recording on older drivers
        with no_garbage_collection(), warp.ScopedCapture() as capture:
            self._advance()
        self._graph = capture.graph

    def _advance(self) -> None:
        data = self._d
        for _ in range(DECIMATION):
            mujoco_warp.step(self._m, data)
            inputs = [
                data.ctrl,
                data.qvel,
                data.nefc,
                data.ncollision,
                data.nacon,
                self._speed,
                self._rows,
                self._contacts,
            ]
            warp.launch(_watch, dim=self.num_envs, inputs=inputs)

    def state(self) -> State:
        """Return a copy of the present state."""
        return state_of(self._qpos.clone(), self._qvel.clone(), self.scene)

    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state; see `Physics.step`."""
        self._ctrl.copy_(joint_targets.flatten(1))
        stream = warp.stream_from_torch(self.device) if self.device.type == "cuda" else None
        warp.capture_launch(self._graph, stream)
        return self.state()

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Place the envs of `where` (E,) in their rows of `state`, free of any wrench; see `Physics.reset`."""
        qpos, qvel = rows_of(state)
        mask = where.unsqueeze(1)
        self._qpos.copy_(torch.where(mask, qpos, self._qpos))
        self._qvel.copy_(torch.where(mask, qvel, self._qvel))
        for name in ("ctrl", "qacc_warmstart", "xfrc_applied"):
            values = self._saved[name]
            values.masked_fill_(mask if values.dim() == 2 else mask.unsqueeze(2), 0.0)

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Hold an external wrench on every trunk until the next call or reset; see `Physics.push`."""
        self._saved["xfrc_applied"].index_copy_(1, self._trunks, torch.cat((force_w, torque_w), -1))

    def check(self) -> dict[str, float]:
        """Wait for the device and raise what went wrong since the last call; see `Physics.check`."""
        speed, overflow = (values.to("cpu", copy=True) for values in (warp.to_torch(self._speed), self._overflow))
        demand = self.demand()
        self._forget_demand()
        fatal = overflow & int(Overflow.ALL & ~NOT_FATAL)
        if bool(fatal.any()):
            raise self._too_small(fatal, demand)
        wild = (~(speed < MAX_SPEED)).nonzero().flatten().tolist()
        if wild:
            raise SimulatorError(
                "the physics diverged",
                where="env {}".format(", ".join(str(env_id) for env_id in wild[:10])),
                got=f"largest velocity {float(speed[wild].max()):g} in {len(wild)} envs",
                expected=f"below {MAX_SPEED:g} m/s or rad/s",
                cause="joint targets that are not finite, or bodies that were reset into each other",
            )
        return {name: float(value) for name, value in dataclasses.asdict(demand).items()}

    def demand(self) -> Demand:
        """Wait for the device and return what the buffers had to hold since the last `check`."""
        unconverged = int(((self._overflow & int(NOT_FATAL)) != 0).sum())
        contacts = int(warp.to_torch(self._contacts)) / self.num_envs
        return Demand(contacts, self.nconmax, int(warp.to_torch(self._rows).max()), self.njmax, unconverged)

    def _forget_demand(self) -> None:
        for values in (self._overflow, *map(warp.to_torch, (self._speed, self._rows, self._contacts))):
            values.zero_()

    def _too_small(self, fatal: torch.Tensor, demand: Demand) -> SimulatorError:
        envs = fatal.nonzero().flatten().tolist()
        names = [flag.name for flag in Overflow if flag.bit_count() == 1 and bool((fatal & int(flag)).any())]
        return SimulatorError(
            "a contact or constraint had no room: the physics was wrong",
            where="env {}".format(", ".join(str(env_id) for env_id in envs[:10])),
            got="{:.1f} contacts per env, {} rows in one env; Warp reports {}".format(
                demand.contacts, demand.rows, ", ".join(names)
            ),
            expected=f"at most {demand.nconmax} contacts per env and {demand.njmax} rows in each",
            cause="the buffers are smaller than this scene needs when robots pile up",
            fix=f"--sim.nconmax {max(demand.nconmax, round(2 * demand.contacts))} "
            f"--sim.njmax {max(demand.njmax, 2 * demand.rows)}",
        )

    def mj_data(self, env_id: int) -> mujoco.MjData:
        """Return the state of env `env_id` as data of `model`, ready to be rendered."""
        return mj_data(self.model, self._qpos[env_id].cpu().numpy(), self._qvel[env_id].cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Return what an env's future depends on, and what differs from env to env."""
        fields = {name: values.clone() for name, values in self._fields.items()}
        return {"warp": {name: values.clone() for name, values in self._saved.items()}, "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
          CheckpointError: it comes from another simulator, another scene or another number of envs.
        """
        got, expected = _shapes(state), _shapes(self.state_dict())
        if got != expected:
            raise CheckpointError(
                "the saved physics does not fit this simulation",
                got=", ".join("{} {}".format(*item) for item in got.items()) or "the state of another simulator",
                expected=", ".join("{} {}".format(*item) for item in expected.items()),
                cause="it was saved with another simulator, object, num_agents or num_envs",
                fix="resume with the configuration that is stored beside the checkpoint",
            )
        self._assign(state["fields"])
        for name, values in state["warp"].items():
            self._saved[name].copy_(values)

    def close(self) -> None:
        """Give the device's memory back; further calls do nothing."""
        self._graph = self._m = self._d = None
        self._saved, self._fields = {}, {}
        self._qpos = self._qvel = self._ctrl = self._overflow = self._trunks = None
        self._speed = self._rows = self._contacts = None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    arrays = {**state["warp"], **state["fields"]} if "warp" in state else {}
    return {name: tuple(values.shape) for name, values in arrays.items()}
