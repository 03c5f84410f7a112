"""Replay what a failed run left: `python -m mapush.replay FILE`.

`nonfinite.pt` is the complete state of the run at the beginning of the iteration that failed; on the CPU it fails again
at the same step. `failure.pt` holds the envs that failed, before their last decisions; these decisions are repeated on
the CPU simulator, whichever simulator the run used.

Exit codes: 0 no failure this time; 2 it fails again, or the file is neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

import tyro
from typing_extensions import Annotated

from mapush.assembly import make_env
from mapush.device.gpu_errors import gpu_errors
from mapush.distributed.replayed_rank import rank_of
from mapush.errors import CheckpointError, MapushError, NonFiniteError
from mapush.run import checkpoint as checkpoints
from mapush.run import command_line
from mapush.run.failure_bundle import Failure, is_failure, physics_fields
from mapush.run.shown_progress import ShownProgress, SilentProgress
from mapush.run.versions import changed
from mapush.sim import OF_MQE
from mapush.train import MakeEnv, Run

if TYPE_CHECKING:
    import torch

    from mapush.config import RunConfig
    from mapush.env.vec_env import VecEnv
    from mapush.run.failure_bundle import Moment


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Repeat, step by step, what ended a run."""

    file: Annotated[Path, tyro.conf.Positional]
    """A file that a failed training left in the folder of its run: nonfinite.pt or failure.pt."""


def replay(path: Path, *, make_env: MakeEnv = make_env, progress: Optional[SilentProgress] = None) -> int:
    """Repeat the iteration that failed; on the CPU it fails again at the same step.

    Args:
      path: the dump, nonfinite.pt.
      make_env: builds the environment from the configuration; as in the run.
      progress: gets every decision.

    Returns:
      The number of env steps taken, if the iteration does not fail.

    Raises:
      MapushError: the error that ended the run, with the env step.
      CheckpointError: the dump is missing or damaged, or its simulator cannot repeat it.
    """
    shown = progress or SilentProgress()
    shown.stage(f"loading {path}")
    saved = checkpoints.load(path)
    _require_repeatable(saved.config, path)
    with gpu_errors(), contextlib.closing(Run.start(saved.config, make_env, rank_of(saved))) as run:
        run.restore(saved, path)
        shown.stage("repeating the iteration", saved.config.num_steps, "decisions")

        def watch() -> bool:
            shown.update(run.rollout.step)
            return False

        run.iterate(watch)
        return run.step - saved.step


def _require_repeatable(config: RunConfig, path: Path) -> None:
    if config.sim.backend in OF_MQE:
        raise CheckpointError(
            "an iteration in MAPush's own environment cannot be repeated",
            where=str(path),
            cause="its episodes start again, because it cannot continue from the middle of one",
            fix="train with --sim mujoco or --sim warp to get a failure that can be replayed",
        )


def replay_failure(
    failure: Failure, *, make_env: MakeEnv = make_env, progress: Optional[SilentProgress] = None
) -> List[str]:
    """Repeat the last decisions of the failed envs, each from its recorded state, on the CPU simulator.

    Args:
      failure: the bundle.
      make_env: builds the environment from the configuration; as in the run.
      progress: gets every decision.

    Returns:
      A line for each decision: how far the result is from the recorded one. Only if none of them fails.

    Raises:
      MapushError: the error that ended the run, or a similar one.
    """
    sim = dataclasses.replace(failure.config.sim, backend="mujoco", threads=1)
    config = dataclasses.replace(failure.config, num_envs=len(failure.env_ids), sim=sim)
    lines = []
    progress = progress or SilentProgress()
    progress.stage("making the environment")
    with contextlib.closing(make_env(config)) as env:
        env.reset()
        _set_physics_fields(env, failure.fields)
        progress.stage("repeating the last decisions", len(failure.transitions), "decisions")
        for index in range(len(failure.transitions)):
            progress.update(index)
            lines.append(_repeat(env, failure.transitions, index))
    return lines


def main(argv: Optional[Sequence[str]] = None, *, make_env: MakeEnv = make_env) -> int:
    """Parse the command line and replay.

    Args:
      argv: the words after the command's name; by default those of this process.
      make_env: see `replay`.
    """
    file = command_line.parse(ReplayConfig, argv, "replay").file
    try:
        if file.is_dir():
            fix = f"name nonfinite.pt or failure.pt in it: python -m mapush.replay {file / 'failure.pt'}"
            raise CheckpointError("this is a folder, not what a failed run left", where=str(file), fix=fix)
        with ShownProgress() as progress:
            progress.stage(f"loading {file}")
            if not is_failure(file):
                steps = replay(file, make_env=make_env, progress=progress)
            else:
                _replay_and_describe(Failure.load(file), make_env, progress)
                return 0
        print(f"the iteration did not fail this time: {steps} env steps")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _replay_and_describe(failure: Failure, make_env: MakeEnv, progress: SilentProgress) -> None:
    envs = ", ".join(map(str, failure.env_ids))
    print(f"env {envs} at env step {failure.step} on {failure.config.sim.backend}:")
    for name, text in failure.error.items():
        print(f"  {name:<9} {text}")
    differences = "; ".join(changed(failure.versions))
    print(f"versions: {differences or 'the same as in the failed run'}")
    for line in replay_failure(failure, make_env=make_env, progress=progress):
        print(line)
    print("no failure on the CPU simulator; the cause is in the simulator or the learner of the failed run")


def _set_physics_fields(env: VecEnv, fields: Moment) -> None:
    """Set the physics parameters that differ between envs, where this simulator has the same ones."""
    state = env.state_dict()
    own = physics_fields(state)
    for name, value in fields.items():
        if name in own and own[name].shape == value.shape:
            own[name] = value
    env.load_state_dict(state)


def _repeat(env: VecEnv, transitions: Sequence[Moment], index: int) -> str:
    """Repeat one decision; return a line about its result.

    Raises:
      MapushError: the decision fails.
    """
    moment = dict(transitions[index])
    action = moment.pop("action")
    where = f"decision {index + 1} of {len(transitions)} in the bundle"
    env.place(moment)
    try:
        result = env.step(action)
        env.check()
    except MapushError as error:
        error.add_where(where)
        raise
    for name, value in (("reward", result.reward), ("obs", result.final_observation.obs)):
        _require_finite(name, value, where)
    following = transitions[index + 1] if index + 1 < len(transitions) else None
    return f"{where}: {_compare(env.moment(), following, result.done)}"


def _require_finite(name: str, value: torch.Tensor, where: str) -> None:
    bad = ~value.isfinite()
    if bool(bad.any()):
        env_id = int(bad.flatten(1).any(dim=1).nonzero()[0])
        raise NonFiniteError(f"{name} is not finite", where=f"env {env_id}, {where}")


def _compare(moment: Moment, recorded: Optional[Moment], done: torch.Tensor) -> str:
    """Describe how far positions are from the recorded ones, in envs whose episode goes on."""
    if recorded is None or bool(done.all()):
        return "no failure"
    gap = 0.0
    for name in ("robot_pos_w", "object_pos_w"):
        if name in moment:
            distance = (moment[name] - recorded[name])[~done].abs().max()
            gap = max(gap, float(distance))
    return f"no failure, positions within {gap:.2g} m of the recorded ones"


if __name__ == "__main__":
    sys.exit(main())
