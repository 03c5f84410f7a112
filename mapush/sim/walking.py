"""The walking policy: frozen networks that turn velocity commands into joint targets.

It is trained by `python -m mapush.train walk` (the task is `mapush.env.walk`) and shipped in `mapush/policies`.
Observation and action are defined here, so that training and use cannot differ.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import torch
from torch.nn import functional

from mapush.errors import CheckpointError
from mapush.sim import gait
from mapush.sim.geometry import constant, gravity_b, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.physics import JOINTS, STEP_DT, State

SHIPPED = Path(__file__).resolve().parent.parent / "policies" / "walk.npz"

NUM_JOINTS = len(JOINTS)
OBS_DIM = 50
MEMORY_DIM = NUM_JOINTS + 2  # the last action, the phase of the gait, and how high the robot steps
PHASE, STEPPING = slice(NUM_JOINTS, NUM_JOINTS + 1), slice(NUM_JOINTS + 1, NUM_JOINTS + 2)
ACTION_SCALE = (0.25, 0.25, 0.25) * 4  # correction of the joint targets per unit of action [rad]
LIN_VEL_SCALE, ANG_VEL_SCALE, JOINT_VEL_SCALE = 2.0, 0.5, 0.05  # bring each block of the observation to order 1
ACTION_LIMIT = 6.0  # beyond it every servo saturates

UNSETTLED_SPEED, UNSETTLED_SPIN, UNSETTLED_TILT = 0.4, 2.0, 0.2  # each makes a standing robot step [m/s, rad/s, sine]
STAND_GAIN = 0.8  # a standing robot needs less correction than its network learned to give against exploration noise
LOAD_GAIN, LOAD_LIMIT = 0.8, 0.02  # share of a shortfall in velocity that is added to the command; at most [m/s]
SETTLING_TIME = 0.4  # from the last reason to step until it stands [s]

_ACTIVATIONS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
}


def settle(state: State, commands: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the memory (E, A, 14) with the decision whether to step or to stand.

    A robot steps when it is told to walk and when it is pushed off balance; with neither it soon stands still.
    """
    upset = (
        rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w).norm(dim=-1, keepdim=True) / UNSETTLED_SPEED
        + state.robot_ang_vel_b.norm(dim=-1, keepdim=True) / UNSETTLED_SPIN
        + gravity_b(state.robot_quat_w)[..., :2].norm(dim=-1, keepdim=True) / UNSETTLED_TILT
    )
    reason = torch.maximum(gait.asked_to_step(commands), (upset > 1.0).float())
    stepping = torch.maximum(reason, memory[..., STEPPING] - STEP_DT / SETTLING_TIME)
    return torch.cat((memory[..., :-1], stepping), dim=-1)


def against_load(state: State, commands: torch.Tensor) -> torch.Tensor:
    """Return commands (E, A, 3) that ask for more where the robot is slower than told; to stand remains to stand."""
    velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[..., :2]
    shortfall = gait.asked_to_step(commands) * (commands[..., :2] - velocity)
    boost = (LOAD_GAIN * shortfall).clamp(-LOAD_LIMIT, LOAD_LIMIT)
    return torch.cat((commands[..., :2] + boost, commands[..., 2:]), dim=-1)


def walking_obs(state: State, commands: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return what the walking policy sees.

    Args:
      state: of E envs of A robots.
      commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (E, A, 3).
      memory: last action, phase of the gait and height of its steps, (E, A, 14).
    Returns:
      (E, A, 50): linear velocity, angular velocity, gravity direction (each 3, in the robot's frame), joint
      positions from the default pose (12), joint velocities (12), last action (12), commands (3), sine and cosine of
      the phase (both fade to 0 where the robot stands).
    """
    default = constant(DEFAULT_JOINT_POS, commands.device)
    command_scale = constant((LIN_VEL_SCALE, LIN_VEL_SCALE, 2.0 * ANG_VEL_SCALE), commands.device)
    stepping = memory[..., STEPPING]
    angle = 2.0 * math.pi * memory[..., PHASE]
    return torch.cat(
        (
            rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w) * LIN_VEL_SCALE,
            state.robot_ang_vel_b * ANG_VEL_SCALE,
            gravity_b(state.robot_quat_w),
            state.joint_pos - default,
            state.joint_vel * JOINT_VEL_SCALE,
            memory[..., :NUM_JOINTS],
            commands * command_scale,
            torch.sin(angle) * stepping,
            torch.cos(angle) * stepping,
        ),
        dim=-1,
    )


def joint_targets(action: torch.Tensor, commands: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return servo set points [rad], (E, A, 12): a trot, corrected by `action` (E, A, 12)."""
    correction = action * constant(ACTION_SCALE, action.device)
    return gait.trot(memory[..., NUM_JOINTS], commands, memory[..., STEPPING]) + correction


def remember(action: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the memory (E, A, 14) after `action` (E, A, 12)."""
    phase = torch.remainder(memory[..., PHASE] + gait.FREQUENCY * STEP_DT, 1.0)
    return torch.cat((action, phase, memory[..., STEPPING]), dim=-1)


def _mirror(blocks: Tuple[Tuple[float, ...], ...]) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the order (n,) and the signs (n,) that mirror a vector left to right.

    Args:
      blocks: the signs of each part of the vector; a part of 3 that stands for a leg's joints is marked by None.
    """
    order: List[int] = []
    signs: List[float] = []
    for block in blocks:
        start = len(order)
        if block is _LEGS:
            for leg in (1, 0, 3, 2):
                order += [start + 3 * leg + joint for joint in range(3)]
                signs += [-1.0, 1.0, 1.0]
        else:
            order += range(start, start + len(block))
            signs += block
    return torch.tensor(order), torch.tensor(signs)


_LEGS: Tuple[float, ...] = ()
_POLAR, _AXIAL = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0)
MIRRORED_OBS = (_POLAR, _AXIAL, _POLAR, _LEGS, _LEGS, _LEGS, (1.0, -1.0, -1.0), (-1.0, -1.0))
MIRRORED_ACTION = (_LEGS,)


class Network:
    """A multilayer perceptron: linear, activation, layer norm for each hidden layer, then a linear output.

    Args:
      weights: `{i}.weight`, `{i}.bias` of linear layer i, and `{i}.norm.weight`, `{i}.norm.bias` of the layer norm
        that follows it; float32.
      activation: relu, elu or tanh.
      device: where to compute.
    """

    def __init__(self, weights: Dict[str, np.ndarray], activation: str, device: torch.device) -> None:
        self.activation = activation
        self.weights = {name: torch.from_numpy(value.copy()).to(device) for name, value in weights.items()}
        self._num_layers = sum(name.endswith(".norm.weight") for name in weights) + 1
        self._obs_order, self._obs_signs = (part.to(device) for part in _mirror(MIRRORED_OBS))
        self._action_order, self._action_signs = (part.to(device) for part in _mirror(MIRRORED_ACTION))

    def __call__(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the action (..., 12) for observations (..., 50)."""
        weights, hidden = self.weights, obs
        for layer in range(self._num_layers - 1):
            hidden = functional.linear(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
            hidden = _ACTIVATIONS[self.activation](hidden)
            norm_weight, norm_bias = weights[f"{layer}.norm.weight"], weights[f"{layer}.norm.bias"]
            hidden = functional.layer_norm(hidden, norm_weight.shape, norm_weight, norm_bias)
        last = self._num_layers - 1
        action = functional.linear(hidden, weights[f"{last}.weight"], weights[f"{last}.bias"])
        return action.clamp(-ACTION_LIMIT, ACTION_LIMIT)

    def both(self, obs: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return the action (..., 12) for `obs` (..., 50), and that for its mirror image, mirrored back."""
        action, image = self(torch.stack((obs, obs[..., self._obs_order] * self._obs_signs)))
        return action, image[..., self._action_order] * self._action_signs

    @classmethod
    def from_actor(cls, actor: Dict[str, torch.Tensor], activation: str, device: torch.device) -> Network:
        """Take the mean network out of an actor's state_dict (HARL's names; no normalisation of the input)."""
        layers = sorted(
            int(name.split(".")[3]) for name in actor if name.startswith("base.mlp.fc.") and "weight" in name
        )
        weights: Dict[str, np.ndarray] = {}
        for layer, (first, norm) in enumerate(zip(layers[::2], layers[1::2])):
            for part in ("weight", "bias"):
                weights[f"{layer}.{part}"] = actor[f"base.mlp.fc.{first}.{part}"].cpu().numpy()
                weights[f"{layer}.norm.{part}"] = actor[f"base.mlp.fc.{norm}.{part}"].cpu().numpy()
        for part in ("weight", "bias"):
            name = f"{len(layers) // 2}.{part}"
            weights[name] = actor[f"act.action_out.fc_mean.{part}"].cpu().numpy()
        return cls(weights, activation, device)


class WalkingPolicy:
    """Walks with one network and stands with another; while a robot settles, it fades from the first to the second.

    A robot without a command acts on the mean of what its network says of the world and of its mirror image, because
    whatever pulls to one side turns it in time.

    Args:
      walk: corrects the trot of a robot that steps.
      stand: balances a robot that does not; it may be the same.
    """

    memory_dim = MEMORY_DIM

    def __init__(self, walk: Network, stand: Network) -> None:
        self.walk = walk
        self.stand = stand

    @torch.no_grad()
    def step(self, state: State, commands: torch.Tensor, memory: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return servo set points [rad], (E, A, 12), and the next memory (E, A, 14); see `walking_obs`."""
        commands = against_load(state, commands)
        memory = settle(state, commands, memory)
        obs, stepping = walking_obs(state, commands, memory), memory[..., STEPPING]
        (walk, walk_image), (stand, stand_image) = self.walk.both(obs), self.stand.both(obs)
        walk = torch.lerp(0.5 * (walk + walk_image), walk, gait.asked_to_step(commands))
        action = torch.lerp(STAND_GAIN * 0.5 * (stand + stand_image), walk, stepping)
        return joint_targets(action, commands, memory), remember(action, memory)

    def save(self, path: Path, card: Dict[str, Any]) -> None:
        """Write both networks and `card` (how they came to be; JSON types) to `path`."""
        networks = {"walk": self.walk, "stand": self.stand}
        activations = {name: network.activation for name, network in networks.items()}
        header = {"activations": activations, "joints": JOINTS, "card": card}
        arrays: Dict[str, Any] = {
            f"{name}.{key}": value.cpu().numpy()
            for name, network in networks.items()
            for key, value in network.weights.items()
        }
        np.savez(path, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: Path = SHIPPED, device: str = "cpu") -> WalkingPolicy:
        """Read a policy that `save` wrote.

        Raises:
          CheckpointError: no such file, or not a walking policy.
        """
        if not path.is_file():
            fix = "train one: python -m mapush.train walk, then python -m mapush.evaluate walk --export"
            raise CheckpointError("there is no walking policy", where=str(path), fix=fix)
        if not zipfile.is_zipfile(path):
            raise CheckpointError("this is not a walking policy", where=str(path), got="no complete npz archive")
        try:
            with np.load(path, allow_pickle=False) as archive:
                header = json.loads(str(archive["header"]))
                joints = tuple(header["joints"])
                networks = [_network(archive, name, header["activations"][name], device) for name in ("walk", "stand")]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError("this is not a walking policy", where=str(path), got=str(error)) from error
        if joints != JOINTS:
            raise CheckpointError("joints in another order", where=str(path), got=str(joints), expected=str(JOINTS))
        return cls(*networks)


def _network(archive: Any, name: str, activation: str, device: str) -> Network:
    prefix = name + "."
    weights = {key[len(prefix) :]: archive[key] for key in archive.files if key.startswith(prefix)}
    return Network(weights, activation, torch.device(device))
