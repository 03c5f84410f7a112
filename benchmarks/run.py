"""Measure the layers of training, from physics only to the complete loop: `python -m benchmarks.run`.

Prints lines of `name.metric value`. Each size runs in a process of its own, so that its memory can be measured. The
measurement of physics repeats, from the same state, exactly the joint targets of the env steps before it, so the layers
above it are compared with the same physics.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple, cast
from unittest.mock import patch

import tyro

from mapush.assembly import resolve, share_the_cores
from mapush.config import SimConfig

if TYPE_CHECKING:
    import torch

    from mapush.env.push import PushEnv
    from mapush.train import Run


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    task: str = "cuboid"
    """Task whose preset is run."""
    preset: str = "default"
    """Preset of that task."""
    num_envs: List[int] = dataclasses.field(default_factory=lambda: [64, 512, 2048])
    """Numbers of envs, measured one after the other."""
    repeats: int = 3
    """Measurements of each layer; the median counts."""
    sim: SimConfig = SimConfig()
    """The simulator."""
    worker: bool = False
    """Measure the only size given, in this process."""


def measure(config: BenchConfig, num_envs: int) -> Dict[str, float]:
    """Return env-steps/s of each layer at `num_envs`, and the memory: peak RSS, and all in use on the GPU [MiB]."""
    from mapush.config import steps_per_decision
    from mapush.presets import preset
    from mapush.train import Run

    config, reason = resolve(config)
    print(f"{config.task}.{config.preset}.{num_envs}.simulator {config.sim.backend} ({reason})")
    settings = preset(config.task, config.preset)
    run = Run.start(dataclasses.replace(settings, num_envs=num_envs, sim=config.sim))
    decisions = max(20 // steps_per_decision(settings), 2)
    env_steps = decisions * num_envs * steps_per_decision(settings)
    for _ in range(2):  # until every graph is recorded
        _iteration(run)
    physics = _median_of(config.repeats, lambda: _physics(run, decisions))
    env = _median_of(config.repeats, lambda: _env(run, decisions))
    rollouts: List[float] = []
    updates: List[float] = []
    iterations: List[float] = []
    for _ in range(config.repeats):
        rollout, update = _iteration(run)
        rollouts.append(rollout)
        updates.append(update)
        iterations.append(rollout + update)
    all_steps = settings.num_steps * num_envs * steps_per_decision(settings)
    train = all_steps / _median(iterations)
    return {
        "physics": env_steps / physics,
        "env": env_steps / env,
        "rollout": all_steps / _median(rollouts),
        "update": all_steps / _median(updates),
        "train": train,
        "train_of_physics_percent": 100.0 * train / (env_steps / physics),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "vram_mib": _vram_mib(),
    }


def _clock() -> float:
    """Return the time [s] at which the device has finished its work."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _vram_mib() -> float:
    """Return the memory in use on the GPU, by all processes [MiB]; 0 if this process does not use it."""
    import torch

    if not torch.cuda.is_initialized():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def _median(seconds: List[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def _median_of(repeats: int, measurement: Callable[[], float]) -> float:
    return _median([measurement() for _ in range(repeats)])


def _physics(run: Run, decisions: int) -> float:
    """Return how long only the physics of `decisions` decisions takes [s]."""
    physics = cast("PushEnv", run.env).simulator.physics
    start = physics.state_dict()
    targets: List[torch.Tensor] = []
    step = physics.step

    def record(joint_targets: torch.Tensor) -> Any:
        targets.append(joint_targets.clone())
        return step(joint_targets)

    with patch.object(physics, "step", record):
        _env(run, decisions)
    end = physics.state_dict()
    physics.load_state_dict(start)
    begin = _clock()
    for joint_targets in targets:
        step(joint_targets)
    seconds = _clock() - begin
    physics.load_state_dict(end)
    return seconds


def _env(run: Run, decisions: int) -> float:
    """Return how long the env takes for `decisions` decisions [s]."""
    actions = [run.agent.act(run.rollout.obs[0], run.rollout.share_obs[0]).action for _ in range(decisions)]
    begin = _clock()
    for action in actions:
        run.env.step(action.to(run.env.device))
    return _clock() - begin


def _iteration(run: Run) -> Tuple[float, float]:
    """Return how long one rollout takes, and the update that follows [s]."""
    begin = _clock()
    while run.rollout.step < run.config.num_steps:
        run.advance()
    middle = _clock()
    run.learn()
    return middle - begin, _clock() - middle


def main() -> None:
    """Measure every size and print."""
    share_the_cores()
    config = tyro.cli(BenchConfig, prog="python -m benchmarks.run", description=__doc__)
    if config.worker:
        (num_envs,) = config.num_envs
        for name, value in measure(config, num_envs).items():
            print(f"{config.task}.{config.preset}.{num_envs}.{name} {value:.0f}", flush=True)
        return
    print(f"machine.processor {platform.machine()} {os.cpu_count()} cores", flush=True)
    for num_envs in config.num_envs:
        command = [sys.executable, "-m", "benchmarks.run", "--worker", "--num-envs", str(num_envs)]
        command += ["--task", config.task, "--preset", config.preset, "--repeats", str(config.repeats)]
        command += ["--sim", config.sim.backend, "--sim.threads", str(config.sim.threads)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
