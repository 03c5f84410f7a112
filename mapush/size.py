"""The command `python -m mapush.size OBJECT`: how much room contacts need on a GPU."""

from __future__ import annotations

import sys

from mapush.run.measure_contacts import main

if __name__ == "__main__":
    sys.exit(main())
