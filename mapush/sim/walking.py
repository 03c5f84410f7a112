"""The walking policy: frozen networks that turn velocity commands into joint targets.

The command `python -m mapush.train walk` trains it in the task `mapush.env.walk`; the result is in `mapush/policies`.
Both training and use take the observation and the action from this module, so they cannot differ.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Sequence, Tuple, Union

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
MEMORY_DIM = NUM_JOINTS + 2  # last action, phase of the gait, height of the steps
PHASE, STEPPING = slice(NUM_JOINTS, NUM_JOINTS + 1), slice(NUM_JOINTS + 1, NUM_JOINTS + 2)
ACTION_SCALE = (0.25, 0.25, 0.25) * 4  # correction of the joint targets per unit of action [rad]
LIN_VEL_SCALE, ANG_VEL_SCALE, JOINT_VEL_SCALE = 2.0, 0.5, 0.05  # bring each block of the observation to order 1
ACTION_LIMIT = 6.0  # any larger action saturates every servo

UNSETTLED_SPEED, UNSETTLED_SPIN, UNSETTLED_TILT = 0.4, 2.0, 0.2
"""Speed [m/s], angular speed [rad/s] and sine of the tilt, each of which makes a standing robot step."""
STAND_GAIN = 0.8
"""Factor for the action of a standing robot.

Its network learned larger corrections than it needs, because it was trained with exploration noise.
"""
LOAD_GAIN = 0.8  # fraction of a shortfall in velocity that is added to the command
LOAD_LIMIT = 0.02  # largest amount that is added [m/s]
SETTLING_TIME = 0.4  # time from the last reason to step until the robot stands [s]

_ACTIVATIONS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
}


def settle(state: State, commands: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the memory (E, A, 14) with the decision whether to step or to stand.

    A robot steps if the command is to walk or if it was pushed off balance. Otherwise it settles: the height of its
    steps goes down linearly to 0 within `SETTLING_TIME`.
    """
    speed = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w).norm(dim=-1, keepdim=True)
    spin = state.robot_ang_vel_b.norm(dim=-1, keepdim=True)
    tilt = gravity_b(state.robot_quat_w)[..., :2].norm(dim=-1, keepdim=True)
    imbalance = speed / UNSETTLED_SPEED + spin / UNSETTLED_SPIN + tilt / UNSETTLED_TILT
    wanted = torch.maximum(gait.walking_ramp(commands), (imbalance > 1.0).float())
    stepping = torch.maximum(wanted, memory[..., STEPPING] - STEP_DT / SETTLING_TIME)
    return torch.cat((memory[..., :-1], stepping), dim=-1)


def compensate_load(state: State, commands: torch.Tensor) -> torch.Tensor:
    """Return commands (E, A, 3), increased if the robot is slower than its command, as when it pushes something.

    A command to stand does not change.
    """
    velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)[..., :2]
    shortfall = gait.walking_ramp(commands) * (commands[..., :2] - velocity)
    boost = (LOAD_GAIN * shortfall).clamp(-LOAD_LIMIT, LOAD_LIMIT)
    return torch.cat((commands[..., :2] + boost, commands[..., 2:]), dim=-1)


def walking_obs(state: State, commands: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the observation of the walking policy.

    Args:
      state: state of E envs of A robots.
      commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (E, A, 3).
      memory: last action, phase of the gait and height of the steps, (E, A, 14).

    Returns:
      (E, A, 50): linear velocity, angular velocity, gravity direction (each 3, in the robot's frame), joint positions
      relative to the default pose (12), joint velocities (12), last action (12), commands (3), sine and cosine of the
      phase (both go to 0 as the robot settles).
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
    """Return servo set points [rad], (E, A, 12): a trot plus the scaled `action` (E, A, 12)."""
    correction = action * constant(ACTION_SCALE, action.device)
    return gait.trot(memory[..., NUM_JOINTS], commands, memory[..., STEPPING]) + correction


def remember(action: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the memory (E, A, 14) after `action` (E, A, 12)."""
    phase = torch.remainder(memory[..., PHASE] + gait.FREQUENCY * STEP_DT, 1.0)
    return torch.cat((action, phase, memory[..., STEPPING]), dim=-1)


# How the blocks of a vector change in the mirror: signs for each element, or `_LEGS` for 12 joints, whose legs also
# change sides. Velocities and other polar vectors change sign along y, angular velocities along x and z.
_LEGS: Tuple[float, ...] = ()
_POLAR, _AXIAL = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0)
_MIRRORED_COMMAND = (1.0, -1.0, -1.0)
_MIRRORED_PHASE = (-1.0, -1.0)  # half a period later, when the other diagonal steps
MIRRORED_OBS = (_POLAR, _AXIAL, _POLAR, _LEGS, _LEGS, _LEGS, _MIRRORED_COMMAND, _MIRRORED_PHASE)
MIRRORED_ACTION = (_LEGS,)


def _mirror(blocks: Sequence[Tuple[float, ...]]) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the order (n,) and the signs (n,) that mirror a vector left to right.

    Args:
      blocks: the signs of each block of the vector, or `_LEGS`.
    """
    order: List[int] = []
    signs: List[float] = []
    for block in blocks:
        start = len(order)
        if block is _LEGS:
            for leg in (1, 0, 3, 2):  # the legs of the other side, in the order of `LEGS`
                first = start + 3 * leg
                order += (first, first + 1, first + 2)
                signs += (-1.0, 1.0, 1.0)
        else:
            order += range(start, start + len(block))
            signs += block
    return torch.tensor(order), torch.tensor(signs)


class Network:
    """A multilayer perceptron. Each hidden layer is linear, activation and layer norm; the output layer is linear.

    Args:
      weights: arrays by name, float32: `{i}.weight` and `{i}.bias` of linear layer i, and `{i}.norm.weight` and
        `{i}.norm.bias` of the layer norm after it.
      activation: relu, elu or tanh.
      device: device of the weights and of the observations.
    """

    def __init__(self, weights: Dict[str, np.ndarray], activation: str, device: torch.device) -> None:
        self.activation = activation
        self.weights = {name: torch.from_numpy(value.copy()).to(device) for name, value in weights.items()}
        self._num_layers = sum(name.endswith(".norm.weight") for name in weights) + 1
        order, signs = _mirror(MIRRORED_OBS)
        self._obs_order, self._obs_signs = order.to(device), signs.to(device)
        order, signs = _mirror(MIRRORED_ACTION)
        self._action_order, self._action_signs = order.to(device), signs.to(device)

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

    def with_mirror_image(self, obs: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return the action (..., 12) for `obs` (..., 50), and the action for its mirror image, mirrored back."""
        obs_image = obs[..., self._obs_order] * self._obs_signs
        action, image = self(torch.stack((obs, obs_image)))
        return action, image[..., self._action_order] * self._action_signs

    @classmethod
    def from_actor(cls, actor: Dict[str, torch.Tensor], activation: str, device: torch.device) -> Network:
        """Extract the network of the mean action from an actor's state_dict, which has HARL's names.

        In HARL's sequence of modules, each linear layer is followed by an activation, which has no weights, and by a
        layer norm. The actor must not normalise its input.
        """
        prefix = "base.mlp.fc."
        layers: List[int] = []
        for name in actor:
            if name.startswith(prefix) and name.endswith(".weight"):
                layers.append(int(name[len(prefix) : -len(".weight")]))
        layers.sort()
        weights: Dict[str, np.ndarray] = {}
        for layer, (linear, norm) in enumerate(zip(layers[::2], layers[1::2])):
            for part in ("weight", "bias"):
                weights[f"{layer}.{part}"] = actor[f"base.mlp.fc.{linear}.{part}"].cpu().numpy()
                weights[f"{layer}.norm.{part}"] = actor[f"base.mlp.fc.{norm}.{part}"].cpu().numpy()
        for part in ("weight", "bias"):
            name = f"{len(layers) // 2}.{part}"
            weights[name] = actor[f"act.action_out.fc_mean.{part}"].cpu().numpy()
        return cls(weights, activation, device)


class WalkingPolicy:
    """Walk with one network and stand with a second one; while a robot settles, blend from the first to the second.

    The action of a robot that is not commanded to walk is the mean of the network's actions for the observation and for
    its mirror image. Otherwise any asymmetry of the network would slowly turn the robot.

    Args:
      walk: corrects the trot of a robot that steps.
      stand: balances a robot that stands; it may be the same network.
    """

    memory_dim = MEMORY_DIM

    def __init__(self, walk: Network, stand: Network) -> None:
        self.walk = walk
        self.stand = stand

    @torch.no_grad()
    def step(self, state: State, commands: torch.Tensor, memory: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return servo set points [rad], (E, A, 12), and the next memory (E, A, 14); see `walking_obs`."""
        commands = compensate_load(state, commands)
        memory = settle(state, commands, memory)
        obs = walking_obs(state, commands, memory)
        walk, walk_image = self.walk.with_mirror_image(obs)
        stand, stand_image = self.stand.with_mirror_image(obs)
        walk = torch.lerp(0.5 * (walk + walk_image), walk, gait.walking_ramp(commands))
        action = torch.lerp(STAND_GAIN * 0.5 * (stand + stand_image), walk, memory[..., STEPPING])
        return joint_targets(action, commands, memory), remember(action, memory)

    def save(self, file: Union[Path, IO[bytes]], card: Dict[str, Any]) -> None:
        """Write both networks and `card` to an npz file.

        Args:
          file: its path, or the open file.
          card: how the networks were trained; JSON types.
        """
        activations: Dict[str, str] = {}
        arrays: Dict[str, Any] = {}
        for name, network in (("walk", self.walk), ("stand", self.stand)):
            activations[name] = network.activation
            for key, value in network.weights.items():
                arrays[f"{name}.{key}"] = value.cpu().numpy()
        header = {"activations": activations, "joints": JOINTS, "card": card}
        np.savez(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: Path = SHIPPED, device: str = "cpu") -> WalkingPolicy:
        """Read a policy that `save` wrote.

        Raises:
          CheckpointError: the file does not exist, or is not a walking policy.
        """
        if not path.is_file():
            fix = "train a walking policy: python -m mapush.train walk, then python -m mapush.export RUN walk.npz"
            raise CheckpointError("the file of the walking policy does not exist", where=str(path), fix=fix)
        if not zipfile.is_zipfile(path):
            raise CheckpointError("not a walking policy", where=str(path), got="not an npz archive, or truncated")
        try:
            with np.load(path, allow_pickle=False) as archive:
                header = json.loads(str(archive["header"]))
                joints = tuple(header["joints"])
                activations = header["activations"]
                walk = _network(archive, "walk", activations["walk"], device)
                stand = _network(archive, "stand", activations["stand"], device)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError("not a walking policy", where=str(path), got=str(error)) from error
        if joints != JOINTS:
            what = "the joints of this walking policy have a different order"
            raise CheckpointError(what, where=str(path), got=str(joints), expected=str(JOINTS))
        return cls(walk, stand)


def _network(archive: Any, name: str, activation: str, device: str) -> Network:
    prefix = name + "."
    weights: Dict[str, np.ndarray] = {}
    for key in archive.files:
        if key.startswith(prefix):
            weights[key[len(prefix) :]] = archive[key]
    return Network(weights, activation, torch.device(device))
