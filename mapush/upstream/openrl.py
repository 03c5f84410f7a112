"""Policies that MAPush trained with OpenRL: the shared actor, read from a `module.pt` without OpenRL.

Such a file is a complete pickled OpenRL module. It is read as data here: a class that is known to be harmless becomes
an empty stand-in that only keeps its attributes, and any other name ends the reading, so no code in the file can run.

Source: the checkpoints in MAPush@0e61e1b, `results/`; the doubled scaling is in `openrl_ws/utils.py`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Dict, List, Tuple

from mapush.errors import CheckpointError
from mapush.objects import PushObject

if TYPE_CHECKING:
    import torch

OPENRL_MARK = b"openrl.modules."
"""Bytes that the pickle of such a file contains."""
STAND_IN_PACKAGES = (
    "openrl.",
    "torch.nn.modules.",
    "torch.optim.",
    "numpy.",
    "gym.",
    "gymnasium.",
    "jsonargparse.",
    "isaacgym.",
)
"""Packages whose classes are replaced by stand-ins; the packages are never imported."""
STAND_IN_NAMES = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("torch", "device"),
    ("torch", "FloatStorage"),
    ("torch", "float32"),
    ("argparse", "Namespace"),
}
"""Further names that are replaced by stand-ins: module and name."""
ACTION_DIM = 3
SATURATION = 2.0
"""The action that is full speed in MAPush's training wrapper."""

_PICKLE = "/data.pkl"  # path of the pickle in the archive, below a folder


class OpenRLTeam:
    """The deterministic policy that all robots of a team share.

    Args:
      network: maps an observation to the mean of the action.
      scale: factor on the actions; 1 if the task scales them again, as upstream's does, otherwise 1 / `SATURATION`.

    Attributes:
      network: maps an observation to the mean of the action, before it is scaled.
      scale: factor on the actions.
      device: where it computes.
      obs_dim: length of an observation.
      action_dim: length of an action.
    """

    def __init__(self, network: torch.nn.Sequential, scale: float) -> None:
        weights = [weight for weight in network.parameters() if weight.dim() == 2]
        self.obs_dim, self.action_dim = weights[0].shape[1], weights[-1].shape[0]
        self.device = weights[0].device
        self.network = network
        self.scale = scale

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (E, A, action_dim) for observations (E, A, obs_dim)."""
        import torch

        with torch.no_grad():
            return self.scale * self.network(obs)


def recognises(path: Path) -> bool:
    """Return whether OpenRL wrote a file, judged by bytes in its pickle; nothing is unpickled."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            for name in archive.namelist():
                if name.endswith(_PICKLE) and OPENRL_MARK in archive.read(name):
                    return True
    except (OSError, zipfile.BadZipFile):
        pass
    return False


def load(path: Path, scale: float = 1.0, device: str = "cpu") -> OpenRLTeam:
    """Read the team's policy; no code in the file is executed.

    Args:
      path: a `module.pt` of OpenRL's PPO with continuous actions and no recurrent layers.
      scale: see `OpenRLTeam`.
      device: where the policy computes.

    Raises:
      CheckpointError: the file is damaged, names something that could run code, or holds a different network.
    """
    try:
        with zipfile.ZipFile(str(path)) as archive:
            module = _read_module(archive, path)
            network = _network(module.models["policy"])
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error
    except (EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    return OpenRLTeam(network.to(device), scale)


def _read_module(archive: zipfile.ZipFile, path: Path) -> Any:
    pickles = [name for name in archive.namelist() if name.endswith(_PICKLE)]
    folder = pickles[0][: -len(_PICKLE)]
    with archive.open(pickles[0]) as file:
        return _Reader(file, archive, folder, path).load()


def require_fit(team: OpenRLTeam, path: Path, item: PushObject) -> None:
    """Refuse a policy that was trained for a different team size.

    Args:
      team: the loaded policy.
      path: its file, for the error.
      item: the object that it will push.

    Raises:
      CheckpointError: it does not fit.
    """
    obs_dim = 2 + 3 * item.num_agents
    if (team.obs_dim, team.action_dim) != (obs_dim, ACTION_DIM):
        raise CheckpointError(
            "the policy does not fit",
            where=str(path),
            got=f"{team.obs_dim} features, actions of {team.action_dim} numbers",
            expected=f"{obs_dim} features, actions of {ACTION_DIM} numbers, for {item.name}",
            cause="it was trained to push a different object, or it is MAPush's upper-level policy",
        )


def steps_of(path: Path) -> int:
    """Return the env steps that a policy was trained for, according to the name of its folder; 0 if it has none."""
    found = re.search(r"rl_model_(\d+)_steps", str(path))
    if found is None:
        return 0
    return int(found.group(1))


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "this file holds no policy of OpenRL that can be read",
        where=str(path),
        got=(str(error) or type(error).__name__).splitlines()[0],
        expected="the module.pt that OpenRL's PPO writes: layers fc1, fc3 and a Gaussian head",
        cause="a copy was cut short, or its network is of a different kind",
    )


class _StandIn:
    """Replaces an object whose class is not loaded; keeps its attributes."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, *_: Any) -> None:
        pass


_CONTAINERS = {"OrderedDict": OrderedDict, "defaultdict": _StandIn, "dict": dict, "set": set}


class _Reader(pickle.Unpickler):
    """Reads a module as data.

    Args:
      file: the pickle.
      archive: the archive that holds its tensors.
      folder: the folder of both within the archive.
      path: path of the archive, for errors.
    """

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(file)
        self._archive = archive
        self._folder = folder
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global name; nothing is imported."""
        if module in ("collections", "__builtin__", "builtins") and name in _CONTAINERS:
            return _CONTAINERS[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module.startswith(STAND_IN_PACKAGES) or (module, name) in STAND_IN_NAMES:
            return type(name, (_StandIn,), {})
        raise CheckpointError(
            "this file tries to run code",
            where=str(self._path),
            got=f"it names {module}.{name}",
            expected="a policy: tensors and the names of OpenRL's layers",
            cause="somebody manipulated it, or a different program wrote it",
            fix="do not open it with torch.load",
        )

    def persistent_load(self, key: Tuple[Any, ...]) -> torch.Tensor:
        """Return the elements of a tensor, (n,) float32."""
        import torch

        data = self._archive.read(f"{self._folder}/data/{key[2]}")
        return torch.frombuffer(bytearray(data), dtype=torch.float32)


def _tensor(numbers: torch.Tensor, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...], *_: Any) -> Any:
    return numbers.as_strided(size, stride, offset)


def _parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


def _network(policy: Any) -> torch.nn.Sequential:
    """Return the layers of an actor from input to mean, in the order in which OpenRL computes them."""
    import torch

    base = policy._modules["base"]
    head = policy._modules["act"]._modules["action_out"]
    mlp = base._modules["mlp"]._modules
    layers: List[Any] = []
    if "feature_norm" in base._modules:
        layers.append(base._modules["feature_norm"])
    layers += _children(mlp["fc1"])
    if mlp.get("fc2") is not None:
        for block in _children(mlp["fc2"]):
            layers += _children(block)
    layers += _children(mlp["fc3"])
    layers.append(head._modules["fc_mean"])
    return torch.nn.Sequential(*[_layer(item) for item in layers])


def _children(module: Any) -> List[Any]:
    return list(module._modules.values())


def _layer(item: Any) -> torch.nn.Module:
    """Return the layer that the stand-in `item` replaces, with its weights."""
    import torch

    kind = type(item).__name__
    if kind in ("Tanh", "ReLU", "LeakyReLU", "ELU"):
        return getattr(torch.nn, kind)()
    weights: Dict[str, torch.Tensor] = dict(item._parameters)
    layer: torch.nn.Module
    if kind == "Linear":
        size_out, size_in = weights["weight"].shape
        layer = torch.nn.Linear(size_in, size_out)
    elif kind == "LayerNorm":
        layer = torch.nn.LayerNorm(tuple(weights["weight"].shape), eps=item.eps)
    else:
        raise ValueError(f"unknown kind of layer {kind!r}")
    layer.load_state_dict(weights)
    return layer
