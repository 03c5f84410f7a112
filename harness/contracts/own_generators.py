"""Whether envs draw their starts from generators of their own, as the environment promises.

An env that takes the same actions in two runs starts elsewhere if others have ended at different times. Usually all
envs then draw from one random generator. Simulators on a GPU do so, and it is legal: the same seed and actions still
give the same run. Then a note says what cannot be repeated. It is a finding only where each env is promised a generator
of its own:

- the user states it: `Task(own_generators=True)`;
- the environment keeps a list of as many generators as envs;
- the factory takes a list of seeds, or `reset` of the environment does, as gymnasium's SyncVectorEnv.

A start may also depend on what the others did for a different reason, such as a level that all envs share. So the step
is played again in both runs, with all generators in the same state: a start that is then the same was drawn.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, List, NamedTuple, Optional

import numpy as np

from harness.apis.env_view import EnvView
from harness.contracts.comparison import Bystanders
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.reseeding import seed_alike
from harness.findings import ContractError
from harness.interface.far_env import of_env
from harness.interface.player import Seen
from harness.object_graph import list_of_generators

SEEDS = ("seeds", "env_seeds")  # names of a parameter that is a list of seeds
LISTS = ("list", "sequence", "iterable", "tuple")  # in the annotation of a parameter called seed
OTHER_SEED = 6043
SHARED = (
    "one random generator for all envs, it seems: where an env starts depends on when the others end. A run repeats "
    "with the same seed only if all envs take the same actions and their number is the same; a single env never does"
)


class RedrawnStart(NamedTuple):
    """A start that differs between two runs in which its env took the same actions.

    Attributes:
      step: the step with the start.
      env: its env.
      original: actions of the one run up to that step, (N, A, K) each.
      disturbed: actions of the other run.
      is_comparable: whether the same envs ended in that step of both runs.
    """

    step: int
    env: int
    original: List[np.ndarray]
    disturbed: List[np.ndarray]
    is_comparable: bool


def redrawn_start(bystanders: Bystanders, original: List[Seen], seen: List[Seen]) -> Optional[RedrawnStart]:
    """Return the start that the latest step of a disturbed run shows elsewhere than the original one, or None."""
    if not bystanders.moved.any():
        return None
    step = len(seen) - 1
    return RedrawnStart(
        step,
        int(np.flatnonzero(bystanders.moved)[0]),
        [one.actions for one in original[1 : step + 1]],
        [one.actions for one in seen[1:]],
        np.array_equal(original[step].ended, seen[step].ended),
    )


def better_start(known: Optional[RedrawnStart], new: Optional[RedrawnStart]) -> Optional[RedrawnStart]:
    """Return the first of two starts that can be compared, or else the first one."""
    if new is None or (known is not None and (known.is_comparable or not new.is_comparable)):
        return known
    return new


def judge_redrawn_start(subject: EnvUnderTest, redrawn: RedrawnStart) -> None:
    """Raise if the environment promises each env a generator; else let a note say that all share one."""
    promise = subject.once(promised_generators)
    if promise is None:
        note_shared_generator(subject)
        return
    if not redrawn.is_comparable or not _is_drawn(subject, redrawn):
        return
    raise ContractError(
        "starts of an env depend on when others end",
        step=redrawn.step,
        where=f"env {redrawn.env}, at the start after step {redrawn.step}",
        got="a different start after the same actions in this env; the same one if all generators have the same state",
        expected=f"the same start, as {promise}",
        cause="the env draws from a generator that others use, too",
        fix="draw from the generator with the env's own index, also at resets within a step",
    )


def note_shared_generator(subject: EnvUnderTest) -> None:
    """Let the report say that all envs draw from one generator, once."""
    if SHARED not in subject.notes:
        subject.notes.append(SHARED)


def _is_drawn(subject: EnvUnderTest, redrawn: RedrawnStart) -> bool:
    """Return whether the start is the same in both runs if all generators have the same state before its step."""
    starts = []
    for actions in (redrawn.original, redrawn.disturbed):
        player = subject.player(watch=False)
        try:
            for one in actions[:-1]:
                player.step(one)
            of_env(player.env, seed_alike, OTHER_SEED)
            starts.append(player.step(actions[-1]).obs[redrawn.env])
        finally:
            close_quietly(player.env)
    return np.array_equal(starts[0], starts[1])


def promised_generators(subject: EnvUnderTest) -> Optional[str]:
    """Return in words who says that each env has a generator of its own; None if nobody does."""
    if getattr(subject.task, "own_generators", False):
        return "Task(own_generators=True) says"
    if _takes_seeds(subject.make_env):
        return "the factory takes a seed for each env"
    env = subject.build()
    try:
        promise: Optional[str] = of_env(env, _promise_of, subject.sizes.num_envs)
    finally:
        close_quietly(env)
    return promise


def _promise_of(env: Any, num_envs: int) -> Optional[str]:
    """Return in words what promises each env of an environment a generator of its own, or None."""
    if isinstance(env, EnvView):
        env = env.env
    path = list_of_generators(env, num_envs)
    if path is not None:
        return f"{path} holds a generator for each env"
    reset = getattr(type(env), "reset", None)
    is_inherited = getattr(reset, "__qualname__", "").startswith("VectorEnv.")
    if reset is not None and not is_inherited and _takes_seeds(reset):
        return "reset takes a seed for each env"
    return None


def _takes_seeds(function: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter for a list of seeds, by its name or its annotation."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    if set(SEEDS) & set(parameters):
        return True
    annotation = str(getattr(parameters.get("seed"), "annotation", "")).lower()
    return any(word in annotation for word in LISTS)
