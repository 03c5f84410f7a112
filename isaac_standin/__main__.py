"""`python -m isaac_standin [flags] -- COMMAND ...`: runs a program written for Isaac Gym on MuJoCo."""

from __future__ import annotations

import sys

from isaac_standin.launch import main

if __name__ == "__main__":
    sys.exit(main())
