"""Several pushing tasks as one environment: objects and team sizes differ from group to group of envs."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import torch
from torch.nn import functional

from mapush.device.side_streams import SideStreams
from mapush.env.judgement import OUTCOMES
from mapush.env.metrics import EpisodeMetrics
from mapush.env.push import PushEnv
from mapush.env.vec_env import Observation, Transition, VecEnv, team_reward
from mapush.errors import ConfigError, MapushError
from mapush.spec import TensorSpec


class MixedMetrics(EpisodeMetrics):
    """Statistics over all envs, and the success rate of each group.

    Args:
      num_envs: parallel envs of all groups.
      groups: statistics of each group, by its name.
      device: where the statistics are stored.
    """

    def __init__(self, num_envs: int, groups: Dict[str, EpisodeMetrics], device: torch.device) -> None:
        super().__init__(OUTCOMES, num_envs, device)
        self._groups = groups

    def summary(self, last: Optional[int] = None) -> Dict[str, float]:
        """Return what `EpisodeMetrics.summary` does, and `success/<group>` over the group's most recent episodes."""
        found = super().summary(last)
        for name, metrics in self._groups.items():
            found[f"success/{name}"] = metrics.summary(last)["episode/success"]
        return found


class MixedEnv(VecEnv):
    """Groups of envs that push different objects in teams of different sizes, joined along the env axis.

    It has as many agents as the largest team. An env whose team is smaller has absent agents, see `VecEnv.active`: the
    last ones. Each group is a `PushEnv` with simulator, random numbers and resets of its own, so its rows are what that
    `PushEnv` alone computes. On a GPU the groups compute at the same time.

    Args:
      groups: environments with the same decision rate and width of observations, on one device.

    Attributes:
      groups: the environments, by name, in the order of their rows.

    Raises:
      ConfigError: the groups do not fit together.
    """

    def __init__(self, groups: Sequence[PushEnv]) -> None:
        _require_alike(groups)
        first = groups[0]
        self.groups: Dict[str, PushEnv] = {}
        for env in groups:
            name = f"{env.item.name}_{env.num_agents}"
            if name in self.groups:
                raise ConfigError("a group of envs occurs twice", got=name)
            self.groups[name] = env
        self.num_envs = sum(env.num_envs for env in groups)
        self.num_agents = max(env.num_agents for env in groups)
        self.device = first.device
        self.max_episode_length = first.max_episode_length
        self.steps_per_decision = first.steps_per_decision
        self.simulator_name = first.simulator_name
        envs, agents = self.num_envs, self.num_agents
        dims = ("num_envs", "num_agents")
        self.obs_spec = TensorSpec("obs", (*dims, "obs_dim"), (envs, agents, first.obs_spec.shape[-1]))
        share_shape = (envs, first.share_obs_spec.shape[-1])
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), share_shape)
        self.action_spec = TensorSpec("actions", (*dims, "action_dim"), (envs, agents, 3), low=-1.0, high=1.0)
        present = [torch.ones(env.num_envs, env.num_agents, device=self.device) for env in groups]
        self.active = torch.cat([self._padded(rows) for rows in present])
        self._side_streams = SideStreams(len(self.groups), self.device)
        of_groups = {name: env.metrics for name, env in self.groups.items()}
        self.metrics = MixedMetrics(envs, of_groups, self.device)

    def reset(self) -> Observation:
        """Start a new episode in every env; see `VecEnv.reset`."""
        return self._joined([env.reset() for env in self.groups.values()])

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps; see `VecEnv.step`.

        Args:
          actions: (E, A, 3) float32, clipped to [-1, 1]; never modified. Those of absent agents are ignored.
        """
        self.action_spec.validate_form(actions, "MixedEnv.step")
        parts: List[Transition] = []
        start = 0
        with self._side_streams.forked() as streams:
            for stream, (name, env) in zip(streams, self.groups.items()):
                own = actions[start : start + env.num_envs, : env.num_agents]
                start += env.num_envs
                with torch.cuda.stream(stream), _in_group(name):
                    parts.append(env.step(own))
        transition = Transition(
            observation=self._joined([part.observation for part in parts]),
            reward=torch.cat([self._padded(part.reward) for part in parts]),
            terminated=torch.cat([part.terminated for part in parts]),
            truncated=torch.cat([part.truncated for part in parts]),
            final_observation=self._joined([part.final_observation for part in parts]),
            outcome=_by_name([part.outcome for part in parts], torch.cat),
            terms=_by_name([part.terms for part in parts], self._joined_agents),
        )
        team_terms: Dict[str, torch.Tensor] = {}
        for name, term in transition.terms.items():
            team_terms[name] = team_reward(term, self.active)
        self.metrics.add_step(team_terms)
        self.metrics.add_episodes(transition.done, transition.outcome)
        return transition

    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; see `VecEnv.check`.

        Returns:
          The largest number of each group's report.
        """
        report: Dict[str, float] = {}
        for name, env in self.groups.items():
            with _in_group(name):
                of_group = env.check()
            for number, value in of_group.items():
                report[number] = max(value, report.get(number, value))
        return report

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""
        groups = {name: env.state_dict() for name, env in self.groups.items()}
        return {"groups": groups, "metrics": self.metrics.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        for name, env in self.groups.items():
            env.load_state_dict(state["groups"][name])
        self.metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """Release the simulators; further calls do nothing."""
        for env in self.groups.values():
            env.close()

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows (E, a) or (E, a, width) of a group with zeros for its absent agents."""
        missing = self.num_agents - rows.shape[1]
        widths = (0, 0) * (rows.dim() - 2)
        return functional.pad(rows, (*widths, 0, missing))

    def _joined_agents(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([self._padded(part) for part in parts])

    def _joined(self, parts: Sequence[Observation]) -> Observation:
        return Observation(
            obs=self._joined_agents([part.obs for part in parts]),
            share_obs=torch.cat([part.share_obs for part in parts]),
        )


def _by_name(
    parts: Sequence[Dict[str, torch.Tensor]], join: Callable[[List[torch.Tensor]], torch.Tensor]
) -> Dict[str, torch.Tensor]:
    """Join the tensors of each name."""
    return {name: join([part[name] for part in parts]) for name in parts[0]}


@contextlib.contextmanager
def _in_group(name: str) -> Iterator[None]:
    """Add to an error that its envs are counted within a group."""
    try:
        yield
    except MapushError as error:
        error.add_where(f"group {name}")
        raise


def _require_alike(groups: Sequence[PushEnv]) -> None:
    for env in groups[1:]:
        first = groups[0]
        for what in ("device", "steps_per_decision"):
            _require_same(what, getattr(env, what), getattr(first, what))
        _require_same("obs_dim", env.obs_spec.shape[-1], first.obs_spec.shape[-1])
        _require_same("share_obs_dim", env.share_obs_spec.shape[-1], first.share_obs_spec.shape[-1])


def _require_same(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise ConfigError(f"the groups of envs differ in {what}", got=str(got), expected=str(expected))
