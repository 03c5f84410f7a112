"""Bugs of the checkpoint: what is not saved, and what is saved and not restored."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Dict, Iterator, List

from harness.faults.plant import planted, replaced, replaces

HAPPO_LOAD = "mapush.happo.happo:Happo.load_state_dict"

# -- what is not saved -------------------------------------------------------------------------------------------------


@planted(
    "checkpoint",
    "checkpoint-complete",
    "HARL saves only weights",
    says="the checkpoint lacks the actors' optimisers",
)
def checkpoint_without_optimizer(_: int = 1) -> Iterator[None]:
    """A checkpoint does not contain the moments of Adam."""
    with _saves_without(["actor_optimizers", "critic_optimizer"]):
        yield


@planted("checkpoint", "checkpoint-complete", "HARL on a GPU: the value normaliser's state is empty")
def checkpoint_without_value_norm(_: int = 1) -> Iterator[None]:
    """A checkpoint does not contain the statistics of the value normaliser."""
    with _saves_without(["value_norm"]):
        yield


@planted("checkpoint", "checkpoint-complete")
def checkpoint_without_generator(_: int = 1) -> Iterator[None]:
    """A checkpoint does not contain the state of the random numbers."""
    with _saves_without(["generator"]):
        yield


@replaces(
    "mapush.run.checkpoint:save",
    "checkpoint",
    "checkpoint-restores",
    says="the file does not hold what was saved",
)
def checkpoint_in_half_precision(original: Any, checkpoint: Any, path: Any) -> Any:
    """The critic is saved in half precision."""
    critic = {name: value.half().float() for name, value in checkpoint.agent["critic"].items()}
    return original(dataclasses.replace(checkpoint, agent=dict(checkpoint.agent, critic=critic)), path)


@contextlib.contextmanager
def _saves_without(names: List[str]) -> Iterator[None]:
    """Leave the learner's `names` out of what is saved; a load that lacks them keeps what the learner has."""
    from mapush.happo.happo import Happo

    complete_state = Happo.state_dict

    def save(original: Any, agent: Any) -> Dict[str, Any]:
        state = original(agent)
        for name in names:
            del state[name]
        return state

    def load(original: Any, agent: Any, state: Dict[str, Any]) -> None:
        original(agent, dict(complete_state(agent), **state))

    with replaced(Happo, "state_dict", save), replaced(Happo, "load_state_dict", load):
        yield


# -- what is not restored ----------------------------------------------------------------------------------------------


@replaces(
    "mapush.happo.optimizer:Optimizer.load_state_dict",
    "checkpoint",
    ("checkpoint-restores", "checkpoint-complete"),
    "public reports: a resumed run starts again from Adam's first step",
    says=("has forgotten the actors' optimisers", "the checkpoint lacks the actors' optimisers"),
)
def resume_forgets_optimizer(original: Any, optimizer: Any, state: Any) -> None:
    """The optimisers' moments are saved and not restored."""


@replaces(
    "mapush.happo.value_norm:ValueNorm.load_state_dict",
    "checkpoint",
    ("checkpoint-restores", "checkpoint-complete"),
    "public reports: resume loses the normaliser",
    says=("has forgotten the value normaliser", "the checkpoint lacks the value normaliser"),
)
def resume_forgets_value_norm(original: Any, norm: Any, *args: Any) -> None:
    """The value normaliser's statistics are saved and not restored."""


@planted("checkpoint", "checkpoint-restores")
def resume_forgets_environment(_: int = 1) -> Iterator[None]:
    """A resumed run starts new episodes instead of continuing those that were under way."""
    from mapush.env.push import PushEnv
    from mapush.env.walk import WalkEnv

    with replaced(PushEnv, "load_state_dict", _do_nothing), replaced(WalkEnv, "load_state_dict", _do_nothing):
        yield


@replaces(HAPPO_LOAD, "checkpoint", "checkpoint-restores")
def resume_swaps_actors(original: Any, agent: Any, state: Dict[str, Any]) -> None:
    """The weights of the agents come back in the wrong order."""
    original(agent, dict(state, actors=state["actors"][::-1]))


@replaces(HAPPO_LOAD, "checkpoint", "checkpoint-complete", says="the learner's random generator")
def resume_forgets_generator(original: Any, agent: Any, state: Dict[str, Any]) -> None:
    """A resumed run goes on with the random numbers of a new one."""
    generator = agent.generator.get_state()
    original(agent, state)
    agent.generator.set_state(generator)


@replaces(
    "mapush.env.metrics:EpisodeMetrics.load_state_dict",
    "checkpoint",
    "checkpoint-complete",
    says="lacks the episode statistics",
)
def resume_forgets_statistics(original: Any, metrics: Any, state: Any) -> None:
    """The episode statistics are saved and not restored."""


@replaces(
    "mapush.sim.simulator:Simulator.load_state_dict",
    "checkpoint",
    "checkpoint-complete",
    says="lacks the memory of the walking policy",
)
def resume_forgets_walking(original: Any, simulator: Any, state: Dict[str, Any]) -> None:
    """The memory of the walking policy begins with zeros after a resume."""
    original(simulator, dict(state, memory=state["memory"].clone().zero_()))


@replaces(
    "mapush.happo.rollout:Rollout.load_state_dict",
    "checkpoint",
    "checkpoint-complete",
    says="lacks the rollout in progress",
)
def resume_forgets_time_limits(original: Any, rollout: Any, state: Dict[str, Any]) -> None:
    """The rollout in progress comes back without its time limits."""
    filled = dict(state["filled"])
    filled.pop("bad_masks", None)
    original(rollout, dict(state, filled=filled))


def _do_nothing(original: Any, *args: Any) -> None:
    pass
