"""Contracts of checkpoints: whatever changes in training is saved, and a resumed run gets back what was saved."""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import torch

from harness.findings import ContractError
from harness.stack.remembered import arrays_of, memory_of
from harness.stack.stack_under_test import StackUnderTest
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.train import Run

DECISIONS = 3  # into a rollout at the time of the checkpoint
MAX_PATHS = 3  # that a finding lists

MEANINGS = {
    "._lr": "the learning rate",
    "critic_optimizer._adam": "the critic's optimiser",
    "_adam": "the actors' optimisers",
    "agent._critic_optimizer": "the critic's weights",
    "agent._actor_optimizers": "the actors' weights",
    "critic_optimizer": "the critic's optimiser",
    "optimizer": "the actors' optimisers",
    "value_norm": "the value normaliser",
    "agent.generator": "the learner's random generator",
    "generator": "the environment's random generator",
    "metrics": "the episode statistics",
    "walking": "the memory of the walking policy",
    "_memory": "the memory of the walking policy",
    "simulator.memory": "the memory of the walking policy",
    "physics": "the state of the physics",
    "env.": "the state of the environment",
    "rollout": "the rollout in progress",
    "critic": "the critic's weights",
    "actors": "the actors' weights",
    "iteration": "the count of iterations",
    "step": "the count of env steps",
}
"""What a path means to a person, by a part of the path; the first part that occurs in it counts."""

_NOT_RESUMED = ("recorder.",)
"""Paths of what a run keeps only to explain a failure; a resumed run goes on without it."""


def checkpoint_complete(stack: StackUnderTest) -> None:
    """Everything that changes during training is in the checkpoint: weights, moments, generators, env, rollout.

    A run trains, and all values below it that change are listed, by path. Then it is saved in the middle of a rollout,
    through a file, and restored into a new run. Each value that changed must be the same there, bit for bit. Of the
    rollout, only the filled rows count.
    """
    with stack.run() as run:
        run.iterate()
        before = _memory(run)
        run.iterate()
        _advance(run)
        _make_rows_distinct(run.rollout)
        after, rows = _memory(run), _filled_rows(run.rollout)
        saved = _through_file(run.snapshot())
    with stack.run() as fresh:
        _restore(fresh, saved, Path("checkpoint"))
        restored, restored_rows = _memory(fresh), _filled_rows(fresh.rollout)
    changed = [path for path in after if before.get(path) != after[path]]
    compared_by_row = {f"rollout.{name}" for name in rows}
    lost = []
    for path in changed:
        if path not in compared_by_row and restored.get(path) != after[path]:
            lost.append(path)
    for name in rows:
        if not torch.equal(rows[name], restored_rows[name]):
            lost.append(f"rollout.{name}")
    if lost:
        raise ContractError(
            f"the checkpoint lacks {_main_meaning(lost)}",
            where=_some(lost),
            got=f"a resumed run has different values of {len(lost)} of the {len(changed)} things that training changed",
            expected="the values at the time of the checkpoint",
            cause="state_dict leaves it out, or load_state_dict does not restore it",
            fix="add it to both",
        )


def checkpoint_restores(stack: StackUnderTest) -> None:
    """A run that is saved in the middle of a rollout and resumed by a second run continues bit for bit.

    Both the snapshot and the file must hold what the run was at the time of saving, whatever training does later. A
    second run, which has already trained, is restored from the file; after one iteration, its losses and everything it
    remembers must be those of the first run after one iteration.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        with stack.run() as run:
            run.iterate()
            run.iterate()
            _advance(run)
            snapshot = run.snapshot()
            kept, at_save = _contents(snapshot), _memory(run)
            checkpoints.save(snapshot, path)
            losses = run.iterate()
            expected = _memory(run)
        what = "a checkpoint that was taken changes while training goes on"
        _require_same(kept, _contents(snapshot), what, "snapshot")
        saved = checkpoints.load(path)
        _require_same(kept, _contents(saved), "the file does not hold what was saved", "load(save(checkpoint))")
        with stack.run() as other:
            other.iterate()  # in a run that has trained, nothing is right only because it is new
            _restore(other, saved, path)
            forgotten = _forgotten(at_save, _memory(other))
            resumed_losses = other.iterate()
            got = _memory(other)
    what = "a resumed run diverges"
    if forgotten:
        what = f"a resumed run has forgotten {_main_meaning(forgotten)}, and diverges"
    _require_same(expected, got, what, "one iteration after it was resumed")
    what = "a resumed run has different losses"
    _require_same(memory_of(losses), memory_of(resumed_losses), what, "the next iteration")


def _memory(run: Run) -> Dict[str, Any]:
    """Return every value that decides how a run continues, by path."""
    return {path: value for path, value in memory_of(run).items() if not path.startswith(_NOT_RESUMED)}


def _contents(saved: Checkpoint) -> Dict[str, Any]:
    """Return every value in a checkpoint, by path."""
    return memory_of({name: getattr(saved, name) for name in ("config", "agent", "run", "step", "sizes")})


def _forgotten(saved: Dict[str, Any], restored: Dict[str, Any]) -> List[str]:
    """Return the paths at which a restored run differs, without the rollout, whose unfilled rows may differ."""
    found = []
    for path, value in saved.items():
        if not path.startswith("rollout.") and restored.get(path) != value:
            found.append(path)
    return found


def _restore(run: Run, saved: Checkpoint, path: Path) -> None:
    """Restore a run; a missing key is a finding."""
    try:
        run.restore(saved, path)
    except KeyError as error:
        raise ContractError(
            f"the checkpoint lacks {_meaning(str(error.args[0]))}",
            where="Run.restore",
            got=f"KeyError: {error}",
            expected="every key that restore reads",
            cause="state_dict leaves it out",
        ) from error


def _advance(run: Run) -> None:
    for _ in range(DECISIONS):
        run.advance()


def _make_rows_distinct(rollout: Any) -> None:
    """Fill the rows that count with noise, so that no row is right by chance, as a mask of ones may be."""
    generator = torch.Generator().manual_seed(0)
    for array in arrays_of(rollout).values():
        filled = array[: rollout.step]
        filled.copy_(torch.rand(filled.shape, generator=generator))


def _filled_rows(rollout: Any) -> Dict[str, torch.Tensor]:
    return {name: array[: rollout.step].clone() for name, array in arrays_of(rollout).items()}


def _through_file(snapshot: Checkpoint) -> Checkpoint:
    """Save a checkpoint, and return what the file holds."""
    with tempfile.TemporaryDirectory() as folder:
        return checkpoints.load(checkpoints.save(snapshot, Path(folder) / "checkpoint.pt"))


def _require_same(expected: Dict[str, Any], got: Dict[str, Any], what: str, where: str) -> None:
    """Require that `got` holds all of `expected`, bit for bit."""
    differing = [path for path in expected if got.get(path) != expected[path]]
    if differing:
        raise ContractError(
            what,
            where=f"{where}: {_some(differing)}",
            got=f"{len(differing)} of {len(expected)} values differ or are missing",
            expected="the same bits",
        )


def _meaning(path: str) -> str:
    """Return what a path means to a person; the path itself if that is unknown."""
    for part, meaning in MEANINGS.items():
        if part in path:
            return meaning
    return path


def _main_meaning(paths: List[str]) -> str:
    """Return what most of the paths mean to a person."""
    return collections.Counter(map(_meaning, paths)).most_common(1)[0][0]


def _some(paths: List[str]) -> str:
    text = ", ".join(paths[:MAX_PATHS])
    if len(paths) > MAX_PATHS:
        text += f" and {len(paths) - MAX_PATHS} more"
    return text
