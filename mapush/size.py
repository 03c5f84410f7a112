"""Measure how large the contact buffers on a GPU must be: `python -m mapush.size [cuboid|tblock|cylinder] ...`."""

from __future__ import annotations

import sys
from typing import Optional, Sequence

from mapush.errors import SimulatorError


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print; see `mapush.run.measure_contacts`."""
    try:
        from mapush.run import measure_contacts
    except ImportError as error:
        fix = "python -m pip install mapush[gpu], which needs Python 3.11 or later"
        print(SimulatorError("MuJoCo Warp cannot be loaded", cause=str(error), fix=fix), file=sys.stderr)
        return 2
    return measure_contacts.main(argv)


if __name__ == "__main__":
    sys.exit(main())
