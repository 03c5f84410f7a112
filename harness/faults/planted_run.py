"""Running any command in code that has a planted bug."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any, ContextManager, Iterator, Sequence
from unittest import mock

from harness.faults.plant import Fault
from harness.findings import PLANTED_FAULT


def run_with(fault: Fault, command: Sequence[str], start: int = 1) -> int:
    """Run a module as `python -m` does, with a bug planted in this process and in its child processes.

    Args:
      fault: the bug.
      command: name of the module, and its arguments; a leading `python -m` is left out.
      start: step at which the bug begins, counted from 1.

    Returns:
      The exit code of the command.
    """
    words = list(command)
    if words[:1] == ["python"] and words[1:2] == ["-m"]:
        words = words[2:]
    with fault.inject(start), planted_in_children(fault, start), mock.patch.object(sys, "argv", words):
        try:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if isinstance(end.code, int):
                return end.code
            return int(end.code is not None)
    return 0


@contextlib.contextmanager
def planted_in_children(fault: Fault, start: int = 1) -> Iterator[None]:
    """Plant the bug also in the Python processes that are started meanwhile: `harness check` works in one.

    Python imports `sitecustomize` when it starts, from the first place of its path that has one.
    """
    code = f"from harness.faults import find\nplanted = find({fault.name!r}).inject({start})\nplanted.__enter__()\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(code)
        places = [folder, str(Path(__file__).parents[2])]
        if os.environ.get("PYTHONPATH"):
            places.append(os.environ["PYTHONPATH"])
        with named(fault, start), mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(places)}):
            yield


def named(fault: Fault, start: int = 1) -> ContextManager[Any]:
    """Return a context in which the environment names a planted bug, for reports and for the processes of ranks.

    Ranks are forked from a server, which would keep a bug that is planted as it starts, and so plant it themselves.
    """
    options = f"--inject {fault.name}"
    if start != 1:
        options += f" --start {start}"
    return mock.patch.dict(os.environ, {PLANTED_FAULT: options})
