"""Measure how large the contact buffers on a GPU must be: `python -m mapush.size [cuboid|tblock|cylinder] ...`."""

from __future__ import annotations

import math
import sys
from typing import Optional, Sequence

from mapush.errors import MapushError, SimulatorError
from mapush.run import command_line
from mapush.run.shown_progress import ShownProgress
from mapush.run.size_config import SizeConfig


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print; see `mapush.run.measure_contacts`.

    Returns:
      0; 2 after an error.
    """
    try:
        config = command_line.parse(SizeConfig, argv, "size")
        _run(config)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(config: SizeConfig) -> None:
    with ShownProgress() as progress:
        progress.stage(f"measuring {config.task}: loading MuJoCo Warp")
        try:
            from mapush.run.measure_contacts import MARGIN, measure, require_device
        except ImportError as error:
            fix = "python -m pip install mapush-stack[gpu], which needs Python 3.11 or later"
            raise SimulatorError("MuJoCo Warp cannot be loaded", cause=str(error), fix=fix) from error
        require_device(config.device)
        demand = measure(config, progress)
    contacts = math.ceil(MARGIN * demand.contacts)
    rows = MARGIN * demand.rows
    print(f"{config.task}: {demand.contacts:.1f} contacts per env and {demand.rows} rows in one env needed")
    print(f"with {MARGIN}-fold room: --sim.nconmax {contacts} --sim.njmax {rows}")


if __name__ == "__main__":
    sys.exit(main())
