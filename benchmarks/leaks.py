"""Planted leaks: `python -m benchmarks.leaks [--gpu] [--only NAME ...] [--repeats 1]`.

Soaks leaks whose owner is known, and prints lines of `name.metric value`. Exit code 1 if a leak was missed, or if the
owners of fewer than nine in ten were named.
"""

from __future__ import annotations

import argparse
from typing import Dict, List, Optional, Sequence

from benchmarks import cpu_leaks, gpu_leaks
from benchmarks.planted_leak import PlantedLeak, find
from harness.memory.driver import DriverMeter
from harness.memory.verdict import LEAK

MIN_NAMED_SHARE = 0.9  # of the leaks, whose owner must be named


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks", description="Soak planted leaks.")
    parser.add_argument("--gpu", action="store_true", help="soak the leaks on a GPU instead of those on the CPU")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="soak only these leaks")
    parser.add_argument("--repeats", type=int, default=1, help="soaks of each leak (default 1)")
    options = parser.parse_args(argv)
    gpu = None
    leaks: Dict[str, PlantedLeak] = cpu_leaks.LEAKS
    if options.gpu:
        gpu = DriverMeter()
        leaks = gpu_leaks.LEAKS
    caught: List[bool] = []
    named: List[bool] = []
    for name in options.only or leaks:
        leak = leaks[name]
        for _ in range(options.repeats):
            report = find(leak, gpu)
            is_caught = report.kind == LEAK
            is_named = is_caught and leak.owner in report.owners[0]
            caught.append(is_caught)
            named.append(is_named)
            _print(name, {"caught": is_caught, "named": is_named, "cycles": leak.cycles, "share": report.share})
            if not is_named:
                print(report, flush=True)
    _print("all", {"soaks": len(caught), "caught": sum(caught), "named": sum(named)})
    return 0 if all(caught) and sum(named) >= MIN_NAMED_SHARE * len(named) else 1


def _print(name: str, metrics: Dict[str, float]) -> None:
    for metric, value in metrics.items():
        print(f"leaks.{name}.{metric} {float(value):.3g}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
