"""MAPush's Go1 as a `Physics`: its URDF and its actuator network on the stand-in for Isaac Gym, on flat ground.

Source: MAPush@0e61e1b, `mqe/envs/go1/go1.py` (torques) and `mqe/envs/go1/go1_config.py` (asset, default pose, limits).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from isaac_standin.assets.asset import IDENTITY, Asset
from isaac_standin.assets.loading import LoadOptions, load
from isaac_standin.scene.actor import DRIVE_EFFORT, Actor, Surface, drives_of, masses_of
from isaac_standin.scene.terrain_types import Plane
from isaac_standin.simulation import Options, Simulation
from mapush.errors import ConfigError
from mapush.sim.geometry import constant
from mapush.sim.physics import DECIMATION, PHYSICS_DT, Physics, Randomization, State
from mapush.upstream.legs.legs_body import OTHER_ORDER, load_script

CHECKOUT_VARIABLE = "MAPUSH_DIR"
ROBOT = Path("resources/robots/go1/urdf/go1.urdf")  # in a checkout of MAPush
ACTUATOR = Path("resources/actuator_nets/unitree_go1.pt")
TORQUE_LIMITS = (20.0, 20.0, 25.0) * 4  # [N m]
GROUND_FRICTION = 0.1  # of the floor's material; that of a contact is the mean of both materials
FOOT_FRICTION = 0.55  # of a contact of MAPush's feet with its floor
NCONMAX, NJMAX = 16, 96  # contacts, averaged over envs, and constraint rows of one env; measured: 6 and 30
START_HEIGHT = 0.42  # [m]

_STATE = ("qpos", "qvel", "qacc_warmstart")


class LegsPhysics(Physics):
    """One Go1 of MAPush in each env.

    Args:
      checkout: a folder with MAPush's `ROBOT` and `ACTUATOR`.
      num_envs: number of copies.
      seed: seeds what differs from env to env.
      randomization: what differs from env to env; `motor_strength` multiplies the torques.
      device: torch device; on a GPU, MuJoCo Warp computes.
      threads: CPU threads; 0 uses all cores.

    Attributes:
      torques: of the last physics step [N m], in the order of `JOINTS`, (E, 12).

    Raises:
      ConfigError: `checkout` lacks one of the two files.
    """

    def __init__(
        self,
        checkout: Path,
        num_envs: int,
        seed: int = 0,
        randomization: Randomization | None = None,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        robot, actuator = require_files(checkout)
        self.num_envs, self.num_agents = num_envs, 1
        self.device = torch.empty(0, device=device).device
        self.name = f"the stand-in on mujoco {mujoco.__version__}"
        self._network = load_script(actuator, self.device)
        randomness = np.random.default_rng(seed)
        randomization = randomization or Randomization()
        gravity = (0.0, 0.0, -9.81)
        options = Options(PHYSICS_DT, 1, gravity, self.device, threads, nconmax=NCONMAX, njmax=NJMAX)
        self._simulation = Simulation(options)
        self._simulation.grounds.append(Plane((0.0, 0.0, 1.0), friction=GROUND_FRICTION))
        self._simulation.envs = _envs(_asset(robot), num_envs, randomness, randomization)
        self._simulation.prepare()
        self._engine = self._simulation.engine
        strength = randomness.uniform(*randomization.motor_strength, size=(num_envs, 1))
        self._strength = torch.from_numpy(strength).float().to(self.device)
        self._limits = constant(TORQUE_LIMITS, self.device)
        layout = self._simulation.layout
        self._position = torch.from_numpy(layout.root_qpos[0]).to(self.device)
        self._velocity = torch.from_numpy(layout.root_qvel[0]).to(self.device)
        order = np.array(OTHER_ORDER)
        self._order = torch.from_numpy(order).to(self.device)
        self._joint_pos = torch.from_numpy(layout.dof_qpos[order]).to(self.device)
        self._joint_vel = torch.from_numpy(layout.dof_qvel[order]).to(self.device)
        self._wrench = torch.zeros(num_envs, layout.num_bodies, 6, device=self.device)
        self._past = torch.zeros(num_envs, 12, 4, device=self.device)  # last and last but one error, likewise velocity
        self.torques = torch.zeros(num_envs, 12, device=self.device)

    def state(self) -> State:
        """Return a copy of the current state."""
        qpos, qvel = self._engine.qpos, self._engine.qvel
        root, twist = qpos[:, self._position].float(), qvel[:, self._velocity].float()
        return State(
            robot_pos_w=root[:, None, :3],
            robot_quat_w=root[:, None, 3:],
            robot_lin_vel_w=twist[:, None, :3],
            robot_ang_vel_b=twist[:, None, 3:],
            joint_pos=qpos[:, None, self._joint_pos].float(),
            joint_vel=qvel[:, None, self._joint_vel].float(),
        )

    @torch.no_grad()
    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state; see `Physics.step`."""
        forces, torques = self._wrench[..., :3], self._wrench[..., 3:]
        for _ in range(DECIMATION):
            self.torques = self._act(joint_targets[:, 0])
            self._simulation.set_efforts(self.torques[:, self._order])
            self._simulation.set_body_wrenches(forces, torques)
            self._simulation.simulate()
        return self.state()

    def _act(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the torques (E, 12) of the actuator network, which sees three moments of errors and velocities."""
        error = self._engine.qpos[:, self._joint_pos].float() - targets
        velocity = self._engine.qvel[:, self._joint_vel].float()
        past = self._past
        rows = torch.stack((error, past[..., 0], past[..., 1], velocity, past[..., 2], past[..., 3]), dim=-1)
        self._past = torch.stack((error, past[..., 0], velocity, past[..., 2]), dim=-1)
        with torch.jit.optimized_execution(False):  # compiling it would take longer than it saves
            torques = self._network(rows.view(-1, 6)).view(-1, 12) * self._strength
        return torch.minimum(torch.maximum(torques, -self._limits), self._limits)

    def check(self) -> dict[str, float]:
        """Wait for the device and raise an error if something failed since the last call; see `Physics.check`."""
        self._engine.check()
        return {}

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Set the envs of the mask `where` (E,) to their rows of `state`; see `Physics.reset`.

        The actuator network still sees the errors and velocities from before, as it does in MAPush.
        """
        engine, mask = self._engine, where.unsqueeze(1)
        pose = torch.cat((state.robot_pos_w, state.robot_quat_w), dim=-1)[:, 0]
        twist = torch.cat((state.robot_lin_vel_w, state.robot_ang_vel_b), dim=-1)[:, 0]
        new = (
            (engine.qpos, self._position, pose),
            (engine.qpos, self._joint_pos, state.joint_pos[:, 0]),
            (engine.qvel, self._velocity, twist),
            (engine.qvel, self._joint_vel, state.joint_vel[:, 0]),
        )
        for array, columns, values in new:
            array[:, columns] = torch.where(mask, values.to(array.dtype), array[:, columns])
        engine.qacc_warmstart.masked_fill_(mask, 0.0)
        self._wrench.masked_fill_(mask.unsqueeze(2), 0.0)

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Apply an external wrench to every trunk until the next call or reset; see `Physics.push`."""
        self._wrench[:, 0] = torch.cat((force_w, torque_w), dim=-1)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all envs and what the actuator network remembers."""
        saved = {name: getattr(self._engine, name).clone() for name in _STATE}
        return saved | {"past": self._past.clone(), "wrench": self._wrench.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; what differs from env to env follows from the seed."""
        for name in _STATE:
            getattr(self._engine, name).copy_(state[name])
        self._past = state["past"].to(self.device, copy=True)
        self._wrench.copy_(state["wrench"])

    def close(self) -> None:
        """Release threads and memory. It can be called twice."""
        self._simulation.close()


def find_checkout() -> Path:
    """Return the folder that the environment variable MAPUSH_DIR names.

    Raises:
      ConfigError: it is not set.
    """
    folder = os.environ.get(CHECKOUT_VARIABLE)
    if not folder:
        raise ConfigError(
            f"the environment variable {CHECKOUT_VARIABLE} is not set",
            cause="the legs are trained for MAPush's own robot and actuator network",
            fix="set it to a checkout of https://github.com/collaborative-mapush/MAPush",
        )
    return Path(folder)


def require_files(checkout: Path) -> tuple[Path, Path]:
    """Return where MAPush's robot and its actuator network are.

    Raises:
      ConfigError: one of them is missing.
    """
    for part in (ROBOT, ACTUATOR):
        if not (checkout / part).is_file():
            raise ConfigError(
                "not a checkout of MAPush",
                where=str(checkout),
                got=f"there is no {part}",
                cause="the legs are trained for MAPush's own robot and actuator network",
                fix=f"set {CHECKOUT_VARIABLE} to a checkout of https://github.com/collaborative-mapush/MAPush",
            )
    return checkout / ROBOT, checkout / ACTUATOR


def _asset(robot: Path) -> Asset:
    """Load the robot with MAPush's asset options, without what is only seen."""
    options = LoadOptions(collapse_fixed_joints=True, replace_cylinder_with_capsule=True, density=0.001)
    asset = load(robot, options)
    bodies = []
    for body in asset.bodies:
        bodies.append(dataclasses.replace(body, visuals=()))
    return dataclasses.replace(asset, bodies=tuple(bodies))


def _envs(asset: Asset, count: int, randomness: np.random.Generator, how: Randomization) -> list[list[Actor]]:
    friction = how.foot_friction or (FOOT_FRICTION, FOOT_FRICTION)
    frictions = randomness.uniform(*friction, size=count)
    payloads = randomness.uniform(*how.payload, size=count)
    shifts = randomness.uniform(-how.com_shift, how.com_shift, size=(count, 3))
    trunk, *legs = masses_of(asset)
    drives = drives_of(asset, DRIVE_EFFORT)
    num_shapes = len(asset.shapes())
    envs = []
    for mu, payload, shift in zip(frictions, payloads, shifts, strict=True):
        com = np.add(trunk.com, shift).tolist()
        loaded = trunk._replace(mass=trunk.mass + float(payload), com=tuple(com))
        surface = Surface(2.0 * float(mu) - GROUND_FRICTION)
        actor = Actor(
            asset=asset,
            name="go1",
            pos=(0.0, 0.0, START_HEIGHT),
            quat=IDENTITY,
            group=0,
            filter=0,
            surfaces=(surface,) * num_shapes,
            masses=(loaded, *legs),
            drives=drives,
        )
        envs.append([actor])
    return envs
