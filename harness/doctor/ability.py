"""What this machine can do now, in one line: how fast it trains, or what it lacks for that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from harness.doctor.line import OK, WRONG, Broken, Line, probe

INDEX = "https://download.pytorch.org/whl"
CHECKOUT = Path(__file__).resolve().parents[2]
NEEDED = ("Python", "dependencies", "torch", "MuJoCo")
"""Names of the lines without which nothing trains."""
STATED_PER_CORE = 3_750
"""`mapush train cuboid --preset quick` on two idle x86 cores [env-steps/s per core]; see docs/benchmarks.md."""
STATED_ON_GPU = "365,000 env-steps/s with 4,096 envs on an H100"
MEASURED_S = 3.0
NUM_STEPS = 4  # decisions in a measured rollout: a second or two, where that of the preset takes several


def install(extras: str = "viewer", build: str = "cpu", checkout: Path = CHECKOUT) -> str:
    """Return the command that installs mapush and all that it needs.

    Args:
      extras: groups of optional packages.
      build: of PyTorch, as its index names it.
      checkout: where mapush lies; if that is not a checkout, the packages are named from anywhere.
    """
    place, constraints = ".", "constraints.txt"
    if Path.cwd() != checkout:
        place, constraints = str(checkout), str(checkout / constraints)
    return f'pip install -c {constraints} --extra-index-url {INDEX}/{build} -e "{place}[{extras}]"'


def speed_facts() -> Dict[str, Any]:
    """Train for some seconds as `--preset quick` does, and return the speed; this loads torch."""
    import dataclasses

    from mapush.assembly import make_env, resolve, share_the_cores
    from mapush.config import SimConfig
    from mapush.presets import preset
    from mapush.train import Run

    share_the_cores()
    quick = preset("cuboid", "quick")
    config, _ = resolve(dataclasses.replace(quick, num_steps=NUM_STEPS, sim=SimConfig(backend="mujoco")))
    run = Run.start(config, make_env)
    run.iterate()  # the first one also allocates
    first, began = run.step, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        run.iterate()
    seconds = time.perf_counter() - began
    rate = (run.step - first) / seconds
    run.close()
    return {"rate": rate, "seconds": seconds}


def ability(lines: Sequence[Line], measure: bool, speed: Callable[[], Dict[str, Any]] = speed_facts) -> str:
    """Return what this machine can do now.

    Args:
      lines: what was found out about it.
      measure: whether to train for some seconds; if False, a figure is stated.
      speed: trains for some seconds; called in a process of its own.

    Returns:
      It, beginning with a verb; "" if the lines are not about training.
    """
    by_name = {line.name: line for line in lines}
    if not set(NEEDED) <= set(by_name):
        return ""
    cores = usable_cores()
    on_cores = f"on {cores} core{'s' * (cores > 1)}"
    missing = [name for name in NEEDED if by_name[name].status == WRONG]
    stated = f"about {STATED_PER_CORE * cores:,} env-steps/s (stated, not measured: {STATED_PER_CORE:,} per core)"
    if "Python" in missing:
        return f"cannot train: {by_name['Python'].fix}"
    if missing:
        return f"cannot train yet ({', '.join(missing)}): {install()}; then {on_cores} at {stated}"
    if by_name["MuJoCo"].status != OK:  # the Python of Isaac Gym, which was asked for
        return "trains only with --sim isaacgym: MuJoCo needs Python 3.11"
    if _has_gpu(by_name):
        return f"trains on the {by_name['GPU'].found} with --preset gpu (stated, not measured here: {STATED_ON_GPU})"
    at = stated
    if measure:
        try:
            at = _measured(probe("training", speed), cores)
        except Broken as broken:
            return f"cannot train: {broken.line.found}; {broken.line.fix}"
    return f"trains {on_cores} at {at}; {_for_a_gpu(by_name)}"


def _measured(facts: Dict[str, Any], cores: int) -> str:
    about = float(f"{facts['rate']:.2g}")
    text = f"about {about:,.0f} env-steps/s (measured for {facts['seconds']:.0f} s"
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * cores:
        text += ", while other programs used the cores"
    return f"{text})"


def _has_gpu(by_name: Dict[str, Line]) -> bool:
    """Return whether torch computes on a GPU and Warp can be loaded."""
    gpu, warp = by_name.get("GPU"), by_name.get("Warp")
    if gpu is None or warp is None:
        return False
    return gpu.status == warp.status == OK and "compute capability" in gpu.found


def _for_a_gpu(by_name: Dict[str, Line]) -> str:
    fixes: List[str] = []
    for name in ("GPU", "Warp"):
        line = by_name.get(name)
        if line is not None and line.status != OK and line.fix:
            fixes.append(line.fix)
    if fixes:
        return f"for a GPU: {'; '.join(fixes)}"
    return f"for a GPU: an NVIDIA card with driver 580 or later, and {install('viewer,gpu', 'cu130')}"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
