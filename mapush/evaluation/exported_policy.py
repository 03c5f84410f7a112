"""A trained team as a file that other programs run: ONNX or TorchScript, with metadata.

The exported function maps `obs` (batch, num_agents, obs_dim) float32 to `actions` (batch, num_agents, action_dim): the
means of the policy, with the normalisation of its observations inside. Neither file needs this package.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import io
import json
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import torch
from torch import nn

from mapush.config import MixedRunConfig, PushRunConfig, RunConfig, seats_of, steps_per_decision
from mapush.env import any_team
from mapush.env.observations import obs_blocks
from mapush.env.push import COMMAND_SCALE
from mapush.errors import ConfigError
from mapush.evaluation.policy_formats import LoadedPolicy
from mapush.happo.happo import Happo
from mapush.happo.networks import Actor
from mapush.sim.physics import JOINTS, STEP_DT
from mapush.sim.walking import ACTION_LIMIT
from mapush.upstream.openrl import OpenRLTeam

OPSET = 17  # of ONNX; the first one with LayerNormalization
METADATA = "metadata.json"  # name of the extra file in a TorchScript archive
INPUT, OUTPUT = "obs", "actions"
MAX_DIFFERENCE = 1e-4  # relative to the largest action, or to 1 if that is larger; more than this is not rounding
CHECKED_OBSERVATIONS = 1000

_WALKING_BLOCKS = {
    "linear_velocity_b": 3,
    "angular_velocity_b": 3,
    "gravity_direction_b": 3,
    "joint_positions": 12,
    "joint_velocities": 12,
    "last_action": 12,
    "command": 3,
    "sin_cos_phase": 2,
}
_QUIRKS_SCALE = 0.5  # upstream scales actions twice; see `mapush.env.push_quirks`


class _MeanOfActor(nn.Module):
    """The mean action of one actor, as a module's `forward`."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.base = actor.base
        self.mean = actor.act.action_out.fc_mean

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions for observations (..., obs_dim)."""
        return self.mean(self.base(obs))


class _SharedTeam(nn.Module):
    """A team whose agents share one network."""

    def __init__(self, network: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions for observations (batch, agents, obs_dim)."""
        actions = self.network(obs)
        if self.scale != 1.0:
            actions = actions * self.scale
        return actions


class _SeparateTeam(nn.Module):
    """A team with one network for each agent."""

    def __init__(self, networks: List[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions for observations (batch, agents, obs_dim)."""
        actions = []
        for agent, network in enumerate(self.networks):
            actions.append(network(obs[:, agent]))
        return torch.stack(actions, dim=1)


def team_module(policy: LoadedPolicy) -> nn.Module:
    """Return a policy as a module on the CPU, from observations to deterministic actions; its weights are copies."""
    agent = policy.agent
    team: nn.Module
    if isinstance(agent, OpenRLTeam):
        team = _SharedTeam(agent.network, agent.scale)
    else:
        assert isinstance(agent, Happo), "there are two kinds of teams"
        networks: List[nn.Module] = [_MeanOfActor(actor) for actor in agent.actors]
        team = _SeparateTeam(networks)
        if policy.config.happo.share_param or len(networks) == 1:
            team = _SharedTeam(networks[0])
    team = copy.deepcopy(team).cpu().eval()
    for parameter in team.parameters():
        parameter.requires_grad_(False)
    return team


# -- metadata --------------------------------------------------------------------------------------------------------


def metadata_of(policy: LoadedPolicy) -> Dict[str, Any]:
    """Return what a program needs to know to run an exported policy, as JSON types."""
    num_agents, obs_dim, action_dim = sizes_of_policy(policy)
    steps = steps_per_decision(policy.config)
    values: Dict[str, Any] = {
        "written_by": "mapush export",
        "task": policy.config.task_name,
        "trained_env_steps": policy.step,
        "num_agents": num_agents,
        "obs_dim": obs_dim,
        "action_dim": action_dim,
        "steps_per_decision": steps,
        "seconds_per_decision": round(steps * STEP_DT, 6),
        "decision_rate_from": policy.rate_from,
        "obs_layout": _obs_layout(policy.config, num_agents, obs_dim),
    }
    values.update(_action_metadata(policy.config))
    return values


def sizes_of_policy(policy: LoadedPolicy) -> Tuple[int, int, int]:
    """Return num_agents, obs_dim and action_dim."""
    if policy.checkpoint is not None:
        sizes = policy.checkpoint.sizes
        return sizes["num_agents"], sizes["obs_dim"], sizes["action_dim"]
    team = policy.agent
    assert isinstance(team, OpenRLTeam), "the only format without a checkpoint"
    num_agents = (team.obs_dim - 2) // 3  # goal, object and team mates; see `obs_blocks`
    return num_agents, team.obs_dim, team.action_dim


def _obs_layout(config: RunConfig, num_agents: int, obs_dim: int) -> List[List[Any]]:
    """Return name and width of each part of an observation, in order; one part if they are not known."""
    blocks: Dict[str, int] = {}
    seats = seats_of(config)
    if seats is not None:
        blocks = any_team.obs_blocks(seats)
    elif isinstance(config, PushRunConfig):
        blocks = obs_blocks(num_agents)
    elif config.task_name == "walk":
        blocks = _WALKING_BLOCKS
    if sum(blocks.values()) != obs_dim:
        blocks = {"obs": obs_dim}
    return [[name, width] for name, width in blocks.items()]


def _action_metadata(config: RunConfig) -> Dict[str, Any]:
    """Return what the numbers of an action mean: command = scale * clip(action, -limit, limit)."""
    if isinstance(config, (PushRunConfig, MixedRunConfig)):
        scale, limit = COMMAND_SCALE, 1.0
        if isinstance(config, PushRunConfig) and config.task.upstream_quirks:
            scale, limit = scale * _QUIRKS_SCALE, limit / _QUIRKS_SCALE
        layout = ["v_x [m/s]", "v_y [m/s]", "omega_z [rad/s]"]
        return {"action_layout": layout, "action_scale": scale, "action_limit": limit}
    if config.task_name == "walk":
        return {"action_layout": list(JOINTS), "action_limit": ACTION_LIMIT}
    return {}


# -- files -----------------------------------------------------------------------------------------------------------


def write_torchscript(policy: LoadedPolicy, path: Path) -> None:
    """Write a policy as TorchScript; its metadata is the extra file `METADATA` of the archive."""
    num_agents, obs_dim, _ = sizes_of_policy(policy)
    extra = {METADATA: json.dumps(metadata_of(policy), indent=2)}
    with _without_deprecations():
        traced = torch.jit.trace(team_module(policy), torch.rand(3, num_agents, obs_dim), check_trace=False)
        torch.jit.save(traced, str(path), _extra_files=extra)


def write_onnx(policy: LoadedPolicy, path: Path) -> None:
    """Write a policy as ONNX; its metadata are the properties of the model, JSON where they are not text.

    Raises:
      ConfigError: the package onnx is missing.
    """
    require_package("onnx")
    import onnx

    num_agents, obs_dim, _ = sizes_of_policy(policy)
    file = io.BytesIO()
    options: Dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the new exporter needs onnxscript
    with _without_deprecations():
        torch.onnx.export(
            team_module(policy),
            (torch.rand(3, num_agents, obs_dim),),
            file,  # type: ignore[arg-type]  # torch takes a file, too, but its annotation names paths only
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            **options,
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, _as_text(metadata_of(policy)))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _as_text(values: Dict[str, Any]) -> Dict[str, str]:
    texts: Dict[str, str] = {}
    for name, value in values.items():
        if not isinstance(value, str):
            value = json.dumps(value)
        texts[name] = value
    return texts


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Silence that TorchScript and the exporter that uses it are deprecated; the tests notice when they are gone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


def require_package(name: str) -> None:
    """Refuse an export that needs a missing package.

    Raises:
      ConfigError: it is missing.
    """
    if importlib.util.find_spec(name) is None:
        fix = "python -m pip install 'mapush-stack[export]'"
        raise ConfigError(f"{name}, which ONNX files need, is not installed", fix=fix)


# -- check -----------------------------------------------------------------------------------------------------------


def relative_difference(policy: LoadedPolicy, path: Path, kind: str) -> Tuple[float, float]:
    """Compare the actions of a file with those of its policy, over random observations.

    Both compute in float32, so each is off by a rounding error that grows with the size of the actions: for actions of
    3, it is 1.5e-6 for the policy and for the file alike. Hence the difference is relative to that size. A task limits
    actions to 1, so 1 is the least size that counts.

    Args:
      policy: the policy.
      path: the file.
      kind: onnx or torchscript.

    Returns:
      The largest difference of an action, as a share of the size, and the size: the largest action, at least 1.

    Raises:
      ConfigError: the package onnxruntime is missing.
    """
    num_agents, obs_dim, _ = sizes_of_policy(policy)
    generator = torch.Generator().manual_seed(0)
    obs = 3.0 * torch.randn(CHECKED_OBSERVATIONS, num_agents, obs_dim, generator=generator)
    expected = policy.agent.act_deterministic(obs.to(policy.agent.device)).cpu()
    if kind == "onnx":
        actions = run_onnx(path, obs)
    else:
        with _without_deprecations():
            actions = torch.jit.load(str(path))(obs)
    size = max(float(expected.abs().max()), 1.0)
    return float((actions - expected).abs().max()) / size, size


def run_onnx(path: Path, obs: torch.Tensor) -> torch.Tensor:
    """Return the actions of an ONNX file on the CPU.

    Raises:
      ConfigError: the package onnxruntime is missing.
    """
    require_package("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (actions,) = session.run([OUTPUT], {INPUT: obs.numpy()})
    return torch.from_numpy(actions)
