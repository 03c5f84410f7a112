"""Measure how long commands are silent: `python -m benchmarks.silence [--only WORD] [--slow]`.

Each command runs once in a pseudo-terminal and once in a pipe. Prints lines of `name.metric value`: when the first
output came, and the longest time without output [s]. In a terminal no gap should be longer than 2 s on an idle machine.
`tests/harness/test_no_command_is_silent.py` checks that every command of ours is in the table, and drives each.
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
FAIL = (
    "mapush train cuboid --preset quick --sim mujoco --num-envs 5 --num-steps 4 --total-steps 800 --happo.lr 1e30 "
    "--run-dir failed"
)
PREPARATIONS = (TRAIN, FAIL)
"""Commands that leave what others read; the second one ends with an error, as it should."""
COMMANDS: Dict[str, str] = {
    "train": TRAIN.replace("--run-dir run", "--run-dir other"),
    "evaluate": "mapush evaluate cuboid --num-envs 40 --sim mujoco",
    "evaluate_run": "mapush evaluate cuboid --checkpoint run --num-envs 10 --sim mujoco",
    "evaluate_report": "mapush evaluate cuboid --num-envs 10 --sim mujoco --report page --overwrite",
    "record": "mapush watch cuboid --episodes 1 --sim mujoco --record film.html --overwrite",
    "report": "mapush report run",
    "export": "mapush export cuboid policy.jit --overwrite",
    "export_onnx": "mapush export cuboid policy.onnx --overwrite",
    "replay": "mapush replay failed/nonfinite.pt",
    "completion": "mapush completion bash",
    "check": "harness check harness.toys:make_pointmass",
    "pytest": "pytest -p pytest_mapush_harness --harness-env harness.toys:make_pointmass",
    "stack": "harness stack",
    "faults": "harness faults --only infos-shared,obs-of-one-env-for-all",
    "memory": "harness memory harness.toys:make_pointmass --minutes 0.2",
    "doctor": "harness doctor",
    "harness_train": TRAIN.replace("mapush train", "harness train").replace("--run-dir run", "--run-dir watched"),
    "harness_replay": "harness replay failed/nonfinite.pt",
    "run": "harness run -- python -m mapush report run",
    "standin": "isaac_standin -- python -c pass",
}
SLOW: Dict[str, str] = {
    "evaluate_walk": "mapush evaluate walk --sim mujoco",
    "size": "mapush size cuboid --num-envs 8 --walk-s 1 --flail-s 1 --device cpu",
}
NEED_HARL: Dict[str, str] = {
    "harl": "harness harl harl.runners:RUNNER_REGISTRY --env pettingzoo_mpe",
}


def typed(line: str) -> List[str]:
    """Return the program and the arguments of a line of the tables: all of them run with this Python."""
    words = [sys.executable, "-m"]
    for word in line.split():
        words.append(sys.executable if word == "python" else word)
    return words


def times_of_output(command: List[str], folder: Path, terminal: bool) -> Tuple[int, List[float]]:
    """Run a command; return its exit code, and when it started, wrote and ended [s]."""
    if terminal:
        reader, writer = os.openpty()
    else:
        reader, writer = os.pipe()
    times = [time.monotonic()]
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


def prepare(folder: Path) -> None:
    """Run the commands that leave what others read."""
    for line in PREPARATIONS:
        subprocess.run(typed(line), cwd=str(folder), capture_output=True)


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
        prepare(folder)
        for command, line in commands.items():
            if options.only not in command:
                continue
            for terminal, where in ((True, "terminal"), (False, "pipe")):
                shutil.rmtree(folder / "other", ignore_errors=True)
                code, times = times_of_output(typed(line), folder, terminal)
                gaps = [after - before for before, after in zip(times, times[1:])]
                print(f"{command}.{where}.exit_code {code}")
                print(f"{command}.{where}.first_output_s {gaps[0]:.2f}")
                print(f"{command}.{where}.longest_silence_s {max(gaps):.2f}")
                print(f"{command}.{where}.duration_s {times[-1] - times[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
