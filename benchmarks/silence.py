"""Measure how long commands are silent: `python -m benchmarks.silence [--only WORD] [--slow]`.

Each command runs once in a pseudo-terminal and once in a pipe. Prints lines of `name.metric value`: when the first
output came, and the longest time without output [s]. In a terminal no gap should be longer than 2 s on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Tuple

TRAIN = (
    "mapush train cuboid --preset quick --sim mujoco --num-envs 20 --num-steps 100 --total-steps 40000 --run-dir run"
)
COMMANDS: Dict[str, str] = {
    "train": TRAIN.replace("--run-dir run", "--run-dir other"),
    "evaluate": "mapush evaluate cuboid --num-envs 40 --sim mujoco",
    "evaluate_run": "mapush evaluate cuboid --checkpoint run --num-envs 10 --sim mujoco",
    "evaluate_report": "mapush evaluate cuboid --num-envs 10 --sim mujoco --report page --overwrite",
    "record": "mapush evaluate cuboid --mode viewer --episodes 1 --sim mujoco --record film.html --overwrite",
    "report": "mapush report run",
    "export": "mapush export cuboid policy.jit --overwrite",
    "check": "harness check harness.toys:make_pointmass",
    "stack": "harness stack",
    "faults": "harness faults --only infos-shared,obs-of-one-env-for-all",
    "memory": "harness memory harness.toys:make_pointmass --minutes 0.2",
    "doctor": "harness doctor",
}
SLOW: Dict[str, str] = {
    "evaluate_walk": "mapush evaluate walk --sim mujoco",
    "size": "mapush size cuboid --num-envs 8 --walk-s 1 --flail-s 1 --device cpu",
}


def times_of_output(words: List[str], folder: Path, terminal: bool) -> Tuple[int, List[float]]:
    """Run a command; return its exit code, and when it started, wrote and ended [s]."""
    if terminal:
        reader, writer = os.openpty()
    else:
        reader, writer = os.pipe()
    times = [time.monotonic()]
    command = [sys.executable, "-m", *words]
    env = dict(os.environ, TERM="xterm")
    with open(os.devnull) as nothing:
        process = subprocess.Popen(command, cwd=str(folder), env=env, stdin=nothing, stdout=writer, stderr=writer)
    os.close(writer)
    while True:
        select.select([reader], [], [])
        try:
            data = os.read(reader, 65536)
        except OSError:  # the other end of a terminal was closed
            data = b""
        times.append(time.monotonic())
        if not data:
            break
    os.close(reader)
    return process.wait(), times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only commands whose name contains this")
    parser.add_argument("--slow", action="store_true", help="also commands that take minutes")
    options = parser.parse_args()
    commands = dict(COMMANDS)
    if options.slow:
        commands.update(SLOW)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", *TRAIN.split()], cwd=name, check=True, capture_output=True)
        for command, line in commands.items():
            if options.only not in command:
                continue
            for terminal, where in ((True, "terminal"), (False, "pipe")):
                shutil.rmtree(folder / "other", ignore_errors=True)
                code, times = times_of_output(line.split(), folder, terminal)
                gaps = [after - before for before, after in zip(times, times[1:])]
                print(f"{command}.{where}.exit_code {code}")
                print(f"{command}.{where}.first_output_s {gaps[0]:.2f}")
                print(f"{command}.{where}.longest_silence_s {max(gaps):.2f}")
                print(f"{command}.{where}.duration_s {times[-1] - times[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
