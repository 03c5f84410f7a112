"""Train the low level of MAPush's robot within a time limit, export it, and try it.

    MAPUSH_DIR=... python -m benchmarks.legs --out DIR --seconds 285

Files in DIR, all of which exist from the first export on, whenever the process ends:
  body_latest.jit   the body; MAPush loads it as it is
  actor.pt          the actor's weights
  log.csv           one line for each iteration
  trial.txt         what the robots did with the body
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
import time
from pathlib import Path
from typing import Dict, Optional, Sequence

from mapush.assembly import resolve, share_the_cores
from mapush.config import RunConfig
from mapush.errors import MapushError
from mapush.presets import preset
from mapush.train import Run

TRIAL_S = 35.0  # kept for the trial of the finished body [s]
ITERATIONS_PER_EXPORT = 20
COLUMNS = (
    "seconds",
    "step",
    "steps_per_s",
    "std",
    "value_loss",
    "episode/fall",
    "episode/length",
    "episode/return",
) + ("episode/linear_error", "episode/yaw_error")


def train_for(run: Run, started: float, seconds: float, out: Path) -> None:
    """Train until `seconds` after `started`; the learning rate ends near zero, whatever the speed.

    Args:
      run: a started run; its last iteration may be a few seconds late.
      started: when the process began, by `time.monotonic` [s].
      seconds: the time limit [s].
      out: where the files go.
    """
    first = time.monotonic()
    end = started + seconds
    with open(out / "log.csv", "w", newline="", encoding="utf-8") as file:
        log = csv.writer(file)
        while time.monotonic() < end and run.step < run.config.total_steps:
            losses = run.iterate() or {}
            now = time.monotonic()
            rate = run.step / (now - first)
            whole = round(run.step + rate * max(end - now, 0.0)) + 1
            run.config = dataclasses.replace(run.config, total_steps=whole)
            values: Dict[str, float] = {**losses, **run.env.metrics.summary()}
            values.update(seconds=now - started, step=run.step, steps_per_s=rate)
            if run.iteration == 1:
                names = list(COLUMNS) + sorted(name for name in values if name.startswith("reward/"))
                log.writerow(names)
            log.writerow([f"{values.get(name, float('nan')):.5g}" for name in names])
            file.flush()
            if run.iteration % ITERATIONS_PER_EXPORT == 1:
                export(run, out)
                shown = [f"{name.rpartition('/')[2]} {values.get(name, float('nan')):.4g}" for name in COLUMNS]
                print(", ".join(shown), flush=True)
    export(run, out)


def export(run: Run, out: Path) -> None:
    """Write the body and the actor's weights; at any moment the files are complete."""
    import torch

    from mapush.upstream.legs import legs_body

    actor = run.agent.actors[0]
    legs_body.save_script(legs_body.export(actor), out / "body_latest.jit")
    torch.save(actor.state_dict(), out / "actor.tmp")
    (out / "actor.tmp").replace(out / "actor.pt")


def try_body(path: Path, device: str, duration_s: float) -> str:
    """Return the table of a trial with the body in this file."""
    from mapush.upstream.legs.legs_body import load_script
    from mapush.upstream.legs.legs_physics import find_checkout
    from mapush.upstream.legs.legs_trial import run_trial, table

    return table(run_trial(load_script(path, device), find_checkout(), device, duration_s))


def configure(arguments: argparse.Namespace) -> RunConfig:
    """Return the configuration of the run."""
    config = preset("walk", "legs")
    sim = dataclasses.replace(config.sim, backend=arguments.backend)
    config = dataclasses.replace(config, seed=arguments.seed, total_steps=10**12, sim=sim)
    if arguments.num_envs:
        config = dataclasses.replace(config, num_envs=arguments.num_envs)
    config, reason = resolve(config)
    print(f"{config.sim.backend}: {reason}; {config.num_envs} envs", flush=True)
    return config


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train, export and try; return the exit code."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seconds", type=float, default=285.0, help="time for everything [s]")
    parser.add_argument("--backend", default="auto", help="auto, warp or mujoco")
    parser.add_argument("--num-envs", type=int, default=0, help="0 takes the preset's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trial-seconds", type=float, default=20.0, help="simulated time of the trial [s]")
    parser.add_argument("--only-try", type=Path, help="try this body and do not train")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    share_the_cores()
    try:
        config = configure(arguments)
        device = {"warp": "cuda"}.get(config.sim.backend, "cpu")
        body = arguments.only_try or arguments.out / "body_latest.jit"
        if arguments.only_try is None:
            run = Run.start(config)
            print(f"started after {time.monotonic() - started:.0f} s", flush=True)
            try:
                train_for(run, started, arguments.seconds - TRIAL_S, arguments.out)
            except MapushError as error:  # what was exported before can still be tried
                print(error, file=sys.stderr, flush=True)
            run.close()
        text = try_body(body, device, arguments.trial_seconds)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    (arguments.out / "trial.txt").write_text(text + "\n", encoding="utf-8")
    print(f"finished after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
