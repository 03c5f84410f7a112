"""Measure the layers of training, from physics only to the complete loop: `python -m benchmarks.run`.

Prints lines of `name.metric median low high`: the median of the rounds and the extremes. Each size runs in a process of
its own, so that its memory can be measured. All layers repeat the same physics, see `benchmarks.layers`; they take
turns after a warm-up, see `benchmarks.rounds`. A layer that is faster than the one below it is an error.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Dict, List, Mapping

import tyro

from benchmarks import rounds as timing
from mapush.assembly import resolve, share_the_cores
from mapush.config import RunConfig, SimConfig
from mapush.errors import MapushError

if TYPE_CHECKING:
    from mapush.train import Run

SHORT_ENV_STEPS = 20
"""Env steps of each env in a measurement on the CPU, where a complete rollout would take minutes."""
NO_LEARNING = 1e-12
"""Learning rate with which no weight changes, so that every round acts as the one before."""


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    task: str = "cuboid"
    """Task whose preset is run."""
    preset: str = "default"
    """Preset of that task."""
    num_envs: List[int] = dataclasses.field(default_factory=lambda: [64, 512, 2048])
    """Numbers of envs, measured one after the other."""
    rounds: int = 5
    """Measurements of each layer that count; the median and the extremes are printed."""
    deterministic: bool = False
    """Measure training with --deterministic."""
    sim: SimConfig = SimConfig()
    """The simulator."""
    worker: bool = False
    """Measure the only size given, in this process."""


def measure(config: BenchConfig, num_envs: int) -> Dict[str, List[float]]:
    """Return env-steps/s of each layer at `num_envs`, and the memory: peak RSS, and all in use on the GPU [MiB].

    Returns:
      By name: the median, the lowest and the highest rate; or the only value.

    Raises:
      MapushError: a workload did not compute what it is measured for, or the rates contradict each other.
    """
    from benchmarks.layers import Layers
    from mapush.train import Run

    config, reason = resolve(config)
    print(f"{config.task}.{config.preset}.{num_envs}.simulator {config.sim.backend} ({reason})")
    run = Run.start(run_config(config, num_envs))
    layers = Layers(run, _decisions(run))
    times = timing.measure(layers.workloads(), config.rounds)
    rates: Dict[str, List[float]] = {}
    for name, of_layer in times.items():
        env_steps = layers.env_steps
        if name == "train":
            env_steps = layers.env_steps_of_iteration
        rates[name] = of_layer.rates(env_steps)
    require_no_contradiction(rates)
    update = timing.measure({"update": layers.updating}, config.rounds, warm_ups=0)["update"]
    rates["update"] = update.rates(layers.env_steps_of_iteration)
    rates["train_of_physics_percent"] = [100.0 * rates["train"][0] / rates["physics"][0]]
    rates["peak_rss_mib"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0]
    rates["vram_mib"] = [_vram_mib()]
    run.close()
    return rates


def run_config(config: BenchConfig, num_envs: int) -> RunConfig:
    """Return the configuration of a run that acts and learns as the preset, but keeps its weights."""
    from mapush.presets import preset

    settings = preset(config.task, config.preset)
    happo = dataclasses.replace(settings.happo, lr=NO_LEARNING, critic_lr=NO_LEARNING, use_linear_lr_decay=False)
    return dataclasses.replace(
        settings,
        num_envs=num_envs,
        total_steps=sys.maxsize,
        sim=config.sim,
        happo=happo,
        deterministic=config.deterministic,
    )


def require_no_contradiction(rates: Mapping[str, List[float]]) -> None:
    """Check that no layer is faster than the physics that it contains.

    Args:
      rates: median, lowest and highest rate of each layer.

    Raises:
      MapushError: the median of a layer is above the highest rate of the physics.
    """
    highest = rates["physics"][2]
    faster: List[str] = []
    for name, (median, _, _) in rates.items():
        if median > highest:
            faster.append(f"{name} {median:,.0f}")
    if faster:
        raise MapushError(
            "the rates contradict each other: a layer is faster than the physics that it contains",
            got=f"{', '.join(faster)} env-steps/s",
            expected=f"at most {highest:,.0f}, the highest rate of the physics",
            cause="something else used the machine during some of the measurements",
            fix="measure on an idle machine, or with more --rounds",
        )


def _decisions(run: Run) -> int:
    """Return the number of decisions in a measurement: on a GPU those of a rollout."""
    if run.env.device.type != "cpu":
        return run.config.num_steps
    return min(run.config.num_steps, max(SHORT_ENV_STEPS // run.env.steps_per_decision, 2))


def _vram_mib() -> float:
    """Return the memory in use on the GPU, by all processes [MiB]; 0 if this process does not use it."""
    import torch

    if not torch.cuda.is_initialized():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def main() -> None:
    """Measure every size and print."""
    share_the_cores()
    config = tyro.cli(BenchConfig, prog="python -m benchmarks.run", description=__doc__)
    if config.worker:
        _measure_here(config)
        return
    print(f"machine.processor {platform.machine()} {os.cpu_count()} cores", flush=True)
    for num_envs in config.num_envs:
        command = [sys.executable, "-m", "benchmarks.run", "--worker", "--num-envs", str(num_envs)]
        command += ["--task", config.task, "--preset", config.preset, "--rounds", str(config.rounds)]
        command += ["--sim", config.sim.backend, "--sim.threads", str(config.sim.threads)]
        if config.deterministic:
            command.append("--deterministic")
        ended = subprocess.run(command, check=False)
        if ended.returncode != 0:
            sys.exit(ended.returncode)


def _measure_here(config: BenchConfig) -> None:
    (num_envs,) = config.num_envs
    try:
        measured = measure(config, num_envs)
    except MapushError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for name, values in measured.items():
        numbers = " ".join(f"{value:.0f}" for value in values)
        print(f"{config.task}.{config.preset}.{num_envs}.{name} {numbers}", flush=True)


if __name__ == "__main__":
    main()
