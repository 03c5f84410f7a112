"""What the ranks of a job do for the contracts of several ranks, and what they report; each takes its `Ranks` first."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from unittest import mock

import torch

from harness.stack.rank_world import ENVS_OF_A_RANK, rows_of_world, seeded_world, world_config
from harness.stack.remembered import memory_of
from harness.stack.stack_under_test import ACTION_DIM, OBS_DIM, SHARE_OBS_DIM, small_happo
from mapush.config import RunConfig
from mapush.distributed.rank_states import gathered, scattered
from mapush.distributed.ranks import ALONE, Ranks
from mapush.errors import MapushError
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.train import Run, train

ITERATIONS = 2
LOGGED_ITERATIONS = 40
COUNTED_FROM = 15
"""Iterations of a run whose memory is counted, and after how many of them the counting begins."""

Memory = Dict[str, Any]


def start(ranks: Ranks, seed: int, rows: bool = False) -> Run:
    """Start a run in the light world.

    Args:
      ranks: this process among the others.
      seed: seed of the run.
      rows: have the envs of one process, shared out; otherwise each rank draws its own starts.
    """
    make_env: Any = seeded_world
    if rows:
        make_env = functools.partial(rows_of_world, ranks)
    return Run.start(config_of(ranks, seed), make_env, ranks)


def config_of(ranks: Ranks, seed: int, iterations: int = ITERATIONS) -> RunConfig:
    """Return the configuration of these runs."""
    return world_config(ranks.size * ENVS_OF_A_RANK, iterations, seed)


# -- learning ----------------------------------------------------------------------------------------------------------


def replicas(ranks: Ranks, seed: int) -> List[Memory]:
    """Return the learner's state after the start, and after each iteration."""
    run = start(ranks, seed)
    states = [memory_of(run.agent.state_dict())]
    for _ in range(ITERATIONS):
        run.iterate()
        states.append(memory_of(run.agent.state_dict()))
    return states


def statistics(ranks: Ranks, size: int, seed: int) -> Tuple[List[Dict[str, float]], Dict[str, torch.Tensor]]:
    """Learn from unequal samples; return the metrics of each update, and the learner's tensors afterwards.

    Args:
      ranks: this process among `size` others, or the only one, with the samples of all.
      size: number of ranks that share the samples.
      seed: seed of samples and learner.
    """
    learner = happo(ranks, num_agents=2, seed=seed)
    rows = slice(None)
    if ranks.size > 1:
        rows = ranks.rows(ENVS_OF_A_RANK)
    metrics = []
    for iteration in range(ITERATIONS):
        rollout = unequal_rollout(learner, size * ENVS_OF_A_RANK, rows, seed + iteration)
        metrics.append(learner.update(rollout))
    state = learner.state_dict()
    tensors: Dict[str, torch.Tensor] = {}
    for name in ("value_norm", "critic"):
        for part, tensor in state[name].items():
            tensors[f"{name}.{part}"] = tensor
    for agent, actor in enumerate(state["actors"]):
        for part, tensor in actor.items():
            tensors[f"actors.{agent}.{part}"] = tensor
    return metrics, tensors


def orders(ranks: Ranks, seed: int) -> List[List[int]]:
    """Return the order in which the agents are updated, in several updates of a team of four."""
    learner = happo(ranks, num_agents=4, seed=seed)
    rollout = unequal_rollout(learner, ranks.size * ENVS_OF_A_RANK, ranks.rows(ENVS_OF_A_RANK), seed)
    updated: List[int] = []
    original = Happo._update_actor

    def note(agent: Any, index: int, *rest: Any) -> Any:
        updated.append(index)
        return original(agent, index, *rest)

    found = []
    with mock.patch.object(Happo, "_update_actor", note):
        for _ in range(3):
            updated.clear()
            learner.update(rollout)
            found.append(list(updated))
    return found


def happo(ranks: Ranks, num_agents: int, seed: int, **changes: Any) -> Happo:
    """Return a learner of a small team."""
    return Happo(
        small_happo(**changes),
        num_agents=num_agents,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        device=torch.device("cpu"),
        seed=seed,
        ranks=ranks,
    )


def unequal_rollout(learner: Happo, num_envs: int, rows: slice, seed: int) -> Rollout:
    """Return a filled rollout of some of the envs; the later an env, the larger its rewards and the fewer its agents.

    Args:
      learner: whose policies have acted, roughly.
      num_envs: envs of all ranks.
      rows: the envs of this rank.
      seed: seed of the samples of all envs.
    """
    random = torch.Generator().manual_seed(seed)
    sizes = {
        "num_agents": len(learner.actors),
        "obs_dim": OBS_DIM,
        "share_obs_dim": SHARE_OBS_DIM,
        "action_dim": ACTION_DIM,
    }
    complete = Rollout(5, num_envs, device=torch.device("cpu"), **sizes)
    for name in ("obs", "share_obs", "actions", "rewards"):
        array = getattr(complete, name)
        array.copy_(torch.randn(array.shape, generator=random))
    place = torch.arange(num_envs).view(1, num_envs, 1) / num_envs
    complete.rewards.mul_(1.0 + 3.0 * place).add_(place)
    active = complete.active_masks
    active.copy_(torch.rand(active.shape, generator=random) >= 0.5 * place.unsqueeze(-1))
    rollout = Rollout(5, len(range(num_envs)[rows]), device=torch.device("cpu"), **sizes)
    for name in ("obs", "share_obs", "actions", "rewards", "active_masks"):
        getattr(rollout, name).copy_(getattr(complete, name)[:, rows])
    with torch.no_grad():
        for step in range(rollout.num_steps):
            rollout.values[step] = learner.value(rollout.share_obs[step])
            for agent, one in enumerate(learner.actors):
                obs, actions = rollout.obs[step, :, agent], rollout.actions[step, :, agent]
                rollout.log_probs[step, :, agent] = one.log_prob(obs, actions)
    rollout.step = rollout.num_steps
    return rollout


class SilentRanks(Ranks):
    """A rank that notes what it would add up, and communicates with nobody.

    Attributes:
      sums: the sizes of the tensors of each sum.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self.sums: List[Tuple[int, ...]] = []

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Note a sum, and add 1, for what the others might have sent."""
        self.sums.append(tuple(tensor.numel() for tensor in tensors))
        with torch.no_grad():
            for tensor in tensors:
                tensor.add_(1.0)


# -- random numbers ----------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """What a rank draws.

    Attributes:
      starts: first observations of its envs, (E, A, obs_dim).
      noise: of its first actions, in standard deviations, (E, A, action_dim).
      order: its samples in the order of their minibatches.
      generator: state of the learner's generator afterwards.
    """

    starts: torch.Tensor
    noise: torch.Tensor
    order: List[int]
    generator: torch.Tensor


def drawn(ranks: Ranks, seed: int) -> Drawn:
    """Draw starts, actions and minibatches."""
    run = start(ranks, seed)
    obs, agent = run.rollout.obs[0], run.agent
    decision = agent.act(obs, run.rollout.share_obs[0])
    stds = torch.stack([actor.std.detach() for actor in agent.actors])
    noise = (decision.action - agent.act_deterministic(obs)) / stds
    samples = torch.arange(24).view(24, 1)
    order: List[int] = []
    for part in update.minibatches(update.CriticBatch(samples, samples, samples), 3, agent.generator, ranks):
        order += part.values.flatten().tolist()
    return Drawn(obs.clone(), noise, order, agent.generator.get_state())


# -- files and memory --------------------------------------------------------------------------------------------------


def written(ranks: Ranks, folder: str, seed: int) -> List[str]:
    """Train in a folder, and return what this rank has written below it: opened to write, made, renamed or removed."""
    noted: List[str] = []
    with _writes_noted(Path(folder), noted), _nothing_printed():
        train(config_of(ranks, seed), Path(folder) / "run", make_env=seeded_world, ranks=ranks)
    return noted


_observers: List[Any] = []


def _audit(event: str, args: Tuple[Any, ...]) -> None:
    for observer in _observers:
        observer(event, args)


@contextlib.contextmanager
def _writes_noted(folder: Path, noted: List[str]) -> Iterator[None]:
    """Note the paths below a folder that this process writes to; the hook stays, because Python cannot remove it."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def observe(event: str, args: Tuple[Any, ...]) -> None:
        changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if event == "open":
            changes = bool(args[2] & writing)
        if changes and str(args[0]).startswith(str(folder)):
            noted.append(os.path.relpath(str(args[0]), str(folder)))

    if not hasattr(_audit, "installed"):
        sys.addaudithook(_audit)
        _audit.installed = True  # type: ignore[attr-defined]
    _observers.append(observe)
    try:
        yield
    finally:
        _observers.remove(observe)


def blocks_kept(ranks: Ranks, folder: str, seed: int) -> int:
    """Train and log many short iterations; return by how many blocks Python's memory has grown meanwhile."""
    counted: List[int] = []
    iterations: List[int] = []

    def counting_world(config: RunConfig) -> Any:
        world: Any = seeded_world(config)
        check = world.check

        def check_and_count() -> Any:
            iterations.append(1)
            if len(iterations) in (COUNTED_FROM, LOGGED_ITERATIONS):
                gc.collect()
                counted.append(sys.getallocatedblocks())
            return check()

        world.check = check_and_count
        return world

    config = world_config(2 * ranks.size, LOGGED_ITERATIONS, seed, num_steps=2)
    with _nothing_printed():
        train(config, Path(folder) / "long", make_env=counting_world, ranks=ranks)
    return counted[1] - counted[0]


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# -- checkpoints and the comparison of replicas ------------------------------------------------------------------------


class Resumed(NamedTuple):
    """A run that went on, and one that was resumed from its checkpoint.

    Attributes:
      saved: what the run was when it was saved.
      restored: what the second run was when it was restored.
      expected: what the run was an iteration later.
      got: what the second run was an iteration later.
    """

    saved: Memory
    restored: Memory
    expected: Memory
    got: Memory


def resumed(ranks: Ranks, folder: str, seed: int) -> Resumed:
    """Save in the middle of a rollout, go on, and compare with a second run that is resumed from the file."""
    run = start(ranks, seed)
    run.iterate()
    run.advance()
    run.advance()
    path = Path(folder) / "ranks.pt"
    complete = gathered(run.snapshot(), ranks)
    if ranks.is_main:
        checkpoints.save(complete, path)
    saved = _memory_of_run(run)
    run.iterate()
    other = start(ranks, seed)
    other.iterate()  # in a run that has trained, nothing is right only because it is new
    loaded: Optional[Checkpoint] = None
    if ranks.is_main:
        loaded = checkpoints.load(path)
    part, _ = scattered(loaded, ranks)
    other.restore(part, path)
    restored = _memory_of_run(other)
    other.iterate()
    return Resumed(saved, restored, _memory_of_run(run), _memory_of_run(other))


def _memory_of_run(run: Run) -> Memory:
    return memory_of({"learner": run.agent.state_dict(), "env": run.env.state_dict(), "step": run.step})


CHANGES = ("one bit of a weight", "two weights exchanged", "the learning rate", "a number drawn")


def check_of_changed_replica(ranks: Ranks, change: str, seed: int) -> str:
    """Change the replica of the last rank, compare, and return the first line of the error, or ""."""
    run = start(ranks, seed)
    run.iterate()
    if ranks.rank == ranks.size - 1:
        _change(run.agent, change)
    try:
        run.require_equal_replicas()
    except MapushError as error:
        return error.what
    return ""


def _change(agent: Happo, change: str) -> None:
    weight = agent.critic.v_out.weight.data
    if change == "one bit of a weight":
        weight[0, 0] = torch.nextafter(weight[0, 0], weight[0, 0] + 1.0)
    elif change == "two weights exchanged":
        weight[0, :2] = weight[0, :2].flip(0)
    elif change == "the learning rate":
        agent._critic_optimizer.decay(0.5)
    else:
        torch.rand(1, generator=agent.generator)


def alone(size: int, seed: int) -> Tuple[List[Dict[str, float]], Dict[str, torch.Tensor]]:
    """Return what one process learns from the samples of `size` ranks; see `statistics`."""
    return statistics(ALONE, size, seed)
