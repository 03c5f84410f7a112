"""Commands under a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any, List, Tuple

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(command: List[str], columns: int = 80, **options: Any) -> Tuple[int, str]:
    """Run a command in a terminal; return its exit code, and what it printed without colours and cursor movements.

    Args:
      command: its words.
      columns: width of the terminal.
      **options: of `subprocess.Popen`.
    """
    import pty

    master, slave = pty.openpty()
    env = dict(os.environ, COLUMNS=str(columns), TERM="xterm", **options.pop("env", {}))
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, **options) as process:
        os.close(slave)
        said = _read_all(master)
    os.close(master)
    return process.returncode, _CONTROL.sub("", said.decode())


def _read_all(master: int) -> bytes:
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux ends a pseudo-terminal with an error
            return said
        if not part:
            return said
        said += part
