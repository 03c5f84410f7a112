"""A trained team as a function from observations to actions, for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from mapush.config import MIXED_TASK
from mapush.errors import CheckpointError, ConfigError, SpecError, unknown
from mapush.evaluation import policy_formats
from mapush.evaluation.policy_formats import LoadedPolicy, LoadOptions, is_run
from mapush.evaluation.shipped_policies import shipped_path, shipped_policies
from mapush.objects import OBJECTS
from mapush.run import checkpoint as checkpoints

if TYPE_CHECKING:
    from mapush.config import RunConfig


class TeamPolicy:
    """A trained team; `act` chooses its actions without exploring.

    Args:
      loaded: the policy.

    Attributes:
      path: the file that it was loaded from.
      step: env steps that it was trained for.
      config: configuration of its training run.
    """

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.path = loaded.path
        self.step = loaded.step
        self.config: RunConfig = loaded.config
        self._agent = loaded.agent
        self._num_agents: Optional[int] = None
        self._obs_dim: Optional[int] = None
        if loaded.checkpoint is not None:
            self._num_agents = loaded.checkpoint.sizes["num_agents"]
            self._obs_dim = loaded.checkpoint.sizes["obs_dim"]

    def act(self, obs: Any) -> Any:
        """Return the actions for some observations.

        Args:
          obs: float32, shape (num_envs, num_agents, obs_dim), or (num_agents, obs_dim) for a single env; a numpy array
            or a torch tensor.

        Returns:
          The actions, shape (..., num_agents, action_dim), of the same kind as `obs`, on the CPU.

        Raises:
          SpecError: the observations have a wrong number of axes, agents or entries.
        """
        import numpy as np
        import torch

        tensor = torch.as_tensor(obs, dtype=torch.float32, device=self._agent.device)
        if tensor.dim() not in (2, 3):
            expected = "(num_envs, num_agents, obs_dim) or (num_agents, obs_dim)"
            raise SpecError("obs has the wrong shape", got=str(tuple(tensor.shape)), expected=expected)
        sizes = (self._num_agents, self._obs_dim)
        if self._num_agents is not None and tuple(tensor.shape[-2:]) != sizes:
            expected = f"(..., num_agents {self._num_agents}, obs_dim {self._obs_dim})"
            raise SpecError("obs has the wrong shape", got=str(tuple(tensor.shape)), expected=expected)
        one_env = tensor.dim() == 2
        if one_env:
            tensor = tensor.unsqueeze(0)
        with torch.no_grad():
            actions = self._agent.act_deterministic(tensor).cpu()
        if one_env:
            actions = actions[0]
        if isinstance(obs, np.ndarray):
            return actions.numpy()
        return actions


def load_policy(
    source: Union[str, Path], task_name: Optional[str] = None, device: str = "cpu", num_agents: Optional[int] = None
) -> TeamPolicy:
    """Load a trained team.

    Args:
      source: a checkpoint; the folder of a run, whose newest checkpoint is loaded; a policy that HARL or MAPush saved;
        or the name of a shipped policy, such as "cuboid" or, for any object and team, "any".
      task_name: the task that it was trained for; needed for a policy that HARL or MAPush saved. Of a policy for any
        team, the object that it shall push.
      device: where it computes: auto, cpu, cuda or cuda:1.
      num_agents: size of the team, of a policy for any team.

    Raises:
      ConfigError: no such policy, or the task is needed.
      CheckpointError: the file is damaged, or does not fit the task or the team.
    """
    return TeamPolicy(load_named(source, task_name, device, num_agents))


def load_named(
    source: Union[str, Path], task_name: Optional[str], device: str, num_agents: Optional[int] = None
) -> LoadedPolicy:
    """Load the policy that `source` names, with its configuration and weights; see `load_policy`."""
    path = _find(source)
    if task_name is None:
        task_name = _task_of(path)
    loaded = policy_formats.load(path, LoadOptions(task_name, device, num_agents=num_agents))
    if num_agents is not None:
        _require_team(loaded, path, num_agents)
    return loaded


def _require_team(loaded: LoadedPolicy, path: Path, num_agents: int) -> None:
    """Refuse a policy for one team if the team that it shall act for has a different size.

    Raises:
      CheckpointError: it has.
    """
    if loaded.checkpoint is None or loaded.checkpoint.sizes["num_agents"] == num_agents:
        return
    task_name = loaded.config.task_name
    fix = "leave the size of the team out"
    if task_name in OBJECTS:
        by_name = f'load_policy("{MIXED_TASK}", task_name="{task_name}", num_agents={num_agents})'
        export = f"mapush export {MIXED_TASK} FILE --task {task_name} --num-agents {num_agents}"
        fix = f"the policy for any team: {by_name}, or {export}"
    raise CheckpointError(
        "the checkpoint does not fit",
        where=str(path),
        got=f"a policy for {loaded.checkpoint.sizes['num_agents']} robots",
        expected=f"one for {num_agents} robots",
        fix=fix,
    )


def _find(source: Union[str, Path]) -> Path:
    path = Path(source)
    if is_run(path):
        return checkpoints.latest(path)
    if path.exists():
        return path
    if str(source) in shipped_policies():
        return shipped_path(str(source))
    if isinstance(source, str) and len(path.parts) == 1 and not path.suffix:
        error = unknown("policy", source, shipped_policies())
        error.fix = "or name a checkpoint or the folder of a run"
        raise error
    raise CheckpointError("there is no such policy", where=str(path))


def _task_of(path: Path) -> str:
    if policy_formats.format_of(path) is not policy_formats.MAPUSH:
        raise ConfigError(
            "this file does not say which task its policy was trained for",
            where=str(path),
            fix='add the task: load_policy(path, task_name="cuboid"), or --task cuboid of mapush export',
        )
    return checkpoints.load(path).config.task_name
