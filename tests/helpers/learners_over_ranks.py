"""Learners that train on a made-up world, as one process or as one of several ranks, and an oracle's minibatches."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, Dict, Iterator, List, Optional
from unittest import mock

import torch

from mapush.config import HappoConfig
from mapush.device.cuda_graphs import Captured
from mapush.distributed.rank_states import on_cpu
from mapush.distributed.ranks import ALONE, Ranks
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout

NUM_STEPS, NUM_ENVS = 6, 4  # of one rank
OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 8, 11, 3
ITERATIONS = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
      num_agents: agents in a team.
      cfg: settings of the learner.
      inactive: whether agents leave episodes, more often on the last ranks, and one of them always on rank 0.
    """

    num_agents: int
    cfg: HappoConfig
    inactive: bool = True


@dataclasses.dataclass
class Trained:
    """What came out.

    Attributes:
      agent: the learner's state.
      metrics: of each iteration.
      actions: stored in the last rollout, (T, E, A, K).
    """

    agent: Dict[str, Any]
    metrics: List[Dict[str, float]]
    actions: torch.Tensor


def train_case(ranks: Ranks, case: Case) -> Trained:
    """Train as one of several ranks, on this rank's rows of the world."""
    return _train(ranks, case, ranks.size, ranks.rows(NUM_ENVS))


def train_alone(case: Case, size: int, device: str = "cpu") -> Trained:
    """Train as one process on the envs of `size` ranks; its minibatches are divided as theirs."""
    if case.cfg.actor_num_mini_batch == 1:
        return _train(ALONE, case, size, slice(None), device)
    with mock.patch.object(update, "minibatches", _MinibatchesOfRanks(size)):
        return _train(ALONE, case, size, slice(None), device)


def train_alone_in(ranks: Ranks, case: Case, size: int) -> Trained:
    """Train as one process on the device of the only rank of a job."""
    assert ranks.device is not None
    return train_alone(case, size, ranks.device)


def reduce_and_capture(ranks: Ranks, times: int) -> List[float]:
    """Add up over the ranks, and at once record a CUDA graph that does so, again and again; return what they give."""
    found: List[float] = []
    for number in range(1, times + 1):
        values = torch.full((1000,), float(number), device=ranks.device)
        ranks.sum_(values)
        recorded = Captured(functools.partial(_doubled_sum, ranks), warmups=0, before_capture=ranks.before_capture)
        found += [float(recorded(values).mean()), float(recorded(values + 1.0).mean())]
    return found


def _doubled_sum(ranks: Ranks, values: torch.Tensor) -> torch.Tensor:
    doubled = 2.0 * values
    ranks.sum_(doubled)
    return doubled


def _train(ranks: Ranks, case: Case, size: int, rows: slice, place: str = "cpu") -> Trained:
    sizes = dict(num_agents=case.num_agents, obs_dim=OBS_DIM, share_obs_dim=SHARE_OBS_DIM, action_dim=ACTION_DIM)
    device = torch.device(ranks.device or place)
    learner = Happo(case.cfg, device=device, seed=3, ranks=ranks, **sizes)
    world = torch.Generator().manual_seed(5)
    num_envs = size * NUM_ENVS
    rollout = Rollout(NUM_STEPS, len(range(num_envs)[rows]), device=device, **sizes)
    metrics = []

    def draw(*shape: int) -> torch.Tensor:
        """Draw for all envs, and return the rows of this learner."""
        return torch.randn((num_envs,) + shape, generator=world)[rows].to(device)

    rollout.start(draw(case.num_agents, OBS_DIM), draw(SHARE_OBS_DIM))
    for iteration in range(ITERATIONS):
        for step in range(NUM_STEPS):
            decision = learner.act(rollout.obs[step], rollout.share_obs[step])
            cost = (decision.action - draw(1, ACTION_DIM)) ** 2
            ends = draw(2)
            active: Optional[torch.Tensor] = None
            if case.inactive:
                active = _active(draw(case.num_agents).cpu(), range(num_envs)[rows], num_envs)
            rollout.insert(
                decision,
                -cost.mean(dim=(1, 2)).unsqueeze(1),
                ends[:, 0] > 1.0,
                ends[:, 1] > 1.0,
                draw(case.num_agents, OBS_DIM),
                draw(SHARE_OBS_DIM),
                active,
            )
        learner.set_progress(iteration / ITERATIONS)
        actions = rollout.actions.cpu()
        metrics.append(learner.update(rollout))
        rollout.finish()
    return Trained(copy.deepcopy(on_cpu(learner.state_dict())), metrics, actions)


def _active(noise: torch.Tensor, env_ids: range, num_envs: int) -> torch.Tensor:
    """Return active masks (E, A): rarer in later envs; the last agent is never active in the envs of rank 0."""
    level = torch.tensor([env_id / num_envs - 1.0 for env_id in env_ids]).unsqueeze(1)
    active = (noise > level).float()
    for row, env_id in enumerate(env_ids):
        if env_id < NUM_ENVS:
            active[row, -1] = 0.0
    return active


class _MinibatchesOfRanks:
    """Replaces `update.minibatches` in one process that has the envs of several ranks.

    One draw permutes the samples of all ranks, numbered by rank, then step, then env. Minibatch i has the i-th part of
    each rank's samples, in the order in which the permutation comes to them.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, batch: Any, count: int, generator: torch.Generator, ranks: Ranks) -> Iterator[Any]:
        """Yield the minibatches."""
        samples = NUM_STEPS * NUM_ENVS
        visited: List[List[int]] = [[] for _ in range(self._size)]
        for number in _permutation(self._size * samples, generator):
            rank, sample = divmod(number, samples)
            step, env_id = divmod(sample, NUM_ENVS)
            visited[rank].append(step * self._size * NUM_ENVS + rank * NUM_ENVS + env_id)
        part = samples // count
        for index in range(count):
            rows: List[int] = []
            for of_rank in visited:
                rows += of_rank[index * part : (index + 1) * part]
            arrays = [array[rows] for array in batch]
            yield type(batch)(*arrays)


def _permutation(count: int, generator: torch.Generator) -> List[int]:
    return torch.randperm(count, generator=generator, device=generator.device).tolist()
