"""Bugs of several ranks, most of them of public stacks; with one rank, none of them changes anything."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List

from harness.faults.plant import changed, planted, replaced, replaces

_KEPT_ROWS: List[Any] = []

# -- replicas that drift apart -----------------------------------------------------------------------------------------


@replaces("mapush.train:Run.start", "ranks", "rank-replicas", "rsl_rl PR 180", says="the replicas differ at the start")
def broadcast_off_by_one_actor(original: Any, kind: Any, config: Any, *args: Any) -> Any:
    """The weights that rank 0 sends at the start are loaded into the next actor, whose shapes are the same."""
    run = original(kind, config, *args)
    weights = run.ranks.share([actor.state_dict() for actor in run.agent.actors])
    if not run.ranks.is_main:
        run.agent.load_actors(weights[-1:] + weights[:-1])
    return run


@replaces("mapush.happo.happo:Happo.update", "ranks", "rank-replicas", "rl_games PR 355", says="actor_optimizers")
def rank_local_rate(original: Any, agent: Any, rollout: Any) -> Dict[str, float]:
    """Each rank lowers its learning rate by the divergence of its own samples."""
    from mapush.happo import update

    of_own_samples: List[float] = []

    def measure(policy_change: Any, log_ratio: Any, weight: Any, cfg: Any, ranks: Any) -> Any:
        of_own_samples.append(float(policy_change(log_ratio, weight, cfg)[0]))
        return policy_change(log_ratio, weight, cfg, ranks)

    with replaced(update, "policy_change", measure):
        metrics: Dict[str, float] = original(agent, rollout)
    if agent.ranks.size > 1:
        for optimizer in agent._actor_optimizers:
            optimizer.decay(1.0 / (1.0 + of_own_samples[-1]))
    return metrics


@replaces(
    "mapush.happo.value_norm:ValueNorm.update",
    "ranks",
    ("rank-statistics", "rank-replicas"),
    "rl_games PR 363, mjlab 1.6",
    says=("value_norm.running_mean", "value_norm.running_mean"),
)
def value_norm_per_rank(original: Any, norm: Any, returns: Any, *_: Any) -> None:
    """Each rank normalises values by the returns of its own envs."""
    original(norm, returns)


@replaces("mapush.happo.happo:Happo._agent_order", "ranks", "rank-order", says="in different orders")
def agent_order_differs_by_rank(original: Any, agent: Any) -> List[int]:
    """Each rank updates the agents in another order, so that the factor is that of other policies."""
    order: List[int] = original(agent)
    first = agent.ranks.rank % len(order)
    return order[first:] + order[:first]


@replaces(
    "mapush.distributed.replica_check:_sums",
    "ranks",
    "rank-replica-check",
    says="does not notice two weights exchanged",
)
def replicas_compared_by_sums(original: Any, tensors: Any) -> List[int]:
    """The replica check adds up the bits of a tensor, a sum that an exchange of two numbers does not change."""
    sums = []
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        if flat.dtype.is_floating_point:
            flat = flat.view({2: _integer(16), 4: _integer(32), 8: _integer(64)}[flat.element_size()])
        sums.append(int(flat.long().sum()))
    return sums


def _integer(bits: int) -> Any:
    import torch

    return getattr(torch, f"int{bits}")


# -- random numbers, minibatches, devices ------------------------------------------------------------------------------


@replaces("mapush.distributed.shares:env_seed", "ranks", "rank-streams", "common", says="begin in the same states")
def ranks_share_a_seed(original: Any, seed: int, rank: int) -> int:
    """The envs of every rank are seeded alike."""
    return seed


@replaces("mapush.happo.networks:Actor.sample", "ranks", "rank-streams", "common", says="draw the same noise")
def ranks_share_their_noise(original: Any, actor: Any, obs: Any, generator: Any, ranks: Any) -> Any:
    """Every rank acts with the noise of rank 0."""
    with changed(ranks, "rank", 0):
        return original(actor, obs, generator, ranks)


@replaces("mapush.happo.update:minibatches", "ranks", "rank-collectives", "ray 63819", says="add up different tensors")
def minibatches_differ_by_rank(original: Any, batch: Any, count: int, generator: Any, ranks: Any) -> Iterator[Any]:
    """A rank makes only as many minibatches as its active samples fill."""
    weight = getattr(batch, "weight", None)
    filled = count
    if weight is not None and ranks.size > 1:
        filled = max(1, int(count * float(weight.mean())))
    for index, minibatch in enumerate(original(batch, count, generator, ranks)):
        if index < filled:
            yield minibatch


@replaces(
    "mapush.assembly:make_agent",
    "ranks",
    "rank-devices",
    "rl_games PR 362, IsaacGymEnvs 129",
    says="two ranks share a device",
)
def ranks_share_a_device(original: Any, config: Any, sizes: Any, *args: Any, ranks: Any) -> Any:
    """Every rank computes on the device that the configuration names: a bare "cuda" is GPU 0."""
    with changed(ranks, "device", None):
        return original(config, sizes, *args, ranks=ranks)


# -- files and memory --------------------------------------------------------------------------------------------------


@replaces("mapush.train:_save", "ranks", "rank-writes", "common", says="a rank other than 0 writes")
def save_by_every_rank(original: Any, run: Any, folder: Any, *args: Any) -> None:
    """Every rank writes the checkpoint, one after the other, so that it is at least complete."""
    from mapush.run import checkpoint as checkpoints

    original(run, folder, *args)
    run.ranks.barrier()
    if not run.ranks.is_main:
        checkpoints.save(run.snapshot(), checkpoints.path_of(folder, run.step))
    run.ranks.barrier()


@replaces("mapush.train:job_report", "ranks", "rank-memory", "rsl_rl PR 179", says="grows with the log")
def rank_keeps_log_rows(original: Any, ranks: Any, metrics: Any, health: Any) -> Any:
    """The rows of the log are collected on every rank, and emptied on rank 0 only."""
    report, fullest = original(ranks, metrics, health)
    _KEPT_ROWS.append([float(number) for number in range(60)])  # names and numbers of a row
    if ranks.is_main:
        _KEPT_ROWS.clear()
    return report, fullest


@replaces(
    "mapush.happo.happo:Happo.load_state_dict",
    "ranks",
    "rank-checkpoint",
    "rl_games PR 363",
    says="value_norm.debiasing_term",
)
def value_norm_count_times_ranks(original: Any, agent: Any, state: Dict[str, Any]) -> None:
    """After a resume the weight of the value normaliser is added up over the ranks."""
    original(agent, state)
    if agent.ranks.size > 1:
        agent.ranks.sum_(agent.value_norm.debiasing_term)


@planted("ranks", "rank-checkpoint", says="env.")
def checkpoint_of_rank_0_only(_: int = 1) -> Iterator[None]:
    """A checkpoint holds the envs of rank 0, with which every rank continues."""
    from mapush.distributed.ranks import Ranks

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(Ranks, "scatter", lambda original, ranks, values: ranks.share(values)[0]))
        yield
