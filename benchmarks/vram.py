"""Prediction of VRAM against what the driver sees: `python -m benchmarks.vram [--only NAME ...]`, on a GPU.

Trains each of twelve configurations of object, envs and rollout for some iterations, each in a process of its own, and
prints lines of `name.metric value`. The exit code is 1 if a peak differs from its prediction by more than a tenth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mapush.config import SimConfig
from mapush.objects import OBJECTS
from mapush.presets import preset
from mapush.run.capacity import MIB, predict

SIZES: Sequence[Tuple[int, int]] = ((500, 200), (2048, 16), (4096, 32), (8192, 8))
"""Envs, and decisions of a rollout."""
MAX_ERROR = 0.1  # of the prediction
ITERATIONS = 3


def _configs() -> Dict[str, Tuple[str, int, int]]:
    """Return object, envs and decisions of a rollout of each configuration, by its name."""
    configs = {}
    for name in OBJECTS:
        for num_envs, num_steps in SIZES:
            configs[f"{name}.{num_envs}x{num_steps}"] = (name, num_envs, num_steps)
    return configs


CONFIGS = _configs()


def peak_and_prediction(task: str, num_envs: int, num_steps: int) -> Tuple[float, int]:
    """Return the peak of the driver's meter in a training, and the predicted peak [bytes]."""
    words = [task, "--sim", "warp", "--num-envs", str(num_envs), "--num-steps", str(num_steps)]
    words += ["--minutes", "0", "--iterations", str(ITERATIONS)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "memory", *words, "--report", folder]
        ended = subprocess.run(command, capture_output=True, text=True)
        written = Path(folder) / "soak.json"
        if not written.is_file():
            raise RuntimeError(ended.stdout + ended.stderr)
        peak = json.loads(written.read_text())["peaks"]["driver"]
    sim = SimConfig(backend="warp")
    config = dataclasses.replace(preset(task, "default"), num_envs=num_envs, num_steps=num_steps, sim=sim)
    return peak, predict(config).total


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vram", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(CONFIGS), help="train only these")
    options = parser.parse_args(argv)
    errors: List[float] = []
    for name in options.only or CONFIGS:
        peak, predicted = peak_and_prediction(*CONFIGS[name])
        error = peak / predicted - 1.0
        errors.append(abs(error))
        print(f"vram.{name}.peak_mib {peak / MIB:.0f}")
        print(f"vram.{name}.predicted_mib {predicted / MIB:.0f}")
        print(f"vram.{name}.error_percent {100.0 * error:+.1f}", flush=True)
    within = len([error for error in errors if error <= MAX_ERROR])
    print(f"vram.all.within_a_tenth {within} of {len(errors)}")
    return int(max(errors) > MAX_ERROR)


if __name__ == "__main__":
    raise SystemExit(main())
