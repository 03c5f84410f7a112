"""`python -m harness COMMAND ...`: the command line of the harness."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import List, Optional

from mapush.errors import nearest

COMMANDS = {
    "check": "harness.checking.check:main",
    "doctor": "harness.doctor:main",
    "faults": "harness.faults.faults_command:main",
    "memory": "harness.memory.training_soak:main",
    "replay": "harness.checking.replay_finding:main",
    "run": "harness.process.isolate:main",
    "stack": "harness.stack.check_stack:main",
    "train": "harness.stack.guarded_training:main",
}


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command that the first argument names with the others; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: python -m harness {{{}}} ...\n       (--help after a command says more)".format(",".join(COMMANDS))
        )
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"there is no command {words[0]!r}; {nearest(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[words[0]].split(":")
    return int(getattr(importlib.import_module(module), function)(words[1:]) or 0)


def _piped() -> int:
    """Run a command whose reader may leave before its end, as `head` does."""
    try:
        status = main()
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed at exit
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(_piped())
