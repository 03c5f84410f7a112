"""Policies that MAPush trained with OpenRL: the shared actor, read from a `module.pt` without OpenRL.

Such a file is a whole pickled OpenRL module. Here it is read as data: every class in it that is known to be harmless
becomes an empty stand-in that only keeps its attributes, and any other name ends the reading, so nothing in the file
can run.

Source: the checkpoints of MAPush@0e61e1b below `results/`.
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

MARK = b"openrl.modules."  # what the pickle of such a file holds
KEPT_OUT = (  # only their attributes are read: where their classes come from is never imported
    "openrl.",
    "torch.nn.modules.",
    "torch.optim.",
    "numpy.",
    "gym.",
    "gymnasium.",
    "jsonargparse.",
    "isaacgym.",
)
KEPT_OUT_NAMES = {("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode"), ("torch", "device")}
KEPT_OUT_NAMES |= {("torch", kind) for kind in ("FloatStorage", "float32")} | {("argparse", "Namespace")}
ACTION_DIM = 3
SATURATION = 2.0  # an action of 2 is full speed to MAPush's training wrapper


class OpenRLTeam:
    """The deterministic policy that all robots of a team share.

    Args:
      network: from an observation to the mean of the action.
      scale: of the actions; 1 where the task scales them once more, as upstream's does, else 1 / `SATURATION`.

    Attributes:
      device: where it computes.
      obs_dim: features of an observation.
      action_dim: numbers in an action.
    """

    def __init__(self, network: torch.nn.Sequential, scale: float) -> None:
        weights = [weight for weight in network.parameters() if weight.dim() == 2]
        self.obs_dim, self.action_dim = weights[0].shape[1], weights[-1].shape[0]
        self.device = weights[0].device
        self._network = network
        self._scale = scale

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (E, A, action_dim) for observations (E, A, obs_dim)."""
        import torch

        with torch.no_grad():
            return self._scale * self._network(obs)


def recognises(path: Path) -> bool:
    """Return whether a file was written by OpenRL, as far as can be told without reading what is in it."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            return any(name.endswith("/data.pkl") and MARK in archive.read(name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def load(path: Path, scale: float = 1.0, device: str = "cpu") -> OpenRLTeam:
    """Read the team's policy; nothing in the file is executed.

    Args:
      path: a `module.pt` of OpenRL's PPO with a continuous action and no recurrent layers.
      scale: see `OpenRLTeam`.
      device: where it shall compute.
    Raises:
      CheckpointError: the file is damaged, names something that could run, or holds another network.
    """
    try:
        with zipfile.ZipFile(str(path)) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(pickled) as file:
                module = _Reader(file, archive, pickled[: -len("/data.pkl")], path).load()
            policy = module.models["policy"]
            network = _network(policy)
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error
    except (EOFError, StopIteration, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    return OpenRLTeam(network.to(device), scale)


def require_fit(team: OpenRLTeam, path: Path, item: PushObject) -> None:
    """Refuse a policy of a team of another size.

    Args:
      team: as loaded.
      path: where it came from, for the error.
      item: what it shall push.
    Raises:
      CheckpointError: it does not fit.
    """
    expected = 2 + 3 * item.num_agents
    if (team.obs_dim, team.action_dim) != (expected, ACTION_DIM):
        raise CheckpointError(
            "the policy does not fit",
            where=str(path),
            got=f"{team.obs_dim} features, actions of {team.action_dim} numbers",
            expected=f"{expected} features, actions of {ACTION_DIM} numbers, for {item.name}",
            cause="it was trained to push another object, or is of MAPush's upper level",
        )


def steps_of(path: Path) -> int:
    """Return for how many env steps a policy was trained, as the folder says that it was saved in; 0 if none does."""
    found = re.search(r"rl_model_(\d+)_steps", str(path))
    return int(found.group(1)) if found else 0


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "this file holds no policy of OpenRL that can be read",
        where=str(path),
        got=(str(error) or type(error).__name__).splitlines()[0],
        expected="the module.pt that OpenRL's PPO writes: layers fc1, fc3 and a Gaussian head",
        cause="it was cut short in a copy, or its network is of another kind",
    )


class _StandIn:
    """An object of a class that is not loaded."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, *_: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Reads a module as data.

    Args:
      file: the pickle.
      archive: where its tensors are.
      folder: of both within the archive.
      path: of the archive, for errors.
    """

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(file)
        self._archive = archive
        self._folder = folder
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global name; nothing is imported."""
        plain = {"OrderedDict": OrderedDict, "defaultdict": _StandIn, "dict": dict, "set": set}
        if module in ("collections", "__builtin__", "builtins") and name in plain:
            return plain[name]
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _tensor if name == "_rebuild_tensor_v2" else _parameter
        if module.startswith(KEPT_OUT) or (module, name) in KEPT_OUT_NAMES:
            return type(name, (_StandIn,), {})
        raise CheckpointError(
            "this file tries to run code",
            where=str(self._path),
            got=f"it names {module}.{name}",
            expected="a policy: tensors and the names of OpenRL's layers",
            cause="somebody changed it, or it is of another program",
            fix="do not open it with torch.load",
        )

    def persistent_load(self, key: Tuple[Any, ...]) -> torch.Tensor:
        """Return the numbers of a tensor, (n,) float32."""
        import torch

        data = self._archive.read(f"{self._folder}/data/{key[2]}")
        return torch.frombuffer(bytearray(data), dtype=torch.float32)


def _tensor(numbers: torch.Tensor, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...], *_: Any) -> Any:
    return numbers.as_strided(size, stride, offset)


def _parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


def _network(policy: Any) -> torch.nn.Sequential:
    """Return the layers of an actor of OpenRL from input to mean, in the order in which they compute."""
    import torch

    base, head = policy._modules["base"], policy._modules["act"]._modules["action_out"]
    mlp = base._modules["mlp"]._modules
    hidden = [block for clone in _children(mlp.get("fc2")) for block in _children(clone)]
    norm = [base._modules["feature_norm"]] if "feature_norm" in base._modules else []
    layers = norm + _children(mlp["fc1"]) + hidden + _children(mlp["fc3"]) + [head._modules["fc_mean"]]
    return torch.nn.Sequential(*(_layer(item) for item in layers))


def _children(module: Any) -> List[Any]:
    return [] if module is None else list(module._modules.values())


def _layer(item: Any) -> torch.nn.Module:
    """Return the layer that `item` stands in for, with its weights."""
    import torch

    kind = type(item).__name__
    weights: Dict[str, torch.Tensor] = dict(item._parameters)
    if kind == "Linear":
        size_out, size_in = weights["weight"].shape
        layer: torch.nn.Module = torch.nn.Linear(size_in, size_out)
    elif kind == "LayerNorm":
        layer = torch.nn.LayerNorm(tuple(weights["weight"].shape), eps=item.eps)
    elif kind in ("Tanh", "ReLU", "LeakyReLU", "ELU"):
        return getattr(torch.nn, kind)()
    else:
        raise ValueError(f"a layer of the kind {kind}")
    layer.load_state_dict(weights)
    return layer
