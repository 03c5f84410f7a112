"""Contracts of checkpoints: what changes in training is saved, and what is saved is what a resumed run has.

`make_run` makes a fresh `mapush.train.Run`, the same every time.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from harness.findings import ContractError
from harness.stack.remembered import arrays_of, memory_of
from mapush.run import checkpoint as checkpoints

_MEANINGS = {  # part of a path, most special first, and what a person calls it
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

_BESIDE = ("recorder.",)  # what a run keeps to explain a failure, and goes on without


def checkpoint_complete(make_run: Callable[[], Any]) -> None:
    """Everything that changes while a run trains is in its checkpoint: weights, moments, generators, env, rollout."""
    with contextlib.closing(make_run()) as run:
        run.iterate()
        before = _memory(run)
        run.iterate()
        _advance(run, 3)
        _make_rows_distinct(run.rollout)
        after, rows = _memory(run), _filled_rows(run.rollout)
        saved = _through_file(run.snapshot())
    with contextlib.closing(make_run()) as fresh:
        _restore(fresh, saved, Path("checkpoint"))
        restored, restored_rows = _memory(fresh), _filled_rows(fresh.rollout)
    changed = [path for path in after if before.get(path) != after[path]]
    arrays = {"rollout." + name for name in rows}  # of which rows that are not filled yet hold what does not matter
    lost = [path for path in changed if path not in arrays and restored.get(path) != after[path]]
    lost += ["rollout." + name for name in rows if not torch.equal(rows[name], restored_rows[name])]
    if lost:
        raise ContractError(
            f"the checkpoint lacks {_meaning(lost[0])}",
            where=_some(lost),
            got=f"a resumed run has other values of {len(lost)} of the {len(changed)} things that training changed",
            expected="the values at the time of the checkpoint",
            cause="state_dict leaves it out, or load_state_dict does not put it back",
            fix="add it to both",
        )


def checkpoint_restores(make_run: Callable[[], Any]) -> None:
    """A run that is saved in the midst of a rollout and taken up by another one goes on bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        with contextlib.closing(make_run()) as run:
            run.iterate()
            run.iterate()
            _advance(run, 3)
            snapshot = run.snapshot()
            kept, at_save = _contents(snapshot), _memory(run)
            checkpoints.save(snapshot, path)
            losses, expected = run.iterate(), _memory(run)
        _require_same(
            kept, _contents(snapshot), "a checkpoint that was taken changes while training goes on", "snapshot"
        )
        saved = checkpoints.load(path)
        _require_same(kept, _contents(saved), "the file does not hold what was saved", "load(save(checkpoint))")
        with contextlib.closing(make_run()) as other:
            other.iterate()  # so that nothing is right only because it is new
            _restore(other, saved, path)
            forgotten = _forgotten(at_save, _memory(other))
            resumed = other.iterate()
            got = _memory(other)
    what = "a resumed run is another run"
    if forgotten:
        what = f"a resumed run has forgotten {_meaning(forgotten[0])}, and goes another way"
    _require_same(expected, got, what, "one iteration after it was resumed")
    _require_same(memory_of(losses), memory_of(resumed), "a resumed run has other losses", "the iteration resumed")


def _memory(run: Any) -> Dict[str, Any]:
    """Return what decides how a run goes on."""
    return {path: value for path, value in memory_of(run).items() if not path.startswith(_BESIDE)}


def _forgotten(saved: Dict[str, Any], restored: Dict[str, Any]) -> List[str]:
    """Return what a run that was just restored has otherwise; rows of the rollout may, where they are not filled."""
    return [path for path in saved if not path.startswith("rollout.") and restored.get(path) != saved[path]]


def _restore(run: Any, saved: Any, path: Path) -> None:
    """Restore a run; what is missing for it is told by its meaning."""
    try:
        run.restore(saved, path)
    except KeyError as error:
        raise ContractError(
            f"the checkpoint lacks {_meaning(str(error.args[0]))}",
            where="Run.restore",
            got=f"KeyError: {error}",
            expected="all that restore asks for",
            cause="state_dict leaves it out",
        ) from error


def _advance(run: Any, decisions: int) -> None:
    for _ in range(decisions):
        run.advance()


def _make_rows_distinct(rollout: Any) -> None:
    """Fill the rows that count with noise, so that none of them is right by chance, as masks of 1 are."""
    generator = torch.Generator().manual_seed(0)
    for array in arrays_of(rollout).values():
        array[: rollout.step].copy_(torch.rand(array[: rollout.step].shape, generator=generator))


def _filled_rows(rollout: Any) -> Dict[str, torch.Tensor]:
    return {name: array[: rollout.step].clone() for name, array in arrays_of(rollout).items()}


def _through_file(snapshot: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return checkpoints.load(checkpoints.save(snapshot, Path(folder) / "checkpoint.pt"))


def _contents(saved: Any) -> Dict[str, Any]:
    return memory_of({name: getattr(saved, name) for name in ("config", "agent", "run", "step", "sizes")})


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
    return next((meaning for part, meaning in _MEANINGS.items() if part in path), path)


def _some(paths: List[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
