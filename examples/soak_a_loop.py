"""Soak a loop of your own: `python examples/soak_a_loop.py [--leak]`.

A soak runs many cycles of a loop while meters read the memory of the process. It says whether something leaks, which
object keeps the memory, and whether closing the loop releases everything. Without `--leak` this example ends with
"memory: clean" and exit code 0; with it, the report blames `trainer.history`, and the exit code is 1.
"""

import sys

import numpy as np

from harness.memory.soak import Subject, soak


class Trainer:
    """A training loop, reduced to what matters for its memory."""

    def __init__(self, leaks: bool) -> None:
        self._leaks = leaks
        self._random = np.random.default_rng(0)
        self.weights = np.zeros(256)
        self.history: list = []

    def iterate(self) -> None:
        """Run one iteration."""
        batch = self._random.normal(size=(64, 256))
        self.weights += 1e-3 * batch.mean(axis=0)
        if self._leaks:
            self.history.append(batch)  # the planted leak: 128 KiB in each iteration

    def close(self) -> None:
        """Release everything."""
        self.history.clear()


def main() -> int:
    """Soak the loop, print the report and return the exit code."""
    leaks = "--leak" in sys.argv[1:]

    def make() -> Subject:
        trainer = Trainer(leaks)
        return Subject(advance=trainer.iterate, close=trainer.close, owners={"trainer": trainer})

    report = soak(make, warm_up=20, cycles=300)
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
