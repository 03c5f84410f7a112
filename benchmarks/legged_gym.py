"""Train unedited legged_gym on the stand-in: `python -m benchmarks.legged_gym FOLDER RSL_RL [--num-envs 4096]`.

`FOLDER` is a checkout of legged_gym and `RSL_RL` one of rsl_rl 1.0.2. For every 25 iterations a line says how well the
robots follow the commanded linear velocity, as a part of the best that is possible, and the env-steps per second.

legged_gym logs `rew_tracking_lin_vel`: the mean, over the episodes that ended in an iteration, of the reward's integral
over the episode [s] divided by the longest duration of an episode [s]. The reward is exp(-error^2 / 0.25) times its
scale, 1 for all registered robots, so 1 is the best. An episode that ends early by a fall, or because its clock started
late, counts for less.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from typing import Dict, List, Sequence

EVERY = 25  # iterations for each line
PATTERNS = {
    "iteration": r"Learning iteration (\d+)/",
    "rate": r"Computation: (\d+) steps/s",
    "tracking": r"rew_tracking_lin_vel: +(-?[\d.]+)",
    "length": r"Mean episode length: +([\d.]+)",
    "reward": r"Mean reward: +(-?[\d.]+)",
}


def main(words: Sequence[str] = ()) -> int:
    """Train, print the lines, and return the exit code of the training; 0 if the time ran out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("rsl_rl")
    parser.add_argument("--task", default="anymal_c_flat")
    parser.add_argument("--num-envs", type=int, default=4096)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=240.0, help="end this long after the first iteration")
    options = parser.parse_args(words or None)
    process = start(options)
    end = float("inf")
    found: Dict[str, List[float]] = {name: [] for name in PATTERNS}
    stopped = False
    for line in process.stdout or ():
        if not read(line, found):
            print_unknown(line)
        elif line.lstrip().startswith("Total time:") and len(found["iteration"]) % EVERY == 0:
            print(summary(found), flush=True)
        if len(found["iteration"]) == 1 and end == float("inf"):
            end = time.monotonic() + options.seconds
        if time.monotonic() > end and not stopped:
            stopped = True
            process.send_signal(signal.SIGTERM)
    code = process.wait()
    print(f"at the end: {summary(found)}", flush=True)
    return 0 if stopped else code


def start(options: argparse.Namespace) -> subprocess.Popen:
    """Start legged_gym's own training program by the launcher."""
    environ = dict(os.environ, PYTHONUNBUFFERED="1")
    path = [os.path.abspath(options.folder), os.path.abspath(options.rsl_rl), os.environ.get("PYTHONPATH", "")]
    environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *path])
    program = os.path.join(path[0], "legged_gym", "scripts", "train.py")
    command = [sys.executable, "-m", "isaac_standin", "--", sys.executable, program, f"--task={options.task}"]
    command += ["--headless", f"--sim_device={options.device}", f"--rl_device={options.device}"]
    command += [f"--num_envs={options.num_envs}", f"--max_iterations={options.iterations}"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read(line: str, found: Dict[str, List[float]]) -> bool:
    """Take over the number in a line of rsl_rl's log; return whether the line is part of it."""
    for name, pattern in PATTERNS.items():
        match = re.search(pattern, line)
        if match:
            found[name].append(float(match.group(1)))
    return bool(re.match(r"\s*$|#+$|-+$|\s*[\w ]+: +-?[\d.]+s?$|.*Learning iteration|.*Computation", line))


def print_unknown(line: str) -> None:
    """Print a line that is not part of rsl_rl's log, such as a warning or an error."""
    print(line.rstrip(), flush=True)


def summary(found: Dict[str, List[float]]) -> str:
    """Return what the last 25 iterations were like."""
    means = []
    for name in ("tracking", "length", "reward", "rate"):
        means.append(statistics.mean(found[name][-EVERY:] or [float("nan")]))
    return (
        f"iteration {len(found['iteration']):3d}: linear velocity tracked to {means[0]:.3f} of the best, "
        f"episodes of {means[1]:.0f} steps, reward {means[2]:.2f}, {means[3]:,.0f} env-steps/s"
    )


if __name__ == "__main__":
    sys.exit(main())
